"""The journal: nothing that was noted is lost or doubled, and whoever notes never waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from uuid import UUID

import pykka
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger

from callengine.actors import intake
from callengine.actors.journal import Journal, start_journal
from callengine.actors.loop import Loop
from callengine.actors.stepper import Stepper
from callengine.actors.threads import BlockingActors, Threads
from callengine.edges.spill import Spill
from callengine.errors import StoreRefused, StoreUnavailable
from callengine.machines import backlog
from callengine.machines.backlog import LINGER_S, MAX_IN_MEMORY, SPILL_BATCH
from callengine.records import EventNoted, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from loguru import Message

CALL = UUID(int=7)
SECRET = "my card number is 4111"


def record(number: int) -> EventNoted:
    return EventNoted(call_id=CALL, kind="test", detail=SECRET, record_id=UUID(int=number))


def number_of(noted: Record) -> int:
    assert isinstance(noted, EventNoted)
    return noted.record_id.int


class Database:
    """Takes every record once, like the store; `trouble` may raise before."""

    def __init__(self) -> None:
        self.taken: dict[int, None] = {}
        self.batches: list[int] = []
        self.trouble: Callable[[list[int]], None] = lambda _: None

    def write(self, records: Sequence[Record]) -> None:
        numbers = [number_of(each) for each in records]
        self.batches.append(len(numbers))
        self.trouble(numbers)
        self.taken.update(dict.fromkeys(numbers))


def away(_: object) -> None:
    raise StoreUnavailable("the database is away")


def refuses(*bad: int) -> Callable[[list[int]], None]:
    def refuse(numbers: list[int]) -> None:
        if set(bad) & set(numbers):
            raise StoreRefused("the database refused it")

    return refuse


class Desk:
    """A journal on a stepper, its database and its file."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.path = path
        self.stepper = Stepper(seed)
        self.database = Database()
        self.records: list[Message] = []
        self._sink = logger.add(self.records.append, level="DEBUG", catch=False)
        logger.enable("callengine")
        self.journal = self.open()
        self.noted = 0

    def open(self) -> Journal:
        self.spill = Spill(str(self.path), logger)
        journal = start_journal(self.stepper, self.database.write, self.spill, log=logger)
        self.stepper.settle()
        return journal

    def note(self, count: int) -> None:
        for _ in range(count):
            self.noted += 1
            self.journal.note(record(self.noted))

    def run(self, for_s: float) -> None:
        self.stepper.run(self.stepper.now() + for_s)

    def stop(self, timeout_s: float = 2.0) -> None:
        self.journal.close(timeout_s)
        self.run(timeout_s)
        self.journal.stop(0.0)

    def logged(self) -> list[str]:
        return [each.record["message"] for each in self.records]

    def close(self) -> None:
        if pykka.ActorRegistry.get_all():
            self.stop(0.0)
        logger.disable("callengine")
        logger.remove(self._sink)
        assert SECRET not in "".join(str(each.record["extra"]) + each for each in self.records)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "calls")
    yield desk
    desk.close()


def up_to(last: int) -> list[int]:
    return list(range(1, last + 1))


# ---- in order, in batches


def test_records_are_written_together_within_half_a_second(desk: Desk) -> None:
    desk.note(3)
    desk.run(LINGER_S - 0.01)
    assert (desk.database.batches, desk.journal.waiting) == ([], 3)
    desk.run(0.01)
    assert (desk.database.batches, desk.journal.waiting) == ([3], 0)
    assert desk.journal.counts.written == 3


def test_many_are_written_at_once_in_order(desk: Desk) -> None:
    desk.note(450)
    desk.stepper.settle()
    assert desk.database.batches == [200, 200]
    desk.run(LINGER_S)
    assert desk.database.batches == [200, 200, 50]
    assert list(desk.database.taken) == up_to(450)


def test_an_outage_is_waited_out(desk: Desk) -> None:
    desk.database.trouble = away
    desk.note(300)
    desk.run(60.0)
    assert len(desk.database.batches) == 7  # at 0.5, 1, 2, 4, 8, 16, 32 s
    assert desk.journal.waiting == 300
    desk.database.trouble = lambda _: None
    desk.run(30.0)
    assert list(desk.database.taken) == up_to(300)
    assert desk.logged()[-1] == "records are written again"


