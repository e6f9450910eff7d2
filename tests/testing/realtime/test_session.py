"""The session of the simulated server: defaults, updates all or nothing, and audio formats."""

from __future__ import annotations

from typing import Any

import pytest

from callengine.audio import g711
from tests.testing.realtime.rig import PHONE_SESSION, SHORT_REPLY, Talk, turn_detection

PCM_24K = {"type": "audio/pcm", "rate": 24_000}
PCMU = {"type": "audio/pcmu"}


def formats(session: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return session["audio"]["input"]["format"], session["audio"]["output"]["format"]


def spoken(talk: Talk) -> str:
    """Let the talk's first reply be spoken to its end; the id of its item."""
    talk.create()
    talk.wait(4)
    return talk.record.responses[0].items[0].id


# --- the session


def test_a_session_begins_with_the_defaults_of_the_real_one() -> None:
    session = Talk(session=None).last("session.created")["session"]
    assert formats(session) == (PCM_24K, PCM_24K)
    turns = session["audio"]["input"]["turn_detection"]
    assert (turns["type"], turns["silence_duration_ms"]) == ("server_vad", 200)
    assert turns["create_response"] is turns["interrupt_response"] is True
    assert session["audio"]["input"]["transcription"] is None


def test_an_update_is_confirmed_with_the_whole_session() -> None:
    talk = Talk()
    created, updated = (
        talk.last("session.created")["session"],
        talk.last("session.updated")["session"],
    )
    assert updated.keys() == created.keys()
    assert formats(updated) == (PCMU, PCMU)
    turns = updated["audio"]["input"]["turn_detection"]
    assert (turns["silence_duration_ms"], turns["prefix_padding_ms"]) == (500, 300)


def test_partial_updates_keep_what_they_leave_out_and_null_clears() -> None:
    talk = Talk()
    talk.say("session.update", session={"type": "realtime", "instructions": "Be brief."})
    talk.say("session.update", session=turn_detection(threshold=0.8, silence_duration_ms=300))
    talk.say(
        "session.update", session={"type": "realtime", "audio": {"input": {"transcription": None}}}
    )
    session = talk.last("session.updated")["session"]
    assert session["instructions"] == "Be brief."
    assert formats(session) == (PCMU, PCMU)
    assert session["audio"]["input"]["transcription"] is None
    assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.8
    talk.say(
        "session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    )
    assert talk.last("session.updated")["session"]["audio"]["input"]["turn_detection"] is None


def test_semantic_turn_detection_replaces_the_other_kind() -> None:
    talk = Talk()
    turns = {"type": "semantic_vad", "eagerness": "high"}
    talk.say(
        "session.update",
        session={"type": "realtime", "audio": {"input": {"turn_detection": turns}}},
    )
    told = talk.last("session.updated")["session"]["audio"]["input"]["turn_detection"]
    assert told == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": True,
        "interrupt_response": True,
    }


def test_pcm_may_leave_out_its_only_rate() -> None:
    talk = Talk()
    audio = {"output": {"format": {"type": "audio/pcm"}}}
    talk.say("session.update", session={"type": "realtime", "audio": audio})
    assert formats(talk.last("session.updated")["session"]) == (PCMU, PCM_24K)


def bad_audio(direction: str, **keys: object) -> dict[str, Any]:
    return {"audio": {direction: keys}}


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": None}, "missing_required_parameter", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"voice": "marin"}, "unknown_parameter", "session.voice"),
        ({"temperature": 0.8}, "unknown_parameter", "session.temperature"),
        ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
        ({"instructions": 7}, "invalid_value", "session.instructions"),
        ({"max_output_tokens": 99_999}, "invalid_value", "session.max_output_tokens"),
        ({"max_output_tokens": True}, "invalid_value", "session.max_output_tokens"),
        ({"parallel_tool_calls": 1}, "invalid_value", "session.parallel_tool_calls"),
        ({"tools": {}}, "invalid_value", "session.tools"),
        (
            {"tools": [{"type": "function", "function": {"name": "x"}}]},
            "unknown_parameter",
            "session.tools[0].function",
        ),
        (
            {"tools": [{"type": "function"}]},
            "missing_required_parameter",
            "session.tools[0].name",
        ),
        ({"tool_choice": "always"}, "invalid_value", "session.tool_choice"),
        ({"audio": []}, "invalid_value", "session.audio"),
        (
            bad_audio("input", format="g711_ulaw"),
            "invalid_value",
            "session.audio.input.format",
        ),
        (
            bad_audio("input", format={"type": "audio/pcmu", "rate": 8_000}),
            "unknown_parameter",
            "session.audio.input.format.rate",
        ),
        (
            bad_audio("output", format={"type": "audio/pcm", "rate": 16_000}),
            "invalid_value",
            "session.audio.output.format.rate",
        ),
        (
            bad_audio("output", format={"type": "audio/pcm", "rate": 24_000.0}),
            "invalid_value",
            "session.audio.output.format.rate",
        ),
        (
            bad_audio("output", format={"rate": 24_000}),
            "missing_required_parameter",
            "session.audio.output.format.type",
        ),
        (bad_audio("output", voice="hal"), "invalid_value", "session.audio.output.voice"),
        (bad_audio("output", speed=2.0), "invalid_value", "session.audio.output.speed"),
        (bad_audio("output", speed="1"), "invalid_value", "session.audio.output.speed"),
        (
            bad_audio("input", turn_detection=[]),
            "invalid_value",
            "session.audio.input.turn_detection",
        ),
        (
            bad_audio("input", turn_detection={"type": "none"}),
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (
            bad_audio("input", turn_detection={"type": "server_vad", "threshold": 2}),
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            bad_audio("input", turn_detection={"type": "semantic_vad", "idle_timeout_ms": 6_000}),
            "unknown_parameter",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
    ],
)
def test_one_bad_key_refuses_the_whole_update(
    session: dict[str, Any], code: str, param: str
) -> None:
    talk = Talk(session=None)
    update = {"type": "realtime", **session, "include": None}
    if update["type"] is None:
        del update["type"]
    update.setdefault("instructions", "Not to be applied.")
    talk.say("session.update", event_id="c-1", session=update)
    error = talk.last("error")["error"]
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "c-1")
    assert "session.updated" not in talk.types()
    talk.say("session.update", session={"type": "realtime"})
    told = talk.last("session.updated")["session"]
    assert told == talk.last("session.created")["session"]


