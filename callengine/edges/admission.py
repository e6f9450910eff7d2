"""A media socket that was let in: counted until it has shown that it carries a call."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from callengine.wire.twilio import Start, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.edges.edge import AsyncEdge, Edge, Inbox, LoopEdge


class Admission:
    """Leave to serve one media socket. Released by its `start`, its end, or the host."""

    def __init__(self, on_release: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._on_release: Callable[[], None] | None = on_release

    def release(self) -> None:
        """The socket is no longer counted; a second release does nothing."""
        with self._lock:
            told, self._on_release = self._on_release, None
        if told is not None:
            told()

    def watch(self, message: str | bytes) -> None:
        """Look at a message that came; a start with a bad ticket is the end of its socket."""
        if self._on_release is not None and isinstance(decode(message), Start):
            self.release()


class WatchedEdge:
    """An `Edge` whose admission ends with the start of its stream."""

    def __init__(self, edge: Edge, admission: Admission) -> None:
        self._edge = edge
        self._admission = admission
        self.send = edge.send
        self.close = edge.close

    def receive(self) -> str | bytes:
        """See `Edge.receive`."""
        message = self._edge.receive()
        self._admission.watch(message)
        return message


class WatchedAsyncEdge:
    """The same for an `AsyncEdge`."""

    def __init__(self, edge: AsyncEdge, admission: Admission) -> None:
        self._edge = edge
        self._admission = admission
        self.send = edge.send
        self.close = edge.close

    async def receive(self) -> str | bytes:
        """See `AsyncEdge.receive`."""
        message = await self._edge.receive()
        self._admission.watch(message)
        return message


class WatchedLoopEdge:
    """The same for a `LoopEdge`."""

    def __init__(self, edge: LoopEdge, admission: Admission) -> None:
        self._edge = edge
        self._admission = admission
        self.send_media = edge.send_media
        self.send = edge.send
        self.send_first = edge.send_first
        self.close = edge.close

    def open(self, inbox: Inbox) -> None:
        """See `LoopEdge.open`."""
        self._edge.open(_WatchedInbox(inbox, self._admission))


class _WatchedInbox:
    def __init__(self, inbox: Inbox, admission: Admission) -> None:
        self._inbox = inbox
        self._admission = admission

    def received(self, message: str | bytes) -> None:
        self._admission.watch(message)
        self._inbox.received(message)

    def carrier_closed(self, code: int, reason: str) -> None:
        self._admission.release()
        self._inbox.carrier_closed(code, reason)
