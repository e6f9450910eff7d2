"""The barge-in ledger: every onset of the caller's voice, and what became of it.

It refuses to know what follows from an onset; it is told.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from callengine.messages import SpeechConfirmed

if TYPE_CHECKING:
    from callengine.machines.barge_in import Evidence
    from callengine.messages import HeardItem, OnsetDebounced

MAX_LEDGER: Final = 500
"""Onsets kept per call; beyond, the oldest entry goes. The counters go on."""


class Outcome(StrEnum):
    """What became of an onset."""

    PENDING = "pending"  # interrupted, not yet confirmed
    ACTED = "acted"  # interrupted, and it was the caller
    GUARDED = "guarded"  # the audio was protected
    DEBOUNCED = "debounced"  # too few loud frames, while the AI was audible
    FALSE = "false"  # interrupted in error, and nothing was left to resume
    RESUMED = "resumed"  # interrupted in error, and resumed
    UNOPPOSED = "unopposed"  # nothing was audible: an ordinary turn
    CONTINUED = "continued"  # part of the barge-in in the entry before


@dataclass(slots=True)
class Onset:
    """One line of the barge-in ledger; times are monotonic seconds, `None` where not reached.

    `barge_in` counts the interruptions that were executed, from 1; other onsets have none.
    """

    onset_at: float
    decided_at: float
    outcome: Outcome
    level_rms: int = 0
    barge_in: int | None = None
    response_id: str | None = None
    heard: tuple[HeardItem, ...] = ()
    flushed_frames: int = 0
    settled_at: float | None = None


class Onsets:
    """The ledger of one call. At most one onset is open: interrupted, and nobody is sure yet."""

    def __init__(self) -> None:
        self.ledger: deque[Onset] = deque(maxlen=MAX_LEDGER)
        self._open: Onset | None = None

    def note(self, evidence: Evidence | OnsetDebounced, outcome: Outcome, now: float) -> Onset:
        """Enter one."""
        onset = Onset(  # what the model heard has no time and no level of ours
            onset_at=getattr(evidence, "onset_at", now),
            decided_at=now,
            outcome=outcome,
            level_rms=getattr(evidence, "level_rms", 0),
        )
        last = self.ledger[-1] if self.ledger else None
        begun = (Outcome.UNOPPOSED, onset.onset_at)
        confirmed = isinstance(evidence, SpeechConfirmed)
        if confirmed and last is not None and (last.outcome, last.onset_at) == begun:
            self.ledger.pop()  # it began in silence, and meets the AI only now
        self.ledger.append(onset)
        return onset

    def open(self, evidence: Evidence, now: float) -> Onset:
        """Enter one that interrupts."""
        self._open = self.note(evidence, Outcome.PENDING, now)
        return self._open

    def close(self, outcome: Outcome, now: float) -> Onset:
        """It is known what the open one was."""
        onset, self._open = self._open, None
        assert onset is not None, "a verdict on a barge-in follows an interruption"
        onset.outcome = outcome
        onset.settled_at = now
        return onset
