"""The gate: who is let in. Threads of hosts and of calls ask it at once.

Decides by slots, by how late the engine runs, and by whether it still takes calls. Knows no socket
and waits for nobody: its lock is held for microseconds.
"""

from __future__ import annotations

import threading
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from callengine.errors import EngineStopped
from callengine.machines.slots import Slots
from callengine.machines.strain import Level
from callengine.security.tickets import LIFETIME_S, Ticket, TicketFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from callengine.machines.strain import Strain
    from callengine.security.tickets import Tickets

CLOSED: Final = "the engine is stopped or draining"
NO_ROOM: Final = "the engine holds or expects max_calls calls, or runs late"


class SharedSlots(Protocol):
    """Slots that several processes share: within the context this one alone counts them."""

    @property
    def slots(self) -> Slots:
        """Those of all, within the context."""

    def __enter__(self) -> object:
        """Wait for the others, which takes microseconds."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Show them what has changed."""

    def use(self, token: str, now: float) -> bool:
        """Remember that a ticket was used; False if it was before, by any of them."""


class Gate:
    """Lets callers in: first their webhooks, then their sockets."""

    def __init__(
        self,
        max_calls: int,
        strain: Strain,
        now: Callable[[], float] = time.monotonic,
        *,
        shared: SharedSlots | None = None,
    ) -> None:
        self.draining = False
        self.stopped = False
        self.turned_away = 0
        """How often somebody was told that there is no room."""
        self._strain = strain
        self._now = now
        self._shared = shared
        self._lock: AbstractContextManager[object] = shared or threading.Lock()
        self._slots = shared.slots if shared else Slots(max_calls, LIFETIME_S)

    @property
    def strained(self) -> bool:
        """The engine runs late."""
        return self._strain.level(self._now()) is not Level.CALM

    @property
    def free(self) -> int:
        """Slots that nobody has or is expected to take."""
        with self._lock:
            return self._slots.free(self._now())

    @property
    def promised(self) -> int:
        """Slots that are held for calls whose sockets have not come yet."""
        with self._lock:
            return self._slots.promised(self._now())

    def drain(self) -> None:
        """Promise nothing any more; what was promised is kept."""
        with self._lock:
            self.draining = True

    def stop(self) -> None:
        """Let nobody in."""
        with self._lock:
            self.stopped = True

    def reserve(self, call_sid: str | None) -> bool:
        """Promise a slot to a call; to None only say whether one could be. False: there is no room.

        Raises EngineStopped if the engine is stopped or draining.
        """
        with self._lock:
            if self.stopped or self.draining:
                raise EngineStopped(CLOSED)
            now = self._now()
            room = not self.strained and (
                self._slots.free(now) > 0
                if call_sid is None
                else self._slots.reserve(call_sid, now)
            )
            self.turned_away += not room
            return room

    def admits(self, *, ticketed: bool) -> bool:
        """Whether a socket that comes now would be let in."""
        with self._lock:
            refusal = self._refusal(ticketed=ticketed)
            self.turned_away += refusal is NO_ROOM
            return refusal is None

    def enter(self, tickets: Tickets | None) -> Visit:
        """Let a socket in: to the door if it is to show one of `tickets`, else to a slot.

        Raises EngineStopped if there is no room, or no more calls are taken.
        """
        with self._lock:
            refusal = self._refusal(ticketed=tickets is not None)
            if refusal is not None:
                self.turned_away += refusal is NO_ROOM
                raise EngineStopped(refusal)
            self._slots.knock(self._now())
            visit = Visit(self, tickets)
            if tickets is None:
                self._seat(visit, None)
        return visit

    def seat(self, visit: Visit, call_sid: str | None) -> bool:
        """Give a visitor at the door the slot of his call, or a free one; False if there is none.

        How late the engine runs is no matter: somebody has told him to come.
        """
        with self._lock:
            return self._seat(visit, call_sid)

    def is_first_use(self, token: str, now: float) -> bool:
        """No process that shares the slots has taken this ticket; `now` is the wall clock's."""
        return self._shared is None or self._shared.use(token, now)

    def leave(self, visit: Visit) -> None:
        """A visitor is gone; he may be twice."""
        with self._lock:
            if visit.place is Place.DOOR:
                self._slots.go()
            elif visit.place is Place.SLOT:
                self._slots.give_back()
            visit.place = Place.GONE

    def _seat(self, visit: Visit, call_sid: str | None) -> bool:
        if visit.place is Place.DOOR and self._slots.take(call_sid, self._now()):
            visit.place = Place.SLOT
        return visit.place is Place.SLOT

    def _refusal(self, *, ticketed: bool) -> str | None:
        """Why a socket is refused. One that may be expected never is."""
        now = self._now()
        if self.stopped:
            return CLOSED
        if ticketed and self._slots.promised(now) > 0:
            return None
        if self.draining:
            return CLOSED
        return NO_ROOM if self.strained or self._slots.free(now) == 0 else None


class Place(Enum):
    """Where a visitor is."""

    DOOR = auto()
    SLOT = auto()
    GONE = auto()


class Visit:
    """A media socket that was let in. Its ticket is redeemed here, and gets it its slot."""

    def __init__(self, gate: Gate, tickets: Tickets | None) -> None:
        self.place = Place.DOOR
        self._gate = gate
        self._tickets = tickets

    def redeem(self, token: str | None, call_sid: str, now: float) -> Ticket | TicketFault:
        """See `Tickets.redeem`; a good ticket is refused too if there is no slot left for it."""
        assert self._tickets is not None, "who has no ticket to show is not asked for one"
        ticket = self._tickets.redeem(token, call_sid, now)
        if not isinstance(ticket, Ticket):
            return ticket
        if not self._gate.is_first_use(token or "", now):
            return TicketFault.USED
        return ticket if self._gate.seat(self, call_sid) else TicketFault.NO_ROOM

    def leave(self) -> None:
        """The socket is done with; a second time does nothing."""
        self._gate.leave(self)
