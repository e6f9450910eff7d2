"""Turns of a conversation with the simulated server, on an invented clock, and their record."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from callengine.testing import speech
from callengine.testing.realtime.script import (
    Behaviour,
    Reply,
    ReplyRequest,
    Transcription,
    TranscriptionOutcome,
    said,
)
from callengine.testing.realtime.server import SimulatedRealtime
from tests.testing.realtime.rig import CLOSING, END, LONG_REPLY, OPENING, SHORT_REPLY, Talk, steady

CAPTURED_TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    *OPENING,
    *CLOSING,
    *END,
]


# --- a turn


@pytest.mark.edge_case(35)
def test_a_turn_comes_in_the_captured_order() -> None:
    talk = Talk()
    talk.ask()
    talk.wait(3)
    types = talk.types()
    assert steady(types) == CAPTURED_TURN
    first, last = types.index("response.content_part.added"), types.index(CLOSING[0])
    deltas = [
        at for at, name in enumerate(types) if name.startswith("response.") and "delta" in name
    ]
    assert first < min(deltas)
    assert max(deltas) < last
    assert types[first + 1 : first + 3] == [
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
    ]


def test_a_turn_keeps_its_ids_together() -> None:
    talk = Talk()
    talk.ask()
    talk.wait(3)
    user = talk.all_of("input_audio_buffer.speech_started")[0]["item_id"]
    assert talk.last("input_audio_buffer.speech_stopped")["item_id"] == user
    assert talk.last("input_audio_buffer.committed")["item_id"] == user
    assert talk.last("conversation.item.input_audio_transcription.completed")["item_id"] == user
    item = talk.last("response.output_item.done")["item"]
    assert talk.last("conversation.item.done")["previous_item_id"] == user
    assert talk.done()["output"] == [item]
    assert item["content"] == [{"type": "output_audio", "transcript": SHORT_REPLY.transcript}]
    assert len({event["event_id"] for event in talk.events}) == len(talk.events)


def test_the_reply_arrives_byte_for_byte_in_uneven_pieces() -> None:
    talk = Talk((LONG_REPLY,))
    talk.create()
    talk.wait(4)
    assert talk.audio() == LONG_REPLY.audio
    sizes = {len(item["delta"]) for item in talk.all_of("response.output_audio.delta")}
    assert len(sizes) >= 5
    words = [event["delta"] for event in talk.all_of("response.output_audio_transcript.delta")]
    assert "".join(words) == LONG_REPLY.transcript


def test_generation_keeps_the_pace_and_the_transcript_runs_ahead() -> None:
    talk = Talk((LONG_REPLY,), Behaviour(pace=2.0, first_audio_s=1.0, created_after_s=0.1))
    asked_at = talk.now
    talk.create()
    talk.wait(8)
    made = talk.record.responses[0]
    assert made.created_at == pytest.approx(asked_at + 0.1)
    assert made.first_audio_at == pytest.approx(asked_at + 1.1)
    assert made.done_at == pytest.approx(asked_at + 1.1 + len(LONG_REPLY.audio) / 16_000)
    last_word = max(
        at
        for at, event in zip(talk.times, talk.events, strict=True)
        if event["type"] == "response.output_audio_transcript.delta"
    )
    assert last_word < asked_at + 1.1 + 0.75 * len(LONG_REPLY.audio) / 16_000


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    def run(seed: int) -> list[str | bytes]:
        talk = Talk(seed=seed).create()
        talk.wait(2)
        return talk.raw

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_late_wake_ups_shift_nothing() -> None:
    behind = Talk().create()
    behind.now += 10
    behind.server.advance(behind.now)
    prompt = Talk().create()
    prompt.wait(10)
    assert [event.at for event in behind.record.sent] == [event.at for event in prompt.record.sent]


def test_replies_are_given_in_turn_and_begin_again() -> None:
    talk = Talk((Reply(transcript="one"), Reply(transcript="two")))
    for _ in range(3):
        talk.create()
        talk.wait(1)
    heard = [event["transcript"] for event in talk.all_of("response.output_audio_transcript.done")]
    assert heard == ["one", "two", "one"]


def test_a_function_can_choose_the_reply() -> None:
    asked: list[ReplyRequest] = []

    def choose(request: ReplyRequest) -> Reply:
        asked.append(request)
        return said("agent_greeting")

    talk = Talk(choose)
    talk.create(instructions="Greet.")
    talk.wait(2)
    talk.ask()
    assert [(request.number, request.automatic) for request in asked] == [(1, False), (2, True)]
    assert asked[0].response == {"instructions": "Greet."}


def test_nobody_can_reply_without_replies() -> None:
    with pytest.raises(ValueError, match="replies is empty"):
        SimulatedRealtime(())


@pytest.mark.parametrize(
    ("bad", "told"),
    [({"pace": 0}, "pace"), ({"delta_bytes": (0,)}, "delta_bytes"), ({"transcriptions": ()}, "tr")],
)
def test_manners_that_cannot_be_kept_are_refused(bad: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Behaviour(**bad)


# --- transcription of the caller


def test_transcripts_may_fail_stay_away_and_come_out_of_order() -> None:
    script = (
        Transcription("first", after_s=10),
        Transcription("", after_s=0.1),
        Transcription(outcome=TranscriptionOutcome.FAILED),
        Transcription(outcome=TranscriptionOutcome.NEVER),
    )
    talk = Talk(behaviour=Behaviour(transcriptions=script))
    for _ in range(4):
        talk.ask("caller_yes")
        talk.wait(1)
    talk.wait(10)
    turns = [event["item_id"] for event in talk.all_of("input_audio_buffer.committed")]
    name = "conversation.item.input_audio_transcription"
    completed = [
        (event["item_id"], event["transcript"]) for event in talk.all_of(f"{name}.completed")
    ]
    assert completed == [(turns[1], ""), (turns[0], "first")]
    assert [event["item_id"] for event in talk.all_of(f"{name}.failed")] == [turns[2]]


def test_nothing_is_transcribed_unless_asked_for() -> None:
    talk = Talk()
    audio = {"input": {"transcription": None}}
    talk.say("session.update", session={"type": "realtime", "audio": audio})
    talk.ask()
    talk.wait(3)
    assert not any("transcription" in name for name in talk.types())


# --- time on the wire and the record


def test_latency_delays_both_ways_and_keeps_the_order() -> None:
    talk = Talk(behaviour=Behaviour(latency_s=0.25, created_after_s=0.1)).create()
    assert talk.events == []
    talk.wait(3)
    assert talk.times[0] == pytest.approx(1_000.25)
    made = talk.types().index("response.created")
    assert talk.times[made] == pytest.approx(1_000 + 0.25 + 0.1 + 0.25)
    assert all(a <= b for a, b in pairwise(talk.times))
    assert talk.audio() == SHORT_REPLY.audio


def test_the_record_agrees_with_what_came() -> None:
    talk = Talk((SHORT_REPLY, LONG_REPLY))
    talk.ask()
    talk.wait(1)
    talk.speak(speech.clip("caller_barge_in_2"))
    talk.wait(5)
    record = talk.record
    assert [event.body for event in record.sent] == talk.events
    assert record.types_sent() == talk.types()
    assert record.deltas_sent == len(talk.all_of("response.output_audio.delta"))
    assert record.audio_bytes_sent == sum(len(talk.audio(made.id)) for made in record.responses)
    assert record.response("resp_sim0001").audio == talk.audio()
    assert record.responses[0].audio_ms_sent == 1_000
    assert record.appends_received == record.types_received().count("input_audio_buffer.append")
    assert len(record.appended) > 160 * 100
    assert len(record.speech_started) == len(talk.all_of("input_audio_buffer.speech_started")) == 2
    assert record.speech_stopped[0].audio_ms > record.speech_started[0].audio_ms
    with pytest.raises(KeyError):
        record.response("resp_sim0009")


def test_a_client_that_left_gets_nothing_more() -> None:
    talk = Talk().create()
    talk.server.closed(1001, "bye", talk.now)
    assert talk.server.next_deadline() is None
    talk.wait(3)
    assert "response.created" not in talk.types()
    assert talk.record.closed == (1001, "bye", talk.now - 3)
