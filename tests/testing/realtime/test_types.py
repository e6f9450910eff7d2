"""Everything said in scripted conversations, judged by the `openai` package's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from callengine.audio import g711
from callengine.testing import speech
from callengine.testing.realtime.faults import (
    AtResponse,
    EchoOtherFormat,
    FailResponse,
    session_expired,
)
from callengine.testing.realtime.script import (
    Behaviour,
    Ending,
    Reply,
    Speech,
    ToolCall,
    Transcription,
    TranscriptionOutcome,
)
from tests.openai_types import validate_client, validate_server
from tests.testing.realtime.rig import LONG_REPLY, SHORT_REPLY, Talk, turn_detection
from tests.wire.golden_frames import frames

if TYPE_CHECKING:
    from collections.abc import Callable


def a_phone_call() -> Talk:
    script = (Transcription("Hello."), Transcription(outcome=TranscriptionOutcome.FAILED))
    talk = Talk((SHORT_REPLY, LONG_REPLY), Behaviour(transcriptions=script))
    talk.say("response.create", response={"instructions": "Greet.", "metadata": {"try": "1"}})
    talk.wait(2)
    talk.ask()
    talk.wait(0.5)
    talk.ask("caller_barge_in_1")
    talk.say("conversation.item.truncate", item_id="item_sim_a3", content_index=0, audio_end_ms=100)
    talk.wait(3)
    return talk


def a_booking_with_tools() -> Talk:
    call = ToolCall("book_slot", '{"day":"2026-12-01"}', "call_1")
    reply = Reply(b"\x10" * 1_600, "One moment.", (call, ToolCall("note", "broken {")))
    talk = Talk((reply, SHORT_REPLY))
    tool = {"type": "function", "name": "book_slot", "parameters": {"type": "object"}}
    talk.say("session.update", session={"type": "realtime", "tools": [tool]})
    talk.say("response.create")
    talk.wait(2)
    output = {"type": "function_call_output", "call_id": "call_1", "output": "{}"}
    talk.say("conversation.item.create", item=output, event_id="c-1")
    talk.say("response.create")
    talk.wait(0.6)
    talk.say("response.cancel", response_id="resp_sim0002")
    talk.say("response.cancel")
    talk.wait(1)
    return talk


def a_conversation_by_hand() -> Talk:
    talk = Talk((Reply(b"\x10" * 400, "One.", more_speech=(Speech(b"\x20" * 400, "Two."),)),))
    talk.say("session.update", session=turn_detection(idle_timeout_ms=5_000))
    talk.append(speech.clip("caller_yes"))
    talk.say("input_audio_buffer.commit")
    talk.say("input_audio_buffer.clear")
    talk.say("response.create")
    talk.say(
        "response.create",
        response={"conversation": "none", "output_modalities": ["text"], "metadata": {"a": "b"}},
    )
    talk.wait(8)
    item = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "x"}]}
    talk.say("conversation.item.create", item={**item, "id": "item_x"})
    talk.say("conversation.item.retrieve", item_id="item_x")
    talk.say("conversation.item.delete", item_id="item_x")
    return talk


def failures() -> Talk:
    endings = tuple(Reply(ending=ending) for ending in Ending)
    faults = (EchoOtherFormat(), FailResponse(7, after_ms=100), *session_expired(AtResponse(9)))
    talk = Talk((*endings, LONG_REPLY), faults=faults)
    for _ in range(9):
        talk.say("response.create")
        talk.say("response.create")
        talk.wait(3)
        talk.say("input_audio_buffer.commit")
    return talk


CONVERSATIONS = [a_phone_call, a_booking_with_tools, a_conversation_by_hand, failures]


@pytest.mark.parametrize("converse", CONVERSATIONS)
def test_every_event_of_a_conversation_obeys_the_types(converse: Callable[[], Talk]) -> None:
    talk = converse()
    for event in talk.events:
        validate_server(event)
    for received in talk.record.received:
        validate_client(received.body)


def test_the_conversations_show_every_event_the_server_knows() -> None:
    shown = {name for converse in CONVERSATIONS for name in converse().types()}
    assert shown == {
        *("session.created", "session.updated", "error", "rate_limits.updated"),
        *(
            f"input_audio_buffer.{what}"
            for what in (
                *("speech_started", "speech_stopped", "committed", "cleared"),
                "timeout_triggered",
            )
        ),
        *(
            f"conversation.item.{what}"
            for what in (
                *("added", "done", "retrieved", "deleted", "truncated"),
                "input_audio_transcription.delta",
                "input_audio_transcription.completed",
                "input_audio_transcription.failed",
            )
        ),
        *("response.created", "response.done"),
        *("response.output_item.added", "response.output_item.done"),
        *("response.content_part.added", "response.content_part.done"),
        *("response.output_audio.delta", "response.output_audio.done"),
        *("response.output_audio_transcript.delta", "response.output_audio_transcript.done"),
        *("response.output_text.delta", "response.output_text.done"),
        *("response.function_call_arguments.delta", "response.function_call_arguments.done"),
    }


def shape(frame: dict[str, Any]) -> set[str]:
    """The keys of a frame and of its main object, but for what may be left out."""
    inner = {
        f"{name}.{key}" for name in ("session", "response", "error") for key in frame.get(name, {})
    }
    return (set(frame) | inner) - {"obfuscation"}


@pytest.mark.parametrize("converse", CONVERSATIONS)
def test_every_event_has_the_keys_of_the_captured_ones(converse: Callable[[], Talk]) -> None:
    captured: dict[str, set[str]] = {}
    for frame in frames("openai_ga", "server").values():
        captured.setdefault(frame["type"], set()).update(shape(frame))
    for event in converse().events:
        assert shape(event) == captured[event["type"]], event["type"]


def test_errors_have_the_captured_words() -> None:
    captured = {
        frame["error"]["code"]: frame["error"]["message"]
        for name, frame in frames("openai_ga", "server").items()
        if name.startswith("error_")
    }
    talk = Talk((LONG_REPLY,))
    talk.say("response.cancel")
    talk.say("input_audio_buffer.commit")
    talk.append(g711.silence(20))
    talk.say("session.update", session={})
    talk.say("session.update", session={"type": "realtime", "voice": "marin"})
    talk.say("response.create")
    talk.say("response.create")
    talk.wait(4)
    other_voice = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    talk.say("session.update", session=other_voice)
    user = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
    talk.say("conversation.item.create", item={**user, "id": "item_x"})
    talk.say("conversation.item.truncate", item_id="item_x", content_index=0, audio_end_ms=0)
    compared = set()
    for event in talk.all_of("error"):
        code = event["error"]["code"]
        assert event["error"]["message"] == captured[code]
        compared.add(code)
    assert compared == {
        "response_cancel_not_active",
        "input_audio_buffer_commit_empty",
        "missing_required_parameter",
        "unknown_parameter",
        "conversation_already_has_active_response",
        "cannot_update_voice",
        "unsupported_content_type",
    }
