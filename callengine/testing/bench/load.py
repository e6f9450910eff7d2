"""So many calls on one thread: they come in one after the other, talk, are measured for a while,
and hang up together.
"""

from __future__ import annotations

import functools
import gc
import math
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from callengine.testing.bench import script
from callengine.testing.bench.call import CarrierEnd, ModelEnd
from callengine.testing.bench.caller import Caller
from callengine.testing.bench.engine_process import CALL_NAME
from callengine.testing.bench.loop import Loop

if TYPE_CHECKING:
    from collections import Counter

    from callengine.testing.bench.engine_process import EngineProcess
    from callengine.testing.bench.machine import Sample

ENTERING_PER_S: Final = 30.0
SETTLING_S: Final = 5.0
"""At most, from the last that comes in to the measured window; no longer than that takes."""

FIRST_WORDS_BY: Final = 0.8
"""Of the settling: everybody has begun to speak by then."""

HANGING_UP_S: Final = 10.0
"""A call that is not over by then stays open, and is counted."""

HUSH_S: Final = 1.0
"""The models say nothing more before the callers hang up, and these begin no sentence: what is
still under way at a hang-up nobody could account for."""

SAMPLE_EVERY_S: Final = 1.0
_SHORTEST_TURN_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Calls `first`, `first + 1` ...; a silent one never speaks."""

    calls: int
    seconds: float
    seed: int
    first: int = 0
    silent: bool = False

    @property
    def entry_s(self) -> float:
        """How long they take to come in."""
        return self.calls / ENTERING_PER_S

    @property
    def settling_s(self) -> float:
        """From then to the measured window."""
        return 0.0 if self.silent else min(SETTLING_S, self.seconds)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the load did and saw.

    `samples` are of the engine's process, and `busy` is the load's own share of its core, in the
    window. `lateness_ms` counts the slots of all callers by how many whole ms late they came, from
    beginning to end.
    """

    carriers: tuple[CarrierEnd, ...]
    models: tuple[ModelEnd, ...]
    samples: tuple[Sample, ...]
    lateness_ms: Counter[int]
    busy: float
    left_open: int

    @property
    def window_s(self) -> float:
        """How long was measured."""
        return self.samples[-1].at - self.samples[0].at


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan, listening: socket.socket, engine: EngineProcess) -> None:
        self._plan = plan
        self._engine = engine
        url = urlsplit(engine.media_url)
        self._address = (url.hostname or "127.0.0.1", url.port or 80)
        self._path = url.path
        self._loop = Loop()
        self._loop.accept(listening, self._accepted)
        self._carriers: dict[str, CarrierEnd] = {}
        self._models: list[ModelEnd] = []
        self._samples: list[Sample] = []
        self._cpu_s: list[float] = []

    def run(self) -> Loaded:
        """Hold the calls; returns when all are over, or have had the time to be."""
        plan, loop = self._plan, self._loop
        self._prepare()
        now = time.monotonic()
        loop.tick_for(plan.calls, now)
        for place in range(plan.calls):
            entry_at = now + plan.entry_s * place / plan.calls
            loop.at(entry_at, functools.partial(self._dial, place))
        begins_at = now + plan.entry_s + plan.settling_s
        loop.at(begins_at, lambda at: self._measure(at, at + plan.seconds))
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            loop.run()
        finally:
            gc.enable()
            gc.unfreeze()
            left_open = sum(not each.over for each in self._ends)
            loop.close()
        return self._loaded(left_open)

    @property
    def _ends(self) -> list[CarrierEnd | ModelEnd]:
        return [*self._carriers.values(), *self._models]

    def _prepare(self) -> None:
        """What all calls share is made before the first of them."""
        lasts_s = self._plan.entry_s + self._plan.settling_s + self._plan.seconds
        if not self._plan.silent:
            for number in range(1, math.ceil(lasts_s / _SHORTEST_TURN_S) + 2):
                script.steps(number)

    # ---- the calls

    def _dial(self, place: int, now: float) -> None:
        """One more call comes in."""
        del now
        plan = self._plan
        number = plan.first + place
        first_words_s = None if plan.silent else FIRST_WORDS_BY * plan.settling_s
        plug = socket.socket()
        plug.setblocking(False)
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plug.connect_ex(self._address)
        caller = Caller(number, plan.seed, first_words_s)
        carrier = CarrierEnd(caller, place, plug, self._loop)
        self._carriers[CALL_NAME.format(number)] = carrier
        host, port = self._address
        carrier.dial(self._path, f"{host}:{port}")

    def _accepted(self, plug: socket.socket) -> None:
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._models.append(ModelEnd(plug, self._loop, self._carriers.get))

    # ---- the window

    def _measure(self, now: float, until: float) -> None:
        self._cpu_s.append(time.process_time())
        self._sample(now, until)

    def _sample(self, now: float, until: float) -> None:
        self._samples.append(self._engine.sample())
        if now >= until:
            self._wind_up(now)
            return
        self._loop.at(min(now + SAMPLE_EVERY_S, until), lambda at: self._sample(at, until))

    def _wind_up(self, now: float) -> None:
        self._cpu_s.append(time.process_time())
        for model_end in self._models:
            model_end.model.hush()
        for carrier in self._carriers.values():
            carrier.caller.hush()
        self._loop.at(now + (0.0 if self._plan.silent else HUSH_S), self._hang_up)

    def _hang_up(self, now: float) -> None:
        for carrier in self._carriers.values():
            carrier.hang_up()
        self._until_over(now + HANGING_UP_S, now)

    def _until_over(self, until: float, now: float) -> None:
        if now >= until or all(each.over for each in self._ends):
            self._loop.stop()
            return
        self._loop.at(now + 0.05, lambda at: self._until_over(until, at))

    def _loaded(self, left_open: int) -> Loaded:
        first, last = self._samples[0], self._samples[-1]
        return Loaded(
            tuple(self._carriers.values()),
            tuple(self._models),
            tuple(self._samples),
            self._loop.lateness_ms,
            (self._cpu_s[-1] - self._cpu_s[0]) / (last.at - first.at),
            left_open,
        )
