"""Creates, cancels and responses that nothing comes of."""

from __future__ import annotations

from typing import Any

import pytest

from callengine import Agent, EndCause, Tool
from callengine.actors.host_calls import HostCalls
from callengine.machines.response import (
    CANCEL_DEADLINE_S,
    JAM_S,
    REQUEST_DEADLINE_S,
    RETRY_DELAY_S,
)
from callengine.machines.stall import LIMITS
from callengine.machines.tools import TOOL_DEADLINE_S
from callengine.messages import (
    Owner,
    ResetGranted,
    ResetReason,
    ResponseHeard,
    ToolCalled,
)
from callengine.testing import (
    BargeIn,
    Behaviour,
    Say,
    ToolCall,
    Wait,
    WaitUntil,
    WaitUntilHeard,
    WaitUntilQuiet,
    laws,
)
from callengine.testing.held import reply
from callengine.testing.realtime import faults
from callengine.testing.realtime.faults import After
from callengine.testing.realtime.record import CancelOutcome
from tests.stuck.course import (
    DEAF_TO_HUM,
    FAREWELL,
    FOR_EVER_S,
    HUM_MS,
    QUESTION,
    SLACK_S,
    STOP,
    after_the_greeting,
    assert_farewell,
    course,
)


def test_a_create_that_is_not_answered_is_sent_again() -> None:
    seen = course([Wait(20.0)], faults.IgnoreCreate(1))
    (first_at, _), (second_at, _) = seen.sent_to_model("response.create")
    assert second_at == pytest.approx(first_at + REQUEST_DEADLINE_S, abs=SLACK_S)
    assert seen.asked(Owner.RESPONSE) == []
    laws.whole_replies_are_heard(seen.held)
    assert seen.held.caller.heard


def test_a_greeting_that_is_never_answered_is_done_without() -> None:
    """The model is alive, as its other answers show."""
    broken = [faults.IgnoreCreate(1), faults.IgnoreCreate(2)]
    seen = course([WaitUntil(12.0), Say(QUESTION), WaitUntilQuiet(2.0, 20.0)], *broken)
    assert len(seen.sent_to_model("response.create")) == 2
    assert seen.held.summary.conversation.probes_sent >= 1
    assert seen.asked(Owner.MODEL) == []
    assert seen.held.summary.end_cause is EndCause.CALLER_HUNG_UP
    laws.every_turn_is_answered(seen.held)


def test_an_answer_that_is_never_given_ends_the_call_with_a_farewell() -> None:
    """The server's own create fails during the protected greeting, and ours are ignored."""
    seen = course(
        [WaitUntilHeard(5.0), Say(QUESTION), Wait(60.0)],
        faults.IgnoreCreate(2),
        faults.IgnoreCreate(3),
        replies=[reply(5.0, 1), reply(2.0, 2)],
        behaviour=Behaviour(pace=1.5),
    )
    assert seen.held.summary.end_cause is EndCause.MODEL_FAILED
    _, (asked_at, _), _ = seen.sent_to_model("response.create")
    assert seen.held.caller.heard[-1].at <= asked_at + 2 * REQUEST_DEADLINE_S + SLACK_S
    assert_farewell(seen)


def test_a_create_that_the_caller_has_overtaken_is_given_up_in_time() -> None:
    """The model does not hear what overtook it: so something is asked for, and comes."""
    seen = course(
        [Wait(0.1), Say(HUM_MS * 600), Wait(20.0)],
        faults.IgnoreCreate(1),
        agent=Agent(greeting_protected=False, vad=DEAF_TO_HUM),
    )
    (unwanted_at,) = seen.entered(Owner.RESPONSE, "unwanted")
    (first_at, _), (second_at, _) = seen.sent_to_model("response.create")
    assert first_at < unwanted_at < second_at
    assert second_at == pytest.approx(first_at + REQUEST_DEADLINE_S, abs=SLACK_S)
    assert seen.held.was_heard(seen.held.model.responses[0])


