"""Which number of calls to try next on the way to the knee: up in steps, then in between.

Pure: it is told what was held and what was not.
"""

from __future__ import annotations

from typing import Final

PRECISION: Final = 0.05
"""The knee is found when the next number that was not held is so close."""

FIRST: Final = 25


class Ramp:
    """A search for the most calls that can be held, up to `most`."""

    def __init__(self, most: int, first: int = FIRST) -> None:
        self._most = most
        self._held = 0
        self._failed = most + 1
        self._next: int | None = min(first, most)

    @property
    def knee(self) -> int:
        """The most calls that were held so far; 0 if none."""
        return self._held

    @property
    def next(self) -> int | None:
        """What to try; None when it is known."""
        return self._next

    def tried(self, calls: int, *, held: bool) -> None:
        """Take note of an attempt."""
        if held:
            self._held = max(self._held, calls)
        else:
            self._failed = min(self._failed, calls)
        self._next = self._choose()

    def _choose(self) -> int | None:
        least_step = max(round(self._held * PRECISION), 1)
        if self._held >= self._most or self._failed - self._held <= least_step:
            return None
        if self._failed > self._most:
            return min(self._held * 2, self._most) if self._held else self._most
        return (self._held + self._failed) // 2
