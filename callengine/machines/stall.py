"""What the watchdog watches: states that last too long. It suspects and asks; it changes nothing.

Owners report entering a state and making progress in it, each time with a new version. A request
names the version it is about, so that it cannot hit a state that has moved on meanwhile. An owner
that is alive answers every request; one that leaves two unanswered cannot be helped, and the call
is ended.
"""

from __future__ import annotations

from typing import Final

from callengine.messages import (
    CallEnding,
    EndCause,
    Owner,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
)
from callengine.values import dataclass


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
    (Owner.MODEL, "asked"): Limit(8.0, ResetReason.MODEL_SILENT),
    (Owner.CARRIER, "streaming"): Limit(30.0, ResetReason.CARRIER_SILENT),
}
"""States that are not listed may last for ever: idle ones, and those that end themselves.

`requested`, `unwanted` and `cancelling` end themselves too, earlier than this, and `playing` moves
by itself: here they are a fuse in case an alarm is lost. Whoever is asked sets his alarm again.
"""

ANSWER_S: Final = 3.0
"""How long an answer may take. Then the owner is asked once more, and then it is given up."""

GIVEN_UP: Final = {
    Owner.CARRIER: EndCause.CRASHED,
    Owner.PLAYOUT: EndCause.CRASHED,
    # The caller can still be told good-bye.
    Owner.RESPONSE: EndCause.MODEL_SILENT,
    Owner.MODEL: EndCause.MODEL_SILENT,
}
"""What the call ends with when an owner does not answer."""


@dataclass(slots=True)
class StallCounts:
    """What the summary says about the watchdog."""

    resets_asked: int = 0
    resets_granted: int = 0
    resets_refused: int = 0
    resets_unanswered: int = 0


@dataclass(frozen=True, slots=True)
class _Watched:
    state: str
    version: int
    deadline: float


@dataclass(frozen=True, slots=True)
class _Asked:
    request: ResetRequest
    deadline: float
    again: bool


class Stall:
    """One call's list of deadlines: of each owner's state, and of each owner's answer."""

    def __init__(self) -> None:
        self.counts = StallCounts()
        self._watched: dict[Owner, _Watched] = {}
        self._asked: dict[Owner, _Asked] = {}

    def next_deadline(self) -> float | None:
        """When the next suspicion, or an answer, is due."""
        states = (watched.deadline for watched in self._watched.values())
        answers = (asked.deadline for asked in self._asked.values())
        return min((*states, *answers), default=None)

    def changed(self, change: StateChanged, now: float) -> None:
        """Take a report of an owner."""
        limit = LIMITS.get((change.owner, change.state))
        if limit is None:
            self._watched.pop(change.owner, None)
            return
        self._watched[change.owner] = _Watched(change.state, change.version, now + limit.seconds)

    def answered(self, answer: ResetGranted | ResetRefused) -> None:
        """Take an owner's answer."""
        self._asked.pop(answer.owner, None)
        if isinstance(answer, ResetGranted):
            self.counts.resets_granted += 1
        else:
            self.counts.resets_refused += 1

    def expire(self, now: float) -> list[ResetRequest | CallEnding]:
        """Ask about every state that has lasted too long; it will be asked about again."""
        overdue = [asked for asked in self._asked.values() if asked.deadline <= now]
        actions = [self._unanswered(asked, now) for asked in overdue]
        for owner, watched in self._watched.items():
            if watched.deadline > now:
                continue
            limit = LIMITS[owner, watched.state]
            self._watched[owner] = _Watched(watched.state, watched.version, now + limit.seconds)
            if owner not in self._asked:
                request = ResetRequest(owner, limit.reason, watched.version)
                actions.append(self._ask(request, now, again=False))
        return actions

    def _ask(self, request: ResetRequest, now: float, *, again: bool) -> ResetRequest:
        self._asked[request.owner] = _Asked(request, now + ANSWER_S, again)
        self.counts.resets_asked += 1
        return request

    def _unanswered(self, asked: _Asked, now: float) -> ResetRequest | CallEnding:
        self.counts.resets_unanswered += 1
        owner = asked.request.owner
        if not asked.again:
            return self._ask(asked.request, now, again=True)
        del self._asked[owner]
        self._watched.pop(owner, None)
        return CallEnding(GIVEN_UP[owner], f"nobody answers the watchdog for the {owner}")
