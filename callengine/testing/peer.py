"""The shape of every simulated peer: messages and times go in, messages come out.

A peer decides what the other end of a WebSocket says and when. It owns no socket, thread or clock:
`sockets` runs it on a real connection, a simulation runs the same object on a virtual clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, after everything before it in the list was sent.

    `code` 1005 sends a close frame without a code. `abrupt` cuts TCP without any close frame: the
    other side sees 1006, and `code` and `reason` reach nobody.
    """

    code: int
    reason: str = ""
    abrupt: bool = False


Outgoing = str | bytes | Close
"""A text message, a binary message, or the end of the connection, after which nothing is sent."""


class Peer(Protocol):
    """One end of one WebSocket connection, as a machine.

    `now` is seconds on any monotonic clock, the same one in all calls, and never goes back. Whoever
    runs a peer calls `opened` once, then `received` for each message in order and `advance` at the
    latest at `next_deadline()`, and sends `take_outgoing()` after each of these calls. `closed`
    comes last; it is not called for the peer's own `Close`.
    """

    def opened(self, now: float) -> None:
        """The WebSocket is up."""

    def received(self, message: str | bytes, now: float) -> None:
        """A text message (`str`) or a binary one (`bytes`) arrived."""

    def closed(self, code: int, reason: str, now: float) -> None:
        """The other side is gone; `code` is 1006 when it was cut, 1005 when it gave none."""

    def advance(self, now: float) -> None:
        """Do everything that is due up to and including `now`."""

    def next_deadline(self) -> float | None:
        """When `advance` is wanted next, which may be past; None to be woken by messages only."""

    def take_outgoing(self) -> list[Outgoing]:
        """What to send now, in order. Each thing is handed out once."""
