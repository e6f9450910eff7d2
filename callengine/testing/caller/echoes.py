"""Which marks are echoed, when, how often and under which name.

Decides no playing: it is told when a mark was reached, or dropped by a `clear`.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from callengine.testing.caller.faults import (
    DelayClearedEchoes,
    DelayEchoes,
    EchoFault,
    LoseEchoes,
    RenameEchoes,
    RepeatEchoes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(order=True, slots=True)
class Echo:
    """The echo of the mark that is `key` in the record, which leaves at `at` under `name`."""

    at: float
    order: int
    key: int = field(compare=False)
    name: str = field(compare=False)
    cleared: bool = field(compare=False)
    times: int = field(default=1, compare=False)
    held_up: bool = field(default=False, compare=False)


class Echoes:
    """The echoes that are to leave, in the order of leaving."""

    def __init__(self, delay_s: float, faults: Sequence[EchoFault]) -> None:
        self._delay_s = delay_s
        self._faults = faults
        self._waiting: list[Echo] = []
        self._order = itertools.count()

    def reached(self, key: int, name: str, at: float) -> None:
        """All before the mark was heard at `at`."""
        self._add(Echo(at + self._delay_s, next(self._order), key, name, cleared=False))

    def clear(self, dropped: Sequence[tuple[int, str]], now: float) -> None:
        """What waits is echoed now, and then the marks that were dropped."""
        for echo in self._waiting:
            if not echo.held_up:
                echo.at = min(echo.at, now)
        heapq.heapify(self._waiting)
        for key, name in dropped:
            self._add(Echo(now, next(self._order), key, name, cleared=True))

    def due(self, at: float) -> list[Echo]:
        """What is to leave up to `at`; each is handed out once."""
        due = []
        while self._waiting and self._waiting[0].at <= at:
            due.append(heapq.heappop(self._waiting))
        return due

    def next_at(self) -> float | None:
        """When the next echo is to leave."""
        return self._waiting[0].at if self._waiting else None

    def _add(self, echo: Echo) -> None:
        for fault in self._faults:
            if not _strikes(fault, echo):
                continue
            match fault:
                case LoseEchoes():
                    return
                case DelayEchoes(seconds) | DelayClearedEchoes(seconds):
                    echo.at += seconds
                    echo.held_up = True
                case RepeatEchoes(times):
                    echo.times += times
                case RenameEchoes(name):
                    echo.name = name
                case _:
                    assert_never(fault)
        heapq.heappush(self._waiting, echo)


def _strikes(fault: EchoFault, echo: Echo) -> bool:
    if isinstance(fault, DelayClearedEchoes):
        return echo.cleared
    behind = echo.key - fault.after
    return behind >= 0 and behind % fault.every == 0
