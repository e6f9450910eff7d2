"""The life of a call as a whole: what the supervisor decides.

The first cause of an end is the cause. If the model is gone but the caller is there, what is queued
is heard to its end before the call is closed; if the caller is gone there is nobody to hear it.
An actor that crashes begins anew where the caller need not notice; where he must, he hears the
farewell.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, TypeAlias

from callengine.messages import (
    ActorCrashed,
    CallEnding,
    DeadlineReached,
    Drained,
    EndCause,
    Transferred,
)
from callengine.values import dataclass


class State(Enum):
    """The call."""

    SERVING = auto()
    DRAINING = auto()  # there is no going on; what is queued is being heard, and the farewell
    HANDING_OVER = auto()  # the carrier is asked to take the call over
    REPORTING = auto()  # sockets are closed; the actors tell what they counted
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Reported:
    """Every actor that is alive has told what it counted."""


@dataclass(frozen=True, slots=True)
class MediaReported:
    """So has every actor but the one that runs the host's code."""


TRANSITIONS: Final = {
    (State.SERVING, CallEnding): State.REPORTING,
    (State.DRAINING, CallEnding): State.REPORTING,
    (State.DRAINING, Drained): State.HANDING_OVER,
    (State.DRAINING, DeadlineReached): State.HANDING_OVER,
    (State.HANDING_OVER, Transferred): State.REPORTING,
    (State.HANDING_OVER, DeadlineReached): State.REPORTING,
    (State.HANDING_OVER, CallEnding): State.REPORTING,
    (State.HANDING_OVER, ActorCrashed): State.REPORTING,
    (State.SERVING, DeadlineReached): State.DRAINING,
    (State.SERVING, ActorCrashed): State.REPORTING,
    (State.DRAINING, ActorCrashed): State.REPORTING,
    (State.REPORTING, MediaReported): State.REPORTING,
    (State.REPORTING, Reported): State.OVER,
    (State.REPORTING, DeadlineReached): State.OVER,
}
"""While serving, an end that leaves the caller on the line goes to `DRAINING` instead; while
draining, only one that takes the caller away counts. `REMEDIES` tells which crashes end nothing.
Where there is nobody to hand over to, reporting follows upon draining at once. The deadline of
`SERVING` is the longest a call may take."""

DEADLINE_S: Final = {State.DRAINING: 20.0, State.HANDING_OVER: 4.0, State.REPORTING: 4.0}

HOST_REPORT_S: Final = 1.0
"""The actor that runs the host's code is waited for no longer: a tool may be running in it."""

CALLER_STAYS: Final = frozenset(
    {
        EndCause.MODEL_UNREACHABLE,
        EndCause.MODEL_REFUSED,
        EndCause.SESSION_REFUSED,
        EndCause.SESSION_EXPIRED,
        EndCause.MODEL_LOST,
        EndCause.MODEL_SILENT,
        EndCause.MODEL_FAILED,
        EndCause.CALL_TOO_LONG,
        EndCause.BUDGET_SPENT,
        EndCause.DRAINED,
    }
)

CLOSE_CODES: Final = {
    EndCause.SECOND_START: 1008,
    EndCause.START_TIMEOUT: 1008,
    EndCause.TICKET_REFUSED: 1008,
    EndCause.FLOODED: 1008,
    EndCause.UNSUPPORTED_MEDIA: 1003,
    EndCause.OVERSIZE_MESSAGE: 1009,
    EndCause.SHUTDOWN: 1001,
    EndCause.CRASHED: 1011,
}
"""What the carrier's socket is closed with; 1000 for every other cause."""


MAX_RESTARTS: Final = 2
"""Per call, of all its actors. The crash after that ends the call: something is wrong with it."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Let an actor begin anew."""

    actor: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the caller hear what is queued."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Ask the carrier to take the call over."""


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


