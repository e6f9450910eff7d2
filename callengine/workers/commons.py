"""What the workers of one port have in common: the slots, and the memory of used tickets.

A few pages of memory that a parent makes before it forks, and a lock that the system takes from a
holder who dies. Knows no rule of its own: who gets a slot is decided by `Slots`.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import mmap
import struct
import tempfile
import threading
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from callengine.machines.slots import Slots
from callengine.security.tickets import LIFETIME_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_USED: Final = 10_000
"""Used tickets that are remembered: 333 calls a second. Beyond, good ones are refused as used."""


class Standing(IntEnum):
    """How a worker stands to new connections: who stands lowest gets them."""

    GONE = 0
    """There is no such worker."""
    OPEN = 1
    CLOSED = 2
    """It runs late or drains: it takes only those that somebody was promised."""
    OVER = 3
    """It has drained, and takes nobody."""


class Cell(ctypes.Structure):
    """What one worker tells of itself. Only it writes here, and its parent when it is gone."""

    standing: int
    at_door: int
    taken: int
    ended: int
    """Connections that are done with: a request was answered, a call is over."""

    _fields_: ClassVar = [
        (name, ctypes.c_int64) for name in ("standing", "at_door", "taken", "ended")
    ]

    @property
    def calls(self) -> int:
        """Its media sockets."""
        return self.at_door + self.taken


class Commons:
    """Made by the parent; a worker joins once it is forked.

    Within its context this thread of this process has it alone, and `slots` are those of all
    workers. Whoever asks there waits for others, for microseconds.
    """

    def __init__(self, workers: int, max_calls: int) -> None:
        self.max_calls = max_calls
        memory = mmap.mmap(-1, workers * ctypes.sizeof(Cell))
        self.cells: tuple[Cell, ...] = tuple((Cell * workers).from_buffer(memory))
        self.own = Cell()  # of a process that has not joined; nobody sees it
        self.promises = _Dated(workers * max_calls)
        self.slots = _SlotsOfAll(self)
        self._used = _Dated(MAX_USED)
        self._file = _unnamed_file()
        self._threads = threading.Lock()  # what the file keeps out is other processes

    def join(self, worker: int) -> None:
        """This process is that worker from now on."""
        self.own = self.cells[worker]

    def begin(self, worker: int) -> None:
        """There is a worker with nothing to do."""
        self.cells[worker].standing = Standing.OPEN

    def end(self, worker: int) -> None:
        """There is no such worker any more, and no call of its."""
        cell = self.cells[worker]
        cell.standing = Standing.GONE
        cell.at_door = cell.taken = cell.ended = 0

    def connection_ended(self) -> None:
        """A connection of this worker that was no call is done with."""
        with self._threads:
            self.own.ended += 1

    def use(self, token: str, now: float) -> bool:
        """Remember that a ticket was used, by the wall clock; False if it was, by any worker."""
        key = hashlib.sha256(token.encode()).hexdigest()
        with self._alone():
            used = {each: until for each, until in self._used.read().items() if until > now}
            if key in used or len(used) == MAX_USED:
                return False
            self._used.write({**used, key: now + LIFETIME_S})
            return True

    def __enter__(self) -> Commons:
        self._lock()
        self.slots.read()
        return self

    def __exit__(self, *_: object) -> None:
        self.slots.write()
        self._unlock()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._lock()
        try:
            yield
        finally:
            self._unlock()

    def _lock(self) -> None:
        self._threads.acquire()
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def _unlock(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._threads.release()


def _unnamed_file() -> int:
    """Descriptor of an empty file, there as long as somebody has it open."""
    descriptor, path = tempfile.mkstemp()
    Path(path).unlink()
    return descriptor


class _SlotsOfAll(Slots):
    """The slots of all workers, between `read` and `write`: what changed meanwhile is our own."""

    def __init__(self, commons: Commons) -> None:
        super().__init__(0, LIFETIME_S)
        self._commons = commons
        self._others = (0, 0)  # at the door, taken

    def read(self) -> None:
        """See what all have."""
        commons, own = self._commons, self._commons.own
        there = [cell for cell in commons.cells if cell.standing != Standing.GONE]
        self._limit = len(there) * commons.max_calls
        self._at_door = sum(cell.at_door for cell in there)
        self._taken = sum(cell.taken for cell in there)
        self._others = self._at_door - own.at_door, self._taken - own.taken
        self._promised = commons.promises.read()

    def write(self) -> None:
        """Show others what we have. Sockets that have left are connections that have ended."""
        own, (at_door, taken) = self._commons.own, self._others
        had = own.calls
        own.at_door, own.taken = self._at_door - at_door, self._taken - taken
        own.ended += max(had - own.calls, 0)
        self._commons.promises.write(self._promised)


class _Dated:
    """Names with a time each, in their order. Whoever reads or writes them has the lock."""

    _NAME_BYTES: Final = 64
    """A digest has as many; the site takes no call sid that has more."""
    _COUNT: Final = struct.Struct("q")
    _ENTRY: Final = struct.Struct(f"{_NAME_BYTES + 1}pd")

    def __init__(self, most: int) -> None:
        self._memory = mmap.mmap(-1, self._COUNT.size + most * self._ENTRY.size)

    def read(self) -> dict[str, float]:
        """All of them."""
        [count] = self._COUNT.unpack_from(self._memory)
        begins = self._COUNT.size
        data = self._memory[begins : begins + count * self._ENTRY.size]
        return {name.decode(): until for name, until in self._ENTRY.iter_unpack(data)}

    def write(self, entries: Mapping[str, float]) -> None:
        """Have these and no others."""
        data = b"".join(self._ENTRY.pack(each.encode(), at) for each, at in entries.items())
        self._memory[self._COUNT.size : self._COUNT.size + len(data)] = data
        self._COUNT.pack_into(self._memory, 0, len(entries))
