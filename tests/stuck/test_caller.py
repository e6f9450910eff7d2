"""The caller's side: a carrier that is silent, frames that cease, turns that never end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine import Agent, EndCause, Settings
from callengine.actors.host_calls import HostCalls
from callengine.machines.conversation import ANSWER_GRACE_S, MAX_TURN_S
from callengine.machines.inbound import STALL_S, START_DEADLINE_S
from callengine.machines.onsets import Outcome
from callengine.machines.speech import HANGOVER_FRAMES
from callengine.machines.stall import LIMITS
from callengine.messages import (
    BargeInConfirmed,
    CallerSpoke,
    OnsetDebounced,
    Owner,
    ResetGranted,
    ResetReason,
    SpeechEnded,
    SpeechOnset,
    ToolCalled,
    ToolReturned,
)
from callengine.testing import (
    BargeIn,
    Behaviour,
    Reply,
    Say,
    SimulatedCaller,
    Simulation,
    StopFrames,
    ToolCall,
    Wait,
    WaitUntil,
    WaitUntilHeard,
    WaitUntilQuiet,
    laws,
)
from callengine.testing.held import reply
from callengine.testing.realtime import faults
from callengine.testing.realtime.faults import AtAppend
from tests.stuck.course import (
    DEAF_TO_HUM,
    FOR_EVER_S,
    HUM_MS,
    LOUD_MS,
    QUESTION,
    SLACK_S,
    after_the_greeting,
    course,
    tell,
)

if TYPE_CHECKING:
    from callengine.testing.caller.script import Step

# ---- the carrier


def test_a_stream_that_never_starts_is_closed() -> None:
    seen = course(SimulatedCaller([], start_delay_s=FOR_EVER_S))
    assert seen.held.summary.end_cause is EndCause.START_TIMEOUT
    assert seen.closed_at == pytest.approx(START_DEADLINE_S, abs=SLACK_S)
    assert seen.held.caller.closed is not None
    assert seen.held.caller.closed.code == 1008


def test_a_carrier_that_is_silent_is_found_and_the_call_ends() -> None:
    seen = course([WaitUntil(3.0), StopFrames(FOR_EVER_S)])
    limit_s = LIMITS[Owner.CARRIER, "streaming"].seconds
    ((asked_at, ask),) = seen.asked(Owner.CARRIER)
    assert ask.reason is ResetReason.CARRIER_SILENT
    assert 3.0 + limit_s - 1.0 - SLACK_S <= asked_at <= 3.0 + limit_s + SLACK_S
    assert seen.answers(Owner.CARRIER) == [ResetGranted(Owner.CARRIER, ask.reason)]
    assert seen.held.summary.end_cause is EndCause.CARRIER_SILENT
    assert seen.closed_at <= asked_at + SLACK_S


def test_a_carrier_that_comes_back_in_time_is_not_asked() -> None:
    limit_s = LIMITS[Owner.CARRIER, "streaming"].seconds
    seen = course([WaitUntil(3.0), StopFrames(limit_s - 2.0), Wait(5.0)])
    assert seen.asked(Owner.CARRIER) == []
    assert seen.held.summary.end_cause is EndCause.CALLER_HUNG_UP


# ---- the caller's voice, when frames cease in the middle of it


@pytest.mark.parametrize(("loud_ms", "told"), [(60, OnsetDebounced), (200, SpeechEnded)])
def test_speech_ends_although_frames_cease_in_the_middle_of_it(loud_ms: int, told: type) -> None:
    seen = course(
        [WaitUntilQuiet(0.5, 9.0), Say(LOUD_MS * loud_ms), StopFrames(5.0), Wait(1.0)],
    )
    (said,) = seen.held.caller.said
    ended = [at for at, _ in seen.all_of(told, "TxPacer")]
    assert said.end_at < ended[0] <= said.end_at + STALL_S + HANGOVER_FRAMES * 0.02 + SLACK_S


def test_a_barge_in_that_nothing_more_is_heard_of_is_decided_in_time() -> None:
    """And what was flushed leaves limbo: 120 ms of a voice, then not one frame."""
    gone: list[Step] = [Say(HUM_MS * 120), StopFrames(3.0), WaitUntilQuiet(2.0, 20.0)]
    script = after_the_greeting(WaitUntilHeard(9.0), Wait(0.5), *gone)
    seen = course(script, agent=Agent(vad=DEAF_TO_HUM))
    onset = [at for at, _ in seen.all_of(SpeechOnset, "TxPacer")][-1]
    (decided,) = [at for at, _ in seen.all_of(BargeInConfirmed)]
    assert onset < decided <= onset + 0.5 + SLACK_S
    assert [e.outcome for e in seen.held.interruptions] == [Outcome.ACTED]


def test_a_false_alarm_is_taken_back_in_time() -> None:
    script = after_the_greeting(BargeIn(HUM_MS * 160, 0.5), Wait(9.0))
    seen = course(script, agent=Agent(vad=DEAF_TO_HUM))
    (entry,) = seen.held.interruptions
    assert entry.outcome is Outcome.RESUMED
    assert entry.settled_s is not None
    assert entry.settled_s - entry.decided_s <= 0.5 + SLACK_S


# ---- the caller's turn


def test_a_turn_whose_end_is_never_told_is_answered_all_the_same() -> None:
    """The model hears the caller begin, and then nothing more."""
    seen = course(after_the_greeting(Wait(40.0)), faults.StopHearing(AtAppend(210)))
    assert len(seen.held.model.speech_started) == 1
    assert seen.held.model.speech_stopped == []
    ((spoke_at, _),) = seen.all_of(CallerSpoke)
    create_at, _ = seen.sent_to_model("response.create")[-1]
    assert create_at == pytest.approx(spoke_at + MAX_TURN_S, abs=SLACK_S)
    assert seen.held.was_heard(seen.held.model.responses[-1])


def test_a_turn_that_only_the_model_hears_is_answered_too() -> None:
    """Of a caller who is too quiet for our detector, and of whose turn the end is never told."""
    deaf = Settings(onset_rms=32_000)
    script = after_the_greeting(Wait(40.0))
    seen = course(script, faults.StopHearing(AtAppend(210)), settings=deaf)
    assert seen.all_of(CallerSpoke) == []
    started_at = seen.held.model.speech_started[0].at
    create_at, _ = seen.sent_to_model("response.create")[-1]
    assert create_at == pytest.approx(started_at + MAX_TURN_S, abs=SLACK_S)


def test_a_caller_who_speaks_for_long_is_not_talked_over() -> None:
    """The model hears one long turn; he pauses for breath, but never for as long as its VAD."""
    breath: list[Step] = [step for _ in range(12) for step in (Say(QUESTION), Wait(0.2))]
    seen = course([WaitUntilQuiet(0.5, 9.0), *breath, WaitUntilQuiet(1.0, 9.0)])
    assert len(seen.held.model.speech_started) == 1
    (said, *_), (*_, last) = seen.held.caller.said, seen.held.caller.said
    assert last.end_at - said.onset_at > MAX_TURN_S + 5.0
    assert len(seen.sent_to_model("response.create")) == 1, "that of the greeting"
    assert seen.held.model.responses[1].automatic


def test_a_tools_result_waits_for_a_turn_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the caller speaks, and the end of what he says is never told."""
    simulations: list[Simulation] = []

    def slowly(_: HostCalls, message: object, now: float) -> list[object]:
        if isinstance(message, ToolCalled):
            (simulation,) = simulations
            returned = ToolReturned(message.call_id, '"nine to five"')
            simulation.stepper.call_at(now + 3.0, lambda: tell(simulation, "bridge", returned))
        return []

    monkeypatch.setattr(HostCalls, "handle", slowly)
    seen = course(
        after_the_greeting(Wait(1.5), Say(QUESTION), Wait(40.0)),
        faults.StopHearing(AtAppend(340)),
        replies=[reply(2.0, 1), Reply(function_calls=(ToolCall("hours"),)), reply(2.0, 3)],
        sabotage=simulations.append,
    )
    assert len(seen.held.model.speech_started) == 2
    assert len(seen.held.model.speech_stopped) == 1
    (output,) = seen.held.model.function_outputs
    started_at = seen.held.model.speech_started[1].at
    create_at, _ = seen.sent_to_model("response.create")[-1]
    assert started_at < output.at < create_at
    assert create_at == pytest.approx(started_at + MAX_TURN_S, abs=SLACK_S)
    assert seen.held.was_heard(seen.held.model.responses[2])


def test_an_answer_the_server_does_not_give_is_asked_for() -> None:
    """Its own create fails while the protected greeting is under way: nobody else asks."""
    seen = course(
        [WaitUntilHeard(5.0), Say(QUESTION), WaitUntilQuiet(3.0, 30.0)],
        replies=[reply(5.0, 1), reply(2.0, 2)],
        behaviour=Behaviour(pace=1.5),
    )
    done_at = seen.held.model.responses[0].done_at
    assert done_at is not None
    assert seen.held.model.errors[0].code == "conversation_already_has_active_response"
    create_at, _ = seen.sent_to_model("response.create")[-1]
    stopped_at = seen.held.model.speech_stopped[0].at
    assert create_at <= max(done_at, stopped_at) + ANSWER_GRACE_S + SLACK_S
    laws.every_turn_is_answered(seen.held)
