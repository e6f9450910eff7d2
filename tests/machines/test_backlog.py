"""The backlog: one queue, part of it in a file, and nothing in it gets lost or out of order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from callengine.machines import backlog as module
from callengine.machines.backlog import (
    BATCH,
    FIRST_RETRY_S,
    LAST_RETRY_S,
    LINGER_S,
    MAX_FAILURES,
    MAX_IN_MEMORY,
    SPILL_BATCH,
    SPILL_RETRY_S,
    Action,
    Backlog,
    Finished,
    Forget,
    SpillOver,
    Verdict,
    Write,
    WriteFromFile,
)

if TYPE_CHECKING:
    import pytest


def filled(count: int, now: float = 0.0, *, adopted: int = 0) -> Backlog[int]:
    backlog: Backlog[int] = Backlog(adopted)
    for n in range(count):
        backlog.add(n, now)
    return backlog


def written(backlog: Backlog[int], now: float) -> Write[int]:
    action = backlog.next_action(now)
    assert isinstance(action, Write)
    backlog.settled(action.number, Verdict.WRITTEN, now)
    return action


def unavailable(backlog: Backlog[int], now: float) -> None:
    action = backlog.next_action(now)
    assert isinstance(action, Write | WriteFromFile)
    backlog.settled(action.number, Verdict.UNAVAILABLE, now)


def test_one_waits_half_a_second_for_others() -> None:
    backlog = filled(1)
    assert backlog.next_action(LINGER_S - 0.01) is None
    assert backlog.next_deadline() == LINGER_S
    backlog.add(1, LINGER_S - 0.01)
    assert written(backlog, LINGER_S).things == (0, 1)
    assert backlog.next_deadline() is None
    assert backlog.counts.written == 2


def test_a_full_batch_waits_for_nothing() -> None:
    backlog = filled(BATCH + 1)
    assert written(backlog, 0.0).things == tuple(range(BATCH))
    assert backlog.next_action(0.0) is None
    assert written(backlog, LINGER_S).things == (BATCH,)


def test_one_batch_is_under_way_at_a_time() -> None:
    backlog = filled(2 * BATCH)
    assert isinstance(backlog.next_action(0.0), Write)
    assert backlog.next_action(100.0) is None
    assert backlog.next_deadline() is None


def test_it_is_tried_again_after_longer_and_longer() -> None:
    backlog, now, waits = filled(1), LINGER_S, []
    for _ in range(9):
        unavailable(backlog, now)
        assert backlog.troubled
        due = backlog.next_deadline()
        assert due is not None
        assert backlog.next_action(due - 0.001) is None
        waits.append(due - now)
        now = due
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert (waits[0], waits[-1]) == (FIRST_RETRY_S, LAST_RETRY_S)
    written(backlog, now)
    assert not backlog.troubled
    backlog.add(1, now)
    unavailable(backlog, now + LINGER_S)
    assert backlog.next_deadline() == now + LINGER_S + FIRST_RETRY_S


def test_a_full_batch_does_not_cut_the_wait_short() -> None:
    backlog = filled(BATCH)
    unavailable(backlog, 0.0)
    backlog.add(BATCH, 0.1)
    assert backlog.next_action(0.1) is None


def test_at_the_bound_the_oldest_go_to_the_file() -> None:
    backlog = filled(MAX_IN_MEMORY - 1)
    assert isinstance(backlog.next_action(0.0), Write)
    assert backlog.next_action(0.0) is None
    backlog.add(-1, 0.0)
    assert backlog.next_action(0.0) == SpillOver(tuple(range(SPILL_BATCH)))
    backlog.spilled(SPILL_BATCH, SPILL_BATCH, 0.0)
    assert backlog.in_memory == MAX_IN_MEMORY - SPILL_BATCH
    assert backlog.counts.in_file == SPILL_BATCH
    assert backlog.next_action(0.0) is None


def test_the_file_goes_before_memory() -> None:
    backlog = filled(1, adopted=BATCH + 50)
    first = backlog.next_action(0.0)
    assert isinstance(first, WriteFromFile)
    assert first.count == BATCH
    backlog.settled(first.number, Verdict.WRITTEN, 0.0)
    assert backlog.next_action(0.0) == Forget(BATCH)
    second = backlog.next_action(0.0)
    assert isinstance(second, WriteFromFile)
    assert second.count == 50
    backlog.settled(second.number, Verdict.WRITTEN, 0.0)
    assert backlog.next_action(0.0) == Forget(50)
    assert written(backlog, LINGER_S).things == (0,)
    assert backlog.counts.replayed == BATCH + 50
    assert backlog.counts.written == BATCH + 51


def test_what_is_spilled_while_it_is_written_is_forgotten_in_the_file() -> None:
    backlog = filled(MAX_IN_MEMORY)
    spill = backlog.next_action(0.0)
    assert isinstance(spill, SpillOver)
    backlog = filled(MAX_IN_MEMORY - 1)
    write = backlog.next_action(0.0)
    assert isinstance(write, Write)
    backlog.add(-1, 0.0)
    assert isinstance(backlog.next_action(0.0), SpillOver)
    backlog.spilled(SPILL_BATCH, SPILL_BATCH, 0.0)
    backlog.settled(write.number, Verdict.WRITTEN, 0.0)
    assert backlog.next_action(0.0) == Forget(BATCH)
    assert backlog.counts.in_file == SPILL_BATCH - BATCH
    assert backlog.in_memory == MAX_IN_MEMORY - SPILL_BATCH


def test_a_file_that_takes_nothing_costs_the_newest() -> None:
    backlog = filled(MAX_IN_MEMORY)
    assert isinstance(backlog.next_action(0.0), SpillOver)
    backlog.spilled(0, SPILL_BATCH, 0.0)
    assert isinstance(backlog.next_action(0.0), Write)
    backlog.add(-1, 0.0)
    assert backlog.next_action(SPILL_RETRY_S - 0.01) is None
    assert backlog.counts.lost == 1
    assert isinstance(backlog.next_action(SPILL_RETRY_S), SpillOver)


def test_a_refused_batch_is_written_one_by_one() -> None:
    backlog = filled(3)
    action = backlog.next_action(LINGER_S)
    assert isinstance(action, Write)
    backlog.settled(action.number, Verdict.REFUSED, LINGER_S)
    assert backlog.counts.refused == 0
    for n in range(3):
        single = backlog.next_action(LINGER_S)
        assert isinstance(single, Write)
        assert single.things == (n,)
        verdict = Verdict.REFUSED if n == 1 else Verdict.WRITTEN
        backlog.settled(single.number, verdict, LINGER_S)
    assert (backlog.counts.written, backlog.counts.refused) == (2, 1)
    for n in range(BATCH):
        backlog.add(n, 1.0)
    assert len(written(backlog, 1.0).things) == BATCH


def test_singly_outlasts_an_outage() -> None:
    backlog = filled(3)
    action = backlog.next_action(LINGER_S)
    assert isinstance(action, Write)
    backlog.settled(action.number, Verdict.REFUSED, 1.0)
    unavailable(backlog, 1.0)
    assert written(backlog, 2.0).things == (0,)
    assert written(backlog, 2.0).things == (1,)


def test_what_breaks_the_store_does_not_hold_up_the_others_for_ever() -> None:
    backlog, now, attempts = filled(2), LINGER_S, []
    while backlog.in_memory:
        action = backlog.next_action(now)
        assert isinstance(action, Write)
        attempts.append(action.things)
        verdict = Verdict.FAILED if 0 in action.things else Verdict.WRITTEN
        backlog.settled(action.number, verdict, now)
        now += LAST_RETRY_S
    assert attempts == [(0, 1)] * MAX_FAILURES + [(0,)] * MAX_FAILURES + [(1,)]
    assert (backlog.counts.written, backlog.counts.refused) == (1, 1)


def test_an_answer_that_comes_twice_or_late_changes_nothing() -> None:
    backlog = filled(BATCH + 1)
    action = backlog.next_action(0.0)
    assert isinstance(action, Write)
    backlog.interrupted(0.0)
    backlog.settled(action.number, Verdict.WRITTEN, 0.0)
    assert backlog.in_memory == BATCH + 1
    again = backlog.next_action(FIRST_RETRY_S)
    assert isinstance(again, Write)
    backlog.settled(action.number, Verdict.WRITTEN, 1.0)
    assert backlog.in_memory == BATCH + 1
    backlog.settled(again.number, Verdict.WRITTEN, 1.0)
    backlog.settled(again.number, Verdict.WRITTEN, 1.0)
    assert backlog.in_memory == 1


def test_unreadable_lines_are_lost_and_counted() -> None:
    backlog: Backlog[int] = Backlog(5)
    action = backlog.next_action(0.0)
    assert isinstance(action, WriteFromFile)
    backlog.settled(action.number, Verdict.WRITTEN, 0.0, unreadable=2)
    assert (backlog.counts.written, backlog.counts.lost) == (3, 2)
    assert backlog.counts.in_file == 0


def test_closing_writes_at_once_what_can_be_written() -> None:
    backlog = filled(BATCH + 1)
    backlog.close(2.0)
    assert len(written(backlog, 0.0).things) == BATCH
    assert len(written(backlog, 0.0).things) == 1
    assert backlog.next_action(0.0) == Finished()


def test_closing_tries_a_database_that_was_away_once_more() -> None:
    backlog = filled(SPILL_BATCH + 1)
    unavailable(backlog, 0.0)
    backlog.close(2.0)
    unavailable(backlog, 0.0)
    assert backlog.next_action(0.0) == SpillOver(tuple(range(SPILL_BATCH)))
    backlog.spilled(SPILL_BATCH, SPILL_BATCH, 0.0)
    assert backlog.next_action(0.0) == SpillOver((SPILL_BATCH,))
    backlog.spilled(1, 1, 0.0)
    assert backlog.next_action(0.0) == Finished()


def test_closing_waits_for_a_slow_database_only_so_long() -> None:
    backlog = filled(2)
    backlog.close(2.0)
    assert isinstance(backlog.next_action(0.0), Write)
    assert backlog.next_action(1.9) is None
    assert backlog.next_deadline() == 2.0
    assert backlog.next_action(2.0) == SpillOver((0, 1))


def test_closing_loses_what_nobody_takes() -> None:
    backlog = filled(3)
    backlog.close(0.0)
    assert backlog.next_action(0.0) == SpillOver((0, 1, 2))
    backlog.spilled(1, 3, 0.0)
    assert backlog.next_action(0.0) == Finished()
    assert (backlog.counts.in_file, backlog.counts.lost, backlog.in_memory) == (1, 2, 0)


def test_closing_with_nothing_waiting_is_done() -> None:
    backlog = filled(0)
    backlog.close(2.0)
    assert backlog.next_action(0.0) == Finished()


class World(RuleBasedStateMachine):
    """A backlog between a database and a file that do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog: Backlog[int] = Backlog(2)
        self.file = deque([-2, -1])
        self.now = 0.0
        self.noted = 0
        self.room = 1000
        self.under_way: tuple[int, tuple[int, ...]] | None = None
        self.database: list[int] = []
        self.refused: list[int] = []
        self.lost_in_file = 0
        self.finished = False
        self.run()

    def run(self) -> None:
        action: Action[int] | None
        while not self.finished and (action := self.backlog.next_action(self.now)) is not None:
            self.perform(action)

    def perform(self, action: Action[int]) -> None:
        match action:
            case Write(number, things):
                self.under_way = number, things
            case WriteFromFile(number, count):
                assert count <= len(self.file)
                self.under_way = number, tuple(self.file)[:count]
            case SpillOver(things):
                kept = min(self.room, len(things))
                self.room -= kept
                self.file.extend(things[:kept])
                self.backlog.spilled(kept, len(things), self.now)
            case Forget(count):
                for _ in range(count):
                    self.file.popleft()
            case Finished():
                self.finished = True

    @rule(count=st.integers(1, 10))
    @precondition(lambda self: not self.finished)
    def note(self, count: int) -> None:
        for _ in range(count):
            self.backlog.add(self.noted, self.now)
            self.noted += 1
            self.run()

    @rule(by=st.sampled_from([0.1, 0.5, 1.0, 31.0]))
    def wait(self, by: float) -> None:
        self.now += by
        self.run()

    @rule(verdict=st.sampled_from(Verdict), unreadable=st.integers(0, 1))
    @precondition(lambda self: self.under_way is not None and not self.finished)
    def settle(self, verdict: Verdict, unreadable: int) -> None:
        assert self.under_way is not None
        number, things = self.under_way
        self.under_way = None
        before = self.backlog.counts
        if verdict is not Verdict.WRITTEN:
            unreadable = 0
        self.backlog.settled(number, verdict, self.now, unreadable)
        after = self.backlog.counts
        if after.written + after.lost > before.written + before.lost:
            self.database += things
            self.lost_in_file += unreadable
        elif after.refused > before.refused:
            self.refused += things
        self.run()

    @rule(room=st.sampled_from([0, 2, 1000]))
    def resize(self, room: int) -> None:
        self.room = room

    @rule(timeout_s=st.sampled_from([0.0, 2.0]))
    def close(self, timeout_s: float) -> None:
        self.backlog.close(self.now + timeout_s)
        self.run()

    @invariant()
    def nothing_is_missing_or_doubled(self) -> None:
        counts = self.backlog.counts
        assert self.noted + counts.adopted == (
            counts.written + counts.refused + counts.lost + self.backlog.in_memory + counts.in_file
        )
        assert counts.in_file == len(self.file)
        assert self.backlog.in_memory <= 8
        assert counts.written == len(self.database) - self.lost_in_file

    @invariant()
    def order_is_kept(self) -> None:
        assert self.database == sorted(set(self.database))
        assert list(self.file) == sorted(set(self.file))
        assert not set(self.database) & set(self.file)

    @invariant()
    def it_never_sleeps_with_work_to_do(self) -> None:
        """While something waits, either an answer or an alarm is going to come."""
        if not self.finished and (self.backlog.in_memory or self.file):
            assert self.under_way or self.backlog.next_deadline() is not None


def test_any_database_and_any_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_MEMORY", 8)
    monkeypatch.setattr(module, "SPILL_BATCH", 3)
    monkeypatch.setattr(module, "BATCH", 4)
    run_state_machine_as_test(
        World, settings=settings(max_examples=300, stateful_step_count=40, deadline=None)
    )