def test_a_create_that_the_caller_has_overtaken_does_not_keep_him_waiting() -> None:
    seen = course(
        [Say(QUESTION), WaitUntilQuiet(2.0, 20.0)],
        faults.IgnoreCreate(1),
        agent=Agent(greeting_protected=False),
    )
    assert len(seen.entered(Owner.RESPONSE, "unwanted")) == 1
    assert seen.held.model.responses[0].automatic, "the server's own answer is taken"
    laws.every_turn_is_answered(seen.held)
    laws.no_turn_meets_dead_air(seen.held)


def test_a_response_of_which_nothing_comes_is_found_and_asked_for_again() -> None:
    seen = course(after_the_greeting(Wait(30.0)), faults.StallAudio(2, 0, FOR_EVER_S))
    created_at = seen.entered(Owner.RESPONSE, "generating")[1]
    ((asked_at, ask),) = seen.asked(Owner.RESPONSE)
    limit_s = LIMITS[Owner.RESPONSE, "generating"].seconds
    assert ask.reason is ResetReason.SILENT_RESPONSE
    assert asked_at == pytest.approx(created_at + limit_s, abs=SLACK_S)
    assert seen.answers(Owner.RESPONSE) == [ResetGranted(Owner.RESPONSE, ask.reason)]
    again = seen.held.model.responses[2]
    assert seen.held.was_heard(again)
    assert again.created_at is not None
    assert again.created_at <= asked_at + 2.0 * RETRY_DELAY_S
    assert seen.held.summary.stuck_recoveries == 1


def test_a_response_that_writes_a_tools_arguments_for_long_is_not_stuck() -> None:
    """No audio comes for longer than the limit; the arguments do."""
    arguments = '{"type":"response.function_call_arguments.delta","response_id":"resp_sim0002"}'
    writing = [faults.SendRaw(After(at), arguments) for at in range(6, 27, 4)]
    stall = faults.StallAudio(2, 0, 20.0)
    seen = course(after_the_greeting(Wait(30.0)), stall, *writing)
    assert seen.held.summary.watchdog.resets_asked == 0
    assert seen.held.was_heard(seen.held.model.responses[1])
    assert len(seen.held.model.responses) == 2


def test_a_response_that_stops_in_the_middle_is_found_and_goes_on() -> None:
    seen = course(after_the_greeting(Wait(30.0)), faults.StallAudio(2, 1_000, FOR_EVER_S))
    ((asked_at, ask),) = seen.asked(Owner.RESPONSE)
    audio_came_at = seen.held.model.responses[1].first_audio_at
    assert audio_came_at is not None
    limit_s = LIMITS[Owner.RESPONSE, "speaking"].seconds
    assert ask.reason is ResetReason.STUCK_RESPONSE
    assert asked_at <= audio_came_at + 1.0 + limit_s + SLACK_S
    assert seen.answers(Owner.RESPONSE) == [ResetGranted(Owner.RESPONSE, ask.reason)]
    create = seen.sent_to_model("response.create")[-1][1]
    assert "Continue" in create["response"]["instructions"]
    assert seen.held.was_heard(seen.held.model.responses[2])
    *silences_s, _ = seen.silences_s()
    assert max(silences_s) <= limit_s + SLACK_S, "that is how long the caller hears nothing"


def test_a_response_whose_end_is_never_told_is_found_and_nothing_is_said_twice() -> None:
    """All of it was heard; to the server it is over, and it says so when it is cancelled."""
    seen = course(after_the_greeting(Wait(40.0)), faults.NoDone(2))
    ((asked_at, ask),) = seen.asked(Owner.RESPONSE)
    assert ask.reason is ResetReason.STUCK_RESPONSE
    assert [cancel.outcome for cancel in seen.held.model.cancels] == [CancelOutcome.NOT_ACTIVE]
    assert len(seen.held.model.responses) == 2
    assert seen.held.was_heard(seen.held.model.responses[1])
    heard = [at for at, what in seen.all_of(ResponseHeard) if what.response_id == "resp_sim0002"]
    assert heard[0] <= asked_at + SLACK_S, "nobody takes it for audible any longer"


