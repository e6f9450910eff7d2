"""Twilio's own validator is the judge: what it signs we take, what it refuses we refuse."""

from __future__ import annotations

import hashlib
import string
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import (  # type: ignore[import-untyped]
    HMAC_SHA1,
    HMAC_SHA256,
    RequestValidator,
)

from callengine.errors import SettingsError
from callengine.security.signature import MAX_BODY_BYTES, MAX_FIELDS, MAX_TARGET_CHARS, Signer

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN = "0123456789abcdef0123456789abcdef"
ORIGIN = "https://voice.example.com"
SIGNER = Signer(TOKEN, ORIGIN)
TWILIO = RequestValidator(TOKEN)
FORM_TYPE = "application/x-www-form-urlencoded"
WEBHOOK = "/voice/incoming"
MEDIA = "/voice/media"
CALL = {"CallSid": "CA" + "1" * 32, "From": "+15551234567", "To": "+15557654321", "Digits": ""}

Form = list[tuple[str, str]]


class MultiDict(dict[str, list[str]]):
    """What web frameworks give the validator."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


def many(form: Form) -> MultiDict:
    values = MultiDict()
    for name, value in form:
        values.setdefault(name, []).append(value)
    return values


def headers(signature: str, **more: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {"content-type": FORM_TYPE, "x-twilio-signature": signature, **named}


def signed(url: str, form: Mapping[str, str] | MultiDict | None = None) -> dict[str, str]:
    return headers(TWILIO.compute_signature(url, form or {}))


def shared_key(algorithm: str) -> str:
    return f"key=webhooks_sharedkey_1,algorithm={algorithm}"


# ---- webhooks


def test_a_webhook_that_twilio_signed_is_valid() -> None:
    body = urlencode(CALL).encode()
    assert SIGNER.is_valid_post(WEBHOOK, body, signed(ORIGIN + WEBHOOK, CALL))


@pytest.mark.parametrize(
    "url",
    [
        "http://voice.example.com/voice/incoming",
        "wss://voice.example.com/voice/incoming",
        "https://voice.example.com/voice/incoming/",
        "https://voice.example.com/voice/incoming?",
        "https://voice.example.com/Voice/incoming",
        "https://voice.example.com:80/voice/incoming",
        "https://voice.example.com:8443/voice/incoming",
        "https://voice.example.com.evil.example/voice/incoming",
        "https://evil.example/voice/incoming",
    ],
)
def test_a_signature_over_another_url_is_refused(url: str) -> None:
    body = urlencode(CALL).encode()
    assert not SIGNER.is_valid_post(WEBHOOK, body, signed(url, CALL))


def test_the_query_is_signed_as_it_was_written() -> None:
    target = f"{WEBHOOK}?shop=a%20b&x=%C3%BC"
    body = urlencode(CALL).encode()
    given = signed(ORIGIN + target, CALL)
    assert SIGNER.is_valid_post(target, body, given)
    assert not SIGNER.is_valid_post(target.replace("%20", "+"), body, given)
    assert not SIGNER.is_valid_post(target.replace("%C3%BC", "ü"), body, given)
    assert not SIGNER.is_valid_post(WEBHOOK, body, given)


def test_blank_fields_are_signed_too() -> None:
    given = signed(ORIGIN + WEBHOOK, CALL)
    assert SIGNER.is_valid_post(WEBHOOK, urlencode(CALL).encode(), given)
    without_name = {**CALL, "": "x"}
    assert SIGNER.is_valid_post(
        WEBHOOK, urlencode(without_name).encode(), signed(ORIGIN + WEBHOOK, without_name)
    )
    nonblank = {name: value for name, value in CALL.items() if value}
    assert SIGNER.is_valid_post(WEBHOOK, urlencode(nonblank).encode(), given) is False


def test_a_field_with_several_values_counts_each_once_and_sorted() -> None:
    form = [("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "b"), ("Body", "x")]
    given = signed(ORIGIN + WEBHOOK, many(form))
    assert SIGNER.is_valid_post(WEBHOOK, urlencode(form).encode(), given)
    assert SIGNER.is_valid_post(WEBHOOK, urlencode(form[::-1]).encode(), given)
    assert not SIGNER.is_valid_post(WEBHOOK, urlencode(form[1:2]).encode(), given)


def test_an_empty_post_is_signed_by_its_url_alone() -> None:
    given = signed(ORIGIN + WEBHOOK)
    assert SIGNER.is_valid_post(WEBHOOK, b"", given)
    assert not SIGNER.is_valid_post(WEBHOOK, b"CallSid=CA1", given)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.text(string.ascii_letters + string.digits + "_[]. ü", max_size=12)
FORMS = st.lists(st.tuples(NAMES, TEXTS), max_size=8)
TARGETS = st.builds(
    lambda path, query: "/" + path + query,
    st.text(string.ascii_letters + string.digits + "/-._~%", max_size=30),
    # Of a query that is empty Twilio's validator drops the question mark.
    st.just("")
    | st.text(string.ascii_letters + "09=&%+-", min_size=1, max_size=30).map("?{}".format),
).filter(lambda target: "bodySHA256" not in target)


@given(FORMS, TARGETS)
def test_whatever_twilio_signs_is_valid_and_judged_as_twilio_does(form: Form, target: str) -> None:
    body = urlencode(form).encode()
    given = signed(ORIGIN + target, many(form))
    assert SIGNER.is_valid_post(target, body, given)
    parsed = many([(n, v) for n, vs in parse_qs(body.decode(), True).items() for v in vs])
    assert TWILIO.validate(ORIGIN + target, parsed, given["x-twilio-signature"])


@given(FORMS, FORMS, TARGETS, TARGETS)
def test_what_twilio_refuses_is_refused(form: Form, other: Form, path: str, elsewhere: str) -> None:
    signature = TWILIO.compute_signature(ORIGIN + path, many(form))
    agreed = TWILIO.validate(ORIGIN + elsewhere, many(other), signature)
    body = urlencode(other).encode()
    assert SIGNER.is_valid_post(elsewhere, body, headers(signature)) == agreed


@given(st.data())
def test_a_signature_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    signature = TWILIO.compute_signature(ORIGIN + WEBHOOK, CALL)
    at = data.draw(st.integers(0, len(signature) - 1))
    changed = signature[:at] + data.draw(st.characters()) + signature[at + 1 :]
    is_valid = SIGNER.is_valid_post(WEBHOOK, urlencode(CALL).encode(), headers(changed))
    assert is_valid == (changed == signature)


# ---- JSON


def test_a_json_body_is_vouched_for_by_its_digest_in_the_signed_query() -> None:
    body = b'{"CallSid": "CA1"}'
    target = f"{WEBHOOK}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    given = signed(ORIGIN + target) | {"content-type": "application/json; charset=utf-8"}
    assert TWILIO.validate(ORIGIN + target, body.decode(), given["x-twilio-signature"])
    assert SIGNER.is_valid_post(target, body, given)
    assert not SIGNER.is_valid_post(target, body + b" ", given)
    assert not SIGNER.is_valid_post(target.upper(), body, given)


@pytest.mark.parametrize("digest", ["", "0", "ü", "%00", "%ff", "0" * 64])
def test_a_wrong_digest_is_refused_though_it_is_signed(digest: str) -> None:
    target = f"{WEBHOOK}?bodySHA256={digest}"
    given = signed(ORIGIN + target) | {"content-type": "application/json"}
    assert not SIGNER.is_valid_post(target, b"{}", given)


def test_a_json_body_without_a_digest_is_vouched_for_by_nobody() -> None:
    given = signed(ORIGIN + WEBHOOK) | {"content-type": "application/json"}
    assert not SIGNER.is_valid_post(WEBHOOK, b'{"CallSid": "CA1"}', given)


def test_the_fields_of_a_form_are_signed_whatever_the_query_says_of_its_digest() -> None:
    body = urlencode(CALL).encode()
    target = f"{WEBHOOK}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    assert SIGNER.is_valid_post(target, body, signed(ORIGIN + target, CALL))
    assert not SIGNER.is_valid_post(target, body, signed(ORIGIN + target))


# ---- upgrades


@pytest.mark.edge_case(19)
def test_an_upgrade_that_twilio_signed_is_valid() -> None:
    assert SIGNER.is_valid_upgrade(MEDIA, signed("wss://voice.example.com" + MEDIA))


@pytest.mark.edge_case(19)
@pytest.mark.parametrize(
    "url",
    [
        "https://voice.example.com/voice/media",
        "http://voice.example.com/voice/media",
        "ws://voice.example.com/voice/media",
        "wss://voice.example.com/voice/media/",
        "wss://voice.example.com/voice",
        "wss://voice.example.com:80/voice/media",
        "wss://evil.example/voice/media",
    ],
)
def test_an_upgrade_that_was_signed_for_another_url_is_refused(url: str) -> None:
    assert not SIGNER.is_valid_upgrade(MEDIA, signed(url))


@pytest.mark.edge_case(19)
@pytest.mark.parametrize("given", [{}, headers(""), headers("bm90IHRoZSBzaWduYXR1cmU=")])
def test_an_upgrade_without_a_signature_is_refused(given: dict[str, str]) -> None:
    assert not SIGNER.is_valid_upgrade(MEDIA, given)


def test_who_has_another_token_signs_nothing() -> None:
    other = RequestValidator(TOKEN[::-1])
    given = headers(other.compute_signature("wss://voice.example.com" + MEDIA, {}))
    assert not SIGNER.is_valid_upgrade(MEDIA, given)


def test_what_was_signed_for_a_webhook_opens_no_socket_and_the_reverse() -> None:
    assert not SIGNER.is_valid_upgrade(WEBHOOK, signed(ORIGIN + WEBHOOK))
    assert not SIGNER.is_valid_post(MEDIA, b"", signed("wss://voice.example.com" + MEDIA))


# ---- the origin


@pytest.mark.edge_case(19)
@pytest.mark.parametrize(
    ("public_url", "signed_url", "valid"),
    [
        ("https://h.example", "wss://h.example:443/m", True),
        ("https://h.example:443", "wss://h.example/m", True),
        ("https://h.example:443", "wss://h.example:443/m", True),
        ("https://h.example:8443", "wss://h.example:8443/m", True),
        ("https://h.example:8443", "wss://h.example/m", False),
        ("https://h.example:8443", "wss://h.example:443/m", False),
        ("https://h.example", "wss://h.example:80/m", False),
        ("https://h.example/", "wss://h.example/m", True),
        ("https://h.example/phone", "wss://h.example/phone/m", True),
        ("https://h.example/phone/", "wss://h.example:443/phone/m", True),
        ("https://h.example/phone", "wss://h.example/m", False),
        ("wss://h.example", "wss://h.example/m", True),
        ("https://[::1]", "wss://[::1]/m", True),
        ("https://[::1]", "wss://[::1]:443/m", True),
        ("https://[::1]:443", "wss://[::1]/m", True),
        ("https://user:secret@h.example", "wss://user:secret@h.example/m", True),
        ("https://H.Example", "wss://H.Example/m", True),
    ],
)
def test_the_default_port_may_be_said_or_not_and_no_other(
    public_url: str, signed_url: str, valid: bool
) -> None:
    given = signed(signed_url)
    assert Signer(TOKEN, public_url).is_valid_upgrade("/m", given) is valid
    https = signed_url.replace("wss://", "https://")
    assert Signer(TOKEN, public_url).is_valid_post("/m", b"", signed(https)) is valid


def test_twilios_validator_guesses_port_80_for_sockets_and_we_do_not() -> None:
    """It is known for that: it would refuse the first of these and take the second."""
    explicit, wrong = (
        TWILIO.compute_signature(url, {})
        for url in ("wss://voice.example.com:443/m", "wss://voice.example.com:80/m")
    )
    assert not TWILIO.validate("wss://voice.example.com/m", {}, explicit)
    assert TWILIO.validate("wss://voice.example.com/m", {}, wrong)
    assert SIGNER.is_valid_upgrade("/m", headers(explicit))
    assert not SIGNER.is_valid_upgrade("/m", headers(wrong))


def test_what_a_request_says_of_its_origin_is_not_believed() -> None:
    lies = {"host": "evil.example", "x-forwarded-host": "evil.example", "origin": "evil.example"}
    assert not SIGNER.is_valid_upgrade("/m", signed("wss://evil.example/m") | lies)
    assert SIGNER.is_valid_upgrade("/m", signed("wss://voice.example.com/m") | lies)


@pytest.mark.parametrize("target", ["", ".evil.example/m", "m", ":443/m", "@evil.example/m"])
def test_a_target_that_is_no_path_is_refused_though_it_was_signed(target: str) -> None:
    assert not SIGNER.is_valid_upgrade(target, signed("wss://voice.example.com" + target))


# ---- SharedKey


@pytest.mark.parametrize("algorithm", [HMAC_SHA256, HMAC_SHA1, "hmac_sha256"])
def test_the_header_tells_with_what_was_signed(algorithm: str) -> None:
    settings = {"x_twilio_webhooks_signature_settings": shared_key(algorithm)}
    post = TWILIO.compute_signature(ORIGIN + WEBHOOK, CALL, algorithm)
    assert SIGNER.is_valid_post(WEBHOOK, urlencode(CALL).encode(), headers(post, **settings))
    upgrade = TWILIO.compute_signature("wss://voice.example.com" + MEDIA, {}, algorithm)
    assert SIGNER.is_valid_upgrade(MEDIA, headers(upgrade, **settings))


@pytest.mark.parametrize(
    ("settings", "algorithm"),
    [
        ("", HMAC_SHA1),
        ("key=x", HMAC_SHA1),
        ("key=x,algorithm=", HMAC_SHA1),
        ("algorithm", HMAC_SHA1),
        (" algorithm = HMAC_SHA256 ,key=x", HMAC_SHA256),
        ("algorithm=HMAC_SHA256,algorithm=HMAC_SHA1", HMAC_SHA256),
    ],
)
def test_the_header_is_read_as_twilio_reads_it(settings: str, algorithm: str) -> None:
    for each in (HMAC_SHA1, HMAC_SHA256):
        signature = TWILIO.compute_signature("wss://voice.example.com" + MEDIA, {}, each)
        given = headers(signature, x_twilio_webhooks_signature_settings=settings)
        assert SIGNER.is_valid_upgrade(MEDIA, given) is (each == algorithm)


@pytest.mark.parametrize("algorithm", ["HMAC_MD5", "none", "sha256", "ü"])
def test_an_algorithm_that_is_unknown_is_refused(algorithm: str) -> None:
    settings = {"x_twilio_webhooks_signature_settings": shared_key(algorithm)}
    for signature in (
        "",
        TWILIO.compute_signature("wss://voice.example.com" + MEDIA, {}),
        TWILIO.compute_signature("wss://voice.example.com" + MEDIA, {}, HMAC_SHA256),
    ):
        assert not SIGNER.is_valid_upgrade(MEDIA, headers(signature, **settings))


# ---- bad input


def test_a_secret_that_is_empty_is_no_secret() -> None:
    with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN"):
        Signer("", ORIGIN)


@pytest.mark.parametrize(
    "body", [b"CallSid=\xff", b"CallSid=%ff", b"\x80", "&".join("a" * (MAX_FIELDS + 1)).encode()]
)
def test_a_body_that_is_no_form_is_refused(body: bytes) -> None:
    assert not SIGNER.is_valid_post(WEBHOOK, body, signed(ORIGIN + WEBHOOK))


def test_bytes_that_are_no_text_are_not_the_sign_that_stands_for_them() -> None:
    given = signed(ORIGIN + WEBHOOK, {"CallSid": "\ufffd"})
    assert SIGNER.is_valid_post(WEBHOOK, b"CallSid=%EF%BF%BD", given)
    assert not SIGNER.is_valid_post(WEBHOOK, b"CallSid=%ff", given)


def test_what_is_huge_is_refused_though_it_was_signed() -> None:
    form = {"a": "x" * (MAX_BODY_BYTES - 2)}
    fits, over = urlencode(form).encode(), urlencode({"a": form["a"] + "x"}).encode()
    assert SIGNER.is_valid_post(WEBHOOK, fits, signed(ORIGIN + WEBHOOK, form))
    longer = {"a": form["a"] + "x"}
    assert not SIGNER.is_valid_post(WEBHOOK, over, signed(ORIGIN + WEBHOOK, longer))
    target = "/" + "p" * (MAX_TARGET_CHARS - 1)
    assert SIGNER.is_valid_post(target, b"", signed(ORIGIN + target))
    assert not SIGNER.is_valid_post(target + "p", b"", signed(ORIGIN + target + "p"))


ANY_TEXT = st.text(st.characters())


@given(
    ANY_TEXT | ANY_TEXT.map("/?bodySHA256={}".format),
    st.binary(),
    st.dictionaries(
        st.sampled_from(
            ["content-type", "x-twilio-signature", "x-twilio-webhooks-signature-settings"]
        ),
        ANY_TEXT | st.sampled_from([FORM_TYPE, "algorithm=HMAC_SHA256"]),
    ),
)
def test_no_request_raises_and_none_is_valid_by_accident(
    target: str, body: bytes, given: dict[str, str]
) -> None:
    assert SIGNER.is_valid_post(target, body, given) is False
    assert SIGNER.is_valid_upgrade(target, given) is False
