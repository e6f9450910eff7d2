"""Requests as Twilio signs them, by its own package."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from callengine import Settings
from callengine.edges.http import HttpRequest

TOKEN = "12345"
PUBLIC_URL = "https://voice.example.com"
CALL = {"CallSid": "CA1", "From": "+15550100", "To": "+15550199", "Blank": ""}
FORM = "application/x-www-form-urlencoded"


def settings(**given: Any) -> Settings:  # noqa: ANN401
    return Settings(
        **{
            "twilio_auth_token": TOKEN,
            "public_url": PUBLIC_URL,
            "realtime_url": "ws://127.0.0.1:9",
            **given,
        }
    )


def signed_headers(url: str, form: dict[str, str] | None = None) -> dict[str, str]:
    """Those of a webhook (https) with its form, or of the upgrade (wss)."""
    signature = RequestValidator(TOKEN).compute_signature(url, form or {})
    return {"x-twilio-signature": signature, "content-type": FORM}


def post(
    path: str = "/voice/incoming",
    form: dict[str, str] | None = None,
    *,
    query: str = "",
    origin: str = PUBLIC_URL,
) -> HttpRequest:
    form = CALL if form is None else form
    url = origin + path + (f"?{query}" if query else "")
    headers = signed_headers(url, form)
    return HttpRequest("POST", path, query, headers, urlencode(form).encode(), "203.0.113.7")


def upgrade(path: str = "/voice/media", *, client: str = "203.0.113.7") -> HttpRequest:
    headers = signed_headers("wss://voice.example.com" + path)
    return HttpRequest("GET", path, "", headers, b"", client)