def test_while_the_end_of_a_response_is_outstanding_the_caller_can_speak() -> None:
    """His voice meets a response that is over: it costs a clear of nothing, and he is answered."""
    script = after_the_greeting(WaitUntilQuiet(3.0, 9.0), Say(QUESTION), WaitUntilQuiet(2.0, 20.0))
    seen = course(script, faults.NoDone(2))
    assert seen.asked(Owner.RESPONSE) == []
    laws.every_turn_is_answered(seen.held)
    laws.nothing_is_heard_twice_or_left_out(seen.held)
    laws.truncates_tell_what_was_heard(seen.held)


def test_while_the_end_of_a_response_is_outstanding_the_call_can_end() -> None:
    seen = course(
        after_the_greeting(Wait(60.0)),
        faults.NoDone(2),
        faults.CloseSocket(After(9.0)),
    )
    assert seen.held.summary.end_cause is EndCause.MODEL_LOST
    assert seen.closed_at <= 9.0 + 1.0 + SLACK_S
    assert_farewell(seen)


def test_a_cancel_that_is_not_answered_is_over_in_time() -> None:
    agent = Agent(greeting_protected=False, farewell=FAREWELL)
    seen = course(
        [BargeIn(STOP, 0.5), Wait(30.0)],
        faults.Unstoppable(1),
        replies=[reply(9.0, 1), reply(2.0, 2), reply(2.0, 3)],
        agent=agent,
        behaviour=Behaviour(pace=1.1),
    )
    (cancelled_at,) = seen.entered(Owner.RESPONSE, "cancelling")
    assert seen.held.summary.response.cancels_timed_out == 1
    (entry,) = seen.held.interruptions
    assert entry.cancel_sent_s is not None
    assert entry.cancel_resolved_s is not None
    assert entry.cancel_resolved_s - entry.cancel_sent_s <= CANCEL_DEADLINE_S + SLACK_S
    assert seen.left(Owner.RESPONSE, cancelled_at) <= cancelled_at + CANCEL_DEADLINE_S + SLACK_S
    laws.every_turn_is_answered(seen.held)


def test_a_response_that_never_ends_ends_the_call_with_a_farewell() -> None:
    """It stalls, no cancel is answered, and every create is refused because of it."""
    seen = course(
        after_the_greeting(Wait(60.0)),
        faults.StallAudio(2, 1_000, FOR_EVER_S),
        faults.Unstoppable(2),
    )
    assert seen.held.summary.end_cause is EndCause.MODEL_FAILED
    ((asked_at, _),) = seen.asked(Owner.RESPONSE)
    most_s = CANCEL_DEADLINE_S + JAM_S + RETRY_DELAY_S
    assert seen.held.caller.heard[-1].at <= asked_at + most_s + SLACK_S
    assert_farewell(seen)


def test_a_tool_that_never_returns_is_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = HostCalls.handle

    def busy(actor: HostCalls, message: Any, now: float) -> Any:  # noqa: ANN401
        return [] if isinstance(message, ToolCalled) else handle(actor, message, now)

    monkeypatch.setattr(HostCalls, "handle", busy)
    seen = course(
        after_the_greeting(Wait(30.0)),
        replies=[reply(2.0, 1), reply(0.5, 2, ToolCall("hours")), reply(2.0, 3)],
        agent=Agent(tools=(Tool("hours", "", {"type": "object"}, dict),)),
    )
    ((called_at, _),) = seen.all_of(ToolCalled)
    (output,) = seen.held.model.function_outputs
    assert output.at == pytest.approx(called_at + TOOL_DEADLINE_S, abs=SLACK_S)
    assert seen.held.was_heard(seen.held.model.responses[2])
