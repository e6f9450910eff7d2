"""What must hold of both decoders for any input at all. Each target takes the bytes of a message.

They raise on a broken invariant, and on nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

from callengine.testing.caller import checks
from callengine.testing.realtime import events as server
from callengine.wire import realtime_client, realtime_events, realtime_server, twilio
from callengine.wire.fault import Fault
from callengine.wire.json_object import MAX_IDENTIFIER_CHARS, MAX_KIND_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterator

_DETAIL: Final = re.compile(r"[a-zA-Z0-9_.\[\]/ -]{1,60}")
"""The name of a field or a size: never what was in it."""

_KEPT: Final = {"stream_sid", "response_id", "item_id", "call_id"}
_WORDS: Final = {"kind", "code", "error_type", "error_code", "param"}
_MAX_INTEGER: Final = 2**53
_TWILIO_KINDS: Final = typing.get_args(twilio.Inbound)
_REALTIME_KINDS: Final = typing.get_args(realtime_events.ServerEvent)


def as_text(data: bytes) -> str:
    """The message as a socket that does not check UTF-8 would hand it over: surrogates and all."""
    try:
        return data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def carrier(data: bytes) -> None:
    """`twilio.decode`, of the text and of a binary message."""
    binary = twilio.decode(data)
    assert isinstance(binary, twilio.Malformed)
    assert binary.fault is Fault.BINARY
    text = as_text(data)
    event = twilio.decode(text)
    assert isinstance(event, _TWILIO_KINDS)
    _check_values(event)
    match event:
        case twilio.Malformed(fault, _):
            too_long = len(text.encode(errors="surrogatepass")) > twilio.MAX_MESSAGE_BYTES
            assert (fault is Fault.OVERSIZE) == too_long
        case twilio.Start(stream_sid):
            _check_what_is_sent(stream_sid)
        case twilio.Media(payload=payload):
            assert payload == b64decode(json.loads(text)["media"]["payload"], validate=True)
            assert event.timestamp_ms is None or event.timestamp_ms >= 0


def _check_what_is_sent(stream_sid: str) -> None:
    media = checks.check(twilio.encode_media(stream_sid, b"\xff" * 160), stream_sid)
    assert media == checks.MediaIn(b"\xff" * 160)
    assert checks.check(twilio.encode_mark(stream_sid, "m"), stream_sid) == checks.MarkIn("m")
    assert checks.check(twilio.encode_clear(stream_sid), stream_sid) == checks.ClearIn()


def model(data: bytes) -> None:
    """`realtime_server.decode`, of the text and of its bytes."""
    raw = realtime_server.decode(data)
    text = as_text(data)
    event = realtime_server.decode(text)
    for each in (raw, event):
        assert isinstance(each, _REALTIME_KINDS)
        _check_values(each)
    match event:
        case realtime_events.AudioDelta(audio=audio):
            assert audio == b64decode(json.loads(text)["delta"], validate=True)
        case realtime_events.ResponseDone(usage=realtime_events.Usage() as usage):
            assert min(dataclasses.astuple(usage)) >= 0, "a count goes up"
    for frame in _answers(event):
        server.check(server.read(frame))


def _answers(event: realtime_events.ServerEvent) -> Iterator[str]:
    """What the engine may have to send about it: it must be able to."""
    encode = realtime_client
    match event:
        case realtime_events.AudioDelta(_, item_id, content_index):
            yield encode.encode_truncate("truncate-1", item_id, content_index, 20)
        case realtime_events.ResponseCreated(response_id):
            yield encode.encode_response_cancel("cancel-1", response_id)
        case realtime_events.FunctionCall(_, _, call_id):
            yield encode.encode_function_output(f"output-{call_id}", call_id, "{}")
        case realtime_events.ResponseDone(function_calls=calls):
            for call in calls:
                yield encode.encode_function_output(f"output-{call.call_id}", call.call_id, "{}")


def _check_values(event: Any) -> None:  # noqa: ANN401 - any event
    """Texts can be stored and sent, integers are exact, and a fault names a field, not a value."""
    for each in dataclasses.fields(event):
        value = getattr(event, each.name)
        if each.name == "detail":
            assert _DETAIL.fullmatch(value), value
        if each.name in _KEPT:
            assert 0 < len(value) <= MAX_IDENTIFIER_CHARS
        if each.name in _WORDS:
            assert len(value or "") <= MAX_KIND_CHARS
        for plain in _flat(value):
            if isinstance(plain, str):
                plain.encode()
            elif isinstance(plain, int):
                assert -_MAX_INTEGER < plain < _MAX_INTEGER
    repr(event)


def _flat(value: Any) -> Iterator[object]:  # noqa: ANN401 - any field of any event
    if dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            yield from _flat(getattr(value, each.name))
    elif isinstance(value, dict):
        for key, below in value.items():
            yield key
            yield below
    elif isinstance(value, tuple):
        for below in value:
            yield from _flat(below)
    else:
        yield value


# ---- for tests


def keys_of(value: object) -> Iterator[str]:
    """Every key of an object and of the objects in it."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield key
            yield from keys_of(below)
    elif isinstance(value, list):
        for below in value:
            yield from keys_of(below)


def audio_of(text: str) -> bytes:
    """Strict base64."""
    return b64decode(text, validate=True)


def is_json(value: object) -> bool:
    """It can be written without NaN and infinities."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
