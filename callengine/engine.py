"""CallEngine: the composition root. It admits calls, serves their sockets, drains, and stops."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from loguru import logger

from callengine.agent import Agent
from callengine.backstage import Backstage
from callengine.errors import EngineStopped
from callengine.gate import Gate
from callengine.holding.live import STOP_TIMEOUT_S, Live
from callengine.holding.on_thread import hold
from callengine.hosts import ForkGuard
from callengine.logs import QuietLog
from callengine.machines.strain import Ballast, Strain
from callengine.messages import EndCause
from callengine.metrics import GuardedMetrics, NoMetrics
from callengine.security.tickets import tickets_for
from callengine.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from callengine.actors.loop import Loop
    from callengine.agent import AgentChoice
    from callengine.backstage import Staged
    from callengine.edges.edge import AsyncEdge, Edge, LoopEdge
    from callengine.gate import SharedSlots
    from callengine.metrics import Metrics
    from callengine.security.tickets import Tickets
    from callengine.store import Store
    from callengine.summary import CallSummary

GOODBYE_S: Final = 30.0
"""The longest a call may take to end politely: to be heard out, transferred, and counted."""

DRAIN_STEP_S: Final = 0.25
"""How often a draining engine looks whether the calls it expects have come, or never will."""


class CallEngine:
    """Holds calls. Made without side effects; threads start with the first call.

    Use it as a context manager, or call `stop()`: that ends the calls in progress and waits for
    them; `drain()` lets them finish before. One engine serves any number of threads and loops.

    `agent` answers the calls for which `serve` names none: an `Agent`, or a function that is told
    of the call (`StreamStarted`) and returns one. Such a function may block: it runs on a thread of
    the call, and if it raises or takes longer than `AGENT_DEADLINE_S`, `fallback_agent` answers.

    `store` is where calls are written down and businesses looked up; without one, that of
    `Settings.database_url`. `metrics` are told of every call. `shared` are slots that several
    processes have in common; see `callengine.workers`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        agent: Agent | AgentChoice | None = None,
        fallback_agent: Agent | None = None,
        store: Store | None = None,
        metrics: Metrics | None = None,
        shared: SharedSlots | None = None,
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
        self._calls: set[Live] = set()
        self._backstage: Backstage | None = None
        self._strain = Strain()
        self._gate = Gate(self.settings.max_calls, self._strain, shared=shared)

    @property
    def active_calls(self) -> int:
        """Calls in progress."""
        return len(self._calls)

    @property
    def full(self) -> bool:
        """The next call would be refused for want of room, or because the engine was stopped."""
        return self._gate.stopped or self._gate.free == 0

    @property
    def draining(self) -> bool:
        """No new calls are wanted; those in progress go on."""
        return self._gate.draining

    @property
    def strained(self) -> bool:
        """It runs late: it takes no new calls, and leaves out diagnostics, then recordings."""
        return self._gate.strained

    @property
    def ready(self) -> bool:
        """New calls are welcome."""
        return not self.draining and not self.strained and not self.full

    @property
    def slots_free(self) -> int:
        """Calls that would be admitted now."""
        return self._gate.free if self.ready else 0

    @property
    def shed(self) -> dict[str, int]:
        """What was left out so far: `calls` that were turned away for want of room or time, and of
        those in progress `diagnostics` (events, lines of the log) and `recordings` (turns)."""
        kinds = {each.value: self._strain.shed[each] for each in Ballast}
        return {"calls": self._gate.turned_away, **kinds}

    @property
    def mailbox_depth(self) -> int:
        """Messages that wait for their actors: few, unless the process has too much to do."""
        return self._backstage.mailbox_depth if self._backstage is not None else 0

    @property
    def journal_waiting(self) -> int:
        """Records that are not in the database yet."""
        return self._backstage.journal_waiting if self._backstage is not None else 0

    def reserve(self, call_sid: str | None) -> bool:
        """Hold a slot for a call whose media socket is about to be sent here, by its webhook.

        It is taken by the socket that shows a ticket for the call, or free again after
        `LIFETIME_S`. Whoever asks twice has one. False: there is no room, or the engine is
        strained. None, for hosts without tickets, holds nothing and tells only that.

        Raises EngineStopped when the engine was stopped or drains.
        """
        return self._gate.reserve(call_sid)

    def admits(self, *, ticketed: bool) -> bool:
        """Whether a media socket would be let in now: always, if it may be one that is expected."""
        return self._gate.admits(ticketed=ticketed)

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
        live = Live(lambda: edge.close(1001, "the engine is stopping"), lambda: None)
        try:
            staged = self._admit(live, agent or self._agent, tickets)
        except Exception as refusal:
            with suppress(Exception):
                edge.close(*_close_for(refusal))
            raise
        with self._held(live):
            hold(live, edge, staged, self.settings)
        return _summary_of(live)

    async def aserve(
        self,
        edge: AsyncEdge,
        *,
        agent: Agent | AgentChoice | None = None,
        tickets: Tickets | None = None,
    ) -> CallSummary:
        """See `serve`: the same for a socket that lives on an event loop. Blocks no loop."""
        import asyncio  # a host without an event loop need not load it

        from callengine.holding import on_asyncio

        over = asyncio.Event()
        live = on_asyncio.live_on_this_loop(over)
        try:
            staged = self._admit(live, agent or self._agent, tickets)
        except Exception as refusal:
            with suppress(Exception):
                await edge.close(*_close_for(refusal))
            raise
        with self._held(live):
            await on_asyncio.hold(live, edge, staged, self.settings, over)
        return _summary_of(live)

    def begin(
        self,
        connect: Callable[[Loop, Callable[[], None]], LoopEdge],
        *,
        agent: Agent | AgentChoice | None = None,
        tickets: Tickets | None = None,
        on_over: Callable[[CallSummary], None],
    ) -> None:
        """See `serve`: the same for a socket that the engine's own loop serves; returns at once.

        `connect` makes the edge, given the loop and what to call if the carrier stops reading.
        `on_over` is told the summary, on a thread that may block; of a call that had to be
        abandoned it is told nothing. Leaves the closing of the socket to the caller if it raises.
        """
        edges: list[LoopEdge] = []

        def cut() -> None:
            edges[0].close(1001, "the engine is stopping")

        def over() -> None:
            self._leave(live)
            staged.host_threads.run(lambda: on_over(_summary_of(live)))

        live = Live(cut, over)
        staged = self._admit(live, agent or self._agent, tickets)
        try:
            edges.append(connect(staged.loop, lambda: live.end(EndCause.CARRIER_STALLED)))
            begun = staged.loop.call_soon(
                lambda: edges[0].open(live.start(staged, self.settings, edges[0]))
            )
            if not begun:
                raise EngineStopped("the engine was stopped meanwhile")  # noqa: TRY301
        except BaseException:
            self._leave(live)
            raise

    # ---- one call

    @contextmanager
    def _held(self, live: Live) -> Iterator[None]:
        try:
            yield
        finally:
            self._leave(live)

    def _leave(self, live: Live) -> None:
        if live.visit is not None:
            live.visit.leave()
        with self._left:
            self._calls.discard(live)
            self._left.notify_all()

    def _admit(self, live: Live, agent: Agent | AgentChoice, tickets: Tickets | None) -> Staged:
        self._guard.check()
        with self._lock:
            visit = self._gate.enter(tickets)
            try:
                staged = self._begin().stage(agent, visit if tickets is not None else None)
            except BaseException:
                visit.leave()
                raise
            live.visit = visit
            self._calls.add(live)
        return staged

    def _begin(self) -> Backstage:
        if self._backstage is None:
            self._guard.started()
            self._backstage = Backstage(
                self.settings,
                self._fallback_agent,
                self._store,
                self._metrics,
                strain=self._strain,
            )
            self._metrics.watch(self)
        return self._backstage

    # ---- the end of all calls

    def drain(self, deadline_s: float) -> None:
        """Take no new calls, let those in progress finish, and stop.

        Whoever still talks after `deadline_s` hears the farewell, and is transferred if the agent
        has a number for that. Returns when all is over, after `deadline_s` and `GOODBYE_S` at the
        latest. Calls whose webhook was answered before are still taken.
        """
        until = time.monotonic() + deadline_s
        with self._left:
            self._gate.drain()
            while (self._calls or self._gate.promised) and time.monotonic() < until:
                self._left.wait(min(until - time.monotonic(), DRAIN_STEP_S))
            staying = list(self._calls)
        for live in staying:
            live.end(EndCause.DRAINED, "the engine is draining")
        with self._left:
            self._left.wait_for(lambda: not self._calls, GOODBYE_S)
        self.stop()

    async def adrain(self, deadline_s: float) -> None:
        """See `drain`; blocks no loop."""
        import asyncio

        await asyncio.to_thread(self.drain, deadline_s)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End every call at once, wait for them, and give back the threads.

        A call that is not over after `timeout_s` is cut off, and leaves no summary.
        """
        until = time.monotonic() + timeout_s
        with self._lock:
            self._gate.stop()
            calls = list(self._calls)
            backstage, self._backstage = self._backstage, None
        for live in calls:
            live.end(EndCause.SHUTDOWN, "the engine is stopping")
        for live in calls:
            if not live.over.wait(max(until - time.monotonic(), 0)):
                live.abandon()
                self._leave(live)
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


def _summary_of(live: Live) -> CallSummary:
    if live.summary is None:
        raise EngineStopped("the call's actors were stopped before its summary was made")
    return live.summary
