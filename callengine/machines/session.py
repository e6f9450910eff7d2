"""From an open model socket to a session that speaks our audio format.

Caller audio waits until the server has confirmed mu-law both ways: an update with one bad field is
refused whole, the session stays on 24 kHz PCM, and everything after it would be static.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Final, TypeAlias

from callengine.audio.g711 import SAMPLE_RATE_HZ
from callengine.messages import CallEnding, DeadlineReached, EndCause, ModelClosed, ModelConnected
from callengine.values import dataclass
from callengine.wire.realtime_client import SessionConfig, mismatches
from callengine.wire.realtime_events import ErrorReceived, SessionUpdated

MAX_HELD_BYTES: Final = 10 * SAMPLE_RATE_HZ
"""Ten seconds of caller audio wait for the session. Beyond, the oldest goes and is counted."""


class State(Enum):
    """The model session."""

    CONNECTING = auto()
    CONFIGURING = auto()  # session.update is out
    LIVE = auto()  # audio flows
    CLOSED = auto()


TRANSITIONS: Final = {
    (State.CONNECTING, ModelConnected): State.CONFIGURING,
    (State.CONNECTING, ModelClosed): State.CLOSED,
    (State.CONNECTING, DeadlineReached): State.CLOSED,
    (State.CONFIGURING, SessionUpdated): State.LIVE,
    (State.CONFIGURING, ErrorReceived): State.CLOSED,
    (State.CONFIGURING, ModelClosed): State.CLOSED,
    (State.CONFIGURING, DeadlineReached): State.CLOSED,
    (State.LIVE, ModelClosed): State.CLOSED,
}
"""A `SessionUpdated` that does not confirm our formats closes from any state. While configuring
nothing but the update is out, so that any error is its refusal."""

DEADLINE_S: Final = {State.CONNECTING: 10.0, State.CONFIGURING: 10.0}

CONFIGURE_EVENT_ID: Final = "session-1"


@dataclass(frozen=True, slots=True)
class SendSessionUpdate:
    """Send the whole configuration."""

    event_id: str
    config: SessionConfig
    interrupt_response: bool


@dataclass(frozen=True, slots=True)
class SendTurnDetection:
    """Send a partial update that changes who interrupts."""

    event_id: str
    config: SessionConfig
    interrupt_response: bool


@dataclass(frozen=True, slots=True)
class SendAppend:
    """Send caller audio."""

    payload: bytes


Event: TypeAlias = ModelConnected | ModelClosed | SessionUpdated | ErrorReceived | DeadlineReached
Action: TypeAlias = SendSessionUpdate | SendTurnDetection | SendAppend | CallEnding


@dataclass(slots=True)
class SessionCounts:
    """What the summary says about the session."""

    appended_bytes: int = 0
    held_dropped_bytes: int = 0
    session_mismatches: int = 0
    session_updates_refused: int = 0


class Session:
    """One model session: a handshake, then caller audio."""

    def __init__(self, config: SessionConfig, *, interrupt_response: bool, now: float) -> None:
        self.state = State.CONNECTING
        self.counts = SessionCounts()
        self._config = config
        self.server_interrupts = interrupt_response
        self._updates = 1
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._deadline: float | None = now + DEADLINE_S[State.CONNECTING]

    def next_deadline(self) -> float | None:
        """When waiting for the server is over."""
        return self._deadline

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event of the session's life."""
        match event:
            case ModelConnected() if self.state is State.CONNECTING:
                self._enter(event, now)
                return [SendSessionUpdate(CONFIGURE_EVENT_ID, self._config, self.server_interrupts)]
            case SessionUpdated():
                return self._updated(event, now)
            case ErrorReceived():
                return self._refused(event, now)
            case ModelClosed() if self.state is not State.CLOSED:
                self._enter(event, now)
                return [CallEnding(event.cause, event.detail)]
            case DeadlineReached():
                return self._expire(event, now)
        return []

    def caller_audio(self, payload: bytes) -> list[SendAppend]:
        """Take caller audio of any length: send it, or hold it until the session is live."""
        if self.state is State.LIVE:
            self.counts.appended_bytes += len(payload)
            return [SendAppend(payload)]
        if self.state is not State.CLOSED:
            self._hold(payload)
        return []

    def close(self) -> None:
        """The call is over."""
        self.state = State.CLOSED
        self._deadline = None

    def let_server_interrupt(self) -> list[Action]:
        """From now on the server may cancel its own response when it hears the caller."""
        if self.server_interrupts or self.state is not State.LIVE:
            return []
        self.server_interrupts = True
        self._updates += 1
        return [SendTurnDetection(f"session-{self._updates}", self._config, True)]

    def _enter(self, event: Event, now: float) -> None:
        self.state = TRANSITIONS[self.state, type(event)]
        wait_s = DEADLINE_S.get(self.state)
        self._deadline = None if wait_s is None else now + wait_s

    def _end(self, cause: EndCause, detail: str) -> list[Action]:
        self.close()
        return [CallEnding(cause, detail)]

    def _updated(self, event: SessionUpdated, now: float) -> list[Action]:
        if self.state not in {State.CONFIGURING, State.LIVE}:
            return []
        differences = mismatches(event, self._config, interrupt_response=self.server_interrupts)
        fatal = [d for d in differences if d.fatal]
        if fatal:
            told = ", ".join(f"{d.field} is {d.got}, not {d.asked}" for d in fatal)
            return self._end(EndCause.SESSION_REFUSED, f"the model's session {told}")
        self.counts.session_mismatches += len(differences)
        if self.state is State.LIVE:
            return []
        self._enter(event, now)
        return self._release()

    def _refused(self, event: ErrorReceived, now: float) -> list[Action]:
        if self.state is State.CONFIGURING:
            self._enter(event, now)
            where = f" ({event.param})" if event.param else ""
            return [
                CallEnding(
                    EndCause.SESSION_REFUSED,
                    f"the model refused session.update: {event.code or event.error_type}{where}",
                )
            ]
        if event.caused_by == f"session-{self._updates}":
            self.counts.session_updates_refused += 1
        return []

    def _expire(self, event: DeadlineReached, now: float) -> list[Action]:
        if self._deadline is None or now < self._deadline:
            return []
        waited_for = self.state
        self._enter(event, now)
        if waited_for is State.CONNECTING:
            return [CallEnding(EndCause.MODEL_UNREACHABLE, "the model's socket did not open")]
        return [CallEnding(EndCause.SESSION_REFUSED, "the model did not confirm session.update")]

    def _hold(self, payload: bytes) -> None:
        self._held.append(payload)
        self._held_bytes += len(payload)
        while self._held_bytes > MAX_HELD_BYTES:
            dropped = len(self._held.popleft())
            self._held_bytes -= dropped
            self.counts.held_dropped_bytes += dropped

    def _release(self) -> list[Action]:
        held, self._held_bytes = b"".join(self._held), 0
        self._held.clear()
        return [*self.caller_audio(held)] if held else []
