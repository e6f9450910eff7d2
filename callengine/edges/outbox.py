"""The one writer of a socket: callers leave messages and never wait, a thread sends them.

Bound: `max_media` messages of audio. A peer that has not read for that long is as good as gone, so
what happens at the bound is that the outbox gives the socket up and says so, once. It does the same
when sending fails in a way that the reader of the socket need not notice.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from callengine.errors import EdgeClosed
from callengine.logs import stack_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Logger


class Outbox:
    """Messages on their way to a socket, in order; see `send_first` for the exception."""

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
        self._max_media = max_media
        self._on_stall = on_stall
        self._log = log
        self._changed = threading.Condition()
        self._waiting: deque[tuple[bool, str]] = deque()  # is it media, and the message
        self._media = 0
        self._last: Callable[[], None] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def send_media(self, message: str) -> None:
        """Leave audio behind what is waiting."""
        with self._changed:
            if self._media < self._max_media:
                self._media += 1
                self._put(is_media=True, message=message)
                return
            stalled, self._closed = not self._closed, True
            self._changed.notify()
        if stalled:
            self._on_stall()

    def send(self, message: str) -> None:
        """Leave anything else behind what is waiting."""
        with self._changed:
            self._put(is_media=False, message=message)

    def send_first(self, message: str) -> int:
        """Drop all that is waiting and leave this; returns how much audio was dropped."""
        with self._changed:
            dropped, self._media = self._media, 0
            self._waiting.clear()
            self._put(is_media=False, message=message)
        return dropped

    def close(self, last: Callable[[], None]) -> None:
        """Send what is waiting, then do `last` and end the thread; nothing more is taken."""
        with self._changed:
            self._last = self._last or last
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def _put(self, *, is_media: bool, message: str) -> None:
        if self._closed or self._last is not None:
            return
        self._waiting.append((is_media, message))
        self._changed.notify()

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or self._last is not None)
            if self._closed or not self._waiting:
                return None
            is_media, message = self._waiting.popleft()
            self._media -= is_media
            return message

    def _run(self) -> None:
        failed = False
        try:
            while (message := self._next()) is not None:
                self._send(message)
        except EdgeClosed:
            pass  # the reader of this socket tells
        except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
            self._log.warning("socket failed", error=type(error).__name__, stack=stack_of(error))
            failed = True
        with self._changed:
            failed = failed and not self._closed
            self._closed = True
        if failed:
            self._on_stall()
        with self._changed:
            self._changed.wait_for(lambda: self._last is not None)
            last = self._last
        assert last is not None, "that is what was waited for"
        try:
            last()
        except EdgeClosed:
            pass  # it was closed before
        except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
            self._log.warning("socket failed", error=type(error).__name__, stack=stack_of(error))
