"""Calls on one clock, in some of which an actor is going to crash; one is left alone.

What its record must be is known, to the byte, from the same calls without a crash.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

import pykka
import pytest

from callengine import Agent, Tool
from callengine.actors.stepper import Stepper
from callengine.machines.lifecycle import State
from callengine.messages import CarrierMessage, DtmfPressed
from callengine.testing import (
    BargeIn,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    ToolCall,
    WaitUntilQuiet,
    laws,
)
from callengine.testing import simulation as simulation_module
from callengine.testing.held import Held, noise, reply
from callengine.testing.speech import clip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.faults import Fault

    Meddle: TypeAlias = Callable[["Doomed"], None]
    Moment: TypeAlias = Callable[["Doomed"], bool]

QUESTION = clip("caller_question_1")[:6_400]
STOP = clip("caller_barge_in_2")[:6_400]
FAREWELL = noise(0.5, 77)
LATENCY_S = 0.01
SECRET = "my card number is 4111"

ERRORS: list[type[BaseException]] = [ValueError, SystemExit, MemoryError]
UNNOTICED = ["TwilioIngress", "VADDetector", "Watchdog", "HostCalls"]
FATAL = ["TxPacer", "RealtimeBridge"]

SCRIPT: list[Step] = [
    WaitUntilQuiet(0.3, 10.0),
    Say(QUESTION),
    BargeIn(STOP, 1.0),
    BargeIn(STOP, 0.5),
    WaitUntilQuiet(1.0, 10.0),
]


def simulated(
    seed: int, script: Sequence[Step] = SCRIPT, broken: Sequence[Fault] = (), *tools: Tool
) -> Simulation:
    """A call that is like no other."""
    calls = [ToolCall(tool.name) for tool in tools]
    replies = [
        reply(1.0, 100 * seed + 1),
        reply(2.5, 100 * seed + 2, *calls),
        *(reply(1.2, 100 * seed + n) for n in range(3, 8)),
    ]
    return Simulation(
        SimulatedCaller(script, seed=seed),
        SimulatedRealtime(replies, faults=broken, seed=seed),
        Agent(farewell=FAREWELL, tools=tools),
        seed=seed,
        latency_s=LATENCY_S,
    )


# ---- calls on one clock


class Newest(Random):
    """The order in which actors have their turns: what one call does changes no other's."""

    def random(self) -> float:
        return 0.999_999


@dataclass
class Doomed:
    """A call in which an actor is going to crash."""

    simulation: Simulation
    actors: dict[str, Any]
    crashes: int = 0
    killed_by: object = None

    @classmethod
    def of(cls, make: Callable[[], Simulation]) -> Doomed:
        """Make the call, and find its actors."""
        before = set(pykka.ActorRegistry.get_all())
        simulation = make()
        refs = set(pykka.ActorRegistry.get_all()) - before
        actors: Any = {ref.actor_class.__name__: ref.actor_inbox.actor for ref in refs}
        return cls(simulation, actors)

    @property
    def caller(self) -> SimulatedCaller:
        caller = self.simulation.caller
        assert isinstance(caller, SimulatedCaller)
        return caller

    @property
    def state(self) -> State:
        """What the supervisor makes of the call."""
        state: State = self.actors["Supervisor"]._life.state
        return state

    def kill(
        self, name: str, error: BaseException, when: Callable[[object], bool], times: int = 1
    ) -> None:
        """Let an actor die of the first message, or `times` messages, that `when` is true of."""
        actor = self.actors[name]
        handle, left = actor.handle, iter(range(times))

        def fail(message: object, now: float) -> object:
            if when(message) and next(left, None) is not None:
                self.crashes += 1
                self.killed_by = message
                raise error
            return handle(message, now)

        actor.handle = fail

    @property
    def held(self) -> Held:
        """What is left of it."""
        simulation, model = self.simulation, self.simulation.model
        assert isinstance(model, SimulatedRealtime)
        assert simulation.summary is not None
        record, way_s = self.caller.record, simulation.longest_way_s
        return Held(simulation.summary, record, model.record, way_s, 0.0, simulation.agent)


def together(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[int], Simulation], *meddles: Meddle
) -> tuple[list[Doomed], Held]:
    """Hold calls that are meddled with, and another one beside them."""
    stepper = Stepper()
    stepper.random = Newest()
    monkeypatch.setattr(simulation_module, "Stepper", lambda *_: stepper)
    calls: list[Doomed] = []
    for seed, meddle in enumerate(meddles, 1):
        calls.append(Doomed.of(functools.partial(make, seed)))
        meddle(calls[-1])
    other = simulated(9)
    for each in (*(call.simulation for call in calls), other):
        each.run()
    assert pykka.ActorRegistry.get_all() == []
    assert sum(1 for _ in range(99) if stepper.step()) < 99, "something goes on after the end"
    return calls, Doomed(other, {}).held


@functools.cache
def undisturbed() -> tuple[list[Held], Held]:
    """The same calls without a crash."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        calls, other = together(monkeypatch, simulated, *[lambda _: None] * len(ERRORS))
    helds = [call.held for call in calls]
    for held in (*helds, other):
        for law in laws.ALWAYS:
            law(held)
        assert held.summary.barge_in_events == 2
        assert held.caller.missed == []
    return helds, other


def check_other(other: Held) -> None:
    """The call beside those that crashed is the same to the last byte."""
    _, expected = undisturbed()
    assert other.summary == expected.summary
    assert other.caller == expected.caller
    assert other.model == expected.model


# ---- moments


def at_the_first_message(_: Doomed) -> bool:
    return True


def while_the_ai_speaks(doomed: Doomed) -> bool:
    return len(doomed.caller.record.frames) * 0.02 > 1.5


def during_a_barge_in(doomed: Doomed) -> bool:
    return len(doomed.caller.record.clears) == 1


def while_draining(doomed: Doomed) -> bool:
    return doomed.state is State.DRAINING


def keep_host_calls_busy(doomed: Doomed) -> None:
    """The host is told of something ten times a second."""
    simulation, host_calls = doomed.simulation, doomed.actors["HostCalls"].actor_ref

    def press() -> None:
        if simulation.summary is None:
            host_calls.tell(DtmfPressed("5"))
            simulation.stepper.call_at(simulation.stepper.now() + 0.1, press)

    simulation.stepper.call_at(0.1, press)


def killing(name: str, error: type[BaseException], moment: Moment) -> Meddle:
    def meddle(doomed: Doomed) -> None:
        keep_host_calls_busy(doomed)
        doomed.kill(name, error(SECRET), lambda _: moment(doomed))

    return meddle


def start_up(name: str, error: type[BaseException]) -> Meddle:
    """It crashes as soon as it is introduced to the others."""

    def meddle(doomed: Doomed) -> None:
        actor = doomed.actors[name]
        next_deadline = actor.next_deadline

        def fail() -> object:
            doomed.crashes += 1
            actor.next_deadline = next_deadline
            raise error(SECRET)

        actor.next_deadline = fail

    return meddle


def is_event(message: object, event: str) -> bool:
    """It is that message of the carrier."""
    return isinstance(message, CarrierMessage) and json.loads(message.message)["event"] == event


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


MOMENTS = [at_the_first_message, while_the_ai_speaks, during_a_barge_in]
