"""The journal: takes records from every call and has them written, off the media path.

Two actors. The keeper holds the backlog and the local file; the scribe waits for the database and
does nothing else, so that even one that never answers keeps nobody from spilling.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from callengine.actors.dispatch import DispatchedActor, Dispatcher, tell
from callengine.actors.intake import Intake
from callengine.actors.scribe import Scribe, Settled, WriteOrder
from callengine.logs import QuietLog, trace_of
from callengine.machines.backlog import (
    Backlog,
    Finished,
    Forget,
    SpillOver,
    Verdict,
    Write,
    WriteFromFile,
)
from callengine.messages import DeadlineReached
from callengine.record_codec import Unreadable, decode, encode
from callengine.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loguru import Logger

    from callengine.actors.shell import Ref
    from callengine.machines.backlog import JournalCounts
    from callengine.records import Record

SPILL_GRACE_S: Final = 1.0
"""What spilling may take when the time to stop is over."""

LOSS_SILENCE_S: Final = 10.0
"""Losses are logged this often at most."""


class SpillFile(Protocol):
    """Lines that wait in a local file, in order."""

    @property
    def waiting(self) -> int:
        """Lines that are not forgotten; at first, those of earlier processes."""

    def append(self, lines: Sequence[bytes]) -> int:
        """Put lines behind all others; returns how many were taken."""

    def read(self, most: int) -> list[bytes]:
        """The first `most` lines. Raises OSError."""

    def forget(self, count: int) -> None:
        """Drop the first `count` lines."""

    def close(self) -> None:
        """Leave what waits to a later process."""


class Journal:
    """What the rest of the engine has of the journal. Every method may be called by any thread."""

    def __init__(self, intake: Intake, keeper: Ref) -> None:
        self._intake = intake
        self._keeper = keeper

    def note(self, record: Record) -> None:
        """Have a record written down some time. Never waits and never raises; after the end, and
        when nobody takes them, records are lost and counted."""
        if self._intake.put(record):
            tell(self._keeper, _Noted())

    @property
    def counts(self) -> JournalCounts:
        """What became of the records."""
        return self._intake.counts

    @property
    def waiting(self) -> int:
        """Records in memory that are neither written nor in the file."""
        return self._intake.waiting

    def close(self, timeout_s: float) -> None:
        """Begin to stop: write what can be written in time, spill the rest."""
        tell(self._keeper, _Close(timeout_s))

    def stop(self, timeout_s: float) -> None:
        """Close, and wait until that is done: a second longer at most, if even the disk hangs."""
        self.close(timeout_s)
        if not self._intake.over.wait(timeout_s + SPILL_GRACE_S):
            self._intake.shut()


def start_journal(
    dispatcher: Dispatcher,
    write: Callable[[Sequence[Record]], None],
    spill: SpillFile,
    *,
    log: Logger,
) -> Journal:
    """Start the journal's actors. `dispatcher` gives them threads that may block.

    `write` raises StoreUnavailable if it may be tried again, StoreRefused if these records will
    never be taken, and skips records that were written before. The journal closes `spill`; so does
    a failure to start it.
    """
    with contextlib.ExitStack() as undo:  # if there is no thread to be had
        undo.callback(spill.close)
        scribe = Scribe.start(dispatcher, write, log)
        undo.callback(scribe.stop, block=False)
        intake = Intake(spill.waiting)
        keeper = _Keeper.start(dispatcher, (intake, spill, scribe), log)
        undo.pop_all()
    tell(keeper, _Noted())  # what was adopted is written at once
    return Journal(intake, keeper)


# ---- what passes between threads


@dataclass(frozen=True, slots=True)
class _Noted:
    """There is something in the intake."""


@dataclass(frozen=True, slots=True)
class _Close:
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Loss:
    """How many lost records were logged, and until when no more are."""

    told: int = 0
    silent_until: float = float("-inf")


# ---- the actors


class _Keeper(DispatchedActor):
    """Feeds the backlog and does what it says. Waits for nothing but the local disk."""

    def __init__(
        self, dispatcher: Dispatcher, ways: tuple[Intake, SpillFile, Ref], log: Logger
    ) -> None:
        super().__init__(dispatcher)
        self._intake, self._spill, self._scribe = ways
        self._log = QuietLog(log)
        self._taken: deque[Record] = deque()
        self._backlog: Backlog[Record] = Backlog(self._spill.waiting)
        self._armed_for = float("inf")
        self._loss = _Loss()

    def on_receive(self, message: object) -> None:
        """pykka's entry."""
        try:
            if not self._intake.over.is_set():
                self._receive(message)
        except BaseException as error:  # noqa: BLE001 - beyond here it would stop every call
            self._log.error("journal failed", **trace_of(error))
            with contextlib.suppress(BaseException):
                self._backlog.interrupted(self.dispatcher.now())
                self._arm()

    def _receive(self, message: object) -> None:
        self._taken.extend(self._intake.take())
        now = self.dispatcher.now()
        match message:
            case Settled():
                self._settle(message, now)
            case _Close(timeout_s):
                self._backlog.close(now + timeout_s)
            case DeadlineReached() if now >= self._armed_for:
                self._armed_for = float("inf")
        if self._is_done(now):
            self._intake.shut()
            if self._is_done(now):  # with what came before it was shut
                self._end()
        self._intake.publish(self._backlog.counts, self._backlog.in_memory)
        self._tell_losses(now)
        self._arm()

    def _settle(self, told: Settled, now: float) -> None:
        was_troubled = self._backlog.troubled
        self._backlog.settled(told.number, told.verdict, now, told.unreadable)
        if was_troubled and not self._backlog.troubled:
            self._log.info("records are written again", waiting=self._backlog.in_memory)

    def _is_done(self, now: float) -> bool:
        """Take what there is and do what there is to do; True if nothing more will be."""
        self._taken.extend(self._intake.take())
        is_done = self._act(now)
        while self._taken:
            self._backlog.add(self._taken.popleft(), now)
            is_done = self._act(now)
        return is_done

    def _act(self, now: float) -> bool:
        while (action := self._backlog.next_action(now)) is not None:
            match action:
                case Write(number, records):
                    tell(self._scribe, WriteOrder(number, records, 0, self.actor_ref))
                case WriteFromFile(number, count):
                    self._replay(number, count, now)
                case SpillOver(records):
                    self._spill_over(records, now)
                case Forget(count):
                    self._spill.forget(count)
                case Finished():
                    return True
        return False

    def _replay(self, number: int, count: int, now: float) -> None:
        try:
            told = [decode(line) for line in self._spill.read(count)]
        except OSError as error:
            self._log.error("spill cannot be read", **trace_of(error))
            self._backlog.settled(number, Verdict.UNAVAILABLE, now)
            return
        for each in told:
            if isinstance(each, Unreadable):
                self._log.error("spilled line cannot be read", cause=each.cause)
        records = [each for each in told if not isinstance(each, Unreadable)]
        unreadable = count - len(records)
        if records:
            tell(self._scribe, WriteOrder(number, records, unreadable, self.actor_ref))
        else:
            self._backlog.settled(number, Verdict.WRITTEN, now, unreadable)

    def _spill_over(self, records: Sequence[Record], now: float) -> None:
        kept = self._spill.append([self._line(record) for record in records])
        self._backlog.spilled(kept, len(records), now)
        self._log.warning("records spilled", spilled=kept, not_taken=len(records) - kept)

    def _line(self, record: Record) -> bytes:
        try:
            return encode(record)
        except Exception as error:  # noqa: BLE001 - one that cannot be kept holds up no other
            self._log.error("record cannot be spilled", **trace_of(error))
            return b"\n"  # counted as lost when it is read

    def _tell_losses(self, now: float) -> None:
        lost = self._intake.counts.lost
        if lost > self._loss.told and (
            now >= self._loss.silent_until or self._intake.over.is_set()
        ):
            self._log.error("records lost", lost=lost - self._loss.told)
            self._loss = _Loss(lost, now + LOSS_SILENCE_S)

    def _arm(self) -> None:
        """Ask to be woken. An alarm that is no longer wanted finds nothing due: it is harmless."""
        due = self._backlog.next_deadline()
        if due is not None and due < self._armed_for:
            self._armed_for = due
            self.dispatcher.tell_at(due, self.actor_ref, DeadlineReached())

    def _end(self) -> None:
        self._spill.close()
        self._intake.publish(self._backlog.counts, self._backlog.in_memory)
        self._intake.over.set()
        self._scribe.stop(block=False)
        self.stop()
