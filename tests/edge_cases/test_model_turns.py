"""The model's ear: turns that begin, end and are transcribed in odd ways."""

from __future__ import annotations

import pytest

from callengine import Agent, VadConfig
from callengine.agent import AgentSaid, CallerSaid, HostEvent
from callengine.machines.conversation import MAX_TURN_S
from callengine.testing import BargeIn, Behaviour, Say, laws
from callengine.testing.caller.script import StopFrames, Wait, WaitUntilQuiet
from callengine.testing.held import Held, reply
from callengine.testing.realtime.faults import (
    After,
    AtResponse,
    AtResponseDone,
    EchoOther,
    Fault,
    SendRaw,
    Trigger,
    event_message,
)
from callengine.testing.realtime.script import Transcription, TranscriptionOutcome
from tests.edge_cases.model_calls import ASK, QUESTION, REPLIES, STOP, call, check, heard

TWO_QUESTIONS = [*ASK, Say(QUESTION), WaitUntilQuiet(3.0, 20.0)]


# ---- transcripts


def transcribed(*transcriptions: Transcription) -> tuple[Held, list[str]]:
    """A call of two questions, and what the host was told that the caller said."""
    told: list[HostEvent] = []
    agent = Agent(on_event=told.append)
    behaviour = Behaviour(transcriptions=transcriptions)
    held = call([*TWO_QUESTIONS, Wait(8.0)], REPLIES, agent=agent, behaviour=behaviour)
    check(held)
    turns = [stopped.item_id for stopped in held.model.speech_stopped]
    said = [event for event in told if isinstance(event, CallerSaid)]
    assert {event.item_id for event in said} <= set(turns)
    return held, [f"{turns.index(event.item_id)} {event.transcript}" for event in said]


@pytest.mark.edge_case(43)
@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        (Transcription("a", 0.0), Transcription("b", 0.0), ["0 a", "1 b"]),
        (Transcription("a", 4.0), Transcription("b", 4.0), ["0 a", "1 b"]),
        (Transcription("a", 12.0), Transcription("b", 0.1), ["1 b", "0 a"]),
        (Transcription(outcome=TranscriptionOutcome.FAILED), Transcription("b"), ["1 b"]),
        (Transcription(outcome=TranscriptionOutcome.NEVER), Transcription("b"), ["1 b"]),
        (Transcription(""), Transcription("b"), ["0 ", "1 b"]),
    ],
    ids=["at once", "after the answer", "older after newer", "failed", "never", "empty"],
)
def test_transcripts_are_told_with_their_turn_whenever_they_come(
    one: Transcription, two: Transcription, told: list[str]
) -> None:
    held, said = transcribed(one, two)
    assert said == told
    assert len(held.model.responses) == 3, "no answer waited for a transcript"


@pytest.mark.edge_case(43)
@pytest.mark.parametrize("done_first", [False, True])
def test_the_words_of_the_ai_may_be_done_before_its_audio(done_first: bool) -> None:
    said: list[HostEvent] = []
    behaviour = Behaviour(transcript_done_first=done_first)
    held = call(ASK, REPLIES, agent=Agent(on_event=said.append), behaviour=behaviour)
    check(held)
    told = [(event.item_id, event.transcript) for event in said if isinstance(event, AgentSaid)]
    items = [response.items[0] for response in held.model.responses]
    assert told == [(item.id, item.transcript) for item in items]


# ---- turns


def started(at: Trigger, item_id: str = "item_raw", audio_start_ms: int = 700) -> SendRaw:
    name = "input_audio_buffer.speech_started"
    return SendRaw(at, event_message(name, item_id=item_id, audio_start_ms=audio_start_ms))


def stopped(at: Trigger, item_id: str = "item_raw") -> SendRaw:
    name = "input_audio_buffer.speech_stopped"
    return SendRaw(at, event_message(name, item_id=item_id, audio_end_ms=900))


def committed(at: Trigger, item_id: str = "item_raw") -> SendRaw:
    return SendRaw(at, event_message("input_audio_buffer.committed", item_id=item_id))


