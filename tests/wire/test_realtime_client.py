from __future__ import annotations

import base64
import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.wire import realtime_client as client
from callengine.wire.realtime_events import AudioFormat, SessionUpdated, TurnDetection
from tests.openai_types import validate_client
from tests.wire.golden_frames import frames, without

CLIENT = frames("openai_ga", "client")
TOOL = client.ToolSpec(
    "book_slot",
    "Reserve a time slot.",
    MappingProxyType(CLIENT["session.update"]["session"]["tools"][0]["parameters"]),
)
PLAIN = client.SessionConfig("You answer the phone.", "marin")
FULL = client.SessionConfig(
    instructions="You answer the phone.",
    voice="marin",
    transcription_model="gpt-transcribe",
    language="en",
    tools=(TOOL,),
    max_output_tokens=1024,
)
SEMANTIC = client.VadConfig("semantic_vad", eagerness="low")


def read(frame: str) -> dict[str, Any]:
    """The frame as JSON, after the judge has found nothing wrong with it."""
    parsed: dict[str, Any] = json.loads(frame)
    validate_client(parsed)
    return parsed


def test_every_example_is_a_valid_client_event() -> None:
    for frame in CLIENT.values():
        validate_client(frame)


def test_a_full_update_is_the_documented_phone_shape() -> None:
    written = read(client.encode_session_update("c-1", FULL, interrupt_response=True))
    expected = CLIENT["session.update"]
    # Not configurable, hence left at the server's defaults.
    for unset in ("tool_choice", "audio.input.noise_reduction", "audio.output.speed"):
        expected = without(expected, f"session.{unset}")
    assert written == expected


def test_an_update_omits_what_is_not_configured() -> None:
    written = read(client.encode_session_update("c-1", PLAIN, interrupt_response=False))
    assert written["session"] == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "You answer the phone.",
        "tools": [],
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "create_response": True,
                    "interrupt_response": False,
                },
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
        },
    }


def test_a_language_alone_turns_no_transcription_on() -> None:
    config = replace(PLAIN, language="en")
    written = read(client.encode_session_update("c-1", config, interrupt_response=True))
    assert "transcription" not in written["session"]["audio"]["input"]


def test_a_transcription_model_alone_leaves_the_language_open() -> None:
    config = replace(PLAIN, transcription_model="gpt-transcribe")
    written = read(client.encode_session_update("c-1", config, interrupt_response=True))
    assert written["session"]["audio"]["input"]["transcription"] == {"model": "gpt-transcribe"}


def test_semantic_detection_carries_only_its_own_keys() -> None:
    config = replace(PLAIN, vad=SEMANTIC)
    written = read(client.encode_session_update("c-1", config, interrupt_response=True))
    assert written["session"]["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "low",
        "create_response": True,
        "interrupt_response": True,
    }


@pytest.mark.parametrize("interrupt_response", [True, False])
def test_a_turn_detection_update_touches_nothing_else(interrupt_response: bool) -> None:
    vad = client.VadConfig("semantic_vad")
    written = read(
        client.encode_turn_detection_update("c-2", vad, interrupt_response=interrupt_response)
    )
    expected = json.loads(json.dumps(CLIENT["session.update_semantic_vad"]))
    detection = expected["session"]["audio"]["input"]["turn_detection"]
    detection["interrupt_response"] = interrupt_response
    assert written == {**expected, "event_id": "c-2"}


def test_a_query_of_the_session_updates_nothing() -> None:
    written = read(client.encode_session_query("c-3"))
    nothing = {"type": "realtime"}
    assert written == {"type": "session.update", "event_id": "c-3", "session": nothing}


def test_append_matches_the_example() -> None:
    expected = CLIENT["input_audio_buffer.append"]
    assert read(client.encode_append(base64.b64decode(expected["audio"]))) == expected


@given(st.binary(min_size=1))
def test_append_carries_every_byte(audio: bytes) -> None:
    assert base64.b64decode(json.loads(client.encode_append(audio))["audio"]) == audio


def test_a_response_create_can_be_told_again_by_its_metadata() -> None:
    expected = {**CLIENT["response.create_greeting"], "event_id": "c-42"}
    text = "Greet the caller in one sentence."
    assert read(client.encode_response_create("c-42", text)) == expected
    bare = read(client.encode_response_create("c-42", None))
    assert bare["response"] == {"metadata": {"client_event_id": "c-42"}}


