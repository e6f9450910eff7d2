"""The engine's way out to a carrier whose socket lives on an event loop.

Actors leave messages from their threads and never wait; one task of the loop sends them. The bound
and its policy are those of `Outbox`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING

from callengine.edges.carrier import MAX_MEDIA
from callengine.edges.outbox import CLOSE_TIMEOUT_S, Dropped
from callengine.errors import EdgeClosed
from callengine.logs import QuietLog, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Logger

    from callengine.edges.edge import AsyncEdge


class AsyncCarrierSocket:
    """A `CarrierLink` over an `AsyncEdge`; made on its loop, which has to run `write()`."""

    def __init__(self, edge: AsyncEdge, on_stall: Callable[[], None], log: Logger) -> None:
        self._edge = edge
        self._on_stall = on_stall
        self._log = QuietLog(log)
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bool, str]] = deque()  # is it media, and the message
        self._media = 0
        self._gone = False  # nothing is sent any more
        self._last: tuple[int, str] | None = None
        self._closing = asyncio.Event()

    def send_media(self, message: str) -> None:
        """See `CarrierLink.send_media`."""
        with self._lock:
            if self._media < MAX_MEDIA:
                self._media += 1
                self._put(is_media=True, message=message)
                return
            stalled, self._gone = not self._gone, True
        if stalled:
            self._on_stall()

    def send(self, message: str) -> None:
        """See `CarrierLink.send`."""
        with self._lock:
            self._put(is_media=False, message=message)

    def send_first(self, message: str) -> Dropped:
        """See `CarrierLink.send_first`."""
        with self._lock:
            dropped = Dropped(self._media, len(self._waiting) - self._media)
            self._media = 0
            self._waiting.clear()
            self._put(is_media=False, message=message)
        return dropped

    def close(self, code: int, reason: str) -> None:
        """Close the socket once what is waiting has been sent."""
        with self._lock:
            if self._last is None:
                self._last = code, reason
        self._wake(self._closing)
        self._wake(self._changed)

    async def write(self) -> None:
        """Send what is left here until the socket is closed or lost; then close it.

        A peer that has not taken the rest `CLOSE_TIMEOUT_S` after `close` is not waited for.
        """
        sending = asyncio.create_task(self._send_all())
        try:
            await self._closing.wait()
            await asyncio.wait({sending}, timeout=CLOSE_TIMEOUT_S)
        finally:
            sending.cancel()
        assert self._last is not None, "it is closing"
        try:
            await asyncio.wait_for(self._edge.close(*self._last), CLOSE_TIMEOUT_S)
        except (EdgeClosed, TimeoutError):
            pass
        except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
            self._log.warning("socket failed", **trace_of(error))

    async def _send_all(self) -> None:
        try:
            while (message := await self._next()) is not None:
                await self._edge.send(message)
        except EdgeClosed:
            pass  # the reader of this socket tells
        except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
            self._log.warning("socket failed", **trace_of(error))
            self._on_stall()
        with self._lock:
            self._gone = True

    async def _next(self) -> str | None:
        while True:
            with self._lock:
                self._changed.clear()
                if self._gone:
                    return None
                if self._waiting:
                    is_media, message = self._waiting.popleft()
                    self._media -= is_media
                    return message
                if self._last is not None:
                    return None
            await self._changed.wait()

    def _put(self, *, is_media: bool, message: str) -> None:
        if self._gone or self._last is not None:
            return
        self._waiting.append((is_media, message))
        if len(self._waiting) == 1:  # else the writer has been woken for the one before
            self._wake(self._changed)

    def _wake(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to write
            self._loop.call_soon_threadsafe(event.set)
