"""The TwiML that answers an incoming call: with a media stream, or with why there is none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape, quoteattr

from callengine.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callengine.settings import WhenFull

_TURN_AWAY: Final = {
    # The caller hears the busy tone, and nobody is charged: no call was answered.
    "busy": '<Reject reason="busy" />',
    "say": "<Say>{}</Say><Hangup />",
    "queue": "<Enqueue>{}</Enqueue>",
    "dial": "<Dial>{}</Dial>",
}

_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) has no way to write, escaped or not."""


def connect_stream(
    stream_url: str,
    parameters: Mapping[str, str] | None = None,
    *,
    status_url: str | None = None,
) -> str:
    """Connect the caller to a media stream, and hang up when the stream ends.

    Twilio takes only `wss` without a query (errors 31922 and 31920): what a call needs to know
    goes into `parameters`, together with its name under 500 characters each. Twilio tells
    `status_url` when the stream started, stopped or failed.
    """
    parts = urlsplit(stream_url)
    if parts.scheme != "wss" or parts.query:
        raise SettingsError(
            f"the stream's URL is {stream_url!r}; it must be wss:// without a query"
        )
    inside = "".join(
        f"<Parameter name={_quoted(name)} value={_quoted(value)} />"
        for name, value in (parameters or {}).items()
    )
    status = "" if status_url is None else f" statusCallback={_quoted(status_url)}"
    return _response(
        f"<Connect><Stream url={_quoted(stream_url)}{status}>{inside}</Stream></Connect><Hangup />"
    )


def turn_away(when_full: WhenFull) -> str:
    """What a caller is told for whom there is no room."""
    return _response(_TURN_AWAY[when_full.how].format(escape(_sayable(when_full.target))))


def _response(verbs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{verbs}</Response>'


def _quoted(text: str) -> str:
    return quoteattr(_sayable(text))


def _sayable(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