def test_a_long_outage_goes_to_the_file_and_comes_back_in_order(desk: Desk, tmp_path: Path) -> None:
    desk.database.trouble = away
    count = MAX_IN_MEMORY + 2 * SPILL_BATCH
    desk.note(MAX_IN_MEMORY)
    desk.stepper.settle()
    desk.note(count - MAX_IN_MEMORY)
    desk.run(40.0)
    assert desk.journal.counts.spilled == desk.spill.waiting == 3 * SPILL_BATCH
    assert desk.journal.waiting == count - 3 * SPILL_BATCH
    assert SECRET in next(tmp_path.iterdir()).read_text()
    desk.database.trouble = lambda _: None
    desk.run(40.0)
    assert list(desk.database.taken) == up_to(count)
    assert (desk.journal.counts.written, desk.journal.counts.lost) == (count, 0)
    assert list(tmp_path.iterdir()) == []


# ---- what the database does not take


def test_what_is_refused_is_counted_and_named_without_its_content(desk: Desk) -> None:
    desk.database.trouble = refuses(2, 5)
    desk.note(6)
    desk.run(LINGER_S)
    assert list(desk.database.taken) == [1, 3, 4, 6]
    assert desk.journal.counts.refused == 2
    told = [m.record["extra"] for m in desk.records if m.record["message"] == "record refused"]
    assert [(each["kind"], each["call_id"]) for each in told] == [("EventNoted", str(CALL))] * 2


def test_what_is_refused_out_of_the_file_is_gone_from_it(desk: Desk, tmp_path: Path) -> None:
    desk.database.trouble = away
    desk.note(6)
    desk.stop()
    desk.database.trouble = refuses(2)
    desk.journal = desk.open()
    assert list(desk.database.taken) == [1, 3, 4, 5, 6]
    assert desk.journal.counts == backlog.JournalCounts(written=5, adopted=6, replayed=6, refused=1)
    assert list(tmp_path.iterdir()) == []


class GreenletExit(BaseException):
    """What gevent throws into a greenlet that is to end."""


@pytest.mark.parametrize("error", [SystemExit, GreenletExit, LookupError])
def test_whatever_the_store_raises_harms_no_other_actor(
    desk: Desk, error: type[BaseException]
) -> None:
    def broken(_: object) -> None:
        raise error(SECRET)

    desk.database.trouble = broken
    desk.note(2)
    desk.run(2.0)
    assert len(pykka.ActorRegistry.get_all()) == 2
    desk.database.trouble = lambda _: None
    desk.run(30.0)
    assert list(desk.database.taken) == [1, 2]


def test_a_record_that_breaks_the_store_is_given_up(desk: Desk) -> None:
    def broken(numbers: list[int]) -> None:
        if 2 in numbers:
            raise LookupError(SECRET)

    desk.database.trouble = broken
    desk.note(3)
    desk.run(200.0)
    assert list(desk.database.taken) == [1, 3]
    assert desk.journal.counts.refused == 1


# ---- the file


def test_what_an_earlier_process_left_is_written_first(desk: Desk, tmp_path: Path) -> None:
    desk.database.trouble = away
    desk.note(3)
    desk.stop()
    assert list(desk.database.taken) == []
    assert desk.journal.counts.spilled == 3
    desk.database.trouble = lambda _: None
    desk.journal = desk.open()
    desk.note(1)
    desk.run(LINGER_S)
    assert list(desk.database.taken) == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []


def test_lines_that_are_no_records_are_counted_as_lost(desk: Desk, tmp_path: Path) -> None:
    desk.stop()
    (tmp_path / "calls.4999999").write_text("torn\n" * 300)
    desk.journal = desk.open()
    assert desk.journal.counts == backlog.JournalCounts(adopted=300, replayed=300, lost=300)
    assert "records lost" in desk.logged()


def test_a_record_that_cannot_be_a_line_is_lost_alone(desk: Desk) -> None:
    desk.database.trouble = away
    desk.note(1)
    desk.journal.note(EventNoted(call_id=CALL, kind=object()))  # type: ignore[arg-type]
    desk.note(1)
    desk.stop()
    desk.database.trouble = lambda _: None
    desk.journal = desk.open()
    assert list(desk.database.taken) == [1, 2]
    assert desk.journal.counts.lost == 1


