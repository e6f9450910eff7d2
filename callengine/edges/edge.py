"""The seam to whoever owns the carrier's socket: three methods, about twenty lines to write."""

from __future__ import annotations

from typing import Protocol


class Edge(Protocol):
    """One WebSocket of the carrier, as a host sees it. Each method may block.

    A `send` to a peer that reads nothing should give up after some seconds, and raise.
    `receive` is called from one thread, `send` from another; `close` from any, and makes a waiting
    `receive` raise. All raise `EdgeClosed` once the socket is gone, with its code: 1006 if cut.
    """

    def receive(self) -> str | bytes:
        """The next message."""

    def send(self, message: str) -> None:
        """Send a text message."""

    def close(self, code: int, reason: str) -> None:
        """Close the socket; a second call does nothing."""


class AsyncEdge(Protocol):
    """The same for a host with an event loop: all three are awaited there, on one loop.

    `send` is awaited by one task only, and `receive` by another.
    """

    async def receive(self) -> str | bytes:
        """The next message."""

    async def send(self, message: str) -> None:
        """Send a text message."""

    async def close(self, code: int, reason: str) -> None:
        """Close the socket; a second call does nothing."""


class Inbox(Protocol):
    """Where what a carrier says goes."""

    def received(self, message: str | bytes) -> None:
        """A message."""

    def carrier_closed(self, code: int, reason: str) -> None:
        """The socket is gone; told once."""


class LoopEdge(Protocol):
    """A socket that the engine's own loop serves: what a server of ours has, and no host.

    It can be made and closed on any thread; the rest is for the loop's.
    """

    def open(self, inbox: Inbox) -> None:
        """Begin to tell what comes."""

    def send_media(self, message: str) -> None:
        """See `CarrierLink.send_media`."""

    def send(self, message: str) -> None:
        """See `CarrierLink.send`."""

    def send_first(self, message: str) -> tuple[int, int]:
        """See `CarrierLink.send_first`."""

    def close(self, code: int, reason: str) -> None:
        """See `CarrierLink.close`."""
