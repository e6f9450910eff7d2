"""The caller's ear: Twilio's playout buffer, played at 8000 bytes per second of the time passed in.

Knows bytes, marks and time; nothing of messages. Whatever is played counts as audible, also bytes
that decode to silence.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from callengine.audio.g711 import SAMPLE_RATE_HZ
from callengine.testing.caller.record import HeardSpan, ends_stretch

LIMIT_BYTES: Final = 600 * SAMPLE_RATE_HZ
"""Ten minutes. Twilio drops what exceeds it (error 31931)."""

_SAMPLE_SLACK: Final = 0.01
"""Of a sample: times are floats, and rounding must not cost the sample that ends exactly now."""


@dataclass(frozen=True, slots=True)
class Sounding:
    """The stretch of audio that the caller hears, or heard last, short gaps bridged.

    `until` is when the last byte known so far has sounded, or will have.
    """

    stretch_since: float
    until: float


class Playout:
    """Plays queued bytes back to back from their arrival; marks sit between the bytes.

    After a silence the first bytes wait for `delay_s`, as in a jitter buffer. Time moves only by
    `play_to`; call it with the same `now` before any other method.
    """

    def __init__(self, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._past: list[HeardSpan] = []
        self._span_at = -math.inf
        self._stretch_at = -math.inf
        self._stopped_until = -math.inf
        self._span = bytearray()  # of the present run, what was heard
        self._buffer = bytearray()  # and what is still to come
        self._marks: deque[tuple[int, int, float]] = deque()  # key, place in the run, arrival

    @property
    def queued_bytes(self) -> int:
        """Received and not yet heard."""
        return len(self._buffer)

    def play_to(self, now: float) -> list[tuple[int, float]]:
        """Play until `now`; returns the keys of the marks newly reached and when each was."""
        if self._buffer:
            due = int((now - self._span_at) * SAMPLE_RATE_HZ + _SAMPLE_SLACK) - len(self._span)
            self._span += self._buffer[: max(0, due)]
            del self._buffer[: max(0, due)]
        reached = []
        while self._marks and self._marks[0][1] <= len(self._span):
            key, place, arrived_at = self._marks.popleft()
            reached.append((key, max(arrived_at, self._time_of(place))))
        return reached

    def queue(self, payload: bytes, now: float) -> int:
        """Queue `payload` behind everything else; returns how many bytes exceeded the limit."""
        if payload and not self._buffer:
            self._resume(now)
        room = LIMIT_BYTES - len(self._buffer)
        self._buffer += payload[:room]
        return max(0, len(payload) - room)

    def add_mark(self, key: int, now: float) -> None:
        """Put a mark behind everything queued; the next `play_to` returns it if nothing is."""
        reached_at = max(now, self._stopped_until)
        self._marks.append((key, len(self._span) + len(self._buffer), reached_at))

    def stop(self, until: float) -> None:
        """Play nothing before `until`; what is queued waits."""
        self._stopped_until = until
        if not self._buffer:
            return
        heard_bytes = len(self._span)
        self._begin_span(until)
        self._marks = deque((key, place - heard_bytes, at) for key, place, at in self._marks)

    def clear(self) -> tuple[int, list[int]]:
        """Drop what is queued; returns how many bytes, and the marks still waiting, in order."""
        dropped_bytes, marks = len(self._buffer), [key for key, _, _ in self._marks]
        self._buffer.clear()
        self._marks.clear()
        return dropped_bytes, marks

    def next_mark_at(self) -> float | None:
        """When the next mark will be reached, if no `clear` comes before."""
        if not self._marks:
            return None
        _, place, arrived_at = self._marks[0]
        return max(arrived_at, self._time_of(place))

    def sounding(self) -> Sounding | None:
        """The present or last stretch of audio; None if there was none yet."""
        if self._span_at == -math.inf:
            return None
        until = self._time_of(len(self._span) + len(self._buffer))
        return Sounding(self._stretch_at, until)

    def heard(self) -> list[HeardSpan]:
        """Everything heard so far, one span for each run of bytes without a gap."""
        current = [HeardSpan(self._span_at, bytes(self._span))] if self._span else []
        return self._past + current

    def _resume(self, now: float) -> None:
        """The buffer is empty: what is queued `now` sounds after the delay, if there is a gap."""
        at = max(now, self._stopped_until)
        if at > self._time_of(len(self._span)):
            self._begin_span(at + self._delay_s)

    def _begin_span(self, at: float) -> None:
        silent_s = at - self._time_of(len(self._span))
        self._past = self.heard()
        self._span.clear()
        self._span_at = at
        if ends_stretch(silent_s):
            self._stretch_at = at

    def _time_of(self, place: int) -> float:
        return self._span_at + place / SAMPLE_RATE_HZ
