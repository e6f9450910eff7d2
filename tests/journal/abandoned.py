"""A process that notes records while the database is away, says so when it has spilled, and then
waits to be killed. Run with the database's URL, the spill's path, and how many records to note."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING
from uuid import UUID

from loguru import logger

from callengine.actors.journal import start_journal
from callengine.actors.loop import Loop
from callengine.actors.threads import BlockingActors, Threads
from callengine.edges.spill import Spill
from callengine.machines import backlog
from callengine.records import EventNoted
from callengine.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

CALL = UUID(int=1)
BOUND = 100
SPILL_BATCH = 20


def main(url: str, path: str, count: int) -> None:
    backlog.MAX_IN_MEMORY = BOUND  # type: ignore[misc]
    backlog.SPILL_BATCH = SPILL_BATCH  # type: ignore[misc]
    spilled = threading.Event()
    spill = _Telling(path, spilled_of(count), spilled)
    dispatcher = BlockingActors(Loop(), Threads("journal", 2))
    journal = start_journal(dispatcher, Store.from_url(url).write, spill, log=logger)
    for number in range(count):
        journal.note(EventNoted(call_id=CALL, kind="crash", record_id=UUID(int=number + 1)))
    spilled.wait()
    sys.stdout.write(f"{spill.waiting}\n")
    sys.stdout.flush()
    sys.stdin.readline()


def spilled_of(count: int) -> int:
    """How many of so many records go to the file: memory holds fewer than its bound."""
    return (count - BOUND) // SPILL_BATCH * SPILL_BATCH + SPILL_BATCH


class _Telling(Spill):
    """Tells when it holds so many lines."""

    def __init__(self, path: str, wanted: int, reached: threading.Event) -> None:
        super().__init__(path, logger)
        self._wanted = wanted
        self._reached = reached

    def append(self, lines: Sequence[bytes]) -> int:
        taken = super().append(lines)
        if self.waiting >= self._wanted:
            self._reached.set()
        return taken


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
