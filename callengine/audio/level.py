"""Is one frame of the caller loud enough to be speech? Level only: no memory of words, no clock."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from callengine.audio import g711
from callengine.values import dataclass


@dataclass(frozen=True, slots=True)
class Loudness:
    """A detector's verdict on one frame."""

    level_rms: int
    loud: bool


class Detector(Protocol):
    """Anything that can judge one 20 ms frame at a time. One instance serves one call."""

    def judge(self, caller_frame: bytes, sent_frame: bytes) -> Loudness:
        """Judge 160 bytes of the caller, given the 160 bytes that were sent at that moment."""


class LevelDetector:
    """Loud is: above a fixed level, well above the line's noise, and above what echo could be.

    The noise floor follows the quietest frames: down at once, up slowly, so that speech with its
    pauses cannot raise it much while a fan or a car does. It is kept where it begins to matter,
    and digital silence, with which holes are filled, tells nothing about the noise.
    """

    ABOVE_NOISE: Final = 2.8  # 9 dB
    FLOOR_RISE: Final = 1.008  # 3.5 dB a second
    ECHO_GAIN: Final = 0.07  # -23 dB: a higher one would mistake quiet callers for echo
    ECHO_FRAMES: Final = 25  # half a second: echo of a mobile network comes that late

    def __init__(self, threshold_rms: int) -> None:
        self._threshold_rms = threshold_rms
        self._least_floor = self._floor = threshold_rms / self.ABOVE_NOISE
        self._sent_levels = deque([0] * self.ECHO_FRAMES)
        self._loudest_sent = 0

    def judge(self, caller_frame: bytes, sent_frame: bytes) -> Loudness:
        """Judge one frame; see `Detector`."""
        level = g711.rms(caller_frame)
        self._note_sent(0 if sent_frame == g711.SILENCE_FRAME else g711.rms(sent_frame))
        loud = (
            level > self._threshold_rms
            and level > self.ABOVE_NOISE * self._floor
            and level > self.ECHO_GAIN * self._loudest_sent
        )
        if level > 0:
            self._floor = max(min(level, self._floor * self.FLOOR_RISE), self._least_floor)
        return Loudness(level, loud)

    def _note_sent(self, level: int) -> None:
        """Keep the loudest of the last frames: to look for it in every frame would take longer."""
        levels = self._sent_levels
        gone = levels.popleft()
        levels.append(level)
        if level >= self._loudest_sent:
            self._loudest_sent = level
        elif gone == self._loudest_sent:
            self._loudest_sent = max(levels)
