"""When the next worker takes the place of one that is gone, and what the log is told of deaths."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from loguru import logger

from callengine.logs import QuietLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.workers.crew import Death

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
"""From a death to the next worker: twice as long each time, unless it lived longer than that."""


class Succession:
    """Places for so many workers, all of them to be taken."""

    def __init__(self, workers: int, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due = dict.fromkeys(range(workers), now())
        self._pauses: dict[int, float] = {}
        self._deaths = 0
        self._log = QuietLog(logger.bind(call_sid="-"))

    @property
    def next(self) -> float | None:
        """When a place is to be taken; None if all are."""
        return min(self._due.values(), default=None)

    def due(self, now: float) -> list[int]:
        """Places that are to be taken by now."""
        return [number for number, at in self._due.items() if at <= now]

    def begun(self, number: int) -> None:
        """A place is taken."""
        del self._due[number]

    def ended(self, number: int) -> None:
        """A worker ended as it was told to."""
        self._due[number] = self._now()

    def died(self, number: int, death: Death) -> None:
        """A worker died."""
        self._deaths += 1
        pause_s = self._pause(number, death.lived_s)
        self._log.error(
            "a worker died",
            worker=number,
            how=death.how,
            calls_lost=death.calls_lost,
            deaths=self._deaths,
            pause_s=pause_s,
        )

    def failed(self, number: int, error: OSError) -> None:
        """None could be had."""
        self._log.error(
            "no worker could be had",
            worker=number,
            error=str(error),
            pause_s=self._pause(number, 0.0),
        )

    def _pause(self, number: int, lived_s: float) -> float:
        before_s = self._pauses.get(number, 0.0)
        if lived_s > LONGEST_PAUSE_S:
            before_s = 0.0
        pause_s = min(before_s * 2, LONGEST_PAUSE_S) or FIRST_PAUSE_S
        self._pauses[number] = pause_s
        self._due[number] = self._now() + pause_s
        return pause_s