QUIET, SPEAKING = After(2.6), AtResponse(2, 500)
"""Between the greeting and the question; while the answer comes."""


@pytest.mark.edge_case(57)
@pytest.mark.parametrize(
    "odd",
    [
        (started(QUIET),),
        (started(QUIET), started(QUIET, "item_2")),
        (stopped(QUIET),),
        (stopped(SPEAKING),),
        (stopped(QUIET), stopped(QUIET)),
    ],
    ids=["start", "two starts", "stop", "stop while speaking", "two stops"],
)
def test_turns_that_are_told_by_halves_change_nothing(odd: tuple[Fault, ...]) -> None:
    held = call(TWO_QUESTIONS, REPLIES, *odd)
    check(held)
    assert len(held.model.responses) == 3
    assert heard(held) == b"".join(response.audio for response in held.model.responses)
    assert held.summary.response.stuck_recoveries == 0


@pytest.mark.edge_case(57)
@pytest.mark.parametrize(
    "odd",
    [
        (started(SPEAKING), stopped(SPEAKING)),
        (started(SPEAKING), started(SPEAKING, "item_2"), stopped(SPEAKING, "item_2")),
        (started(SPEAKING), committed(SPEAKING)),
        (started(SPEAKING), stopped(SPEAKING), committed(SPEAKING)),
    ],
    ids=["no commit", "two starts", "no stop", "no response"],
)
def test_an_answer_that_a_phantom_stopped_is_owed(odd: tuple[Fault, ...]) -> None:
    """L13. The server says that the caller spoke and then forgets that he did."""
    held = call([*ASK, WaitUntilQuiet(1.0, 20.0)], REPLIES, *odd)
    check(held)
    cut, again = held.model.responses[1:3]
    assert cut.status == "cancelled"
    assert held.was_heard(again)
    assert held.summary.conversation.answers_asked_for == 1
    assert again.requested_at - held.model.cancels[0].at < 2.0


@pytest.mark.edge_case(57)
@pytest.mark.parametrize("at", [SPEAKING, AtResponseDone(2)])
def test_a_turn_that_never_ends_does_not_silence_the_call(at: Trigger) -> None:
    """The answer it stopped is asked for when even a long sentence would be over."""
    held = call([*ASK[:2], Wait(MAX_TURN_S + 2.0), WaitUntilQuiet(1.0, 20.0)], REPLIES, started(at))
    check(held, laws.no_turn_meets_dead_air)
    _, stopped_short, again = held.model.responses
    assert not held.was_heard(stopped_short)
    assert held.was_heard(again)


@pytest.mark.edge_case(57)
def test_a_commit_that_nobody_spoke_for_is_a_turn_like_any_other() -> None:
    held = call([WaitUntilQuiet(0.5, 9.0), Wait(4.0), *ASK], REPLIES, committed(QUIET))
    check(held)
    assert held.summary.conversation.answers_asked_for == 1
    assert heard(held) == b"".join(response.audio for response in held.model.responses)


@pytest.mark.edge_case(57)
@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize("begin_s", [2.9, 5.3])
def test_a_flutter_of_turns_ends_in_one_answer(begin_s: float, commits: bool) -> None:
    """Twenty turns in two seconds, in the silence or over the answer; the server answers none."""
    turns: list[Fault] = []
    for number in range(20):
        at, item_id = begin_s + number / 10, f"item_{number}"
        turns += [started(After(at), item_id), stopped(After(at + 0.05), item_id)]
        turns += [committed(After(at + 0.05), item_id)] if commits else []
    held = call([*ASK[:2], WaitUntilQuiet(4.0, 30.0)], REPLIES, *turns)
    check(held, laws.every_turn_is_answered)
    assert held.was_heard(held.model.responses[-1])
    unanswered = [r for r in held.model.responses if not held.was_heard(r)]
    assert [response.status for response in unanswered] in ([], ["cancelled"])
    assert len(held.model.creates) <= 3
    assert held.summary.response.stuck_recoveries == 0


