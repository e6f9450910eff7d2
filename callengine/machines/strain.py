"""Has the engine more to do than it has time? What is left out then, and in which order.

Told is how late alarms ring, because an alarm is what a frame leaves by, and how late the sockets
are looked at: frames go first, so that it is the callers and the models that wait when there is too
much to do. Judged are those of the last `SPAN_S`. When every twentieth of either is a whole frame
late the process is past its knee, though callers do not hear it yet: it takes no new calls and
leaves out diagnostics. When every twentieth is so late that most of the lead is used up, recordings
are left out too. Audio and interruptions never are.

It is as strained as it was within the last `CALM_S`: up at once, and down when it has been quiet.
Time is monotonic seconds.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import IntEnum, StrEnum
from typing import Final

from callengine.machines.pacing import LATE_S

ALMOST_HEARD_S: Final = 0.060
"""Of a lead of 100 ms."""

SHARE: Final = 0.05

MIN_LATE: Final = 50
"""Fewer say nothing: they are a second of one call's frames, or of looks that take a frame each."""

SPAN_S: Final = 5.0
"""A stall of the whole process strains it by itself if it takes 270 ms: 5 % of that, and 20 ms."""

JUDGE_EVERY_S: Final = 0.25
CALM_S: Final = 3.0


class Level(IntEnum):
    """How strained."""

    CALM = 0
    STRAINED = 1
    OVERLOADED = 2


class Ballast(StrEnum):
    """What a strained engine sheds."""

    DIAGNOSTICS = "diagnostics"
    """What only explains: events that are noted, and lines of the log at INFO."""
    RECORDINGS = "recordings"
    """What was said, in writing."""


SHED_FROM: Final = {Ballast.DIAGNOSTICS: Level.STRAINED, Ballast.RECORDINGS: Level.OVERLOADED}


class Lateness:
    """How late one thing comes, over and over, and how strained the engine is by that.

    Belongs to one thread; any may read `level`.
    """

    def __init__(self) -> None:
        self._times = self._late = self._almost_heard = 0  # in the span that is not over
        self._ends_at = float("-inf")
        self._spans: deque[tuple[float, int, int, int]] = deque()
        """When each ended, and what it counted: times, late, almost heard."""
        self._until = {Level.OVERLOADED: float("-inf"), Level.STRAINED: float("-inf")}

    def note(self, now: float, late_s: float) -> None:
        """It came, so late."""
        if now >= self._ends_at:
            self._end_span(now)
        self._times += 1
        if late_s >= LATE_S:
            self._late += 1
            if late_s >= ALMOST_HEARD_S:
                self._almost_heard += 1

    def level(self, now: float) -> Level:
        """How strained that is."""
        for level, until in self._until.items():
            if now < until:
                return level
        return Level.CALM

    def _end_span(self, now: float) -> None:
        """Judge it with those before it, and begin another."""
        self._spans.append((self._ends_at, self._times, self._late, self._almost_heard))
        while self._spans and self._spans[0][0] <= now - SPAN_S:
            self._spans.popleft()
        self._times = self._late = self._almost_heard = 0
        self._ends_at = now + JUDGE_EVERY_S
        judged = self._judged()
        for level in self._until:
            if level <= judged:
                self._until[level] = now + CALM_S

    def _judged(self) -> Level:
        times, late, almost_heard = (sum(span[n] for span in self._spans) for n in (1, 2, 3))
        if late < MIN_LATE or late <= times * SHARE:
            return Level.CALM
        return Level.OVERLOADED if almost_heard > times * SHARE else Level.STRAINED


class Strain:
    """How strained the engine is, and what it leaves out for that."""

    def __init__(self) -> None:
        self.alarms: Final = Lateness()
        self.looks: Final = Lateness()
        """At the sockets."""
        self.shed: Counter[Ballast] = Counter()
        """What was left out so far."""

    def level(self, now: float) -> Level:
        """As strained as by the worse of the two."""
        return max(self.alarms.level(now), self.looks.level(now))

    def sheds(self, what: Ballast, now: float) -> bool:
        """Whether one of these is to be left out; if so, it is counted."""
        if self.level(now) < SHED_FROM[what]:
            return False
        self.shed[what] += 1
        return True
