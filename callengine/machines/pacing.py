"""When may the next frame leave? An absolute 20 ms grid, a little ahead of the caller's ear.

The grid is a plan of when each frame is played: `FRAME_S` after the one before it. A frame may
leave `lead` earlier, so that the carrier always holds that much and a hiccup of ours is not heard.
Its times are an anchor plus a count of frames: nothing drifts. The grids of all calls share one
raster, so that one wake-up serves them all: a grid begins up to `RASTER_S` before its first frame.

A frame that leaves late keeps the grid, and the frames after it may follow at once until the lead
is restored: that is never more than the lead. If it was so late that the ear already had a gap
the grid starts anew from now; chasing the old one would only pile up audio at the carrier. What the
carrier still holds counts towards the lead in any case.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from enum import Enum, auto
from typing import Final

from callengine.audio.g711 import FRAME_S

RASTER_S: Final = FRAME_S
"""The distance of the points in time at which frames leave, and at which the engine has a look at
everything else, if it has nothing to do. What comes in between waits, 10 ms on average: for each
call there is one wake-up per frame's time then, not one for each frame in and out. Waking up costs
more than handling a frame, and much more the longer the core slept."""

_ROUNDING: Final = 1e-6
"""Of a raster: a sum of slots may fall short of a point by its last bits, and is that point."""

LATE_S: Final = FRAME_S
"""A frame is late when it leaves a whole slot after its time."""

RESET_S: Final = 0.200
"""Later than this it is no hiccup: the schedule is given up and counted as reset."""

LATENESS_BUCKETS_MS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 200.0, math.inf)
"""How late frames leave is kept as a histogram with these upper bounds, each belonging to its
bucket."""


def lateness_bucket_ms(lateness_ms: float) -> float:
    """The bound of the bucket that a frame falls into."""
    return LATENESS_BUCKETS_MS[bisect_left(LATENESS_BUCKETS_MS, lateness_ms)]


def raster_point(at: float) -> float:
    """The last point of the raster by then."""
    return math.floor(at / RASTER_S + _ROUNDING) * RASTER_S


class Punctuality(Enum):
    """How a frame left."""

    ON_TIME = auto()
    LATE = auto()
    RESET = auto()


ON_TIME: Final = Punctuality.ON_TIME


class Grid:
    """The schedule of one call's outbound frames; times are monotonic seconds."""

    due_at: float
    """When the next frame may leave."""

    def __init__(self, lead_s: float) -> None:
        self._lead_s = lead_s
        self._opened_at = self._anchor = float("-inf")
        self._frames = 0
        self._plan()

    def _plan(self) -> None:
        """Kept, not worked out whenever it is asked for: that is four times for each frame."""
        self._next_play_at = self._anchor + self._frames * FRAME_S
        self.due_at = self._next_play_at - self._lead_s
        if self.due_at < self._opened_at:
            self.due_at = self._opened_at

    def open(self, now: float) -> None:
        """Audio is there again after a pause: nothing was due before `now`."""
        if self._next_play_at <= now:
            self.restart(now)
        self._opened_at = now
        self._plan()

    def restart(self, now: float) -> None:
        """The carrier holds nothing: the next frame is played as it arrives."""
        self._opened_at = now
        self._anchor = raster_point(now - self._lead_s) + self._lead_s
        self._frames = 0
        self._plan()

    def sent(self, now: float) -> Punctuality:
        """Take note that the frame that was due has left at `now`."""
        lateness = now - self.due_at
        punctuality = ON_TIME
        if lateness >= RESET_S:
            punctuality = Punctuality.RESET
            self.open(now)  # a long lead may not be used up yet
        elif lateness >= LATE_S:
            punctuality = Punctuality.LATE
            if now - self._next_play_at > LATE_S:
                self.restart(now)
        self._frames += 1
        self._plan()
        return punctuality
