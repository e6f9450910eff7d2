"""What the parts of the simulated server share, and the two things every part says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from callengine.testing.realtime.record import ErrorRecord, Record

if TYPE_CHECKING:
    from callengine.testing.realtime.conversation import Conversation, Item
    from callengine.testing.realtime.faults import Fault
    from callengine.testing.realtime.line import Agenda, Line
    from callengine.testing.realtime.rules import Refusal
    from callengine.testing.realtime.script import Behaviour
    from callengine.testing.realtime.session import Session


@dataclass(frozen=True, slots=True)
class Stage:
    """One connection's shared parts; each part owns its own state."""

    behaviour: Behaviour
    faults: tuple[Fault, ...]
    record: Record
    agenda: Agenda
    line: Line
    session: Session
    conversation: Conversation
    ids_from: int = 0

    def add_item(self, item: Item, now: float, *, previous_item_id: str | None = None) -> None:
        """Put a finished item into the conversation and announce it. Raises `Refusal`."""
        self.conversation.add(item, previous_item_id)
        before = self.conversation.previous_id(item)
        for event_type in ("conversation.item.added", "conversation.item.done"):
            self.line.send(event_type, now, previous_item_id=before, item=item.to_wire())

    def refuse(self, refusal: Refusal, now: float, event_id: str | None = None) -> None:
        """Send an `error`, which closes nothing; `event_id` is the client event it answers."""
        error = {
            "type": "invalid_request_error",
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "event_id": event_id,
        }
        if self.line.send("error", now, error=error):
            told = ErrorRecord(refusal.code, now, refusal.message, event_id)
            self.record.errors.append(told)
        self.line.strike(now)