REMEDIES: Final = {
    (State.SERVING, "TwilioIngress"): (Restart,),
    (State.SERVING, "VADDetector"): (Restart,),
    (State.SERVING, "Watchdog"): (Restart,),
    (State.SERVING, "HostCalls"): (Restart,),
    # With playout the ledger of what was heard is lost: the conversation cannot go on.
    (State.SERVING, "TxPacer"): (Restart, Drain),
    # The model's session is lost, and all it was told.
    (State.SERVING, "RealtimeBridge"): (Drain,),
    (State.DRAINING, "TwilioIngress"): (Restart,),
    (State.DRAINING, "VADDetector"): (Restart,),
    (State.DRAINING, "Watchdog"): (Restart,),
    (State.DRAINING, "HostCalls"): (Restart,),
    (State.DRAINING, "RealtimeBridge"): (),  # it has nothing left to do
}
"""What is done about the crash of an actor. A crash that is not listed ends the call at once."""

Event: TypeAlias = (
    CallEnding | Drained | Transferred | ActorCrashed | MediaReported | Reported | DeadlineReached
)
Action: TypeAlias = Restart | Drain | HandOver | CloseSockets | CollectReports | Conclude


class Lifecycle:
    """One call from admission to summary."""

    def __init__(self, *, ends_at: float | None = None) -> None:
        self.state = State.SERVING
        self.hands_over = False
        """There is somebody to hand the call over to when it cannot go on."""
        self.cause: EndCause | None = None
        self.detail = ""
        self.restarts = 0
        self._deadline = ends_at

    @property
    def close_code(self) -> int:
        """What the carrier's socket is closed with."""
        return CLOSE_CODES.get(self.cause or EndCause.CRASHED, 1000)

    def next_deadline(self) -> float | None:
        """When the call, or its end, has taken long enough."""
        return self._deadline

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; returns what is to be done, in this order."""
        if isinstance(event, DeadlineReached) and (self._deadline is None or now < self._deadline):
            return []
        if (self.state, type(event)) not in TRANSITIONS:
            return []
        if isinstance(event, MediaReported):
            return self._wait_for_host()
        if isinstance(event, DeadlineReached) and self.state is State.SERVING:
            event = CallEnding(EndCause.CALL_TOO_LONG, "the longest a call may take")
        if isinstance(event, CallEnding) and event.cause in CALLER_STAYS:
            return self._drain(event, now)
        if isinstance(event, ActorCrashed) and self._is_curable(event):
            return self._cure(event, now)
        if self.cause is None and isinstance(event, CallEnding | ActorCrashed):
            self._blame(event)
        self._enter(TRANSITIONS[self.state, type(event)], now)
        if self.state is State.HANDING_OVER:
            if self.hands_over:
                return [HandOver()]
            self._enter(State.REPORTING, now)
        if self.state is State.OVER:
            return [Conclude()]
        return [CloseSockets(self.close_code, str(self.cause)), CollectReports()]

    def _wait_for_host(self) -> list[Action]:
        assert self._deadline is not None, "reporting has a deadline"
        since = self._deadline - DEADLINE_S[State.REPORTING]
        self._deadline = since + HOST_REPORT_S
        return []

    def _blame(self, event: CallEnding | ActorCrashed) -> None:
        if isinstance(event, CallEnding):
            self.cause, self.detail = event.cause, event.detail
        else:
            self.cause, self.detail = EndCause.CRASHED, f"{event.actor}: {event.error}"

    def _is_curable(self, crash: ActorCrashed) -> bool:
        remedy = REMEDIES.get((self.state, crash.actor))
        return remedy is not None and (Restart not in remedy or self.restarts < MAX_RESTARTS)

    def _cure(self, crash: ActorCrashed, now: float) -> list[Action]:
        remedy = REMEDIES[self.state, crash.actor]
        actions: list[Action] = []
        if Restart in remedy:
            self.restarts += 1
            actions.append(Restart(crash.actor))
        if Drain in remedy:
            actions += self._drain(crash, now)
        return actions

    def _drain(self, event: CallEnding | ActorCrashed, now: float) -> list[Action]:
        if self.state is not State.SERVING:
            return []
        self._blame(event)
        self._enter(State.DRAINING, now)
        return [Drain()]

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        wait_s = DEADLINE_S.get(state)
        self._deadline = None if wait_s is None else now + wait_s
