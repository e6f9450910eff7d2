"""The life of a call as a whole: what the supervisor decides.

The first cause of an end is the cause. If the model is gone but the caller is there, what is queued
is heard to its end before the call is closed; if the caller is gone there is nobody to hear it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from callengine.messages import ActorCrashed, CallEnding, DeadlineReached, Drained, EndCause


class State(Enum):
    """The call."""

    SERVING = auto()
    DRAINING = auto()  # the model is gone; what is queued is being heard
    REPORTING = auto()  # sockets are closed; the actors tell what they counted
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Reported:
    """Every actor that is alive has told what it counted."""


TRANSITIONS: Final = {
    (State.SERVING, CallEnding): State.REPORTING,
    (State.DRAINING, CallEnding): State.REPORTING,
    (State.DRAINING, Drained): State.REPORTING,
    (State.DRAINING, DeadlineReached): State.REPORTING,
    (State.SERVING, ActorCrashed): State.REPORTING,
    (State.DRAINING, ActorCrashed): State.REPORTING,
    (State.REPORTING, Reported): State.OVER,
    (State.REPORTING, DeadlineReached): State.OVER,
}
"""While serving, an end that leaves the caller on the line goes to `DRAINING` instead; while
draining, only one that takes the caller away counts."""

DEADLINE_S: Final = {State.DRAINING: 20.0, State.REPORTING: 1.0}

CALLER_STAYS: Final = frozenset(
    {
        EndCause.MODEL_UNREACHABLE,
        EndCause.MODEL_REFUSED,
        EndCause.SESSION_REFUSED,
        EndCause.SESSION_EXPIRED,
        EndCause.MODEL_LOST,
        EndCause.MODEL_SILENT,
        EndCause.MODEL_FAILED,
    }
)

CLOSE_CODES: Final = {
    EndCause.SECOND_START: 1008,
    EndCause.START_TIMEOUT: 1008,
    EndCause.UNSUPPORTED_MEDIA: 1003,
    EndCause.OVERSIZE_MESSAGE: 1009,
    EndCause.SHUTDOWN: 1001,
    EndCause.CRASHED: 1011,
}
"""What the carrier's socket is closed with; 1000 for every other cause."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the caller hear what is queued."""


@dataclass(frozen=True, slots=True)
class CloseSockets:
    """Close both sockets."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class CollectReports:
    """Ask every actor what it counted."""


@dataclass(frozen=True, slots=True)
class Conclude:
    """Stop the actors and hand out the summary."""


Event: TypeAlias = CallEnding | Drained | ActorCrashed | Reported | DeadlineReached
Action: TypeAlias = Drain | CloseSockets | CollectReports | Conclude


class Lifecycle:
    """One call from admission to summary."""

    def __init__(self) -> None:
        self.state = State.SERVING
        self.cause: EndCause | None = None
        self.detail = ""
        self._deadline: float | None = None

    @property
    def close_code(self) -> int:
        """What the carrier's socket is closed with."""
        return CLOSE_CODES.get(self.cause or EndCause.CRASHED, 1000)

    def next_deadline(self) -> float | None:
        """When draining or reporting has taken long enough."""
        return self._deadline

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; returns what is to be done, in this order."""
        if isinstance(event, DeadlineReached) and (self._deadline is None or now < self._deadline):
            return []
        if (self.state, type(event)) not in TRANSITIONS:
            return []
        if isinstance(event, CallEnding) and event.cause in CALLER_STAYS:
            return self._drain(event, now)
        if self.cause is None and isinstance(event, CallEnding | ActorCrashed):
            self._blame(event)
        self._enter(TRANSITIONS[self.state, type(event)], now)
        if self.state is State.OVER:
            return [Conclude()]
        return [CloseSockets(self.close_code, str(self.cause)), CollectReports()]

    def _blame(self, event: CallEnding | ActorCrashed) -> None:
        if isinstance(event, CallEnding):
            self.cause, self.detail = event.cause, event.detail
        else:
            self.cause, self.detail = EndCause.CRASHED, f"{event.actor}: {event.error}"

    def _drain(self, event: CallEnding, now: float) -> list[Action]:
        if self.state is State.DRAINING:
            return []
        self._blame(event)
        self._enter(State.DRAINING, now)
        return [Drain()]

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        wait_s = DEADLINE_S.get(state)
        self._deadline = None if wait_s is None else now + wait_s
