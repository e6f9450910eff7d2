"""Responses of the simulated server: their shapes, one at a time, cancelled and interrupted."""

from __future__ import annotations

import json

import pytest

from callengine.audio import g711
from callengine.testing import speech
from callengine.testing.realtime.record import CancelOutcome
from callengine.testing.realtime.script import (
    Behaviour,
    CancelStyle,
    Ending,
    Reply,
    Speech,
    ToolCall,
)
from tests.testing.realtime.rig import (
    CLOSING,
    END,
    LONG_REPLY,
    OPENING,
    SHORT_REPLY,
    Talk,
    steady,
    turn_detection,
)

# --- shapes of a response


def test_a_second_audio_item_begins_before_the_first_is_done() -> None:
    reply = Reply(b"\x10" * 800, "One.", more_speech=(Speech(b"\x20" * 800, "Two."),))
    talk = Talk((reply,)).create()
    talk.wait(2)
    order = [(event["type"], event.get("item_id")) for event in talk.events]
    first, second = (item["id"] for item in talk.done()["output"])
    begun = order.index(("response.output_audio.delta", second))
    assert begun < order.index(("response.output_audio.done", first))
    assert steady(talk.types())[1:] == [*OPENING, *OPENING, *CLOSING, *CLOSING, *END]
    assert [item.audio for item in talk.record.responses[0].items] == [b"\x10" * 800, b"\x20" * 800]


def test_speech_then_a_function_call() -> None:
    call = ToolCall("book_slot", '{"day":"2026-12-01"}', "call_1")
    talk = Talk((Reply(b"\x10" * 800, "One moment.", (call,)),)).create()
    talk.wait(2)
    spoken, called = talk.done()["output"]
    assert spoken["status"] == "completed"
    assert called["name"] == "book_slot"
    opened = [event["output_index"] for event in talk.all_of("response.output_item.added")]
    assert opened == [0, 1]


def test_a_function_call_is_told_three_times() -> None:
    talk = Talk((Reply(function_calls=(ToolCall("book_slot", '{"day":"x"}'),)),)).create()
    talk.wait(2)
    told = talk.last("response.function_call_arguments.done")
    item = talk.last("response.output_item.done")["item"]
    assert told["arguments"] == item["arguments"] == '{"day":"x"}'
    assert told["call_id"] == item["call_id"] == talk.record.responses[0].items[0].call_id
    assert talk.done()["output"] == [item]
    pieces = [event["delta"] for event in talk.all_of("response.function_call_arguments.delta")]
    assert "".join(pieces) == '{"day":"x"}'


def test_two_function_calls_at_once_have_ids_of_their_own() -> None:
    talk = Talk((Reply(function_calls=(ToolCall("a"), ToolCall("b", ""))),)).create()
    talk.wait(2)
    output = talk.done()["output"]
    assert [item["arguments"] for item in output] == ["{}", ""]
    assert output[0]["call_id"] != output[1]["call_id"]


def test_the_result_of_a_function_call_is_recorded_and_the_next_reply_follows() -> None:
    call = ToolCall("book_slot", call_id="call_1")
    talk = Talk((Reply(function_calls=(call,)), SHORT_REPLY)).create()
    talk.wait(1)
    item = {"type": "function_call_output", "call_id": "call_1", "output": '{"ok":true}'}
    talk.say("conversation.item.create", item=item)
    talk.create()
    talk.wait(2)
    (output,) = talk.record.function_outputs
    assert (output.call_id, output.output) == ("call_1", '{"ok":true}')
    assert talk.audio("resp_sim0002") == SHORT_REPLY.audio


def test_a_silent_response_has_words_only() -> None:
    talk = Talk((Reply(transcript="Good morning."),)).create()
    talk.wait(2)
    assert "response.output_audio.delta" not in talk.types()
    assert "response.output_audio.done" not in talk.types()
    assert talk.last("response.output_audio_transcript.done")["transcript"] == "Good morning."


