"""What the echoes of our marks tell of the carrier: its own delay, and whether it stands still.

The smallest lag of an echo, less the round trip of a mark that waited for no audio, is the
carrier's delay. Audio that comes before it has played what it held is played behind that, so that
its delay is a shorter one: each stretch of audio has its own, and until an echo tells it counts as
that after a silence. A carrier that echoes marks and is long overdue with one is not playing what
it was sent. It refuses to know what was sent between the marks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callengine.audio.g711 import FRAME_S
from callengine.values import dataclass

if TYPE_CHECKING:
    from callengine.machines.transmission_terms import PlayoutCounts

OVERDUE_S: Final = 1.0
"""A mark that is not echoed so long after it should have been was not played."""

SILENT_S: Final = 10.0
"""Marks overdue for so long more are not coming: until one does, the clock alone counts."""

MAX_MARKS: Final = 256
"""Marks that were sent and not echoed. Beyond, the oldest is forgotten and counted as lost."""

_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class _Mark:
    clears: int
    ordinal: int
    plays_at: float
    stretch: int
    after_silence: bool


class Marks:
    """The marks of one call that are under way, and what those that came back have told."""

    def __init__(self, counts: PlayoutCounts) -> None:
        self.delay_s: float | None = None
        """Of the present stretch; None until an echo tells it."""
        self.delay_after_silence_s: float | None = None
        """The carrier's own."""
        self._own_delay_s: float | None = None  # as echoes of the present stretch tell
        self._stretch = 0
        self._after_silence = True  # began the present stretch
        self._counts = counts
        self._under_way: dict[str, _Mark] = {}
        self._clears = 0
        self._round_trip_s: float | None = None
        self._echoes = True
        self._echoed_to = float("-inf")
        self._next_plays_at = self._overdue_at = _NEVER  # of the mark that is waited for
        self._watched_since = float("-inf")

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def awaits_echo(self) -> bool:
        """The last mark is under way, on a line that has echoed one before."""
        last = next(reversed(self._under_way.values()), None)
        under_way = last is not None and last.plays_at > self._echoed_to
        return under_way and self._round_trip_s is not None

    def sent(self, name: str, ordinal: int, plays_at: float) -> str:
        """Note a mark behind audio of which the last is heard at `plays_at`, or, of ordinal 0, one
        that waits for none. Returns its name, made unique."""
        if len(self._under_way) >= MAX_MARKS:
            del self._under_way[next(iter(self._under_way))]
            self._counts.marks_lost += 1
        while name in self._under_way:  # resumed audio passes the same position again
            name += "+"
        self._under_way[name] = _Mark(
            self._clears, ordinal, plays_at, self._stretch, self._after_silence
        )
        self._counts.marks_sent += 1
        self._look_ahead()
        return name

    def audio_begins(self, silent_s: float) -> None:
        """What comes now is heard `silent_s` after the last of what came before, by our clock."""
        if silent_s < FRAME_S:
            return
        known_s = self.delay_after_silence_s
        self._after_silence = known_s is None or silent_s >= known_s
        self._stretch += 1
        self._own_delay_s, self.delay_s = None, known_s

    def cleared(self) -> None:
        """The carrier drops what it holds, and returns the marks with it."""
        self._clears += 1
        self._look_ahead()

    def stood_still(self, now: float) -> None:
        """Nobody looked until now: echoes may have waited for us, and more are to be read."""
        self._watched_since = now
        self._look_ahead()

    def echoed(self, name: str, now: float) -> None:
        """Learn from an echo; one that a clear caused teaches nothing."""
        mark = self._under_way.pop(name, None)
        if mark is None:
            self._counts.marks_unknown += 1
            return
        if mark.clears != self._clears:
            self._counts.marks_cleared += 1
            return
        self._counts.marks_heard += 1
        self._echoes = True
        self._echoed_to = max(self._echoed_to, mark.plays_at)
        self._learn(mark, max(now - mark.plays_at, 0.0))
        self._look_ahead()

    def _learn(self, mark: _Mark, lag_s: float) -> None:
        if mark.ordinal == 0:
            self._round_trip_s = lag_s
            return
        if self._round_trip_s is None:
            return  # the lag of an echo is the carrier's delay and the round trip in one
        if mark.plays_at < self._watched_since:
            return  # it may have come long ago
        delay_s = max(lag_s - self._round_trip_s, 0.0)
        if mark.after_silence:
            self.delay_after_silence_s = _least(delay_s, self.delay_after_silence_s)
        if mark.stretch == self._stretch:
            self._own_delay_s = _least(delay_s, self._own_delay_s)
        own_s = self._own_delay_s
        self.delay_s = self.delay_after_silence_s if own_s is None else own_s

    def stuck_at(self, now: float) -> float:
        """From which point on nothing was heard, by our clock, although it should have been.

        Infinity if all is well, or marks do not work.
        """
        if now < self._overdue_at:
            return _NEVER
        if now < self._overdue_at + SILENT_S:
            return self._next_plays_at
        self._echoes, self._echoed_to = False, now
        self._look_ahead()
        return _NEVER

    def _look_ahead(self) -> None:
        """Find the mark that is waited for: `stuck_at` is asked with every frame, and a mark comes
        or goes with every tenth."""
        self._next_plays_at = self._overdue_at = _NEVER
        if self._round_trip_s is None or not self._echoes:
            return
        overdue_s = self._round_trip_s + (self.delay_s or 0.0) + OVERDUE_S
        for mark in self._under_way.values():  # oldest first
            if mark.clears == self._clears and mark.plays_at > self._echoed_to:
                self._next_plays_at = mark.plays_at
                self._overdue_at = max(mark.plays_at, self._watched_since) + overdue_s
                return


def _least(new_s: float, known_s: float | None) -> float:
    return new_s if known_s is None else min(new_s, known_s)
