"""Threads for what may block: the host's code, the database, the making of a connection.

They come when something has to run and nobody is free, up to a bound, and go when nothing has come
for a while. So their number follows what blocks at the moment, not the number of calls.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from callengine.actors.dispatch import BoundedMailbox

if TYPE_CHECKING:
    from collections.abc import Callable

    import pykka

    from callengine.actors.dispatch import DispatchedActor, QueueMailbox

IDLE_S: Final = 5.0
"""A thread that was not needed for so long ends."""

MAX_WAITING: Final = 1000
"""Messages that wait for an actor which blocks. Beyond, the newest is dropped and counted."""


class Threads:
    """Runs jobs, at most `max_threads` at a time; others wait in order, and are not bounded here.

    A job that raises ends its thread with a traceback, like any thread's.
    """

    def __init__(self, name: str, max_threads: int) -> None:
        self._name = name
        self._max_threads = max_threads
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], object]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._stopped = False

    def run(self, job: Callable[[], object]) -> None:
        """Have `job` done on a thread. If none can be had now, it waits for the next that can."""
        with self._changed:
            self._jobs.append(job)
            if len(self._jobs) <= self._idle:
                self._changed.notify()
            elif len(self._threads) < self._max_threads:
                self._start_thread()

    def stop(self, timeout_s: float) -> None:
        """Let what waits be done, and wait for it; a job that takes longer is left alone."""
        until = time.monotonic() + timeout_s
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more
            self._threads.discard(thread)

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                job()
        except BaseException:
            with self._changed:
                self._threads.discard(threading.current_thread())
                if self._jobs:  # that wait for this thread, maybe
                    self._start_thread()
            raise

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._stopped, IDLE_S)
            self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._threads.discard(threading.current_thread())  # who comes now starts another
            return None


class Clock(Protocol):
    """What tells the time to actors that block."""

    def now(self) -> float:
        """Monotonic seconds."""

    def tell_at(self, when: float, ref: pykka.ActorRef[Any], message: object) -> None:
        """See `Dispatcher.tell_at`."""


class BlockingActors:
    """A dispatcher for actors that may block: a message at a time, on one of `threads`."""

    def __init__(self, clock: Clock, threads: Threads, *, max_waiting: int = MAX_WAITING) -> None:
        self.now = clock.now
        self.tell_at = clock.tell_at
        self._threads = threads
        self._max_waiting = max_waiting

    def mailbox(self) -> BoundedMailbox:
        """See `Dispatcher.mailbox`."""
        return BoundedMailbox(self._wake, self._max_waiting)

    def start(self, actor: DispatchedActor) -> None:
        """Such an actor runs when it has a message."""

    def _wake(self, mailbox: QueueMailbox) -> None:
        self._threads.run(lambda: self._take_turn(mailbox))

    def _take_turn(self, mailbox: QueueMailbox) -> None:
        if mailbox.run_turn():
            self._wake(mailbox)
