"""CallEngine: the composition root. It admits calls, serves their sockets, drains, and stops."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from loguru import logger

from callengine.actors.call import Call, Setting, failed_call, start_call
from callengine.agent import Agent
from callengine.backstage import Backstage
from callengine.edges.async_carrier import AsyncCarrierSocket
from callengine.edges.carrier import CarrierSocket
from callengine.edges.flow import FLOW_MESSAGES, Flow
from callengine.edges.realtime import RealtimeSocket
from callengine.errors import EdgeClosed, EngineStopped
from callengine.hosts import ForkGuard
from callengine.logs import QuietLog, trace_of
from callengine.messages import EndCause
from callengine.metrics import GuardedMetrics, NoMetrics
from callengine.security.tickets import tickets_for
from callengine.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from loguru import Logger

    from callengine.agent import AgentChoice
    from callengine.edges.edge import AsyncEdge, Edge
    from callengine.metrics import Metrics
    from callengine.security.tickets import Tickets
    from callengine.store import Store
    from callengine.summary import CallSummary

END_TIMEOUT_S: Final = 5.0
"""The longest a call may take from the end of its socket to its summary."""

STOP_TIMEOUT_S: Final = 2.0
"""Calls end within milliseconds; one whose tool is still running takes 1 s to its summary."""

GOODBYE_S: Final = 30.0
"""The longest a call may take to end politely: to be heard out, transferred, and counted."""

DRAIN_STEP_S: Final = 0.25
"""How often a draining engine looks whether the calls it expects have come, or never will."""


class _Live:
    """A call in progress, or about to be."""

    def __init__(self, cut: Callable[[], None], tell_over: Callable[[], None]) -> None:
        self._cut = cut
        self._tell_over = tell_over
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
        self._tell_over()

    def end(self, cause: EndCause, detail: str = "") -> None:
        with self._lock:
            self._ending = cause, detail
            call = self._call
        if call is not None:
            call.end(cause, detail)

    def abandon(self) -> None:
        with suppress(BaseException):  # whatever a host's edge raises, the others are stopped too
            self._cut()
        with self._lock:
            call = self._call
        if call is not None:
            call.abandon()


class CallEngine:
    """Holds calls. Made without side effects; threads start with the first call.

    Use it as a context manager, or call `stop()`: that ends the calls in progress and waits for
    them; `drain()` lets them finish before. One engine serves any number of threads and loops.

    `agent` answers the calls for which `serve` names none: an `Agent`, or a function that is told
    of the call (`StreamStarted`) and returns one. Such a function may block: it runs on a thread of
    the call, and if it raises or takes longer than `AGENT_DEADLINE_S`, `fallback_agent` answers.

    `store` is where calls are written down and businesses looked up; without one, that of
    `Settings.database_url`. `metrics` are told of every call.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        agent: Agent | AgentChoice | None = None,
        fallback_agent: Agent | None = None,
        store: Store | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings or Settings.from_env()
        self.tickets = tickets_for(self.settings)
        self._own_store = store is None and self.settings.database_url is not None
        self._store = _store_of(self.settings) if self._own_store else store
        self._metrics = GuardedMetrics(metrics or NoMetrics(), QuietLog(logger))
        self._guard = ForkGuard()
        self._agent = agent or Agent()
        self._fallback_agent = fallback_agent or Agent()
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._calls: set[_Live] = set()
        self._backstage: Backstage | None = None
        self._draining = False
        self._stopped = False

    @property
    def active_calls(self) -> int:
        """Calls in progress."""
        return len(self._calls)

    @property
    def full(self) -> bool:
        """The next call would be refused for want of room, or because the engine was stopped."""
        return self._stopped or len(self._calls) >= self.settings.max_calls

    @property
    def draining(self) -> bool:
        """No new calls are wanted; those in progress go on."""
        return self._draining

    @property
    def ready(self) -> bool:
        """New calls are welcome."""
        return not self._draining and not self.full

    @property
    def slots_free(self) -> int:
        """Calls that would be admitted now."""
        return max(self.settings.max_calls - len(self._calls), 0) if self.ready else 0

    @property
    def mailbox_depth(self) -> int:
        """Mailboxes that wait for a worker: few, unless the process has too much to do."""
        return self._backstage.mailbox_depth if self._backstage is not None else 0

    @property
    def journal_waiting(self) -> int:
        """Records that are not in the database yet."""
        return self._backstage.journal_waiting if self._backstage is not None else 0

    def serve(
        self,
        edge: Edge,
        *,
        agent: Agent | AgentChoice | None = None,
        tickets: Tickets | None = None,
    ) -> CallSummary:
        """Hold one call over a socket that is already open; returns when the call is over.

        With `tickets` a stream whose start shows no valid one is closed with 1008.

        Raises EngineStopped when the engine was stopped or has no room, with the socket closed;
        UnsupportedHost or StartedBeforeFork in a process that cannot hold calls, saying what can.
        What goes wrong in the call itself is told in its summary.
        """
        live = _Live(lambda: edge.close(1001, "the engine is stopping"), lambda: None)
        try:
            setting, agent = self._admit(live, agent or self._agent, tickets)
        except Exception as refusal:
            with suppress(Exception):
                edge.close(*_close_for(refusal))
            raise
        with self._held(live):
            self._hold(live, edge, setting, agent)
        return _summary_of(live)

    async def aserve(
        self,
        edge: AsyncEdge,
        *,
        agent: Agent | AgentChoice | None = None,
        tickets: Tickets | None = None,
    ) -> CallSummary:
        """See `serve`: the same for a socket that lives on an event loop. Blocks no loop."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"

        live = _Live(_on_loop(loop, task.cancel), _on_loop(loop, over.set))
        try:
            setting, agent = self._admit(live, agent or self._agent, tickets)
        except Exception as refusal:
            with suppress(Exception):
                await edge.close(*_close_for(refusal))
            raise
        with self._held(live):
            await self._ahold(live, edge, setting, (agent, over))
        return _summary_of(live)

    # ---- one call

    @contextmanager
    def _held(self, live: _Live) -> Iterator[None]:
        try:
            yield
        finally:
            with self._left:
                self._calls.discard(live)
                self._left.notify_all()

    def _hold(self, live: _Live, edge: Edge, setting: Setting, agent: Agent | AgentChoice) -> None:
        log = setting.log.logger
        try:
            model = self._model(log)
            carrier = CarrierSocket(edge, lambda: live.end(EndCause.CARRIER_STALLED), log)
        except Exception as error:  # noqa: BLE001 - no thread to be had, for example
            QuietLog(log).error("call could not begin", **trace_of(error))
            with suppress(Exception):
                edge.close(1011, EndCause.CRASHED)
            told = f"no socket could be had: {type(error).__name__}"
            live.conclude(failed_call(setting, told))
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

    async def _ahold(
        self,
        live: _Live,
        edge: AsyncEdge,
        setting: Setting,
        answer: tuple[Agent | AgentChoice, asyncio.Event],
    ) -> None:
        agent, over = answer
        log = setting.log.logger
        model = self._model(log)
        carrier = AsyncCarrierSocket(edge, lambda: live.end(EndCause.CARRIER_STALLED), log)
        call = start_call(setting, self.settings, agent, (carrier, model), live.conclude)
        live.begin(call)
        writing = asyncio.create_task(carrier.write())
        reading = asyncio.create_task(self._aread(edge, call, log))
        ending = asyncio.create_task(over.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({ending}, timeout=END_TIMEOUT_S)
        except asyncio.CancelledError:
            call.end(EndCause.SHUTDOWN, "the task that served the call was cancelled")
            await asyncio.wait({ending}, timeout=STOP_TIMEOUT_S)
            raise
        finally:
            if not live.over.is_set():
                model.close()
            carrier.close(1011, "abandoned")  # for the supervisor has done it, if there is one
            reading.cancel()
            ending.cancel()
            await asyncio.wait({writing})

    def _model(self, log: Logger) -> RealtimeSocket:
        return RealtimeSocket(self.settings.model_address(), self.settings.openai_api_key, log)

    def _admit(
        self, live: _Live, agent: Agent | AgentChoice, tickets: Tickets | None
    ) -> tuple[Setting, Agent | AgentChoice]:
        self._guard.check()
        with self._lock:
            expected = tickets is not None and self._expects_calls()
            if not self.full and (expected or not self._draining):
                staged = self._begin().stage(agent, tickets)
                self._calls.add(live)
                return staged
        raise EngineStopped("the engine is stopped or draining, or holds max_calls calls already")

    def _expects_calls(self) -> bool:
        """Webhooks were answered whose sockets have not come yet."""
        return self.tickets.outstanding(time.time()) > 0

    def _begin(self) -> Backstage:
        if self._backstage is None:
            self._guard.started()
            self._backstage = Backstage(
                self.settings, self._fallback_agent, self._store, self._metrics
            )
            self._metrics.watch(self)
        return self._backstage

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

    @staticmethod
    async def _aread(edge: AsyncEdge, call: Call, log: Logger) -> None:
        loop, told = asyncio.get_running_loop(), 0
        try:
            while True:
                call.received(await edge.receive())
                told += 1
                if told % FLOW_MESSAGES == 0:
                    handled = asyncio.Event()
                    call.when_handled(_on_loop(loop, handled.set))
                    await handled.wait()
        except EdgeClosed as closed:
            call.carrier_closed(closed.code, closed.reason)
        except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
            QuietLog(log).warning("socket failed", **trace_of(error))
            call.carrier_closed(1006, type(error).__name__)

    # ---- the end of all calls

    def drain(self, deadline_s: float) -> None:
        """Take no new calls, let those in progress finish, and stop.

        Whoever still talks after `deadline_s` hears the farewell, and is transferred if the agent
        has a number for that. Returns when all is over, after `deadline_s` and `GOODBYE_S` at the
        latest. Calls whose webhook was answered before are still taken.
        """
        until = time.monotonic() + deadline_s
        with self._left:
            self._draining = True
            while (self._calls or self._expects_calls()) and time.monotonic() < until:
                self._left.wait(min(until - time.monotonic(), DRAIN_STEP_S))
            staying = list(self._calls)
        for live in staying:
            live.end(EndCause.DRAINED, "the engine is draining")
        with self._left:
            self._left.wait_for(lambda: not self._calls, GOODBYE_S)
        self.stop()

    async def adrain(self, deadline_s: float) -> None:
        """See `drain`; blocks no loop."""
        await asyncio.to_thread(self.drain, deadline_s)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End every call at once, wait for them, and give back the threads.

        A call that is not over after `timeout_s` is cut off, and leaves no summary.
        """
        until = time.monotonic() + timeout_s
        with self._lock:
            self._stopped = True
            calls = list(self._calls)
            backstage, self._backstage = self._backstage, None
        for live in calls:
            live.end(EndCause.SHUTDOWN, "the engine is stopping")
        for live in calls:
            if not live.over.wait(max(until - time.monotonic(), 0)):
                live.abandon()
        if backstage is not None:
            backstage.stop()
            self._guard.stopped()
        if self._own_store and self._store is not None:
            self._store.close()

    def __enter__(self) -> CallEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _store_of(settings: Settings) -> Store:
    from callengine.store import Store  # a host without a database need not load SQLAlchemy

    assert settings.database_url is not None, "only then is a store of our own wanted"
    return Store.from_url(settings.database_url)


def _close_for(refusal: Exception) -> tuple[int, str]:
    if isinstance(refusal, EngineStopped):
        return 1013, "no room for another call"
    return 1011, "this process cannot hold calls"


def _on_loop(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> Callable[[], None]:
    """`do`, for threads: it is done on the loop."""

    def hop() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(do)

    return hop


def _summary_of(live: _Live) -> CallSummary:
    if live.summary is None:
        raise EngineStopped("the call's actors were stopped before its summary was made")
    return live.summary