def test_an_audio_only_response_has_no_words() -> None:
    talk = Talk((Reply(b"\x10" * 400),)).create()
    talk.wait(2)
    assert talk.audio() == b"\x10" * 400
    assert not any("transcript" in name for name in talk.types())


@pytest.mark.parametrize(
    ("ending", "status", "detail"),
    [
        (Ending.MAX_OUTPUT_TOKENS, "incomplete", "max_output_tokens"),
        (Ending.CONTENT_FILTER, "incomplete", "content_filter"),
        (Ending.RATE_LIMIT_EXCEEDED, "failed", "rate_limit_exceeded"),
        (Ending.SERVER_ERROR, "failed", "server_error"),
        (Ending.MODEL_NOT_FOUND, "failed", "model_not_found"),
    ],
)
@pytest.mark.parametrize("audio", [b"", b"\x10" * 800])
def test_a_response_can_end_badly(ending: Ending, status: str, detail: str, audio: bytes) -> None:
    talk = Talk((Reply(audio, ending=ending),)).create()
    talk.wait(2)
    done = talk.done()
    assert done["status"] == done["status_details"]["type"] == status
    assert detail in json.dumps(done["status_details"])
    assert [item["status"] for item in done["output"]] == (["incomplete"] if audio else [])
    assert (done["usage"] is None) == (status == "failed")
    assert talk.audio() == audio


def test_a_function_call_cut_short_is_never_told_as_done() -> None:
    reply = Reply(function_calls=(ToolCall("f", '{"a'),), ending=Ending.MAX_OUTPUT_TOKENS)
    talk = Talk((reply,)).create()
    talk.wait(2)
    assert "response.function_call_arguments.done" not in talk.types()
    assert talk.done()["output"][0]["status"] == "incomplete"


def test_the_transcript_may_be_done_before_the_audio() -> None:
    talk = Talk(behaviour=Behaviour(transcript_done_first=True)).create()
    talk.wait(2)
    types = talk.types()
    assert types.index(CLOSING[1]) < types.index(CLOSING[0])


def test_an_empty_delta_loses_nothing() -> None:
    talk = Talk(behaviour=Behaviour(delta_bytes=(0, 1000))).create()
    talk.wait(2)
    assert "" in [event["delta"] for event in talk.all_of("response.output_audio.delta")]
    assert talk.audio() == SHORT_REPLY.audio


# --- one response at a time


def test_a_second_response_is_refused_and_the_first_goes_on() -> None:
    talk = Talk().create()
    talk.say("response.create", event_id="c-9")
    talk.wait(2)
    error = talk.last("error")["error"]
    assert error["code"] == "conversation_already_has_active_response"
    assert "resp_sim0001" in error["message"]
    assert error["event_id"] == "c-9"
    assert talk.audio() == SHORT_REPLY.audio
    assert [create.response_id for create in talk.record.creates] == ["resp_sim0001", None]


def test_the_active_response_error_may_name_no_event() -> None:
    talk = Talk(behaviour=Behaviour(active_error_names_event=False)).create()
    talk.say("response.create", event_id="c-9")
    assert talk.last("error")["error"]["event_id"] is None


@pytest.mark.edge_case(63)
def test_an_out_of_band_response_runs_beside_the_other() -> None:
    talk = Talk((LONG_REPLY, Reply(transcript="Wants Monday."))).create()
    talk.wait(0.5)
    talk.create(conversation="none", output_modalities=["text"], metadata={"purpose": "summary"})
    talk.wait(4)
    aside = talk.done(2)
    assert aside["conversation_id"] is None
    assert aside["metadata"] == {"purpose": "summary"}
    assert aside["output"][0]["content"] == [{"type": "output_text", "text": "Wants Monday."}]
    assert talk.last("response.output_text.done")["text"] == "Wants Monday."
    ids = [event["response"]["id"] for event in talk.all_of("response.done")]
    assert ids == ["resp_sim0002", "resp_sim0001"]
    assert len(talk.all_of("conversation.item.done")) == 1
    talk.say("conversation.item.retrieve", item_id=aside["output"][0]["id"])
    assert talk.error_codes() == ["item_retrieve_invalid_item_id"]
    assert talk.audio() == LONG_REPLY.audio


