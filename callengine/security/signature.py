"""Twilio's signatures: did whoever holds the secret send this request, to this URL, with this body?

Decides it from bytes alone; knows no framework. A URL is the public origin that was configured with
the path and query exactly as they were received: never what a request says of its own origin.
Whatever is wrong with a request makes it invalid, and raises nothing.

Facts: twilio.com/docs/usage/security; `request_validator.py` of twilio-python 9.13.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections import defaultdict
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

from callengine.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNATURE_HEADER: Final = "x-twilio-signature"
SETTINGS_HEADER: Final = "x-twilio-webhooks-signature-settings"
"""Says with what a webhook was signed that was not signed with the account's auth token."""

MAX_BODY_BYTES: Final = 65_536
MAX_TARGET_CHARS: Final = 8_192
MAX_FIELDS: Final = 1_000
"""A request that exceeds one of these is not looked into. Twilio's have under 2 KiB, 50 fields."""

_ALGORITHMS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_FORM: Final = "application/x-www-form-urlencoded"
_HTTPS_PORT: Final = "443"


class Signer:
    """The one who signs: an account's auth token, or the secret of a SharedKey, and our origin.

    `public_url` is `https://host`, maybe with a port or a path below which everything is served.

    Raises SettingsError if the secret is empty: anybody could sign with that.
    """

    def __init__(self, auth_token: str, public_url: str) -> None:
        if not auth_token:
            raise SettingsError("twilio_auth_token is empty; set TWILIO_AUTH_TOKEN")
        self._secret = auth_token.encode()
        self._origins = _origins(public_url)

    def is_valid_post(self, path_and_query: str, body: bytes, headers: Mapping[str, str]) -> bool:
        """Whether a webhook is Twilio's. `headers` have lower-case names."""
        if len(body) > MAX_BODY_BYTES:
            return False
        try:
            signed_of_body = _signed_of_body(path_and_query, body, headers)
        except ValueError:  # UnicodeDecodeError is one
            return False
        return signed_of_body is not None and self._is_signed(
            "https", path_and_query, signed_of_body, headers
        )

    def is_valid_upgrade(self, path_and_query: str, headers: Mapping[str, str]) -> bool:
        """Whether the request for a media socket is Twilio's. `headers` have lower-case names."""
        return self._is_signed("wss", path_and_query, "", headers)

    def _is_signed(
        self, scheme: str, path_and_query: str, rest: str, headers: Mapping[str, str]
    ) -> bool:
        signature = headers.get(SIGNATURE_HEADER, "").encode(errors="surrogatepass")
        algorithm = _algorithm(headers.get(SETTINGS_HEADER, ""))
        in_order = path_and_query.startswith("/") and len(path_and_query) <= MAX_TARGET_CHARS
        if not (signature and algorithm and in_order):
            return False
        rest = path_and_query + rest
        return any(
            hmac.compare_digest(self._sign(f"{scheme}://{origin}{rest}", algorithm), signature)
            for origin in self._origins
        )

    def _sign(self, text: str, algorithm: str) -> bytes:
        return b64encode(hmac.digest(self._secret, text.encode(errors="surrogatepass"), algorithm))


def _origins(public_url: str) -> tuple[str, ...]:
    """Host and path as configured, then with the default port said, or unsaid, and no others.

    Twilio signs the URL that it was given, and that may name the port.
    """
    parts = urlsplit(public_url)
    path = parts.path.rstrip("/")
    host, colon, port = parts.netloc.rpartition(":")
    if not (colon and port.isdecimal()):  # the last colon of an IPv6 address is in brackets
        return parts.netloc + path, f"{parts.netloc}:{_HTTPS_PORT}{path}"
    if port == _HTTPS_PORT:
        return parts.netloc + path, host + path
    return (parts.netloc + path,)


def _algorithm(settings: str) -> str | None:
    """The digest that `key=...,algorithm=HMAC_SHA256` names; SHA-1 if none, None if unknown."""
    for part in settings.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return _ALGORITHMS.get(value.strip().upper())
    return _ALGORITHMS["HMAC_SHA1"]


def _signed_of_body(path_and_query: str, body: bytes, headers: Mapping[str, str]) -> str | None:
    """What is signed behind the URL; None if the body is not the one that the URL vouches for."""
    digests = parse_qs(path_and_query.partition("?")[2]).get("bodySHA256")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if digests is None or kind == _FORM:
        return _signed_of_form(body)
    digest = hashlib.sha256(body).hexdigest().encode()
    is_its = hmac.compare_digest(digest, digests[0].encode(errors="surrogatepass"))
    return "" if is_its else None


def _signed_of_form(body: bytes) -> str:
    """Every name with each of its values: sorted, each once, blank ones too, nothing between."""
    fields: defaultdict[str, set[str]] = defaultdict(set)
    for name, value in parse_qsl(
        body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
    ):
        fields[name].add(value)
    return "".join(name + value for name in sorted(fields) for value in sorted(fields[name]))
