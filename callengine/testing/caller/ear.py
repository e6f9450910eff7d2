"""What reaches the caller's ear, and which marks are echoed when.

Joins the playout buffer to the record; refuses to know how echoes are written.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from callengine.testing.caller.playout import LIMIT_BYTES, Playout, Sounding
from callengine.testing.caller.record import (
    CallRecord,
    Clear,
    MarkSeen,
    ReceivedFrame,
    Violation,
)


class Ear:
    """Hears media, collects marks, obeys `clear`; everything is noted in the record.

    Call `listen_to(now)` before any other method.
    """

    def __init__(self, record: CallRecord, mark_echo_delay_s: float) -> None:
        self._record = record
        self._delay_s = mark_echo_delay_s
        self._playout = Playout()
        self._reached: deque[tuple[int, float]] = deque()  # index in the record, when to echo

    def listen_to(self, now: float) -> None:
        """Hear what sounds until `now`."""
        for index, at in self._playout.play_to(now):
            self._reached.append((index, at + self._delay_s))

    def media(self, payload: bytes, now: float) -> None:
        """Queue audio; what exceeds ten minutes is dropped."""
        dropped_bytes = self._playout.queue(payload, now)
        self._record.frames.append(
            ReceivedFrame(now, payload, dropped_bytes, len(self._record.clears))
        )
        if dropped_bytes:
            detail = f"{dropped_bytes} bytes dropped: more than {LIMIT_BYTES} bytes queued"
            self._record.violations.append(Violation(31931, detail, now))

    def mark(self, name: str, now: float) -> None:
        """Queue a mark."""
        self._playout.add_mark(len(self._record.marks), now)
        self._record.marks.append(MarkSeen(name, now, clears=len(self._record.clears)))

    def clear(self, now: float) -> list[str]:
        """Drop what is queued; returns all marks to echo at once, in order."""
        dropped_bytes, waiting = self._playout.clear()
        self._record.clears.append(Clear(now, dropped_bytes))
        heard = [self._echo(index, now) for index, _ in self._reached]
        self._reached.clear()
        return heard + [self._echo(index, now, cleared=True) for index in waiting]

    def echoes_due(self, at: float, now: float) -> list[str]:
        """The marks to echo because `at` has come; the echo leaves `now`."""
        due = []
        while self._reached and self._reached[0][1] <= at:
            due.append(self._echo(self._reached.popleft()[0], now))
        return due

    def next_at(self) -> float | None:
        """When a mark will be reached or its echo is due."""
        times = [self._playout.next_mark_at(), self._reached[0][1] if self._reached else None]
        return min((time for time in times if time is not None), default=None)

    def sounding(self) -> Sounding | None:
        """What is audible, or was last."""
        return self._playout.sounding()

    def note_heard(self) -> None:
        """Bring `heard` and `unheard_bytes` of the record up to date."""
        self._record.heard = self._playout.heard()
        self._record.unheard_bytes = self._playout.queued_bytes

    def _echo(self, index: int, now: float, *, cleared: bool = False) -> str:
        mark = self._record.marks[index]
        self._record.marks[index] = replace(mark, echoed_at=now, cleared=cleared)
        return mark.name
