"""A conversation with a clock that moves when told, and short words for what the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from callengine.machines.conversation import Conversation
from callengine.messages import (
    AnswerOwed,
    DeadlineReached,
    ItemHeard,
    ModelConnected,
    StateChanged,
)
from callengine.wire import realtime_events as wire
from callengine.wire.realtime_client import SessionConfig
from callengine.wire.realtime_events import AudioFormat, SessionUpdated

if TYPE_CHECKING:
    from callengine.machines.conversation_terms import Action, Event

CONFIG = SessionConfig("You answer the phone.", "marin")
PCMU = AudioFormat("audio/pcmu", None)
CONFIRMED = SessionUpdated(PCMU, PCMU, None, "marin")
GREETING = "Say hello."

REPORTS = (StateChanged, AnswerOwed, ItemHeard)

A = TypeVar("A")


def created(
    response_id: str, answers: str | None = None, *, apart: bool = False
) -> wire.ResponseCreated:
    return wire.ResponseCreated(response_id, apart, answers)


def delta(response_id: str, item_id: str = "i1", ms: int = 100, index: int = 0) -> wire.AudioDelta:
    return wire.AudioDelta(response_id, item_id, index, b"\x00" * (ms * 8))


def done(
    response_id: str, status: str = "completed", calls: tuple[wire.FunctionCall, ...] = ()
) -> wire.ResponseDone:
    usage = wire.Usage(7, 3, 10, 0, 0, 0) if status == "completed" else None
    return wire.ResponseDone(response_id, status, None, None, usage, calls)


def function_call(call_id: str, response_id: str = "r1") -> wire.FunctionCall:
    return wire.FunctionCall(response_id, f"item-{call_id}", call_id, "book", '{"day":1}')


def error(code: str | None, caused_by: str | None = None, kind: str = "x") -> wire.ErrorReceived:
    return wire.ErrorReceived(code, kind, "", None, caused_by)


class Rig:
    """Feeds one conversation as its actor does, waking it when it wants to be."""

    def __init__(self, greeting: str | None = None, *, protected: bool = True) -> None:
        self.now = 100.0
        self.reports: list[Action] = []
        self.machine = Conversation(
            CONFIG, greeting=greeting, greeting_protected=protected, now=self.now
        )

    def __call__(self, *events: Event) -> list[Action]:
        """Take events at this moment; returns the actions but for reports that change nothing.

        What those told is in `reports`.
        """
        actions = [a for event in events for a in self.machine.handle(event, self.now)]
        self.reports += [action for action in actions if isinstance(action, REPORTS)]
        return [action for action in actions if not isinstance(action, REPORTS)]

    def live(self) -> list[Action]:
        """Open the session."""
        return self(ModelConnected(), CONFIRMED)

    def after(self, seconds: float) -> list[Action]:
        """Let time pass."""
        actions: list[Action] = []
        until = self.now + seconds
        while (due := self.machine.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            actions += self(DeadlineReached())
            again = self.machine.next_deadline()
            assert again is None or again > self.now, "a busy loop"
        self.now = until
        return actions


def only(kind: type[A], actions: list[Action]) -> list[A]:
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


def golden(name: str) -> list[tuple[str, str]]:
    """A captured sequence: direction and frame of each message, in order."""
    path = Path(__file__).parent / "golden" / f"{name}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["dir"], json.dumps(line["frame"])) for line in lines]
