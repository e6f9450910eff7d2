"""The TwiML that answers an incoming call."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from callengine.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


def connect_stream(stream_url: str, parameters: Mapping[str, str] | None = None) -> str:
    """Connect the caller to a media stream, and hang up when the stream ends.

    Twilio takes only `wss` without a query (errors 31922 and 31920): what a call needs to know
    goes into `parameters`, together with its name under 500 characters each.
    """
    parts = urlsplit(stream_url)
    if parts.scheme != "wss" or parts.query:
        raise SettingsError(
            f"the stream's URL is {stream_url!r}; it must be wss:// without a query"
        )
    inside = "".join(
        f"<Parameter name={quoteattr(name)} value={quoteattr(value)} />"
        for name, value in (parameters or {}).items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>'
        f"<Stream url={quoteattr(stream_url)}>{inside}</Stream></Connect><Hangup /></Response>"
    )
