"""How actors get a thread. Three ways, one kind of actor, which cannot tell them apart.

`Pool` runs every mailbox on a few shared workers, a batch of messages at a time: for actors that
never wait. `OwnThreads` gives each actor a thread: for actors that may block. For tests `Stepper`
(`stepper.py`) runs one message at a time on the caller's thread, under a clock that only moves when
told.

All three plug into pykka where it provides for new actor types, and run pykka's own actor loop:
the mailbox ends a turn of that loop by raising out of `get`. So `tell`, `ask`, `stop`, the registry
and the life cycle are pykka's, unchanged.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import pykka
from pykka.messages import _ActorStop

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykka._envelope import Envelope

BATCH_MESSAGES: Final = 64
"""Messages one mailbox may handle before another gets its turn."""


MAX_WAITING: Final = 1000
"""Messages that wait for an actor which blocks. Beyond, the newest is dropped and counted."""


class Mailbox:
    """An inbox that hands out a limited number of messages per turn, and never blocks.

    It is not bounded: its senders are. Readers of sockets wait for the actor every few messages,
    and actors only answer what they are sent.
    """

    class TurnOver(Exception):  # noqa: N818 - it ends a turn, nothing is wrong
        """Nothing more is handed out in this turn."""

    def __init__(self, wake: Callable[[Mailbox], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._envelopes: deque[Envelope[Any]] = deque()
        self._scheduled = False
        self._closed = False
        self._allowance = 0
        self.actor: DispatchedActor | None = None

    def put(self, envelope: Envelope[Any]) -> None:
        """Leave a message; wakes the actor if it sleeps. After the actor's death it is refused."""
        with self._lock:
            if self._closed:
                _refuse(envelope)
                return
            self._envelopes.append(envelope)
            wake = not self._scheduled
            self._scheduled = True
        if wake:
            self._wake(self)

    def get(self) -> Envelope[Any]:
        """The next message of this turn."""
        if self._allowance == 0 or not self._envelopes:
            raise Mailbox.TurnOver
        self._allowance -= 1
        return self._envelopes.popleft()

    def empty(self) -> bool:
        """Nothing is waiting."""
        return not self._envelopes

    def qsize(self) -> int:
        """Messages waiting."""
        return len(self._envelopes)

    def run_turn(self, batch: int) -> bool:
        """Run pykka's loop over at most `batch` messages; True if it has to run again."""
        assert self.actor is not None, "a mailbox is woken for its actor"
        self._allowance = batch
        alive = self.actor.run_turn()
        with self._lock:
            self._closed = not alive
            self._scheduled = alive and bool(self._envelopes)
            if self._closed:
                while self._envelopes:
                    _refuse(self._envelopes.popleft())
            return self._scheduled


def _refuse(envelope: Envelope[Any]) -> None:
    """As pykka does it: a stop that came too late has what it wanted, anything else has not."""
    if envelope.reply_to is None:
        return
    if isinstance(envelope.message, _ActorStop):
        envelope.reply_to.set(None)
        return
    error = pykka.ActorDeadError("stopped before handling the message")
    envelope.reply_to.set_exception((pykka.ActorDeadError, error, None))


class Reply(pykka.ThreadingFuture[Any]):
    """A reply that can be waited for; on the stepper, waiting is stepping."""

    drive: Callable[[], bool] | None = None

    def get(self, *, timeout: float | None = None) -> Any:  # noqa: ANN401 - pykka's signature
        """Wait for the reply."""
        while self.drive is not None and self._result is None:
            if not self.drive():
                timeout = 0.0
                break
        return super().get(timeout=timeout)


class Dispatcher(Protocol):
    """A clock, and threads for actors."""

    def now(self) -> float:
        """Monotonic seconds."""

    def tell_at(self, when: float, ref: pykka.ActorRef[Any], message: object) -> None:
        """Tell an actor something when the time has come; if it is dead by then, nothing."""

    def mailbox(self) -> Mailbox | queue.Queue[Envelope[Any]]:
        """A new inbox for an actor of this dispatcher."""

    def start(self, actor: DispatchedActor) -> None:
        """Begin to run an actor."""


class DispatchedActor(pykka.Actor):
    """An actor that runs wherever its dispatcher runs it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        super().__init__()

    def _create_actor_inbox(self) -> Any:  # type: ignore[override]  # noqa: ANN401
        return self.dispatcher.mailbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return Reply()

    def _start_actor_loop(self) -> None:
        if isinstance(self.actor_inbox, Mailbox):
            self.actor_inbox.actor = self
        try:
            self.dispatcher.start(self)
        except BaseException:
            pykka.ActorRegistry.unregister(self.actor_ref)
            self.actor_stopped.set()
            raise

    def run_turn(self) -> bool:
        """Run pykka's loop until the mailbox ends the turn; False once the actor has stopped."""
        try:
            self._actor_loop_running()
        except Mailbox.TurnOver:
            return True
        return False


