"""Is the model still there? A pong proves that its socket is; only an event of its own proves more.

A model that has nothing to say is silent for minutes, and rightly so. One that should have spoken
and did not is asked for something that every server answers and nobody hears. Whether it is given
up is not decided here: `asked` is a state that the watchdog watches.

It refuses to know whether the model hears: what our detector takes for speech and the model does
not may as well be noise.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, TypeAlias

from callengine.messages import (
    CallEnding,
    EndCause,
    Owner,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
)
from callengine.values import dataclass

ALIVE_REPORT_S: Final = 5.0
"""How often a model that is there is reported as such."""


class State(Enum):
    """What is known of the model."""

    PRESENT = auto()
    DOUBTED = auto()  # it should have spoken; it is asked unless it does so soon
    ASKED = auto()  # and now it must


PRESENT: Final = State.PRESENT


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Ask for the session in force, changing nothing."""

    event_id: str


Answer: TypeAlias = ResetGranted | ResetRefused | CallEnding


class Presence:
    """One session's model. Versions go on from those of the session before."""

    def __init__(self, *, version: int = 0) -> None:
        self.state = State.PRESENT
        self.probes_sent = 0
        self._ask_at: float | None = None
        self.version = version
        self._reported_at = float("-inf")

    def next_deadline(self) -> float | None:
        """When a model that is doubted is asked."""
        return self._ask_at

    def pong(self, now: float) -> list[StateChanged]:
        """Its socket is alive: enough, unless more was asked for."""
        return [] if self.state is State.ASKED else self._report(now)

    def spoke(self, now: float) -> list[StateChanged]:
        """It said something, whatever it was."""
        if self.state is not PRESENT:
            if self.state is State.ASKED:
                self._reported_at = float("-inf")
            self.state = PRESENT
            self._ask_at = None
        return self._report(now)

    def doubt(self, ask_at: float) -> None:
        """It should have spoken; if it has not by then it is asked."""
        if self.state is State.ASKED:
            return
        self.state = State.DOUBTED
        self._ask_at = ask_at if self._ask_at is None else min(self._ask_at, ask_at)

    def expire(self, now: float) -> list[SendProbe | StateChanged]:
        """Ask, if the time has come."""
        if self._ask_at is None or now < self._ask_at:
            return []
        self.state = State.ASKED
        self._ask_at = None
        self.probes_sent += 1
        return [SendProbe(f"probe-{self.probes_sent}"), self._tell("asked", now)]

    def reset(self, request: ResetRequest) -> list[Answer]:
        """Nothing can be done about a model that is not there, but to give it up."""
        owner, reason = request.owner, request.reason
        if request.if_version != self.version:
            return [ResetRefused(owner, reason, Refusal.VERSION_MOVED)]
        if reason is not ResetReason.MODEL_SILENT:
            return [ResetRefused(owner, reason, Refusal.NOT_STUCK)]
        told = "the model's socket is open but dead"
        if self.state is State.ASKED:
            told = "the model answers pings and nothing else"
        return [ResetGranted(owner, reason), CallEnding(EndCause.MODEL_SILENT, told)]

    def _report(self, now: float) -> list[StateChanged]:
        if now < self._reported_at + ALIVE_REPORT_S:
            return []
        return [self._tell("open", now)]

    def _tell(self, state: str, now: float) -> StateChanged:
        self._reported_at = now
        self.version += 1
        return StateChanged(Owner.MODEL, state, self.version)
