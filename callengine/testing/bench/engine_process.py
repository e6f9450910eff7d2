"""The engine under test: a `StandaloneServer` in a process of its own, on a core of its own.

Only the public API is used. What it costs is measured from outside; it is asked for its summaries
and what it still holds when all is over, so that nothing but calls happens in it meanwhile.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from callengine.agent import Agent
from callengine.collector import pass_seldom
from callengine.edges.standalone import StandaloneServer
from callengine.engine import CallEngine
from callengine.errors import EngineStopped
from callengine.testing.bench import machine

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType

    from callengine.messages import StreamStarted
    from callengine.settings import Settings
    from callengine.summary import CallSummary
    from callengine.testing.bench.machine import Sample

START_S: Final = 30.0
STOP_S: Final = 15.0
ALL_OVER_S: Final = 15.0
"""The summary of a call comes within a second or two of its end."""

AGENT: Final = Agent(greeting=None, fallback=b"", farewell=b"")
CLOSED_S: Final = 3.0
"""Whoever does not answer a close is cut off by then."""

CALL_NAME: Final = "bench call {}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an engine has to tell when its calls are over: summaries, and what it still holds."""

    summaries: tuple[CallSummary, ...]
    active_calls: int
    actors: int


class EngineProcess:
    """A context manager. `media_url` is where it takes calls; `core` None leaves it where it is."""

    def __init__(self, settings: Settings, core: int | None) -> None:
        self._core = core
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(self._theirs, settings, core), daemon=True
        )
        self.media_url = ""

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self.media_url = self._answer(START_S)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # it has died
            self._pipe.send(None)
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._process.close()

    def sample(self) -> Sample:
        """What it has cost and holds by now, seen from outside."""
        return machine.sample(self._pid, self._core)

    def sockets(self) -> int:
        """How many it has open, seen from outside."""
        return machine.sockets(self._pid)

    def sockets_beyond(self, before: int) -> int:
        """How many more than `before` it has open when its calls are over, and their sockets have
        had the time to close."""
        until = time.monotonic() + CLOSED_S
        while self.sockets() > before and time.monotonic() < until:
            time.sleep(0.05)
        return self.sockets() - before

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None, "an engine is a context manager: enter it first"
        return self._process.pid

    def outcome(self, calls: int) -> Outcome:
        """Wait for the summaries of so many calls in all, and ask for what is left then."""
        self._pipe.send(calls)
        outcome: Outcome = self._answer(ALL_OVER_S + START_S)
        return outcome

    def _answer(self, timeout_s: float) -> Any:  # noqa: ANN401 - what the pipe brings
        with suppress(EOFError, OSError):
            if self._pipe.poll(timeout_s):
                return self._pipe.recv()
        raise EngineStopped("the engine of the bench has died, or does not answer")


def _answered_by(started: StreamStarted) -> Agent:
    """The instructions tell the simulated model whose session it is."""
    number = started.custom_parameters.get("call", "")
    return replace(AGENT, instructions=CALL_NAME.format(number))


def _serve(pipe: Connection, settings: Settings, core: int | None) -> None:
    """The other process. An interrupt is for the one that started it, which then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if core is not None:
        os.sched_setaffinity(0, {core})
    summaries: list[CallSummary] = []
    came = threading.Event()

    def over(summary: CallSummary) -> None:
        summaries.append(summary)
        came.set()

    engine = CallEngine(settings, agent=_answered_by)
    pass_seldom()  # as `serve` does
    # The pipe ends with the process that started this one.
    with suppress(EOFError, OSError), StandaloneServer(engine, on_call=over) as server:
        pipe.send(server.media_url)
        while (calls := pipe.recv()) is not None:
            until = time.monotonic() + ALL_OVER_S
            while (len(summaries) < calls or engine.active_calls) and time.monotonic() < until:
                came.wait(0.1)
                came.clear()
            pipe.send(Outcome(tuple(summaries), engine.active_calls, _actors()))


def _actors() -> int:
    """Those that pykka knows of, if the engine uses it."""
    pykka = sys.modules.get("pykka")
    return len(pykka.ActorRegistry.get_all()) if pykka is not None else 0
