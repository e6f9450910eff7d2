"""One thread for everything that never waits: alarms, mailboxes and sockets.

Handing a message to another thread costs more than handling it. So whatever a call does on its
media path is done on this thread: a socket is readable, what was read is told, and the actors run
until nobody has anything left to say. Then comes the next socket. What is due goes before all of
that: frames leave on time as long as there is any time left at all, and it is the input that waits.

It also bounds the mailboxes: no socket is read while a message waits to be handled.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import selectors
import socket
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from loguru import logger

from callengine.actors.dispatch import Line, LineMailbox, tell
from callengine.logs import QuietLog, trace_of
from callengine.machines.pacing import RASTER_S, raster_point

if TYPE_CHECKING:
    from collections.abc import Callable

    import pykka

    from callengine.actors.dispatch import DispatchedActor

BATCH_MESSAGES: Final = 16
"""Messages that are handled between two looks at the clock."""

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE


class Loop:
    """A dispatcher that owns sockets too. Nothing that runs here may wait for anything.

    `watch`, `rewatch`, `unwatch` and `look_again` are for its own thread; anything else is for any.
    `on_alarm` is told of each alarm how late it rang, and `on_look` of each look at the sockets how
    late it comes, in seconds.
    """

    def __init__(
        self,
        on_alarm: Callable[[float, float], None] = lambda _now, _late_s: None,
        on_look: Callable[[float, float], None] = lambda _now, _late_s: None,
    ) -> None:
        self._on_alarm = on_alarm
        self._on_look = on_look
        self._log = QuietLog(logger.bind(call_sid="-"))
        self.now: Final = time.monotonic
        """Monotonic seconds."""
        self._line = Line(self._ring_bell)
        self._soon: deque[Callable[[], object]] = deque()
        self._due: list[tuple[float, int, Callable[[], pykka.ActorRef[Any] | None], object]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self._rung = False
        self._lock = threading.Lock()
        self._over = False
        self._selector.register(self._bell, READ, self._answer_bell)
        self._looks_at = 0.0  # next, or as soon as possible
        self._stops_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="callengine-loop", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._give_back()
            raise
        self._ident = self._thread.ident

    # ---- a dispatcher

    def tell_at(self, when: float, ref: pykka.ActorRef[Any], message: object) -> None:
        """See `Dispatcher.tell_at`. It keeps no dead actor alive."""
        self._set_alarm(when, weakref.ref(ref), message)

    def mailbox(self) -> LineMailbox:
        """See `Dispatcher.mailbox`."""
        return LineMailbox(self._line)

    def start(self, actor: DispatchedActor) -> None:
        """An actor of the loop runs when it has a message."""

    # ---- for sockets

    def call_soon(self, do: Callable[[], object]) -> bool:
        """Do something on the loop's thread, behind what is going on there; False if it is over."""
        with self._lock:
            if self._over:
                return False
            self._soon.append(do)
        if self._line.asleep:
            self._ring_bell()
        return True

    def call_at(self, when: float, method: Callable[[], object]) -> None:
        """Do something on the loop's thread when the time has come, if its object still lives."""
        # As a method's object and function, in a third of the memory of a WeakMethod in a closure.
        owner, function = method.__self__, method.__func__  # type: ignore[attr-defined]
        self._set_alarm(when, functools.partial(_do_if_alive, weakref.ref(owner), function), None)

    def watch(self, plug: socket.socket, events: int, call: Callable[[int], None]) -> None:
        """`call` is told which of `events` (READ, WRITE) are there, each time they are."""
        self._selector.register(plug, events, call)

    def rewatch(self, plug: socket.socket, events: int, call: Callable[[int], None]) -> None:
        """Watch for other events."""
        self._selector.modify(plug, events, call)

    def unwatch(self, plug: socket.socket) -> None:
        """Forget a socket; before it is closed."""
        self._selector.unregister(plug)

    def look_again(self) -> None:
        """Look at the sockets without a rest: one of them has more than was read."""
        self._looks_at = 0.0

    # ---- life

    @property
    def waiting(self) -> int:
        """Messages that wait for their turn: a few at most, unless there is too much to do."""
        return len(self._line)

    def stop(self, timeout_s: float) -> None:
        """End once no socket is left and nobody has anything to do; after `timeout_s` in any
        case."""
        self._stops_at = time.monotonic() + timeout_s
        self.call_at(self._stops_at, self._ring_bell)
        self._thread.join()

    # ---- its thread

    def _run(self) -> None:
        while not self._is_over():
            ready = self._look()
            self._looks_at = raster_point(time.monotonic()) + RASTER_S
            self._settle()
            for key, events in ready:
                try:
                    key.data(events)
                except Exception as error:  # noqa: BLE001 - all calls run here
                    self._failed(error)
                self._settle()
            self._rest()
        with self._lock:
            self._over = True
        self._settle()
        self._give_back()

    def _rest(self) -> None:
        """Until it is time to look again, if it is not."""
        now, looks_at = time.monotonic(), self._looks_at
        if looks_at:
            self._on_look(now, max(now - looks_at, 0.0))
        if now < looks_at and self._stops_at is None:
            time.sleep(looks_at - now)

    def _look(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Sleep until there is something to do. Whoever leaves something sees that the loop is
        asleep, and wakes it, or it is seen here."""
        self._line.asleep = True
        ready = self._selector.select(0.0 if self._line or self._soon else self._wait_s())
        self._line.asleep = False
        return ready

    def _give_back(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._button.close()
        self._due.clear()

    def _is_over(self) -> bool:
        if self._stops_at is None:
            return False
        idle = len(self._selector.get_map()) == 1 and not self._line and not self._soon
        return idle or time.monotonic() >= self._stops_at

    def _settle(self) -> None:
        """Do all there is to do; what is due goes first, each time."""
        line, soon, due = self._line, self._soon, self._due
        while True:
            if due and due[0][0] <= (now := time.monotonic()):
                self._ring(now)
            elif line:
                self._handle(min(len(line), BATCH_MESSAGES))
            elif soon:
                self._do(soon.popleft())
            else:
                return

    def _handle(self, messages: int) -> None:
        try:
            for _ in range(messages):
                self._line.handle_next()
        except Exception as error:  # noqa: BLE001 - all calls run here
            self._failed(error)

    def _ring(self, now: float) -> None:
        when, _, find, message = heapq.heappop(self._due)
        self._on_alarm(now, now - when)
        try:
            ref = find()  # the actor, if it still lives; or what was to be done, and nobody to tell
        except Exception as error:  # noqa: BLE001 - all calls run here
            self._failed(error)
            return
        if ref is not None:
            tell(ref, message)

    def _do(self, what: Callable[[], object]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001 - all calls run here
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._log.error("loop failed", **trace_of(error))

    def _wait_s(self) -> float | None:
        return max(self._due[0][0] - time.monotonic(), 0.0) if self._due else None

    # ---- other threads

    def _set_alarm(
        self, when: float, find: Callable[[], pykka.ActorRef[Any] | None], message: object
    ) -> None:
        alarm = (when, next(self._order), find, message)
        if threading.get_ident() == self._ident:
            heapq.heappush(self._due, alarm)
        else:
            self.call_soon(lambda: heapq.heappush(self._due, alarm))

    def _ring_bell(self) -> None:
        """The loop may sleep. It clears `_rung` before it looks at what was left for it."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):  # full: it will wake; closed: it is over
                self._button.send(b"\0")

    def _answer_bell(self, _: int) -> None:
        self._bell.recv(64)
        self._rung = False


def _do_if_alive(find: weakref.ref[Any], function: Callable[[Any], object]) -> None:
    owner = find()
    if owner is not None:
        function(owner)
