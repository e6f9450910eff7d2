from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from loguru import logger

from callengine.workers.crew import Death
from callengine.workers.succession import FIRST_PAUSE_S, LONGEST_PAUSE_S, Succession

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def succession(clock: Clock) -> Succession:
    return Succession(2, clock)


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    logger.enable("callengine")
    sink = logger.add(lines.append, format="{level} {message} {extra}")
    yield lines
    logger.remove(sink)
    logger.disable("callengine")


def killed(lived_s: float = 0.1, calls: int = 0) -> Death:
    return Death(-9, lived_s, calls)


def begin_all(succession: Succession, clock: Clock) -> None:
    for number in succession.due(clock.now):
        succession.begun(number)


def test_all_places_are_to_be_taken_at_once(succession: Succession, clock: Clock) -> None:
    assert succession.due(clock.now) == [0, 1]
    begin_all(succession, clock)
    assert succession.due(clock.now) == []
    assert succession.next is None


def test_one_that_dies_is_followed_after_a_pause_that_grows_each_time(
    succession: Succession, clock: Clock
) -> None:
    begin_all(succession, clock)
    pauses = []
    for _ in range(9):
        succession.died(1, killed())
        assert succession.next is not None
        pauses.append(succession.next - clock.now)
        assert succession.due(clock.now) == []
        clock.now = succession.next
        assert succession.due(clock.now) == [1]
        succession.begun(1)
    assert pauses[:3] == pytest.approx([FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S])
    assert pauses[-2:] == pytest.approx([LONGEST_PAUSE_S, LONGEST_PAUSE_S])


def test_who_lived_long_is_followed_after_the_first_pause(
    succession: Succession, clock: Clock
) -> None:
    begin_all(succession, clock)
    for lived_s in (1.0, 1.0, LONGEST_PAUSE_S + 1):
        succession.died(0, killed(lived_s))
    assert succession.next is not None
    assert succession.next - clock.now == pytest.approx(FIRST_PAUSE_S)


def test_one_that_ended_as_told_is_followed_at_once(succession: Succession, clock: Clock) -> None:
    begin_all(succession, clock)
    succession.ended(0)
    assert succession.due(clock.now) == [0]


def test_deaths_are_counted_in_the_log(
    succession: Succession, clock: Clock, log: list[str]
) -> None:
    begin_all(succession, clock)
    succession.died(0, killed(calls=3))
    succession.died(1, Death(1, 0.1, 0))
    succession.failed(0, BlockingIOError(11, "Resource temporarily unavailable"))
    assert ["'deaths': 1" in line for line in log] == [True, False, False]
    assert "'how': 'SIGKILL', 'calls_lost': 3" in log[0]
    assert "'how': 'exit status 1', 'calls_lost': 0, 'deaths': 2" in log[1]
    assert "Resource temporarily unavailable" in log[2]
