"""What the watchdog watches: states that last too long. It suspects and asks; it changes nothing.

Owners report entering a state and making progress in it, each time with a new version. A request
names the version it is about, so that it cannot hit a state that has moved on meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from callengine.messages import (
    Owner,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
)


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a state may last without progress, and what it is suspected of then."""

    seconds: float
    reason: ResetReason


LIMITS: Final = {
    (Owner.RESPONSE, "requested"): Limit(8.0, ResetReason.STUCK_RESPONSE),
    (Owner.RESPONSE, "unwanted"): Limit(8.0, ResetReason.STUCK_RESPONSE),
    (Owner.RESPONSE, "generating"): Limit(10.0, ResetReason.SILENT_RESPONSE),
    (Owner.RESPONSE, "speaking"): Limit(10.0, ResetReason.STUCK_RESPONSE),
    (Owner.RESPONSE, "cancelling"): Limit(4.0, ResetReason.STUCK_RESPONSE),
    (Owner.PLAYOUT, "playing"): Limit(3.0, ResetReason.PLAYOUT_STALLED),
    (Owner.MODEL, "open"): Limit(45.0, ResetReason.MODEL_SILENT),
    (Owner.CARRIER, "streaming"): Limit(30.0, ResetReason.CARRIER_SILENT),
}
"""States that are not listed may last for ever: idle ones, and those that end themselves."""


@dataclass(slots=True)
class StallCounts:
    """What the summary says about the watchdog."""

    resets_asked: int = 0
    resets_granted: int = 0
    resets_refused: int = 0


@dataclass(frozen=True, slots=True)
class _Watched:
    state: str
    version: int
    deadline: float


class Stall:
    """One call's list of deadlines, at most one per owner."""

    def __init__(self) -> None:
        self.counts = StallCounts()
        self._watched: dict[Owner, _Watched] = {}

    def next_deadline(self) -> float | None:
        """When the next suspicion is due."""
        return min((watched.deadline for watched in self._watched.values()), default=None)

    def changed(self, change: StateChanged, now: float) -> None:
        """Take a report of an owner."""
        limit = LIMITS.get((change.owner, change.state))
        if limit is None:
            self._watched.pop(change.owner, None)
            return
        self._watched[change.owner] = _Watched(change.state, change.version, now + limit.seconds)

    def answered(self, answer: ResetGranted | ResetRefused) -> None:
        """Take an owner's answer."""
        if isinstance(answer, ResetGranted):
            self.counts.resets_granted += 1
        else:
            self.counts.resets_refused += 1

    def expire(self, now: float) -> list[ResetRequest]:
        """Ask about every state that has lasted too long; it will be asked about again."""
        requests = []
        for owner, watched in self._watched.items():
            if watched.deadline > now:
                continue
            limit = LIMITS[owner, watched.state]
            self._watched[owner] = _Watched(watched.state, watched.version, now + limit.seconds)
            requests.append(ResetRequest(owner, limit.reason, watched.version))
        self.counts.resets_asked += len(requests)
        return requests