def test_cancel_truncate_and_function_output_match_the_examples() -> None:
    cancel = read(client.encode_response_cancel("c-11", "resp_sim0001"))
    assert cancel == CLIENT["response.cancel_by_id"]
    truncate = read(client.encode_truncate("c-6", "item_sim_a1", 0, 820))
    assert truncate == CLIENT["conversation.item.truncate"]
    output = read(client.encode_function_output("c-12", "call_sim1", '{"ok":true}'))
    expected = CLIENT["conversation.item.create_function_output"]
    assert output == {**expected, "event_id": "c-12"}


def test_truncating_to_nothing_is_allowed_and_an_empty_tool_result_too() -> None:
    assert read(client.encode_truncate("c-6", "item_sim_a1", 0, 0))["audio_end_ms"] == 0
    assert read(client.encode_function_output("c-12", "call_sim1", ""))["item"]["output"] == ""


@pytest.mark.parametrize("awkward", ['a"b\\c', "é☎", "\n\x00", "\ud800"])
def test_awkward_text_is_escaped(awkward: str) -> None:
    written = client.encode_function_output(awkward, awkward, awkward)
    assert written.isascii()
    parsed = json.loads(written)
    assert parsed["event_id"] == awkward
    assert (parsed["item"]["call_id"], parsed["item"]["output"]) == (awkward, awkward)


def test_a_cancel_without_a_response_id_is_refused() -> None:
    with pytest.raises(ValueError, match="response_id"):
        client.encode_response_cancel("c-1", "")


@pytest.mark.parametrize(("content_index", "audio_end_ms"), [(-1, 0), (0, -1)])
def test_a_negative_truncate_is_refused(content_index: int, audio_end_ms: int) -> None:
    with pytest.raises(ValueError, match="=-1"):
        client.encode_truncate("c-1", "item_1", content_index, audio_end_ms)


def test_an_empty_identifier_or_audio_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="item_id"):
        client.encode_truncate("c-1", "", 0, 0)
    with pytest.raises(ValueError, match="call_id"):
        client.encode_function_output("c-1", "", "x")
    with pytest.raises(ValueError, match="event_id"):
        client.encode_response_create("", None)
    with pytest.raises(ValueError, match="audio"):
        client.encode_append(b"")


def test_what_json_has_no_number_for_is_refused() -> None:
    vad = client.VadConfig(threshold=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        client.encode_turn_detection_update("c-1", vad, interrupt_response=True)


PCMU = AudioFormat("audio/pcmu", None)
AS_ASKED = SessionUpdated(PCMU, PCMU, TurnDetection("server_vad", True, True), "marin")


def test_a_session_as_asked_has_no_mismatch() -> None:
    assert client.mismatches(AS_ASKED, PLAIN, interrupt_response=True) == ()


def test_silence_about_anything_but_the_formats_is_no_mismatch() -> None:
    quiet = SessionUpdated(PCMU, PCMU, None, None)
    assert client.mismatches(quiet, PLAIN, interrupt_response=False) == ()
    unsaid = replace(AS_ASKED, turn_detection=TurnDetection("server_vad", None, None))
    assert client.mismatches(unsaid, PLAIN, interrupt_response=False) == ()


def test_a_wrong_or_absent_format_is_fatal() -> None:
    echoed = replace(AS_ASKED, input_format=None, output_format=AudioFormat("audio/pcm", 24000))
    assert client.mismatches(echoed, PLAIN, interrupt_response=True) == (
        client.Mismatch("audio.input.format", "audio/pcmu", "absent", fatal=True),
        client.Mismatch("audio.output.format", "audio/pcmu", "audio/pcm", fatal=True),
    )


def test_other_differences_are_told_but_not_fatal() -> None:
    echoed = SessionUpdated(PCMU, PCMU, TurnDetection("semantic_vad", False, True), "v" * 500)
    path = "audio.input.turn_detection"
    assert client.mismatches(echoed, PLAIN, interrupt_response=False) == (
        client.Mismatch(f"{path}.type", "server_vad", "semantic_vad", fatal=False),
        client.Mismatch(f"{path}.create_response", "True", "False", fatal=False),
        client.Mismatch(f"{path}.interrupt_response", "False", "True", fatal=False),
        client.Mismatch("audio.output.voice", "marin", "v" * 80, fatal=False),
    )