def test_an_out_of_band_response_is_cancelled_by_its_id() -> None:
    talk = Talk((LONG_REPLY,))
    talk.create()
    talk.create(conversation="none")
    talk.wait(0.5)
    talk.say("response.cancel", response_id="resp_sim0002")
    talk.wait(4)
    assert talk.done(2)["status"] == "cancelled"
    assert talk.done(1)["status"] == "completed"


# --- cancelling


def cancelled(behaviour: Behaviour | None = None, **cancel: object) -> tuple[Talk, int]:
    """A long reply, cancelled after a second; and how many events had come by then."""
    talk = Talk((LONG_REPLY,), behaviour).create()
    talk.wait(1)
    before = len(talk.events)
    talk.say("response.cancel", **cancel)
    talk.wait(2)
    return talk, before


def test_after_a_cancel_what_is_in_flight_comes_and_then_the_end() -> None:
    talk, before = cancelled(event_id="c-1", response_id="resp_sim0001")
    tail = talk.types()[before:]
    assert tail.count("response.output_audio.delta") == 2
    assert steady(tail) == [*CLOSING, *END]
    done = talk.done()
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert done["output"][0]["status"] == "incomplete"
    said_so_far = done["output"][0]["content"][0]["transcript"]
    assert LONG_REPLY.transcript.startswith(said_so_far)
    assert 0 < len(said_so_far) < len(LONG_REPLY.transcript)
    assert done["usage"]["total_tokens"] > 0
    assert talk.record.cancels[0].outcome is CancelOutcome.CANCELLED
    assert talk.error_codes() == []


@pytest.mark.parametrize("in_flight", [0, 5])
def test_the_number_of_deltas_in_flight_is_the_script_s(in_flight: int) -> None:
    talk, before = cancelled(Behaviour(deltas_in_flight=in_flight, cancel_takes_s=0.5))
    assert talk.types()[before:].count("response.output_audio.delta") == in_flight
    made = talk.record.responses[0]
    assert made.done_at == pytest.approx(1_001.5)


@pytest.mark.parametrize(
    ("style", "items"), [(CancelStyle.OMITS_ITEM_EVENTS, 1), (CancelStyle.EMPTY_OUTPUT, 0)]
)
def test_a_cancelled_response_may_say_less_of_its_items(style: CancelStyle, items: int) -> None:
    talk, before = cancelled(Behaviour(cancel_style=style))
    assert steady(talk.types()[before:]) == END
    output = talk.done()["output"]
    assert [item["status"] for item in output] == ["incomplete"] * items


def test_an_item_that_was_done_before_the_cancel_stays_completed() -> None:
    reply = Reply(b"\x10" * 800, "One.", more_speech=(Speech(LONG_REPLY.audio, "Two."),))
    talk = Talk((reply,), Behaviour(cancel_style=CancelStyle.OMITS_ITEM_EVENTS)).create()
    talk.wait(1)
    talk.say("response.cancel")
    talk.wait(1)
    statuses = [item["status"] for item in talk.done()["output"]]
    assert statuses == ["completed", "incomplete"]


def test_a_cancel_can_lose_the_race_against_completion() -> None:
    talk, before = cancelled(Behaviour(cancel_races_completion=True), event_id="c-1")
    assert steady(talk.types()[before:]) == [*CLOSING, *END, "error"]
    assert talk.done()["status"] == "completed"
    assert talk.audio() == LONG_REPLY.audio
    error = talk.last("error")["error"]
    assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "c-1")
    assert talk.record.cancels[0].outcome is CancelOutcome.NOT_ACTIVE


def test_a_cancel_before_created_is_refused_and_the_response_comes_all_the_same() -> None:
    talk = Talk().create()
    talk.say("response.cancel", event_id="c-71")
    assert talk.error_codes() == ["response_cancel_not_active"]
    talk.wait(0.05)
    talk.say("response.cancel", response_id="resp_sim0001")
    talk.wait(1)
    done = talk.done()
    assert (done["status"], done["output"]) == ("cancelled", [])


