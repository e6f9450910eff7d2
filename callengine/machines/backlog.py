"""What waits to be written down: what goes next, what goes to the file, and when to try again.

There is one queue, oldest first. Its front may lie in a file, the rest is in memory. Writing takes
from the front, wherever that is; spilling only moves the border, so that order is kept without
anybody sorting. What the things are, and who writes them where, is not known here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from enum import Enum, auto
from itertools import islice
from typing import Final, Generic, TypeAlias, TypeVar

from callengine.values import dataclass

T = TypeVar("T")

BATCH: Final = 200
"""Things written at once, at most."""

LINGER_S: Final = 0.5
"""How long the first of a batch waits for company."""

MAX_IN_MEMORY: Final = 10_000
"""Things in memory. At the bound the oldest go to the file; if that cannot take them either, the
newest are lost and counted."""

SPILL_BATCH: Final = 1000
"""Things moved to the file at once: fewer would sync the disk more often, more would hold up the
machine with encoding them."""

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 30.0
"""The database is tried again after the former; the wait doubles up to the latter."""

SPILL_RETRY_S: Final = 30.0
"""A file that could not take everything is tried again after this."""

MAX_FAILURES: Final = 5
"""A batch whose writing fails for a reason that nobody expects is tried so often. Then it counts as
refused: one thing that breaks the store must not hold up the others for ever."""


class Verdict(Enum):
    """What became of a batch."""

    WRITTEN = auto()
    UNAVAILABLE = auto()  # try again later
    REFUSED = auto()  # this batch is never taken, though a part of it may be
    FAILED = auto()  # the store broke: it may be this batch, or not


@dataclass(frozen=True, slots=True)
class Write(Generic[T]):
    """Write these, and tell `settled` what became of batch `number`."""

    number: int
    things: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class WriteFromFile:
    """Write the first `count` things of the file."""

    number: int
    count: int


@dataclass(frozen=True, slots=True)
class SpillOver(Generic[T]):
    """Append these to the file, and tell `spilled` how many it took."""

    things: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the first `count` things of the file: they are settled."""

    count: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is left in memory, and no more is attempted."""


Action: TypeAlias = Write[T] | WriteFromFile | SpillOver[T] | Forget | Finished


@dataclass(frozen=True, slots=True)
class JournalCounts:
    """What became of everything that was noted, and of what an earlier process left in files.

    noted + adopted == written + refused + lost + (what is in memory) + in_file
    """

    written: int = 0
    spilled: int = 0
    adopted: int = 0
    replayed: int = 0
    refused: int = 0
    lost: int = 0

    @property
    def in_file(self) -> int:
        """What waits in files."""
        return self.adopted + self.spilled - self.replayed


class Backlog(Generic[T]):
    """The queue. Ask `next_action` until it is None, after everything that was told."""

    def __init__(self, adopted: int = 0) -> None:
        self.counts = JournalCounts(adopted=adopted)
        self._memory: deque[T] = deque()
        self._forgettable = 0  # in the file still, though settled
        self._attempt = _Attempt()
        self._linger_until = float("-inf")
        self._spill_at = float("-inf")
        self._close_at: float | None = None

    @property
    def in_memory(self) -> int:
        """What waits in memory; what is being written is among it until it is settled."""
        return len(self._memory)

    @property
    def troubled(self) -> bool:
        """The last batch was not taken, and is tried again later."""
        return self._attempt.retry_at is not None

    # ---- what happens

    def add(self, thing: T, now: float) -> None:
        """Something is to be written down."""
        if len(self._memory) >= MAX_IN_MEMORY:
            self._count(lost=1)
            return
        if not self._memory:
            self._linger_until = now + LINGER_S
        self._memory.append(thing)

    def settled(self, number: int, verdict: Verdict, now: float, unreadable: int = 0) -> None:
        """What became of a batch; `unreadable` things of it were not in the file as expected."""
        attempt = self._attempt
        if number != attempt.number or not attempt.size:
            return
        size, attempt.size = attempt.size, 0
        match attempt.judge(verdict):
            case Verdict.UNAVAILABLE:
                attempt.put_off(now)
                return
            case Verdict.WRITTEN:
                self._drop(size)
                self._count(written=size - unreadable, lost=unreadable)
            case _ if size == 1:
                self._drop(1)
                self._count(refused=1)
            case _:
                attempt.singly = size
        attempt.succeeded()
        self._linger_until = now + LINGER_S

    def interrupted(self, now: float) -> None:
        """What was being done is not known to be done: the batch under way is written again."""
        self.settled(self._attempt.number, Verdict.UNAVAILABLE, now)

    def spilled(self, kept: int, asked: int, now: float) -> None:
        """The file took the first `kept` of what it was asked to."""
        for _ in range(kept):
            self._memory.popleft()
        self._count(spilled=kept)
        if kept == asked:
            return
        self._spill_at = now + SPILL_RETRY_S
        if self._gives_up(now):
            self._count(lost=len(self._memory))
            self._memory.clear()

    def close(self, until: float) -> None:
        """Write what can be written until then, without lingering, and spill the rest.

        A database that was away is tried once more; if it still is, that is the end.
        """
        self._close_at = until
        self._attempt.retry_at = None

    # ---- what to do

    def next_action(self, now: float) -> Action[T] | None:
        """What to do now, one thing at a time."""
        if self._forgettable:
            count, self._forgettable = self._forgettable, 0
            return Forget(count)
        if self._memory and self._must_spill(now):
            return SpillOver(tuple(islice(self._memory, SPILL_BATCH)))
        if self._close_at is not None and (self._gives_up(now) or not self._waiting()):
            return Finished()
        if not self._attempt.size and self._waiting() and now >= self._write_at():
            return self._write()
        return None

    def next_deadline(self) -> float | None:
        """When to ask again though nothing was told."""
        if self._attempt.size:
            return self._close_at
        return self._write_at() if self._waiting() else None

    def _write(self) -> Action[T]:
        limit = 1 if self._attempt.singly else BATCH
        if self.counts.in_file:
            number = self._attempt.begin(min(limit, self.counts.in_file))
            return WriteFromFile(number, self._attempt.size)
        number = self._attempt.begin(min(limit, len(self._memory)))
        return Write(number, tuple(islice(self._memory, self._attempt.size)))

    def _write_at(self) -> float:
        if self._attempt.retry_at is not None:
            return self._attempt.retry_at
        hurried = (
            self._attempt.singly
            or self.counts.in_file
            or len(self._memory) >= BATCH
            or self._close_at is not None
        )
        return float("-inf") if hurried else self._linger_until

    def _must_spill(self, now: float) -> bool:
        at_bound = len(self._memory) >= MAX_IN_MEMORY and now >= self._spill_at
        return at_bound or self._gives_up(now)

    def _gives_up(self, now: float) -> bool:
        return self._close_at is not None and (self.troubled or now >= self._close_at)

    def _waiting(self) -> bool:
        return bool(self._memory or self.counts.in_file)

    # ---- the queue

    def _drop(self, count: int) -> None:
        from_file = min(count, self.counts.in_file)
        self._count(replayed=from_file)
        self._forgettable += from_file
        for _ in range(count - from_file):
            self._memory.popleft()
        self._attempt.singly = max(self._attempt.singly - count, 0)

    def _count(self, **more: int) -> None:
        counts = self.counts
        self.counts = replace(counts, **{k: getattr(counts, k) + n for k, n in more.items()})


@dataclass(slots=True)
class _Attempt:
    """How it goes with writing: the batch under way, if any, and when the next may be."""

    number: int = 0
    size: int = 0  # the first so many of the queue are being written
    singly: int = 0  # the first so many are written one by one
    failures: int = 0
    wait_s: float = FIRST_RETRY_S
    retry_at: float | None = None

    def begin(self, size: int) -> int:
        self.number += 1
        self.size = size
        return self.number

    def judge(self, verdict: Verdict) -> Verdict:
        if verdict is not Verdict.FAILED:
            return verdict
        self.failures += 1
        return Verdict.UNAVAILABLE if self.failures < MAX_FAILURES else Verdict.REFUSED

    def put_off(self, now: float) -> None:
        self.retry_at = now + self.wait_s
        self.wait_s = min(2 * self.wait_s, LAST_RETRY_S)

    def succeeded(self) -> None:
        self.failures = 0
        self.wait_s = FIRST_RETRY_S
        self.retry_at = None
