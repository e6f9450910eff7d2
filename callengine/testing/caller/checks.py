"""What Twilio accepts from an agent: the exact shapes of `media`, `mark` and `clear`, or a refusal.

An opinion of its own on the protocol, shared with no other part of this package. Source: Twilio's
"Media Streams - WebSocket Messages" and the descriptions of errors 31950 and 31951.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import Final, NoReturn


@dataclass(frozen=True, slots=True)
class MediaIn:
    """Audio for the caller."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class MarkIn:
    """A mark to echo when everything before it was heard."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearIn:
    """Drop what is queued."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not acceptable; `code` is Twilio's error code."""

    code: int
    detail: str


BODY_FIELDS: Final = {"media": {"payload"}, "mark": {"name"}, "clear": None}
"""Event -> the fields of the object named like it; None if there is no such object."""

_SHOWN_CHARACTERS: Final = 80


class _WrongContentError(Exception):
    pass


def check(message: str | bytes, stream_sid: str) -> MediaIn | MarkIn | ClearIn | Refused:
    """Read one message sent to the stream `stream_sid`. Never raises."""
    if isinstance(message, bytes):
        return Refused(31950, f"binary message of {len(message)} bytes")
    try:
        return _read(message, stream_sid)
    except _WrongContentError as wrong:
        return Refused(31951, f"{wrong}: {message[:_SHOWN_CHARACTERS]}")


def _read(message: str, stream_sid: str) -> MediaIn | MarkIn | ClearIn:
    fields = _parse(message)
    event = fields.get("event")
    if not isinstance(event, str) or event not in BODY_FIELDS:
        raise _WrongContentError(f"unknown event {event!r}")
    body_fields = BODY_FIELDS[event]
    _require_fields(fields, {"event", "streamSid"} | ({event} if body_fields else set()), "message")
    if fields["streamSid"] != stream_sid:
        raise _WrongContentError(f"streamSid is not {stream_sid}")
    if body_fields is None:
        return ClearIn()
    body = fields[event]
    if not isinstance(body, dict):
        raise _WrongContentError(f"{event} is not an object")
    _require_fields(body, body_fields, event)
    return MediaIn(_audio(body["payload"])) if event == "media" else MarkIn(_name(body["name"]))


def _parse(message: str) -> dict[str, object]:
    try:
        fields = _DECODER.decode(message)
    except (ValueError, RecursionError) as failure:
        raise _WrongContentError("not JSON") from failure
    if not isinstance(fields, dict):
        raise _WrongContentError("not a JSON object")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _require_fields(found: dict[str, object], wanted: set[str], where: str) -> None:
    if missing := wanted - found.keys():
        raise _WrongContentError(f"{where} lacks {', '.join(sorted(missing))}")
    if extra := found.keys() - wanted:
        raise _WrongContentError(f"{where} has extra {', '.join(sorted(extra))}")


def _audio(payload: object) -> bytes:
    if not isinstance(payload, str):
        raise _WrongContentError("payload is not a string")
    try:
        audio = binascii.a2b_base64(payload, strict_mode=True)
    except ValueError as failure:
        raise _WrongContentError(f"payload is not base64 ({failure})") from failure
    if audio[:4] == b"RIFF" and audio[8:12] == b"WAVE":
        raise _WrongContentError("payload begins with a WAV header; it must be raw mu-law")
    return audio


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise _WrongContentError("mark name is not a string")
    return name
