"""Both decoders take anything; what both encoders write, strict readers of the other side take."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.testing.caller import checks
from callengine.testing.realtime import events as server
from callengine.testing.realtime.script import Behaviour
from callengine.testing.realtime.session import Session
from callengine.wire import realtime_client, twilio
from callengine.wire.realtime_client import SessionConfig, ToolSpec, VadConfig
from tests.fuzz import codecs
from tests.fuzz.targets import TARGETS
from tests.wire.golden_frames import frames

SEEDED = 3_000
TEXT = st.text(st.characters())  # lone surrogates too
ID = TEXT.filter(bool)
AUDIO = st.binary(min_size=1, max_size=400)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["0", "-1", "1e9", "/7+x", 10**400, 2**53, 1e300])
)
NAMES = st.sampled_from(
    sorted(
        {key for frame in frames("twilio", "in").values() for key in codecs.keys_of(frame)}
        | {key for frame in frames("openai_ga", "server").values() for key in codecs.keys_of(frame)}
    )
)
KINDS = st.sampled_from(
    [frame.get("event", frame.get("type")) for frame in frames("twilio", "in").values()]
    + [frame["type"] for frame in frames("openai_ga", "server").values()]
)
JSON = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def hold(data: bytes) -> None:
    codecs.carrier(data)
    codecs.model(data)


@given(st.binary())
def test_both_take_any_bytes(data: bytes) -> None:
    hold(data)


@given(TEXT)
def test_both_take_any_text(text: str) -> None:
    hold(text.encode(errors="surrogatepass"))


@settings(deadline=None)
@given(JSON)
def test_both_take_any_json(value: object) -> None:
    hold(json.dumps(value).encode())


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=6), KINDS)
def test_both_take_any_fields_of_theirs(fields: dict[str, object], kind: str) -> None:
    hold(json.dumps({**fields, "event": kind, "type": kind}).encode())


@pytest.mark.parametrize("name", ["twilio", "realtime"])
def test_both_take_good_messages_spoilt(name: str) -> None:
    target, rng = TARGETS[name], Random(20)
    for _ in range(SEEDED):
        target.run(target.spoil(rng, rng.choice(target.good)))


# ---- round trips


@given(ID, AUDIO, ID)
def test_a_strict_carrier_reads_back_what_we_write(sid: str, audio: bytes, name: str) -> None:
    media = checks.check(twilio.encode_media(sid, audio), sid)
    is_wav = audio[:4] == b"RIFF" and audio[8:12] == b"WAVE"
    assert media == checks.MediaIn(audio) or is_wav
    assert checks.check(twilio.encode_mark(sid, name), sid) == checks.MarkIn(name)
    assert checks.check(twilio.encode_clear(sid), sid) == checks.ClearIn()


def read(message: str) -> dict[str, Any]:
    event = server.read(message)
    server.check(event)
    return event


@given(AUDIO, ID, ID, st.integers(0, 2**53), TEXT, st.none() | TEXT)
def test_a_strict_server_reads_back_what_we_write(
    audio: bytes, event_id: str, name: str, number: int, text: str, instructions: str | None
) -> None:
    encode = realtime_client
    assert codecs.audio_of(read(encode.encode_append(audio))["audio"]) == audio
    create = read(encode.encode_response_create(event_id, instructions))
    assert create["response"].get("instructions") == instructions
    assert create["response"]["metadata"] == {encode.CREATE_ID: event_id}
    cancel = read(encode.encode_response_cancel(event_id, name))
    assert (cancel["event_id"], cancel["response_id"]) == (event_id, name)
    cut = read(encode.encode_truncate(event_id, name, number, number))
    assert (cut["item_id"], cut["content_index"], cut["audio_end_ms"]) == (name, number, number)
    output = read(encode.encode_function_output(event_id, name, text))
    assert (output["item"]["call_id"], output["item"]["output"]) == (name, text)


VADS = st.builds(
    VadConfig,
    type=st.sampled_from(["server_vad", "semantic_vad"]),
    threshold=st.floats(0, 1),
    prefix_padding_ms=st.integers(0, 5_000),
    silence_duration_ms=st.integers(0, 5_000),
    eagerness=st.sampled_from(["low", "medium", "high", "auto"]),
)
TOOLS = st.builds(
    ToolSpec, name=ID, description=TEXT, parameters=st.dictionaries(TEXT, JSON, max_size=3)
)
CONFIGS = st.builds(
    SessionConfig,
    instructions=TEXT,
    voice=st.just("marin"),
    vad=VADS,
    transcription_model=st.none() | st.just("gpt-transcribe"),
    language=st.none() | st.just("de"),
    tools=st.lists(TOOLS, max_size=2).map(tuple),
    max_output_tokens=st.none() | st.integers(1, 4096),
)


@settings(max_examples=60, deadline=None)
@given(CONFIGS, st.booleans())
def test_a_strict_server_accepts_any_session_we_ask_for(
    config: SessionConfig, interrupts: bool
) -> None:
    try:
        update = realtime_client.encode_session_update("e", config, interrupt_response=interrupts)
    except ValueError:  # a tool's schema with a number that JSON does not have
        assert not all(map(codecs.is_json, (tool.parameters for tool in config.tools)))
        return
    session = Session(Behaviour())
    session.check(read(update)["session"], audio_was_sent=False)
    turns = realtime_client.encode_turn_detection_update(
        "e", config.vad, interrupt_response=interrupts
    )
    session.check(read(turns)["session"], audio_was_sent=True)