@pytest.mark.edge_case(56)
def test_the_voice_is_locked_by_the_first_audio_and_nothing_else_is_applied() -> None:
    talk = Talk()
    change = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    talk.say("session.update", session=change)
    assert talk.last("session.updated")["session"]["audio"]["output"]["voice"] == "cedar"
    spoken(talk)
    talk.say("session.update", session=change)
    change = {**change, "instructions": "New.", "audio": {"output": {"voice": {"id": "voice_1"}}}}
    talk.say("session.update", session=change)
    assert talk.error_codes() == ["cannot_update_voice"]
    assert talk.last("session.updated")["session"]["instructions"] != "New."


# --- formats decide what bytes mean


@pytest.mark.edge_case(61)
def test_telephone_audio_before_the_update_is_static_and_counted() -> None:
    talk = Talk(session=None)
    talk.append(g711.SILENCE_BYTE * 160)
    talk.say("session.update", session=PHONE_SESSION)
    talk.append(g711.SILENCE_BYTE * 160)
    assert talk.record.misread_bytes == 160
    assert talk.record.appends_received == 2


def test_a_session_left_on_pcm_speaks_pcm() -> None:
    talk = Talk(session=None)
    talk.say("response.create")
    talk.wait(3)
    assert talk.audio() == talk.record.responses[0].audio
    assert len(talk.audio()) == pytest.approx(6 * len(SHORT_REPLY.audio), rel=0.01)
    assert talk.record.responses[0].audio_ms_sent == pytest.approx(1_000, abs=2)


def test_uncommitted_audio_keeps_its_length_when_the_format_changes() -> None:
    talk = Talk(session=None)
    talk.append(bytes(48 * 99))
    talk.say("session.update", session=PHONE_SESSION)
    talk.say("input_audio_buffer.commit")
    assert "99.00ms" in talk.last("error")["error"]["message"]


def test_a_law_is_spoken_and_heard() -> None:
    talk = Talk()
    pcma = {"format": {"type": "audio/pcma"}}
    talk.say(
        "session.update", session={"type": "realtime", "audio": {"input": pcma, "output": pcma}}
    )
    talk.append(b"\x2a" * 1_600)
    assert talk.record.speech_started
    talk.say("response.create")
    talk.wait(3)
    assert len(talk.audio()) == len(SHORT_REPLY.audio)
    assert talk.audio() != SHORT_REPLY.audio


def test_a_response_may_have_a_format_and_limits_of_its_own() -> None:
    talk = Talk()
    output = {"format": {"type": "audio/pcma"}, "voice": "cedar"}
    talk.say("response.create", response={"audio": {"output": output}, "max_output_tokens": 7})
    talk.wait(3)
    response = talk.last("response.done")["response"]
    assert response["audio"] == {"output": output}
    assert response["max_output_tokens"] == 7
