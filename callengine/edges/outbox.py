"""The one writer of a host's socket: callers leave messages and never wait, a thread sends them.

At the bound of its queue the outbox gives the socket up and says so, once. It does the same when
sending fails in a way that the reader of the socket need not notice.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from callengine.edges.send_queue import Dropped, SendQueue
from callengine.errors import EdgeClosed
from callengine.logs import QuietLog, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Logger


CLOSE_TIMEOUT_S: Final = 5.0
"""A writer that is stuck in the socket's `send` is not waited for longer when closing."""


class Outbox:
    """Messages on their way to a socket, in order; `send_first` overtakes."""

    def __init__(
        self,
        send: Callable[[str], None],
        *,
        name: str,
        max_media: int,
        on_stall: Callable[[], None],
        log: Logger,
    ) -> None:
        self._send = send
        self._queue = SendQueue(max_media)
        self._on_stall = on_stall
        self._log = QuietLog(log)
        self._changed = threading.Condition()
        self._last: Callable[[], None] | None = None
        self._closed = False
        self._finished = False
        self._timer: threading.Timer | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def send_media(self, message: str) -> None:
        """Leave audio behind what is waiting."""
        with self._changed:
            if self._shut:
                return
            stalled = not self._queue.put_media(message)
            self._closed = stalled
            self._changed.notify()
        if stalled:
            self._on_stall()

    def send(self, message: str) -> None:
        """Leave anything else behind what is waiting."""
        with self._changed:
            if not self._shut:
                self._queue.put(message)
                self._changed.notify()

    def send_first(self, message: str) -> Dropped:
        """Drop all that is waiting and leave this; returns how much was dropped."""
        with self._changed:
            if self._shut:
                return Dropped(0, 0)
            self._changed.notify()
            return self._queue.put_first(message)

    def close(self, last: Callable[[], None]) -> None:
        """Send what is waiting, then do `last` and end the thread; nothing more is taken.

        While the writer is stuck in the socket's `send`, `last` is done from another thread.
        """
        with self._changed:
            if self._last is not None:
                return
            self._last = last
            self._timer = threading.Timer(CLOSE_TIMEOUT_S, self._finish, (last,))
            self._timer.daemon = True
            self._timer.start()
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    @property
    def _shut(self) -> bool:
        return self._closed or self._last is not None

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._shut)
            return self._queue.take() if self._queue and not self._closed else None

    def _run(self) -> None:
        failed = False
        try:
            while (message := self._next()) is not None:
                self._send(message)
        except EdgeClosed:
            pass  # the reader of this socket tells
        except BaseException as error:  # noqa: BLE001 - a host's edge may raise anything
            self._log.warning("socket failed", **trace_of(error))
            failed = True
        with self._changed:
            failed = failed and not self._closed
            self._closed = True
        if failed:
            self._on_stall()
        with self._changed:
            self._changed.wait_for(lambda: self._last is not None)
            last = self._last
        assert last is not None, "it was waited for"
        self._finish(last)

    def _finish(self, last: Callable[[], None]) -> None:
        """Once: on the writer's thread, or on the timer's if that one is stuck."""
        with self._changed:
            self._closed = True
            if self._finished:
                return
            self._finished, timer = True, self._timer
        if timer is not None:
            timer.cancel()
        try:
            last()
        except EdgeClosed:
            pass  # it was closed before
        except BaseException as error:  # noqa: BLE001 - a host's edge may raise anything
            self._log.warning("socket failed", **trace_of(error))
