"""The caller's ear: Twilio's playout buffer, and what a caller notices of it.

Frames play back to back from their arrival, a clear empties what has not played, marks come back
when what was before them has played. It is told the time and knows of no socket.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from callengine.audio.g711 import FRAME_BYTES, FRAME_S, SAMPLE_RATE_HZ
from callengine.testing.bench.sounds import FACES, REPLY_FRAMES, VOICES, Face, face_of

SETTLED_FRAMES: Final = 15
"""From here on the frames of a reply come one by one: before, the carrier is given its lead."""

SAMPLE_S: Final = 1 / SAMPLE_RATE_HZ

TEXT_BYTES: Final = len(base64.b64encode(bytes(FRAME_BYTES)))
"""Of a frame in base64."""


class Heard(Enum):
    """What a frame is to the conversation."""

    FIRST = auto()  # of a reply
    MORE = auto()
    LAST = auto()


@dataclass(frozen=True, slots=True)
class Stop:
    """The caller spoke over the AI, from `onset_at` on; then it was `silent_at`."""

    onset_at: float
    silent_at: float


@dataclass(slots=True)
class EarCounts:
    """What came in. Times in seconds.

    `stale` counts frames of a response that a clear had ended, by the number of that clear, from 1.
    `misplaced` frames do not follow the one before them, although nothing was cleared between.
    """

    frames: int = 0
    odd_sizes: int = 0
    strange: int = 0
    stale: Counter[int] = field(default_factory=Counter)
    misplaced: int = 0
    marks: int = 0
    echoed: int = 0
    underruns: int = 0
    underrun_s: float = 0.0
    clears_at: list[float] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    first_frame_s: list[float] = field(default_factory=list)
    jitter_s: list[float] = field(default_factory=list)


class Ear:
    """One caller's. `expect` says which response is next, `media`, `mark` and `clear` what came."""

    def __init__(self) -> None:
        self.counts = EarCounts()
        self._plays_until = 0.0
        self._arrived_at = 0.0
        self._last = Face(-1, -1)
        self._in_reply = 0
        self._dead: dict[int, int] = {}
        self._delta_at: dict[int, float] = {}
        self._marks: deque[tuple[float, str]] = deque()
        self._onset_at: float | None = None

    def audible(self, now: float) -> bool:
        """Something plays."""
        return self._plays_until > now

    @property
    def plays_until(self) -> float:
        """When all that came has played."""
        return self._plays_until

    def expect(self, number: int, now: float) -> None:
        """The model has sent the first audio of its n-th response."""
        self._settle_onset()
        voice = number % VOICES
        self._dead.pop(voice, None)
        self._delta_at[voice] = now

    def onset(self, now: float) -> None:
        """The first loud frame of the caller has left; matters if he speaks over the AI."""
        self._settle_onset()
        if self.audible(now):
            self._onset_at = now

    def media(self, text: bytes, now: float) -> Heard:
        """A frame in base64."""
        counts = self.counts
        counts.frames += 1
        face = FACES.get(text) or self._look_closer(text)
        if face.voice != self._last.voice:
            heard = self._begin(face, now)
        else:
            heard = Heard.LAST if face.place == REPLY_FRAMES - 1 else Heard.MORE
            self._go_on(face, now)
        if face.voice in self._dead:
            counts.stale[self._dead[face.voice]] += 1
        self._last, self._arrived_at = face, now
        self._plays_until = max(self._plays_until, now) + FRAME_S
        return heard

    def mark(self, name: str, now: float) -> float:
        """A mark; returns when it is to be asked for with `played`."""
        self.counts.marks += 1
        due = max(self._plays_until, now)
        self._marks.append((due, name))
        return due

    def played(self, now: float) -> list[str]:
        """The marks before which all has played by now, to be echoed."""
        names = []
        while self._marks and self._marks[0][0] <= now:
            names.append(self._marks.popleft()[1])
        self.counts.echoed += len(names)
        return names

    def clear(self, now: float) -> list[str]:
        """Drop what has not played; returns all marks that wait, to be echoed at once."""
        self.counts.clears_at.append(now)
        self._plays_until = min(self._plays_until, now)
        self._settle_onset()
        self._dead[self._last.voice] = len(self.counts.clears_at)
        names = [name for _, name in self._marks]
        self._marks.clear()
        self.counts.echoed += len(names)
        return names

    def close(self) -> None:
        """The call is over."""
        self._settle_onset()

    # ---- frames

    def _look_closer(self, text: bytes) -> Face:
        try:
            audio = base64.b64decode(text, validate=True)
        except binascii.Error:
            audio = b""
        self.counts.odd_sizes += len(text) != TEXT_BYTES or len(audio) != FRAME_BYTES
        face = face_of(audio)
        self.counts.strange += face.voice < 0
        return face

    def _begin(self, face: Face, now: float) -> Heard:
        self._in_reply = 0
        self.counts.misplaced += face.place > 0
        delta_at = self._delta_at.pop(face.voice, None)
        if delta_at is not None:
            self.counts.first_frame_s.append(now - delta_at)
        return Heard.FIRST

    def _go_on(self, face: Face, now: float) -> None:
        counts = self.counts
        self._in_reply += 1
        if face.voice in self._dead:
            return
        known = face.place >= 0 and self._last.place >= 0
        if known and face.place != self._last.place + 1:
            counts.misplaced += 1
        if now - self._plays_until >= SAMPLE_S:
            counts.underruns += 1
            counts.underrun_s += now - self._plays_until
        if self._in_reply > SETTLED_FRAMES:
            counts.jitter_s.append(abs(now - self._arrived_at - FRAME_S))

    # ---- speaking over the AI

    def _settle_onset(self) -> None:
        if self._onset_at is not None:
            self.counts.stops.append(Stop(self._onset_at, self._plays_until))
            self._onset_at = None
