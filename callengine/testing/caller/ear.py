"""What reaches the caller's ear, and which marks are echoed when.

Joins the playout buffer to the record; refuses to know how echoes are written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from callengine.testing.caller.echoes import Echo, Echoes
from callengine.testing.caller.playout import LIMIT_BYTES, Playout, Sounding
from callengine.testing.caller.record import (
    CallRecord,
    Clear,
    MarkSeen,
    ReceivedFrame,
    Violation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.testing.caller.faults import EchoFault


class Delays(NamedTuple):
    """Of a carrier: how long audio waits before it sounds, and how late echoes are sent."""

    playout_s: float = 0.0
    echo_s: float = 0.0


class Ear:
    """Hears media, collects marks, obeys `clear`; everything is noted in the record.

    Call `listen_to(now)` before any other method.
    """

    def __init__(
        self, record: CallRecord, delays: Delays, faults: Sequence[EchoFault] = ()
    ) -> None:
        self._record = record
        self._playout = Playout(delays.playout_s)
        self._echoes = Echoes(delays.echo_s, faults)

    def listen_to(self, now: float) -> None:
        """Hear what sounds until `now`."""
        for index, at in self._playout.play_to(now):
            self._echoes.reached(index, self._record.marks[index].name, at)

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

    def stop_playing(self, until: float) -> None:
        """Play nothing before `until`."""
        self._playout.stop(until)

    def clear(self, now: float) -> list[str]:
        """Drop what is queued; returns all marks to echo at once, in order."""
        dropped_bytes, waiting = self._playout.clear()
        self._record.clears.append(Clear(now, dropped_bytes))
        self._echoes.clear([(index, self._record.marks[index].name) for index in waiting], now)
        return self.echoes_due(now, now)

    def echoes_due(self, at: float, now: float) -> list[str]:
        """The marks to echo because `at` has come; the echo leaves `now`."""
        return [name for echo in self._echoes.due(at) for name in self._echo(echo, now)]

    def next_at(self) -> float | None:
        """When a mark will be reached or its echo is due."""
        mark_at, echo_at = self._playout.next_mark_at(), self._echoes.next_at()
        if mark_at is None or echo_at is None:
            return echo_at if mark_at is None else mark_at
        return min(mark_at, echo_at)

    def sounding(self) -> Sounding | None:
        """What is audible, or was last."""
        return self._playout.sounding()

    def note_heard(self) -> None:
        """Bring `heard` and `unheard_bytes` of the record up to date."""
        self._record.heard = self._playout.heard()
        self._record.unheard_bytes = self._playout.queued_bytes

    def _echo(self, echo: Echo, now: float) -> list[str]:
        mark = self._record.marks[echo.key]
        if echo.name == mark.name:
            self._record.marks[echo.key] = replace(mark, echoed_at=now, cleared=echo.cleared)
        return [echo.name] * echo.times
