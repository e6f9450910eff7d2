"""`agent=` as a function of the call: in time, late, wrong, and what the one it chose can do."""

from __future__ import annotations

import functools
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from callengine import Agent, EndCause, Tool
from callengine.agent import AgentSaid, DtmfPressed, StreamStarted
from callengine.machines.dialogue import AGENT_DEADLINE_S
from callengine.messages import AgentChosen
from callengine.testing import Dial, Reply, Simulation, ToolCall, Wait, WaitUntilQuiet, speech
from callengine.testing.caller.stream import StreamFacts
from callengine.testing.realtime import faults
from tests.house import WAIT_S, house
from tests.stuck.course import tell
from tests.test_engine import model
from tests.test_fallback import AGENT, GREETING, PROMISED_S, Told, asks, call, silences_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.actors.host_calls import HostCalls

CHOSEN = replace(AGENT, instructions="You are the one who was chosen.")
STAND_IN = replace(AGENT, instructions="You stand in.")


def instructions(told: Told) -> list[str]:
    """What the model was told to be, each time; later updates are about other things."""
    updates = [e.body for e in told.models[0].received if e.type == "session.update"]
    return [
        each["session"]["instructions"] for each in updates if "instructions" in each["session"]
    ]


def decided(seconds: float) -> Callable[[Simulation], None]:
    """The choice takes so long: nobody waits where it is made."""

    def sabotage(simulation: Simulation) -> None:
        peers = simulation.call._peers
        assert peers is not None
        actor: HostCalls = peers.host_calls.actor_inbox.actor  # type: ignore[attr-defined]
        handle = actor.handle

        def slowly(message: Any, now: float) -> Any:  # noqa: ANN401
            answers = list(handle(message, now))
            for answer in answers:
                if isinstance(answer, AgentChosen):
                    late = functools.partial(tell, simulation, "bridge", answer)
                    simulation.stepper.call_at(now + seconds, late)
            return [each for each in answers if not isinstance(each, AgentChosen)]

        actor.handle = slowly  # type: ignore[method-assign]

    return sabotage


# ---- who


def test_who_is_chosen_answers_and_is_told_that_the_call_began() -> None:
    events: list[object] = []
    asked: list[StreamStarted] = []

    def choose(started: StreamStarted) -> Agent:
        asked.append(started)
        return replace(CHOSEN, on_event=events.append)

    told = call(*asks(Dial("7"), Wait(4.0)), agent=choose, stand_in=lambda _: STAND_IN)
    assert instructions(told) == [CHOSEN.instructions]
    assert asked == [each for each in events if isinstance(each, StreamStarted)]
    assert isinstance(events[0], StreamStarted), "before anything else"
    assert (asked[0].call_sid, asked[0].stream_sid) == (
        told.caller.call_sid,
        told.caller.stream_sid,
    )
    assert DtmfPressed("7") in events
    assert any(isinstance(each, AgentSaid) for each in events)
    assert told.summary.dialogue.stand_ins == 0


def test_the_choice_knows_the_parameters_of_the_stream() -> None:
    asked: list[StreamStarted] = []
    parameters = {"caller": "+15550101", "line": "florist"}

    def choose(started: StreamStarted) -> Agent:
        asked.append(started)
        return CHOSEN

    call(Wait(2.0), agent=choose, stream=StreamFacts(custom_parameters=parameters))
    (started,) = asked
    assert dict(started.custom_parameters) == parameters


@pytest.mark.parametrize("seconds", [AGENT_DEADLINE_S + 0.01, 4.0])
def test_who_is_chosen_too_late_does_not_answer(seconds: float) -> None:
    events: list[object] = []
    late = replace(CHOSEN, on_event=events.append)
    told = call(
        *asks(Wait(6.0)),
        agent=lambda _: late,
        stand_in=lambda _: STAND_IN,
        sabotage=decided(seconds),
    )
    assert instructions(told) == [STAND_IN.instructions]
    assert told.summary.dialogue.stand_ins == 1
    assert told.caller.heard[0].at <= AGENT_DEADLINE_S + 0.5
    assert events == [], "it is not the one who answers"
    assert told.summary.end_cause is EndCause.CALLER_HUNG_UP


def test_who_is_chosen_just_in_time_answers() -> None:
    told = call(
        Wait(4.0),
        agent=lambda _: CHOSEN,
        stand_in=lambda _: STAND_IN,
        sabotage=decided(AGENT_DEADLINE_S - 0.01),
    )
    assert instructions(told) == [CHOSEN.instructions]
    assert told.summary.dialogue.stand_ins == 0


def failing(_: StreamStarted) -> Agent:
    raise RuntimeError("working outside of application context")


def leaving(_: StreamStarted) -> Agent:
    raise SystemExit


@pytest.mark.parametrize(
    "choose",
    [failing, leaving, lambda _: None, lambda _: "an agent", lambda _: Agent, lambda: CHOSEN],
    ids=["raises", "exits", "nobody", "a name", "a class", "takes nothing"],
)
def test_a_choice_that_fails_is_counted_and_somebody_answers_at_once(choose: Any) -> None:  # noqa: ANN401
    told = call(*asks(Wait(4.0)), agent=choose, stand_in=lambda _: STAND_IN)
    assert instructions(told) == [STAND_IN.instructions]
    assert told.summary.context_errors == 1
    assert told.caller.heard[0].at <= 0.5
    assert told.summary.end_cause is EndCause.CALLER_HUNG_UP


def test_without_anybody_to_stand_in_a_plain_agent_answers() -> None:
    told = call(Wait(3.0), agent=failing)
    assert instructions(told) == [Agent().instructions]
    assert told.heard == GREETING.audio


def test_the_tools_of_who_is_chosen_work() -> None:
    def hours(day: str) -> str:
        return f"nine to five on {day}"

    chosen = replace(CHOSEN, tools=(Tool("hours", "", {"type": "object"}, hours),))
    replies = [GREETING, Reply(function_calls=(ToolCall("hours", '{"day": "Monday"}'),)), GREETING]
    told = call(*asks(Wait(4.0)), agent=lambda _: chosen, replies=replies)
    (output,) = told.models[0].function_outputs
    assert output.output == '"nine to five on Monday"'
    assert told.heard == GREETING.audio * 2


def test_a_late_choice_and_a_slow_model_together_do_not_leave_the_caller_in_silence() -> None:
    """The stand-in comes after 1.5 s; the caller has waited since he called."""
    told = call(
        Wait(12.0),
        agent=lambda _: CHOSEN,
        stand_in=lambda _: STAND_IN,
        sabotage=decided(9.0),
        broken=[faults.StallAudio(1, 0, 6.0)],
    )
    assert told.summary.fallbacks >= 1
    assert max(silences_s(told.caller, until=told.caller.heard[0].at + 0.1)) <= PROMISED_S


# ---- on a thread of its own, over real sockets


@pytest.mark.realtime
def test_a_choice_that_blocks_is_left_alone_and_the_stand_in_answers() -> None:
    let_go = threading.Event()

    def choose(_: StreamStarted) -> Agent:
        let_go.wait(WAIT_S)
        return CHOSEN

    with house(model(), agent=choose) as open_house:
        record = open_house.call(WaitUntilQuiet(0.3, WAIT_S))
        let_go.set()
        summary = open_house.summary()
    assert record.heard[0].payload.startswith(speech.clip("agent_greeting")[:8_000])
    assert record.heard[0].at - record.opened_at < AGENT_DEADLINE_S + 1.5
    assert summary.dialogue.stand_ins == 1
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
