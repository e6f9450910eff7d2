"""CallEngine: the composition root. It admits calls, serves their sockets, and stops."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from callengine.actors.call import Call, Setting, failed_call, start_call
from callengine.actors.dispatch import OwnThreads, Pool, Timers
from callengine.agent import Agent
from callengine.edges.carrier import CarrierSocket
from callengine.edges.flow import Flow
from callengine.edges.realtime import RealtimeSocket
from callengine.errors import EdgeClosed, EngineStopped
from callengine.logs import CallLog, QuietLog, trace_of
from callengine.messages import EndCause
from callengine.settings import Settings

if TYPE_CHECKING:
    from types import TracebackType

    from loguru import Logger

    from callengine.edges.edge import Edge
    from callengine.summary import CallSummary

END_TIMEOUT_S: Final = 5.0
"""The longest a call may take from the end of its socket to its summary."""

STOP_TIMEOUT_S: Final = 2.0
"""Calls end within milliseconds; one whose tool is still running takes 1 s to its summary."""

HOST_CODE_TIMEOUT_S: Final = 0.5
"""The host's code is waited for this long when the engine stops; then its thread is left alone."""


class _Live:
    """A call in progress, or about to be."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.summary: CallSummary | None = None
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._call: Call | None = None
        self._ending: tuple[EndCause, str] | None = None

    def begin(self, call: Call) -> None:
        with self._lock:
            self._call = call
        if self._ending is not None:
            call.end(*self._ending)

    def conclude(self, summary: CallSummary) -> None:
        self.summary = summary
        self.over.set()

    def end(self, cause: EndCause, detail: str = "") -> None:
        with self._lock:
            self._ending = cause, detail
            call = self._call
        if call is not None:
            call.end(cause, detail)

    def abandon(self) -> None:
        with suppress(BaseException):  # whatever a host's edge raises, the others are stopped too
            self._edge.close(1001, "the engine is stopping")
        with self._lock:
            call = self._call
        if call is not None:
            call.abandon()


class CallEngine:
    """Holds calls. Made without side effects; threads start with the first call.

    Use it as a context manager, or call `stop()`: that ends the calls in progress and waits for
    them. One engine serves any number of threads.
    """

    def __init__(self, settings: Settings | None = None, *, agent: Agent | None = None) -> None:
        self.settings = settings or Settings.from_env()
        self._agent = agent or Agent()
        self._lock = threading.Lock()
        self._calls: set[_Live] = set()
        self._running: tuple[Timers, Pool, OwnThreads] | None = None
        self._stopped = False

    @property
    def active_calls(self) -> int:
        """Calls in progress."""
        return len(self._calls)

    @property
    def full(self) -> bool:
        """The next call would be refused."""
        return self._stopped or len(self._calls) >= self.settings.max_calls

    def serve(self, edge: Edge, *, agent: Agent | None = None) -> CallSummary:
        """Hold one call over a socket that is already open; returns when the call is over.

        Raises EngineStopped when the engine was stopped or has no room, with the socket closed.
        What goes wrong in the call itself is told in its summary.
        """
        live, setting = self._admit(edge)
        try:
            self._hold(live, edge, setting, agent or self._agent)
        finally:
            with self._lock:
                self._calls.discard(live)
        if live.summary is None:
            raise EngineStopped("the call's actors were stopped before its summary was made")
        return live.summary

    def _hold(self, live: _Live, edge: Edge, setting: Setting, agent: Agent) -> None:
        log = setting.log.logger
        try:
            model = RealtimeSocket(self.settings.model_address(), self.settings.openai_api_key, log)
            carrier = CarrierSocket(edge, lambda: live.end(EndCause.CARRIER_STALLED), log)
        except Exception as error:  # noqa: BLE001 - no thread to be had, for example
            QuietLog(log).error("call could not begin", **trace_of(error))
            with suppress(Exception):
                edge.close(1011, EndCause.CRASHED)
            told = f"no socket could be had: {type(error).__name__}"
            live.conclude(failed_call(setting.media.now(), told))
            return
        call = start_call(setting, self.settings, agent, (carrier, model), live.conclude)
        live.begin(call)
        try:
            self._read(edge, call, log)
        finally:
            if not live.over.wait(END_TIMEOUT_S):
                carrier.close(1011, "abandoned")  # there is no supervisor left to do it
                model.close()
            carrier.join(END_TIMEOUT_S)
            model.join(END_TIMEOUT_S)

    def _admit(self, edge: Edge) -> tuple[_Live, Setting]:
        with self._lock:
            if not self.full:
                live, setting = _Live(edge), self._setting()
                self._calls.add(live)
                return live, setting
        with suppress(Exception):
            edge.close(1013, "no room for another call")
        raise EngineStopped("the engine is stopped, or holds max_calls calls already")

    def _setting(self) -> Setting:
        if self._running is None:
            timers = Timers()
            pool = Pool(timers, workers=self.settings.workers)
            self._running = timers, pool, OwnThreads(timers)
        _, pool, own_threads = self._running
        return Setting(media=pool, blocking=own_threads, log=CallLog())

    @staticmethod
    def _read(edge: Edge, call: Call, log: Logger) -> None:
        flow = Flow(call.flow)
        try:
            while True:
                call.received(edge.receive())
                flow.told()
        except EdgeClosed as closed:
            call.carrier_closed(closed.code, closed.reason)
        except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
            QuietLog(log).warning("socket failed", **trace_of(error))
            call.carrier_closed(1006, type(error).__name__)
        except BaseException:
            call.end(EndCause.SHUTDOWN, "the thread that served the call was interrupted")
            raise

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End every call politely, wait for them, and give back the threads.

        A call that is not over after `timeout_s` is cut off, and leaves no summary.
        """
        until = time.monotonic() + timeout_s
        with self._lock:
            self._stopped = True
            calls = list(self._calls)
            running, self._running = self._running, None
        for live in calls:
            live.end(EndCause.SHUTDOWN, "the engine is stopping")
        for live in calls:
            if not live.over.wait(max(until - time.monotonic(), 0)):
                live.abandon()
        if running is not None:
            timers, pool, own_threads = running
            timers.stop()
            pool.stop()
            own_threads.stop(HOST_CODE_TIMEOUT_S)

    def __enter__(self) -> CallEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
