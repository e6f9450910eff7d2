"""Real databases that are killed under load, locked, or away: nothing is missing or doubled."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from loguru import logger
from sqlalchemy import select

from callengine.actors.journal import Journal, start_journal
from callengine.actors.loop import Loop
from callengine.actors.threads import BlockingActors, Threads
from callengine.edges.spill import Spill
from callengine.errors import StoreUnavailable
from callengine.machines import backlog
from callengine.messages import EndCause
from callengine.records import CallBegan, CallFinished, EventNoted, Record, Speaker, TurnTaken
from callengine.store import CallRow, EventRow, Store, SummaryRow, TurnRow, UsageRow, upgrade
from callengine.summary import CallFacts, summarise
from tests.journal import abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.postgres import PostgresServer

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

WAIT_S = 20.0
EVERY_S = 0.05
RECORDS = 9
"""Of one call."""
FACTS = CallFacts("CA1", "MZ1", EndCause.CALLER_HUNG_UP, "", 0.0, 60.0)
SUMMARY = summarise(FACTS, {})

_names = count(1)


@dataclass
class Noted:
    """What one thread had written down, by the table where it belongs."""

    calls: list[UUID] = field(default_factory=list)
    turns: list[UUID] = field(default_factory=list)
    events: list[UUID] = field(default_factory=list)

    def call(self) -> Iterator[Record]:
        """The records of one more call."""
        call_id = uuid4()
        self.calls.append(call_id)
        yield CallBegan(call_id=call_id, call_sid="CA1", stream_sid="MZ1")
        for number in range(1, 7):
            turn = TurnTaken(
                call_id=call_id,
                number=number,
                speaker=Speaker.CALLER,
                item_id=f"item_{number}",
                text="words \x00 and \ud800 more",
                heard_text="words",
            )
            self.turns.append(turn.record_id)
            yield turn
        event = EventNoted(call_id=call_id, kind="outage")
        self.events.append(event.record_id)
        yield event
        yield CallFinished(call_id=call_id, summary=SUMMARY)


class Load:
    """Threads that note records inside of a `with`."""

    def __init__(self, journal: Journal, threads: int = 4) -> None:
        self._journal = journal
        self._over = threading.Event()
        self.noted = [Noted() for _ in range(threads)]
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in self.noted]

    @property
    def records(self) -> int:
        """How many there are."""
        return sum(RECORDS * len(each.calls) for each in self.noted)

    def _run(self, noted: Noted) -> None:
        while not self._over.wait(EVERY_S):
            for record in noted.call():
                self._journal.note(record)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Watched:
    """A store of which one can wait for what it does."""

    def __init__(self, url: str) -> None:
        self.store = Store.from_url(url)
        self._changed = threading.Condition()
        self._attempts = {True: 0, False: 0}

    def write(self, records: Sequence[Record]) -> None:
        done = False
        try:
            self.store.write(records)
            done = True
        finally:
            with self._changed:
                self._attempts[done] += 1
                self._changed.notify_all()

    def wait_for(self, more: int, *, written: bool) -> None:
        """So many more batches that were written, or were not."""
        with self._changed:
            wanted = self._attempts[written] + more
            assert self._changed.wait_for(lambda: self._attempts[written] >= wanted, WAIT_S)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """A database that keeps what it has committed, unlike those of other tests."""
    name = f"outage_{next(_names)}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    postgres_server.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
    url = postgres_server.url_of(name)
    migrate(url)
    yield url
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def migrate(url: str) -> None:
    store = Store.from_url(url)
    upgrade(store.engine)
    store.close()


class Journals:
    """Journals with threads of their own, which end with the test."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._threads = Threads("journal", 4)
        self._dispatcher = BlockingActors(self._loop, self._threads)
        self._started: list[Journal] = []

    def start(self, write: Callable[[Sequence[Record]], None], spill_path: Path) -> Journal:
        spill = Spill(str(spill_path), logger)
        self._started.append(start_journal(self._dispatcher, write, spill, log=logger))
        return self._started[-1]

    def stop(self) -> None:
        for journal in self._started:
            journal.stop(1.0)
        self._loop.stop(WAIT_S)
        self._threads.stop(WAIT_S)


@pytest.fixture
def journals() -> Iterator[Journals]:
    journals = Journals()
    yield journals
    journals.stop()


