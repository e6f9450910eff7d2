"""One point of the bench: an engine, its first call to get warm, then the load."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from callengine.settings import Settings
from callengine.testing.bench import machine
from callengine.testing.bench.engine_process import EngineProcess
from callengine.testing.bench.figures import point
from callengine.testing.bench.load import Load, Plan
from callengine.testing.bench.measured import Measured

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from callengine.testing.bench.figures import Point
    from callengine.testing.bench.machine import Cores

FIRST_CALL_S: Final = 0.5
"""The first call of a process loads what all later ones find: it counts for none of them."""

FIRST_CALL: Final = 1_000_000
BACKLOG: Final = 1024


def hold(
    plan: Plan,
    settings: Settings,
    cores: Cores,
    *,
    beside: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> Point:
    """Hold the calls of a plan on an engine with these settings, but for the model's address.

    What is done `beside` the load, on its cores, is told where the engine takes calls.
    """
    first = Plan(1, FIRST_CALL_S, plan.seed, first=FIRST_CALL, silent=True)
    load_average = machine.load_average()
    with (
        socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening,
        EngineProcess(_with_model(settings, listening), cores.engine) as engine,
        machine.running_on(cores.load),
    ):
        Load(first, listening, engine).run()
        engine.outcome(1)
        before, sockets = engine.sample(), engine.sockets()
        with beside(engine.media_url):
            loaded = Load(plan, listening, engine).run()
        outcome = engine.outcome(plan.calls + 1)
        sockets_left = engine.sockets_beyond(sockets)
    return point(Measured(plan, loaded, outcome, before, sockets_left, load_average))


def room_for(calls: int) -> Settings:
    """As in production, but that all callers have one address."""
    return Settings(max_calls=calls + 1, max_sockets_per_address=max(50, calls))


def _with_model(settings: Settings, listening: socket.socket) -> Settings:
    return replace(settings, realtime_url=f"ws://127.0.0.1:{listening.getsockname()[1]}")