def test_a_file_that_takes_nothing_costs_the_newest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.spill, "append", lambda _: 0)
    desk.database.trouble = away
    desk.note(MAX_IN_MEMORY)
    desk.stepper.settle()
    desk.note(5)
    desk.stepper.settle()
    assert (desk.journal.counts.lost, desk.journal.waiting) == (5, MAX_IN_MEMORY)
    assert desk.logged().count("records lost") == 1
    desk.database.trouble = lambda _: None
    desk.run(31.0)
    assert list(desk.database.taken) == up_to(MAX_IN_MEMORY)


def test_a_file_that_cannot_be_read_is_tried_again(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.database.trouble = away
    desk.note(3)
    desk.stop()
    desk.database.trouble = lambda _: None

    def unreadable(_: object, most: int) -> list[bytes]:
        raise OSError(5, SECRET)

    with monkeypatch.context() as patched:
        patched.setattr(Spill, "read", unreadable)
        desk.journal = desk.open()
    assert list(desk.database.taken) == []
    desk.run(1.0)
    assert list(desk.database.taken) == [1, 2, 3]


@pytest.mark.parametrize("part", ["append", "read", "forget"])
@pytest.mark.parametrize("error", [SystemExit, LookupError])
def test_a_failure_of_the_file_harms_no_other_actor(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, part: str, error: type[BaseException]
) -> None:
    monkeypatch.setattr(backlog, "MAX_IN_MEMORY", 5)
    real = getattr(desk.spill, part)
    times = iter(range(100))

    def broken(*arguments: object) -> object:
        if next(times) == 0:
            raise error(SECRET)
        return real(*arguments)

    monkeypatch.setattr(desk.spill, part, broken)
    desk.database.trouble = away
    desk.note(6)
    desk.run(1.0)
    desk.database.trouble = lambda _: None
    desk.run(1.0)
    desk.note(1)
    desk.run(10.0)
    assert desk.journal.counts.spilled
    assert "journal failed" in desk.logged()
    assert list(desk.database.taken) == up_to(7)


# ---- the end


def test_stopping_writes_what_is_waiting(desk: Desk, tmp_path: Path) -> None:
    desk.note(450)
    desk.stop()
    assert list(desk.database.taken) == up_to(450)
    assert pykka.ActorRegistry.get_all() == []
    assert list(tmp_path.iterdir()) == []


def test_stopping_in_an_outage_spills_at_once(desk: Desk) -> None:
    desk.database.trouble = away
    desk.note(3)
    desk.run(5.0)
    desk.journal.close(2.0)
    desk.stepper.settle()
    assert pykka.ActorRegistry.get_all() == []
    assert (desk.journal.counts.spilled, desk.journal.waiting) == (3, 0)


def test_what_is_noted_while_it_stops_is_not_lost(desk: Desk) -> None:
    def one_more(_: object) -> None:
        desk.database.trouble = lambda _: None
        desk.note(1)

    desk.database.trouble = one_more
    desk.note(1)
    desk.stop()
    assert list(desk.database.taken) == [1, 2]


def test_what_is_noted_when_it_is_done_is_not_lost_either(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = intake.Intake.shut

    def one_more(self: intake.Intake) -> None:
        monkeypatch.undo()
        self.put(record(2))
        shut(self)

    monkeypatch.setattr(intake.Intake, "shut", one_more)
    desk.note(1)
    desk.stop()
    assert list(desk.database.taken) == [1, 2]


def test_what_is_noted_after_the_end_is_counted(desk: Desk) -> None:
    desk.stop()
    desk.note(2)
    assert (desk.journal.counts.lost, desk.journal.waiting) == (2, 0)
    desk.journal.stop(2.0)


def test_a_journal_without_threads_leaves_neither_actor_nor_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepper = Stepper()
    starts = iter([None, RuntimeError("can't start new thread")])

    def start(_: object) -> None:
        if (error := next(starts)) is not None:
            raise error

    monkeypatch.setattr(stepper, "start", start)
    path = str(tmp_path / "calls")
    (tmp_path / "calls.4999999").write_text("left behind\n")
    with pytest.raises(RuntimeError):
        start_journal(stepper, Database().write, Spill(path, logger), log=logger)
    stepper.settle()
    assert pykka.ActorRegistry.get_all() == []
    again = Spill(path, logger)
    assert again.waiting == 1
    again.close()


# ---- any order


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(
        st.tuples(
            st.integers(0, 12),
            st.sampled_from([0.0, 0.3, 1.0, 31.0]),
            st.sampled_from(["up", "away", "refuses", "restart"]),
        ),
        max_size=12,
    ),
)
def test_nothing_is_missing_or_doubled_in_any_order(
    seed: int, steps: list[tuple[int, float, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backlog, "MAX_IN_MEMORY", 8)
        patched.setattr(backlog, "SPILL_BATCH", 3)
        patched.setattr(backlog, "BATCH", 4)
        desk = Desk(tmp_path_factory.mktemp("journal") / "calls", seed)
        try:
            check(desk, steps)
        finally:
            desk.close()


def check(desk: Desk, steps: list[tuple[int, float, str]]) -> None:
    troubles = {"up": lambda _: None, "away": away, "refuses": refuses(*range(0, 1000, 5))}
    refused = 0
    for count, for_s, what in steps:
        if what == "restart":
            desk.stop()
            refused += desk.journal.counts.refused
            desk.journal = desk.open()
        else:
            desk.database.trouble = troubles[what]
        for _ in range(count):
            desk.note(1)
            desk.stepper.step()
        desk.run(for_s)
        counts = desk.journal.counts
        assert counts.lost == 0
        assert counts.in_file == desk.spill.waiting
    desk.database.trouble = troubles["up"]
    desk.run(60.0)
    refused += desk.journal.counts.refused
    assert desk.journal.waiting == desk.spill.waiting == 0
    taken = list(desk.database.taken)
    assert taken == sorted(taken)
    assert len(taken) + refused == desk.noted


# ---- with threads


class Hung:
    """Something that is waited for until it is let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, *_: object) -> int:
        self.reached.set()
        assert self.let_go.wait(10.0)
        return 0


@pytest.fixture
def blocking() -> Iterator[BlockingActors]:
    loop, threads = Loop(), Threads("journal", 2)
    yield BlockingActors(loop, threads)
    loop.stop(5.0)
    threads.stop(5.0)


@pytest.mark.realtime
def test_noting_waits_for_neither_database_nor_disk(
    blocking: BlockingActors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Structurally: both hang until the last record is noted."""
    monkeypatch.setattr(backlog, "MAX_IN_MEMORY", 300)
    monkeypatch.setattr(intake, "MAX_UNTAKEN", 1000)
    database, disk = Hung(), Hung()
    spill = Spill(str(tmp_path / "calls"), logger)
    monkeypatch.setattr(spill, "append", disk)
    journal = start_journal(blocking, database, spill, log=logger)
    for number in range(200):
        journal.note(record(number))
    assert database.reached.wait(5.0)
    for number in range(100):
        journal.note(record(number))
    assert disk.reached.wait(5.0)
    for number in range(1100):
        journal.note(record(number))
    assert journal.counts.lost == 100
    journal.stop(0.0)  # a second later it gives up waiting
    journal.note(record(0))
    assert journal.counts.lost == 101
    database.let_go.set()
    disk.let_go.set()


@pytest.mark.realtime
def test_a_hung_database_keeps_nobody_from_spilling_at_the_end(
    blocking: BlockingActors, tmp_path: Path
) -> None:
    database = Hung()
    path = str(tmp_path / "calls")
    journal = start_journal(blocking, database, Spill(path, logger), log=logger)
    for number in range(200):
        journal.note(record(number))
    assert database.reached.wait(5.0)
    journal.stop(0.05)
    assert journal.counts.spilled == 200
    left = Spill(path, logger)
    assert left.waiting == 200
    left.close()
    database.let_go.set()


@pytest.mark.realtime
def test_records_of_many_threads_are_written_once_each(
    blocking: BlockingActors, tmp_path: Path
) -> None:
    database = Database()
    spill = Spill(str(tmp_path / "calls"), logger)
    journal = start_journal(blocking, database.write, spill, log=logger)

    def note(first: int) -> None:
        for number in range(first, first + 1000):
            journal.note(record(number))

    noters = [threading.Thread(target=note, args=(n * 1000,)) for n in range(5)]
    for noter in noters:
        noter.start()
    for noter in noters:
        noter.join()
    journal.stop(5.0)
    assert sorted(database.taken) == list(range(5000))
    assert sum(database.batches) == 5000
    for n in range(5):
        mine = [number for number in database.taken if number // 1000 == n]
        assert mine == sorted(mine)
    assert journal.counts.written == 5000