class Timers:
    """One thread that tells actors when their time has come. It keeps no dead actor alive."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, weakref.ref[pykka.ActorRef[Any]], object]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="callengine-timers", daemon=True)
        self._thread.start()

    def tell_at(self, when: float, ref: pykka.ActorRef[Any], message: object) -> None:
        """See `Dispatcher.tell_at`."""
        with self._changed:
            heapq.heappush(self._due, (when, next(self._order), weakref.ref(ref), message))
            if self._due[0][0] == when:
                self._changed.notify()

    def stop(self) -> None:
        """Forget everything and end the thread."""
        with self._changed:
            self._stopped = True
            self._due.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (wait_s := self._wait_s()) != 0:
                    self._changed.wait(wait_s)
                if self._stopped:
                    return
                _, _, ref, message = heapq.heappop(self._due)
            actor = ref()
            if actor is not None:
                tell(actor, message)

    def _wait_s(self) -> float | None:
        return max(self._due[0][0] - time.monotonic(), 0) if self._due else None


class _WallClock:
    """What the dispatchers for real time share."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def tell_at(self, when: float, ref: pykka.ActorRef[Any], message: object) -> None:
        """See `Dispatcher.tell_at`."""
        self._timers.tell_at(when, ref, message)


class Pool(_WallClock):
    """A few workers for all mailboxes. Nothing that runs here may wait for anything."""

    def __init__(self, timers: Timers, *, workers: int) -> None:
        super().__init__(timers)
        self._ready: queue.SimpleQueue[Mailbox | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"callengine-worker-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def mailbox(self) -> Mailbox:
        """See `Dispatcher.mailbox`."""
        return Mailbox(self._ready.put)

    def start(self, actor: DispatchedActor) -> None:
        """An actor of the pool runs when it has a message."""

    @property
    def waiting(self) -> int:
        """Mailboxes that wait for a worker: a few at most, unless there is too much to do."""
        return self._ready.qsize()

    def stop(self) -> None:
        """End the workers once they have run dry."""
        self._ready.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            mailbox = self._ready.get()
            if mailbox is not None:
                if mailbox.run_turn(BATCH_MESSAGES):
                    self._ready.put(mailbox)
            else:
                dry = self._ready.empty()
                self._ready.put(None)  # behind what is waiting, and for the next worker
                if dry:
                    return


class BoundedInbox(queue.Queue["Envelope[Any]"]):
    """For an actor that may block: those who tell it something never wait, and at the bound what
    they tell is dropped and counted, unless somebody waits for the answer."""

    def __init__(self, max_waiting: int) -> None:
        super().__init__()
        self.dropped = 0
        self._max_waiting = max_waiting

    def put(self, item: Envelope[Any], block: bool = True, timeout: float | None = None) -> None:
        """Leave a message."""
        if self.qsize() >= self._max_waiting and item.reply_to is None:
            with self.mutex:
                self.dropped += 1
            return
        super().put(item, block, timeout)


class OwnThreads(_WallClock):
    """A thread for each actor, which may block in it."""

    _count = itertools.count()

    def __init__(self, timers: Timers, *, max_waiting: int = MAX_WAITING) -> None:
        super().__init__(timers)
        self._max_waiting = max_waiting
        self._threads: set[threading.Thread] = set()

    def mailbox(self) -> queue.Queue[Envelope[Any]]:
        """See `Dispatcher.mailbox`."""
        return BoundedInbox(self._max_waiting)

    def start(self, actor: DispatchedActor) -> None:
        """See `Dispatcher.start`."""
        name = f"callengine-{type(actor).__name__}-{next(self._count)}"
        thread = threading.Thread(target=self._run, args=(actor,), name=name, daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            raise

    def stop(self, timeout_s: float) -> None:
        """Wait for the actors that were stopped; one that is blocked for longer is left alone."""
        until = time.monotonic() + timeout_s
        for thread in self._threads.copy():
            thread.join(max(until - time.monotonic(), 0))

    def _run(self, actor: DispatchedActor) -> None:
        actor._actor_loop()  # noqa: SLF001 - what pykka's own actor types run in their threads
        self._threads.discard(threading.current_thread())


def tell(ref: pykka.ActorRef[Any], message: object) -> None:
    """Tell an actor something; if it is dead, nobody is there to be told."""
    with contextlib.suppress(pykka.ActorDeadError):
        ref.tell(message)
