"""Is the caller speaking? Frames are loud or not; this decides what a row of them means.

It knows nothing of playout: whether speech interrupts anything is decided where the audio is.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, TypeAlias

from callengine.audio.g711 import FRAME_S
from callengine.messages import OnsetDebounced, SpeechConfirmed, SpeechEnded, SpeechOnset

SpeechEvent: TypeAlias = SpeechOnset | SpeechConfirmed | SpeechEnded | OnsetDebounced

CONFIRM_FRAMES: Final = 15
"""Loud frames (300 ms) after which it is speech beyond doubt: coughs and clicks are shorter."""

HANGOVER_FRAMES: Final = 10
"""Quiet frames (200 ms) that end speech: longer than the stops inside a word."""


class State(Enum):
    """What the row of loud frames amounts to so far."""

    QUIET = auto()
    RISING = auto()
    SPEAKING = auto()
    CONFIRMED = auto()


class Speech:
    """Debounces loud frames: a fixed number of consecutive ones is an onset.

    Before the onset one quiet frame starts the count anew; after it only `HANGOVER_FRAMES` end it.
    """

    def __init__(self, onset_frames: int) -> None:
        self.state = State.QUIET
        self._onset_frames = onset_frames
        self._loud_frames = 0
        self._quiet_frames = 0
        self._onset_at = 0.0
        self._peak_rms = 0

    def frame(self, level_rms: int, now: float) -> list[SpeechEvent]:
        """Take the level of the 20 ms frame that ended at `now`; 0 if it was not loud."""
        if level_rms:
            return self._loud(level_rms, now)
        return [] if self.state is State.QUIET else self._quiet()

    def _loud(self, level_rms: int, now: float) -> list[SpeechEvent]:
        self._quiet_frames = 0
        if self.state is State.CONFIRMED:
            return []
        if self.state is State.QUIET:
            self.state = State.RISING
            self._onset_at = now - FRAME_S
            self._loud_frames = self._peak_rms = 0
        self._loud_frames += 1
        self._peak_rms = max(self._peak_rms, level_rms)
        events: list[SpeechEvent] = []
        if self.state is State.RISING and self._loud_frames >= self._onset_frames:
            self.state = State.SPEAKING
            events.append(SpeechOnset(self._onset_at, self._peak_rms))
        if self.state is State.SPEAKING and self._loud_frames >= CONFIRM_FRAMES:
            self.state = State.CONFIRMED
            events.append(SpeechConfirmed(self._onset_at))
        return events

    def _quiet(self) -> list[SpeechEvent]:
        if self.state is State.RISING:
            self.state = State.QUIET
            return [OnsetDebounced(self._onset_at, self._peak_rms)]
        self._quiet_frames += 1
        if self._quiet_frames < HANGOVER_FRAMES:
            return []
        self.state = State.QUIET
        return [SpeechEnded(self._onset_at)]
