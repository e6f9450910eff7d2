"""What is noted on its way from any thread to the journal's own, which never waits for anybody."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from callengine.machines.backlog import JournalCounts

if TYPE_CHECKING:
    from callengine.records import Record

MAX_UNTAKEN: Final = 10_000
"""Records that the journal's thread has not taken yet: it does at once unless the disk holds it up.
Beyond, the newest is lost and counted."""


class Intake:
    """Where records are put by any thread, and what any thread may know of the journal."""

    def __init__(self, adopted: int) -> None:
        self._lock = threading.Lock()  # held for a few instructions only
        self._records: deque[Record] = deque()
        self._is_shut = False
        self._lost = 0
        self._in_memory = 0
        self._counts = JournalCounts(adopted=adopted)
        self.over = threading.Event()

    def put(self, record: Record) -> bool:
        """Whether the keeper has to be told: it has not been since it last took something."""
        with self._lock:
            if self._is_shut or len(self._records) >= MAX_UNTAKEN:
                self._lost += 1
                return False
            self._records.append(record)
            return len(self._records) == 1

    def take(self) -> deque[Record]:
        """Everything that was put."""
        with self._lock:
            taken, self._records = self._records, deque()
            return taken

    def shut(self) -> None:
        """Take nothing any more. What is put from now on is lost."""
        with self._lock:
            self._is_shut = True

    def publish(self, counts: JournalCounts, in_memory: int) -> None:
        """Let other threads see where things stand."""
        with self._lock:
            self._counts, self._in_memory = counts, in_memory

    @property
    def counts(self) -> JournalCounts:
        """As published, and what was lost here."""
        with self._lock:
            return replace(self._counts, lost=self._counts.lost + self._lost)

    @property
    def waiting(self) -> int:
        """Records in memory, here and behind."""
        with self._lock:
            return self._in_memory + len(self._records)