def check(store: Store, noted: list[Noted]) -> None:
    """Every record is there, and no other."""
    calls = {call for each in noted for call in each.calls}
    assert ids(store, CallRow.id) == calls
    assert ids(store, SummaryRow.call_id) == calls
    assert ids(store, UsageRow.call_id) == calls
    assert ids(store, TurnRow.id) == {turn for each in noted for turn in each.turns}
    assert ids(store, EventRow.id) == {event for each in noted for event in each.events}


def ids(store: Store, column: Any) -> set[UUID]:  # noqa: ANN401 - sqlalchemy's column
    with store.engine.connect() as connection:
        found = connection.scalars(select(column)).all()
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.postgres
@pytest.mark.parametrize("bound", [10_000, 300])
def test_a_killed_postgresql_loses_and_doubles_nothing(
    postgres_server: PostgresServer,
    database: str,
    journals: Journals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bound: int,
) -> None:
    monkeypatch.setattr(backlog, "MAX_IN_MEMORY", bound)
    monkeypatch.setattr(backlog, "SPILL_BATCH", bound // 10)
    watched = Watched(database)
    journal = journals.start(watched.write, tmp_path / "calls")
    load = Load(journal)
    with load:
        watched.wait_for(2, written=True)
        postgres_server.stop(immediate=True)
        try:
            watched.wait_for(2, written=False)
        finally:
            postgres_server.start()
        watched.wait_for(2, written=True)
    journal.stop(WAIT_S)
    counts = journal.counts
    assert (counts.written, counts.lost, counts.refused, counts.in_file) == (load.records, 0, 0, 0)
    assert (counts.spilled > 0) == (bound == 300)
    check(watched.store, load.noted)
    assert list(tmp_path.iterdir()) == []
    watched.store.close()


@pytest.mark.postgres
def test_a_killed_process_leaves_its_file_to_the_next(
    postgres_server: PostgresServer, database: str, journals: Journals, tmp_path: Path
) -> None:
    """What was in the memory of the killed process is gone, and nothing else."""
    path = tmp_path / "calls"
    postgres_server.stop(immediate=True)
    try:
        spilled = run_until_killed(database, path, 500)
    finally:
        postgres_server.start()
    watched = Watched(database)
    journal = journals.start(watched.write, path)
    assert journal.counts.adopted == spilled
    load = Load(journal, threads=1)
    with load:
        watched.wait_for(3, written=True)
    journal.stop(WAIT_S)
    assert journal.counts.written == spilled + load.records
    left_behind = [UUID(int=number + 1) for number in range(spilled)]
    load.noted.append(Noted(events=left_behind))
    assert ids(watched.store, EventRow.id) == {e for each in load.noted for e in each.events}
    assert list(tmp_path.iterdir()) == []
    watched.store.close()


def run_until_killed(url: str, path: Path, count: int) -> int:
    """How many records a process had spilled when it was killed."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.journal.abandoned", url, str(path), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        spilled = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert spilled == abandoned.spilled_of(count)
    return spilled


@pytest.mark.postgres
def test_what_is_written_twice_is_there_once(
    database: str, journals: Journals, tmp_path: Path
) -> None:
    """The answer to a commit is lost: the journal writes the batch again."""
    watched = Watched(database)
    answers = iter([StoreUnavailable("the connection broke behind the commit"), None])

    def write(records: Sequence[Record]) -> None:
        watched.write(records)
        if (error := next(answers)) is not None:
            raise error

    journal = journals.start(write, tmp_path / "spill")
    noted = Noted()
    for record in noted.call():
        journal.note(record)
    watched.wait_for(2, written=True)
    journal.stop(WAIT_S)
    assert journal.counts.written == RECORDS
    check(watched.store, [noted])
    watched.store.close()


def test_a_locked_sqlite_delays_nobody_who_notes(journals: Journals, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'calls.db'}"
    migrate(url)
    watched = Watched(url)
    journal = journals.start(watched.write, tmp_path / "spill")
    lock = sqlite3.connect(tmp_path / "calls.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    noted, took_s = Noted(), list[float]()
    for _ in range(1000):
        for record in noted.call():
            began = time.perf_counter()
            journal.note(record)
            took_s.append(time.perf_counter() - began)
    watched.wait_for(1, written=False)
    lock.execute("ROLLBACK")
    lock.close()
    journal.stop(WAIT_S)
    assert sorted(took_s)[len(took_s) * 99 // 100] < 0.001
    assert journal.counts.written + journal.counts.in_file == 1000 * RECORDS
    assert journal.counts.lost == 0
    journals.start(watched.write, tmp_path / "spill").stop(WAIT_S)
    check(watched.store, [noted])
    watched.store.close()
