"""What is worth writing down about a call, as it happens: what the journal takes.

Records are made by the call's actors and name no table. Each carries an id of its own, so that one
that was written twice is one. Times are UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID, uuid4

if TYPE_CHECKING:
    from callengine.summary import CallSummary


def _now() -> datetime:
    return datetime.now(UTC)


class Speaker(StrEnum):
    """Whose turn it was."""

    CALLER = "caller"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBegan:
    """A stream began; `call_id` names the call in every other record of it."""

    call_id: UUID
    call_sid: str
    stream_sid: str
    account_sid: str = ""
    caller: str = field(default="", repr=False)
    called: str = field(default="", repr=False)
    at: datetime = field(default_factory=_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTaken:
    """Something was said. `heard_text` is the part of an agent's `text` that reached the ear.

    `heard_ms` and `audio_ms` are None for the caller's turns. `number` counts a call's turns from
    1.
    """

    call_id: UUID
    number: int
    speaker: Speaker
    item_id: str
    text: str = field(repr=False)
    heard_text: str = field(repr=False)
    heard_ms: int | None = None
    audio_ms: int | None = None
    record_id: UUID = field(default_factory=uuid4)
    at: datetime = field(default_factory=_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventNoted:
    """Something out of the ordinary: an outage, a fallback, a transfer. Nothing that was said."""

    call_id: UUID
    kind: str
    detail: str = ""
    record_id: UUID = field(default_factory=uuid4)
    at: datetime = field(default_factory=_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    """The call is over: its numbers, its barge-ins, what it cost."""

    call_id: UUID
    summary: CallSummary
    at: datetime = field(default_factory=_now)


Record: TypeAlias = CallBegan | TurnTaken | EventNoted | CallFinished
