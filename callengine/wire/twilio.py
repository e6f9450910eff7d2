"""Twilio Media Streams: their JSON to events, our frames to their JSON.

Decides whether a message is well-formed; never whether it fits the call: order, gaps, foreign
streams and codecs are for whoever reads the events. Reading is lenient, writing exact, because
Twilio drops a frame with a missing or extra field without a word on the socket (warning 31951).
Facts: twilio.com/docs/voice/media-streams/websocket-messages.
"""

from __future__ import annotations

import binascii
import json
import re
from dataclasses import field
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Final, TypeAlias

from callengine.values import dataclass
from callengine.wire.fault import Fault
from callengine.wire.json_object import (
    MAX_IDENTIFIER_CHARS,
    BadField,
    JsonObject,
    as_integer,
    base64_or_none,
    clipped,
    parse_object,
    well_formed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_MESSAGE_BYTES: Final = 65_536
"""A longer message is not parsed at all. Twilio's own are under 500 bytes."""

_SHORT_CHARS: Final = MAX_MESSAGE_BYTES // 4
"""So many fit whatever they are: a character has 4 bytes at the most."""

MAX_PARAMETERS: Final = 64
MAX_PARAMETER_CHARS: Final = 512
"""Of a name and its value; Twilio takes under 500. A start with more of either is malformed."""

_MAX_COUNT_DIGITS: Final = 15

_COUNT: Final = rf'"([0-9]{{1,{_MAX_COUNT_DIGITS}}})"'
_USUAL_MEDIA: Final = re.compile(
    rf'\{{"event":"media","sequenceNumber":{_COUNT},'
    rf'"media":\{{"track":"inbound","chunk":"[0-9]+","timestamp":{_COUNT},'
    rf'"payload":"([^"]*)"\}},'  # to decode it is to look at each character
    rf'"streamSid":"([A-Za-z0-9]{{1,{MAX_IDENTIFIER_CHARS}}})"\}}'
)
"""Media exactly as Twilio spells it. Any other spelling is as good, and read as the JSON it is."""


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """What the stream's payloads are, as Twilio names it: `audio/x-mulaw`, 8000, 1."""

    encoding: str
    sample_rate_hz: int
    channels: int


@dataclass(frozen=True, slots=True)
class Connected:
    """The socket speaks Media Streams; nothing can be sent before `Start`."""

    protocol: str
    version: str


@dataclass(frozen=True, slots=True)
class Start:
    """The stream exists. `custom_parameters` come from the TwiML and may hold a token."""

    stream_sid: str
    call_sid: str
    account_sid: str
    tracks: tuple[str, ...]
    media_format: MediaFormat
    custom_parameters: Mapping[str, str] = field(repr=False)
    sequence_number: int | None


@dataclass(frozen=True, slots=True)
class Media:
    """The caller's audio as raw mu-law, of any length, maybe empty.

    `timestamp_ms` is presentation time since the stream began; the first one is not 0.
    """

    stream_sid: str
    sequence_number: int | None
    timestamp_ms: int | None
    track: str
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Dtmf:
    """The caller pressed a key. Digits can be a card number: they stay out of `repr`."""

    stream_sid: str
    sequence_number: int | None
    digit: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """The echo of our mark: everything sent before it was played, or dropped by a clear."""

    stream_sid: str
    sequence_number: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The stream or the call ended. May never arrive."""

    stream_sid: str
    sequence_number: int | None
    call_sid: str | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """An `event` this codec does not know."""

    kind: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message that is not a well-formed event. `detail` names the field, never its content."""

    fault: Fault
    detail: str


Inbound: TypeAlias = Connected | Start | Media | Dtmf | Mark | Stop | Unknown | Malformed


def decode(message: str | bytes) -> Inbound:
    """One WebSocket message from Twilio. Never raises: what cannot be read is `Malformed`."""
    if not isinstance(message, str):
        return Malformed(Fault.BINARY, f"{len(message)} bytes")
    if len(message) > _SHORT_CHARS and _is_oversize(message):
        return Malformed(Fault.OVERSIZE, f"over {MAX_MESSAGE_BYTES} bytes")
    return _usual_media(message) or _read(message)


def _usual_media(message: str) -> Media | None:
    """What 50 messages a second are, in half the time that `_read` takes for the same event."""
    found = _USUAL_MEDIA.fullmatch(message)
    if found is None:
        return None
    sequence_number, timestamp_ms, payload, stream_sid = found.groups()
    audio = base64_or_none(payload)
    if audio is None:
        return None
    return Media(stream_sid, int(sequence_number), int(timestamp_ms), "inbound", audio)


def _read(message: str) -> Inbound:
    try:
        fields = parse_object(message)
        kind = fields.text("event")
        read = _READERS.get(kind)
        return read(fields) if read else Unknown(clipped(kind))
    except BadField as bad:
        return Malformed(bad.fault, bad.path)


def _is_oversize(message: str) -> bool:
    longest = MAX_MESSAGE_BYTES
    return len(message) > longest or len(message.encode(errors="surrogatepass")) > longest


def _connected(fields: JsonObject) -> Connected:
    return Connected(fields.text_or_none("protocol") or "", fields.text_or_none("version") or "")


def _start(fields: JsonObject) -> Start:
    start = fields.child("start")
    return Start(
        stream_sid=(fields if fields.text_or_none("streamSid") else start).identifier("streamSid"),
        call_sid=start.identifier("callSid"),
        account_sid=start.identifier("accountSid") if start.text_or_none("accountSid") else "",
        tracks=_tracks(start),
        media_format=_media_format(start.child("mediaFormat")),
        custom_parameters=_custom_parameters(start),
        sequence_number=_count_or_none(fields, "sequenceNumber"),
    )


def _tracks(start: JsonObject) -> tuple[str, ...]:
    tracks = start.members.get("tracks")
    if not isinstance(tracks, list):
        return ()
    return tuple(well_formed(track) for track in tracks if isinstance(track, str))


def _media_format(fields: JsonObject) -> MediaFormat:
    # A format that is not said is not guessed: a wrong guess is static on the line. Only the
    # channel count has a safe default.
    return MediaFormat(
        encoding=fields.identifier("encoding"),
        sample_rate_hz=_count(fields, "sampleRate"),
        channels=_count(fields, "channels") if "channels" in fields.members else 1,
    )


def _custom_parameters(start: JsonObject) -> dict[str, str]:
    given = start.child_or_empty("customParameters").members
    parameters = {well_formed(name): _parameter_text(value) for name, value in given.items()}
    longest = max((len(name) + len(text) for name, text in parameters.items()), default=0)
    if len(given) > MAX_PARAMETERS or longest > MAX_PARAMETER_CHARS:
        raise BadField(Fault.TOO_LONG, "start.customParameters")
    return parameters


def _parameter_text(value: object) -> str:
    if isinstance(value, str):
        return well_formed(value)
    try:
        return json.dumps(value)
    except RecursionError:
        raise BadField(Fault.NOT_JSON, "start.customParameters") from None


def _media(fields: JsonObject) -> Media:
    media = fields.child("media")
    return Media(
        stream_sid=fields.identifier("streamSid"),
        sequence_number=_count_or_none(fields, "sequenceNumber"),
        timestamp_ms=_count_or_none(media, "timestamp"),
        track=media.text("track") if "track" in media.members else "inbound",
        payload=media.audio("payload"),
    )


def _dtmf(fields: JsonObject) -> Dtmf:
    return Dtmf(
        stream_sid=fields.identifier("streamSid"),
        sequence_number=_count_or_none(fields, "sequenceNumber"),
        digit=fields.child("dtmf").identifier("digit"),
    )


def _mark(fields: JsonObject) -> Mark:
    return Mark(
        stream_sid=fields.identifier("streamSid"),
        sequence_number=_count_or_none(fields, "sequenceNumber"),
        name=fields.child("mark").text("name"),
    )


def _stop(fields: JsonObject) -> Stop:
    return Stop(
        stream_sid=fields.identifier("streamSid"),
        sequence_number=_count_or_none(fields, "sequenceNumber"),
        call_sid=fields.child_or_empty("stop").text_or_none("callSid"),
    )


_READERS: Final[dict[str, Callable[[JsonObject], Inbound]]] = {
    "media": _media,
    "mark": _mark,
    "dtmf": _dtmf,
    "connected": _connected,
    "start": _start,
    "stop": _stop,
}


def _count(fields: JsonObject, key: str) -> int:
    value = _count_or_none(fields, key)
    if value is None:
        fields.refuse(key)
    return value


def _count_or_none(fields: JsonObject, key: str) -> int | None:
    # Twilio writes its counters as decimal strings, its imitators as numbers.
    value = fields.members.get(key)
    if isinstance(value, str):
        is_count = len(value) <= _MAX_COUNT_DIGITS and value.isascii() and value.isdigit()
        return int(value) if is_count else None
    count = as_integer(value)
    return count if count is not None and count >= 0 else None


def encode_media(stream_sid: str, payload: bytes) -> str:
    """Audio to be played after all sent before: raw mu-law. ValueError on an empty argument."""
    _refuse_empty("payload", payload)
    audio = binascii.b2a_base64(payload, newline=False).decode("ascii")
    return f'{{"event":"media",{_stream(stream_sid)},"media":{{"payload":"{audio}"}}}}'


def encode_mark(stream_sid: str, name: str) -> str:
    """A mark, echoed once all audio sent before it was played. ValueError if either is empty."""
    _refuse_empty("name", name)
    return f'{{"event":"mark",{_stream(stream_sid)},"mark":{{"name":{json.dumps(name)}}}}}'


def encode_clear(stream_sid: str) -> str:
    """Drop all queued audio and echo all outstanding marks. ValueError on an empty argument."""
    return f'{{"event":"clear",{_stream(stream_sid)}}}'


def _stream(stream_sid: str) -> str:
    _refuse_empty("stream_sid", stream_sid)
    # As `json.dumps` writes a text, without the three calls that take it there with every frame.
    return f'"streamSid":{encode_basestring_ascii(stream_sid)}'


def _refuse_empty(name: str, value: str | bytes) -> None:
    if not value:
        raise ValueError(f"{name} is empty: Twilio would drop the frame without telling")
