"""The engine's way out to a carrier whose socket lives on an event loop.

Actors leave messages from their threads and never wait; one task of the loop sends them. The policy
at the bound is that of `Outbox`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from callengine.edges.carrier import MAX_MEDIA
from callengine.edges.outbox import CLOSE_TIMEOUT_S
from callengine.edges.send_queue import Dropped, SendQueue
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
        self._queue = SendQueue(MAX_MEDIA)
        self._gone = False  # nothing is sent any more
        self._last: tuple[int, str] | None = None
        self._closing = asyncio.Event()

    def send_media(self, message: str) -> None:
        """See `CarrierLink.send_media`."""
        with self._lock:
            if self._shut:
                return
            stalled = not self._queue.put_media(message)
            self._gone = stalled
        self._wake(self._changed)
        if stalled:
            self._on_stall()

    def send(self, message: str) -> None:
        """See `CarrierLink.send`."""
        with self._lock:
            if not self._shut:
                self._queue.put(message)
        self._wake(self._changed)

    def send_first(self, message: str) -> Dropped:
        """See `CarrierLink.send_first`."""
        with self._lock:
            if self._shut:
                return Dropped(0, 0)
            dropped = self._queue.put_first(message)
        self._wake(self._changed)
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
        failed = False
        try:
            while (message := await self._next()) is not None:
                await self._edge.send(message)
        except EdgeClosed:
            pass  # the reader of this socket tells
        except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
            self._log.warning("socket failed", **trace_of(error))
            failed = True
        with self._lock:
            failed = failed and not self._gone
            self._gone = True
        if failed:
            self._on_stall()

    async def _next(self) -> str | None:
        while True:
            with self._lock:
                self._changed.clear()
                if self._gone:
                    return None
                if self._queue:
                    return self._queue.take()
                if self._last is not None:
                    return None
            await self._changed.wait()

    @property
    def _shut(self) -> bool:
        return self._gone or self._last is not None

    def _wake(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to write
            self._loop.call_soon_threadsafe(event.set)
