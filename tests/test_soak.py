"""Many calls one after the other, and a long one: everything is given back, nothing grows."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pytest
from pykka import ActorRegistry

from callengine import EndCause
from callengine.machines import marks, onsets, playout, tools, transmission
from callengine.testing import (
    BargeIn,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    WaitUntil,
    WaitUntilQuiet,
    laws,
    speech,
)
from callengine.testing.crowd.soak import leaks, soak
from callengine.testing.held import hold, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.caller.script import Step
    from callengine.testing.held import Held

CALL_S: Final = 1801.0
QUESTION = speech.clip("caller_question_1")[:9_600]
SHOUT = speech.clip("caller_barge_in_2")[:8_000]


@pytest.mark.realtime
@pytest.mark.timeout(90)
def test_a_hundred_calls_leave_nothing_behind() -> None:
    """Real sockets; the engine in its own process. benchmarks/soak.py does it with thousands."""
    soaked = soak(100, at_once=8, warm_up=30, wait=False)
    assert list(leaks(soaked, rss_bytes=500_000, blocks=10.0)) == []
    assert soaked.causes.total() == 100
    assert soaked.causes[EndCause.CALLER_HUNG_UP] >= 50, "most, on a machine that is busy too"
    assert len(soaked.causes) >= 4, "calls also ended in other ways"


# ---- a call of half an hour, on the virtual clock


class Minutes:
    """Looks at a call once a minute: what its actors hold, and what waits for its time."""

    def __init__(self, simulation: Simulation) -> None:
        self.alarms: list[int] = []
        self.tables: list[dict[str, int]] = []
        self._simulation = simulation
        simulation.stepper.call_at(60.0, self._look)

    def _look(self) -> None:
        stepper = self._simulation.stepper
        if self._simulation.summary is not None:
            return
        self.alarms.append(stepper.alarms)
        held = [each for ref in ActorRegistry.get_all() for each in tables(ref._actor_weakref())]
        self.tables.append(dict(held))
        stepper.call_at(stepper.now() + 60.0, self._look)


def tables(owner: Any, path: str = "") -> Iterator[tuple[str, int]]:  # noqa: ANN401
    """Every collection that belongs to an actor or its machines, and how much is in it."""
    if path and not type(owner).__module__.startswith("callengine.machines"):
        return
    path = path or type(owner).__name__
    for name, value in attributes(owner):
        below = f"{path}.{name.lstrip('_')}"
        if isinstance(value, list | dict | set | deque | bytearray):
            yield below, len(value)
            inside = value.values() if isinstance(value, dict) else value
            yield from (each for one in islice(inside, 1) for each in tables(one, below))
        else:
            yield from tables(value, below)


def attributes(owner: object) -> Iterator[tuple[str, object]]:
    yield from getattr(owner, "__dict__", {}).items()
    for each in type(owner).__mro__:
        for name in getattr(each, "__slots__", ()):
            if hasattr(owner, name):
                yield name, getattr(owner, name)


BOUNDS: Final = {
    "RealtimeBridge.conversation.slot.cancelled": 500,
    "RealtimeBridge.conversation.tools.known": tools.MAX_REMEMBERED,
    "TxPacer.transmission.onsets.ledger": onsets.MAX_LEDGER,
    "TxPacer.transmission.late_at": transmission.MAX_LATE_TIMES,
    "TxPacer.transmission.playout.marks.under_way": marks.MAX_MARKS,
    "TxPacer.transmission.playout.tracks.queued": playout.MAX_QUEUED_BYTES,
    "TxPacer.transmission.playout.sent.track.queued": playout.MAX_QUEUED_BYTES,
    "TxPacer.transmission.playout.limbo.queued": playout.MAX_QUEUED_BYTES,
}
MOST: Final = 64
"""Of anything else; many bounds are smaller."""


@pytest.fixture(scope="module")
def half_an_hour() -> tuple[Held, Minutes]:
    """Question and answer for 30 minutes, with a barge-in in every third answer."""
    turn = (Say(QUESTION), WaitUntilQuiet(0.7, 30.0))
    barged = (Say(QUESTION), BargeIn(SHOUT, 1.0), WaitUntilQuiet(0.7, 30.0))
    turns: list[Step] = [step for _ in range(72) for part in (turn, turn, barged) for step in part]
    caller = SimulatedCaller([WaitUntilQuiet(0.5, 20.0), *turns, WaitUntil(CALL_S)], seed=1)
    model = SimulatedRealtime(lambda asked: reply(4.0, asked.number), seed=2)
    simulation = Simulation(caller, model)
    minutes = Minutes(simulation)
    return hold(simulation), minutes


@pytest.mark.edge_case(85)
@pytest.mark.timeout(300)
def test_half_an_hour_keeps_every_law(half_an_hour: tuple[Held, Minutes]) -> None:
    held, _ = half_an_hour
    for law in laws.ALWAYS:
        law(held)
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert held.summary.duration_s >= CALL_S
    assert held.caller.inbound_frames_sent >= 90_000, "so the sequence numbers are beyond that"
    assert held.summary.inbound.reordered == held.summary.inbound.clock_restarts == 0
    assert len(held.caller.clears) >= 50
    assert held.caller.missed == []


@pytest.mark.edge_case(85)
@pytest.mark.timeout(300)
def test_half_an_hour_grows_nothing(half_an_hour: tuple[Held, Minutes]) -> None:
    _, minutes = half_an_hour
    assert len(minutes.tables) >= CALL_S // 60 - 1
    for number, held in enumerate(minutes.tables, 1):
        beyond = {name: size for name, size in held.items() if size > BOUNDS.get(name, MOST)}
        assert not beyond, f"in minute {number}"
    assert max(minutes.alarms) <= max(minutes.alarms[:3]) + 5