@pytest.mark.parametrize("wanted", ["resp_sim0007", "resp_sim0002"])
def test_a_cancel_of_another_response_is_refused(wanted: str) -> None:
    talk, _ = cancelled(response_id=wanted)
    assert talk.error_codes() == ["response_cancel_not_active"]
    assert talk.done()["status"] == "completed"


def test_a_cancel_when_nothing_runs_or_twice_is_refused() -> None:
    talk = Talk((LONG_REPLY,))
    talk.say("response.cancel")
    talk.create()
    talk.wait(1)
    talk.say("response.cancel")
    talk.say("response.cancel")
    talk.wait(1)
    assert talk.error_codes() == ["response_cancel_not_active"] * 2
    assert len(talk.all_of("response.done")) == 1


def test_a_function_call_behind_cancelled_speech_never_comes() -> None:
    reply = Reply(LONG_REPLY.audio, "Yes.", (ToolCall("hang_up"),))
    talk = Talk((reply,)).create()
    talk.wait(1)
    talk.say("response.cancel")
    talk.wait(2)
    assert not any("function_call" in name for name in talk.types())


# --- the caller interrupts


def test_speech_cancels_the_running_response() -> None:
    talk = Talk((LONG_REPLY, SHORT_REPLY)).create()
    talk.wait(0.5)
    before = len(talk.events)
    talk.speak(speech.clip("caller_barge_in_1") + g711.silence(600))
    talk.wait(2)
    tail = talk.types()[before:]
    started = tail.index("input_audio_buffer.speech_started")
    after = tail[started:]
    assert after[: after.index("response.done")].count("response.output_audio.delta") == 2
    assert steady(after)[:8] == ["input_audio_buffer.speech_started", *CLOSING, *END]
    assert talk.done(1)["status_details"]["reason"] == "turn_detected"
    assert talk.done(2)["status"] == "completed"


def test_without_interrupt_response_the_reply_goes_on_and_the_turn_stays_unanswered() -> None:
    slow = Behaviour(pace=1.0)
    talk = Talk((LONG_REPLY, SHORT_REPLY), slow)
    talk.say("session.update", session=turn_detection(interrupt_response=False))
    talk.create()
    talk.wait(0.5)
    talk.ask()
    error = talk.last("error")["error"]
    assert error["code"] == "conversation_already_has_active_response"
    assert error["event_id"] is None
    talk.wait(15)
    assert talk.audio() == LONG_REPLY.audio
    assert len(talk.record.responses) == 1
    talk.create()
    talk.wait(3)
    assert talk.audio("resp_sim0002") == SHORT_REPLY.audio


def test_without_create_response_the_turn_waits_for_the_client() -> None:
    talk = Talk()
    talk.say("session.update", session=turn_detection(create_response=False))
    talk.ask()
    talk.wait(2)
    assert talk.all_of("input_audio_buffer.committed")
    assert talk.record.responses == []


def test_an_idle_caller_is_spoken_to_after_the_playout_of_the_reply() -> None:
    talk = Talk()
    talk.say("session.update", session=turn_detection(idle_timeout_ms=5_000))
    talk.create()
    talk.wait(3)
    done_at = talk.record.responses[0].done_at or 0
    talk.wait(6)
    idle = talk.types().index("input_audio_buffer.timeout_triggered")
    assert talk.times[idle] == pytest.approx(done_at + 1 + 5)
    assert steady(talk.types()[idle:])[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]


def test_a_caller_who_speaks_is_not_idle() -> None:
    talk = Talk()
    talk.say("session.update", session=turn_detection(idle_timeout_ms=5_000))
    talk.create()
    talk.wait(3)
    talk.speak(speech.clip("caller_question_1"))
    talk.wait(20)
    assert "input_audio_buffer.timeout_triggered" not in talk.types()
