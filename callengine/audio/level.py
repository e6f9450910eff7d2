"""Is one frame of the caller loud enough to be speech? Level only: no memory of words, no clock."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from callengine.audio import g711


class Detector(Protocol):
    """Anything that can judge one 20 ms frame at a time. One instance serves one call."""

    def judge(self, caller_frame: bytes, sent_frame: bytes) -> int:
        """Judge 160 bytes of the caller, given the 160 bytes that were sent at that moment.

        The level of the caller's (see `g711.rms`) if that is loud enough to be speech; 0 if not.
        """


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
        self._sent: deque[bytes] = deque(maxlen=self.ECHO_FRAMES)  # of which nobody asked yet
        self._sent_levels = deque([0] * self.ECHO_FRAMES)
        self._loudest = 0

    def judge(self, caller_frame: bytes, sent_frame: bytes) -> int:
        """Judge one frame; see `Detector`."""
        level = g711.rms(caller_frame)
        self._sent.append(sent_frame)
        is_loud = (
            level > self._threshold_rms
            and level > self.ABOVE_NOISE * self._floor
            and level > self.ECHO_GAIN * self._loudest_sent()
        )
        if level > 0:
            floor = self._floor * self.FLOOR_RISE
            if level < floor:
                floor = level
            if floor < self._least_floor:
                floor = self._least_floor
            self._floor = floor
        return level if is_loud else 0

    def _loudest_sent(self) -> int:
        """The highest level that was sent lately; nobody asks while the caller is quiet.

        It is kept: to look for it anew for each frame would take longer.
        """
        levels = self._sent_levels
        while self._sent:
            frame = self._sent.popleft()
            level = 0 if frame == g711.SILENCE_FRAME else g711.rms(frame)
            gone = levels.popleft()
            levels.append(level)
            if level >= self._loudest:
                self._loudest = level
            elif gone == self._loudest:
                self._loudest = max(levels)
        return self._loudest