@pytest.mark.edge_case(57)
@pytest.mark.parametrize("prefix_padding_ms", [0, 300, 4_000])
def test_when_the_model_says_that_the_speech_began_does_not_matter(prefix_padding_ms: int) -> None:
    """With its padding that may be before the place where the reply was cut."""
    agent = Agent(vad=VadConfig(prefix_padding_ms=prefix_padding_ms))
    script = [*ASK[:2], BargeIn(STOP, 1.0), WaitUntilQuiet(2.0, 20.0)]
    replies = [reply(1.0, 1), reply(6.0, 2), *REPLIES[2:]]
    held = call(script, replies, agent=agent)
    check(held)
    assert len(held.model.truncates) == 1


@pytest.mark.edge_case(58)
def test_the_models_ear_is_fed_when_the_carrier_sends_nothing() -> None:
    """It counts audio, not time: without any, no turn would ever end."""
    held = call([*ASK[:1], Say(QUESTION), StopFrames(6.0), WaitUntilQuiet(1.0, 20.0)], REPLIES)
    check(held, laws.counters_agree)
    (end,) = held.model.speech_stopped
    assert end.at - held.caller.said[0].end_at < 2.0
    assert held.was_heard(held.model.responses[1])


# ---- settings that the server has its own way with


@pytest.mark.edge_case(59)
def test_a_caller_who_says_nothing_is_spoken_to_if_the_server_wants_it() -> None:
    """We do not ask for an idle timeout; a server that has one commits an item without audio."""
    idle = EchoOther("audio.input.turn_detection.idle_timeout_ms", 5_000)
    held = call([Wait(11.0), WaitUntilQuiet(0.5, 9.0)], REPLIES, idle)
    check(held)
    assert held.model.types_sent().count("input_audio_buffer.timeout_triggered") == 1
    greeting, reminder = held.model.responses
    assert reminder.automatic
    assert heard(held) == greeting.audio + reminder.audio
    assert held.summary.conversation.answers_asked_for == 0
    assert held.summary.conversation.unknown_events == 0


@pytest.mark.edge_case(59)
def test_an_idle_timeout_that_the_server_does_not_answer_itself_is_answered() -> None:
    place = {"audio_start_ms": 900, "audio_end_ms": 2_900, "item_id": "item_idle"}
    triggered = event_message("input_audio_buffer.timeout_triggered", **place)
    odd = SendRaw(QUIET, triggered), committed(QUIET, "item_idle")
    held = call([WaitUntilQuiet(0.5, 9.0), Wait(3.0), WaitUntilQuiet(2.0, 9.0)], REPLIES, *odd)
    check(held)
    assert held.summary.conversation.answers_asked_for == 1
    assert len(held.model.responses) == 2


@pytest.mark.edge_case(54, 60)
def test_a_server_that_does_not_answer_by_itself_is_asked_to() -> None:
    silent = EchoOther("audio.input.turn_detection.create_response", value=False)
    held = call(TWO_QUESTIONS, REPLIES, silent)
    check(held)
    assert held.summary.session.session_mismatches == 2, "both updates were told of it"
    assert held.summary.conversation.answers_asked_for == 2
    assert [response.automatic for response in held.model.responses] == [False] * 3
    assert heard(held) == b"".join(response.audio for response in held.model.responses)


@pytest.mark.edge_case(54, 60)
def test_a_server_that_does_not_interrupt_by_itself_is_interrupted() -> None:
    """Its reply would go on under the caller's voice, and his turn would stay unanswered."""
    stubborn = EchoOther("audio.input.turn_detection.interrupt_response", value=False)
    script = [*ASK[:2], BargeIn(STOP, 0.5), WaitUntilQuiet(3.0, 20.0)]
    replies = [reply(1.0, 1), reply(9.0, 2), reply(1.5, 3)]
    held = call(script, replies, stubborn, behaviour=Behaviour(pace=2.0))
    check(held)
    cut, answer = held.model.responses[1:]
    assert (cut.status, cut.reason) == ("cancelled", "client_cancelled")
    assert held.was_heard(answer)
    assert held.summary.session.session_mismatches == 1
