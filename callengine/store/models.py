"""The tables: what is kept of businesses and calls. They know no record and no query.

Rows of a call hang on its row in `callengine_calls` and go with it. Times are UTC and aware.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

from sqlalchemy import BigInteger, Double, ForeignKey, Index, MetaData, Uuid
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from callengine.store.types import BoundedText, CleanJson, UtcDateTime

PREFIX: Final = "callengine_"

TEXT_CHARACTERS: Final = 20_000
"""The longest text that is kept whole; a longer one is cut."""

SID_CHARACTERS: Final = 64
NUMBER_CHARACTERS: Final = 128
NAME_CHARACTERS: Final = 200

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables of callengine, for hosts that generate their own migrations."""


class Row(DeclarativeBase):
    """Base of all rows."""

    metadata = metadata
    type_annotation_map: ClassVar = {
        datetime: UtcDateTime(timezone=True),
        UUID: Uuid(),
        float: Double(),
        str: BoundedText(TEXT_CHARACTERS),
        object: CleanJson(),
    }


class BusinessRow(Row):
    """What callers of one number hear, and from whom."""

    __tablename__ = f"{PREFIX}businesses"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    called: Mapped[str] = mapped_column(BoundedText(NUMBER_CHARACTERS), unique=True)
    name: Mapped[str] = mapped_column(BoundedText(NAME_CHARACTERS))
    greeting: Mapped[str | None]
    instructions: Mapped[str]
    voice: Mapped[str | None] = mapped_column(BoundedText(NAME_CHARACTERS))
    language: Mapped[str | None] = mapped_column(BoundedText(NAME_CHARACTERS))
    fallback_text: Mapped[str]
    fallback_clip: Mapped[bytes]
    farewell_text: Mapped[str]
    farewell_clip: Mapped[bytes]
    closed_text: Mapped[str]
    transfer_number: Mapped[str | None] = mapped_column(BoundedText(NUMBER_CHARACTERS))
    business_hours: Mapped[object] = mapped_column(nullable=False)
    timezone: Mapped[str] = mapped_column(BoundedText(NAME_CHARACTERS))


class CallRow(Row):
    """One call. `ended_at` and what follows is None while it lasts, and if its end was lost."""

    __tablename__ = f"{PREFIX}calls"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_sid: Mapped[str] = mapped_column(BoundedText(SID_CHARACTERS), index=True)
    stream_sid: Mapped[str] = mapped_column(BoundedText(SID_CHARACTERS))
    account_sid: Mapped[str] = mapped_column(BoundedText(SID_CHARACTERS))
    caller: Mapped[str] = mapped_column(BoundedText(NUMBER_CHARACTERS), index=True)
    called: Mapped[str] = mapped_column(BoundedText(NUMBER_CHARACTERS))
    began_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
    end_cause: Mapped[str | None] = mapped_column(BoundedText(NAME_CHARACTERS))
    end_detail: Mapped[str | None]
    duration_s: Mapped[float | None]

    __table_args__ = (Index(None, "called", "began_at"),)


def _call_id(*, primary_key: bool = False, index: bool = False) -> Mapped[UUID]:
    return mapped_column(
        ForeignKey(CallRow.id, ondelete="CASCADE"), primary_key=primary_key, index=index
    )


class TurnRow(Row):
    """Something that was said; of an agent's `text`, `heard_text` reached the ear."""

    __tablename__ = f"{PREFIX}turns"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_id: Mapped[UUID] = _call_id()
    number: Mapped[int]
    speaker: Mapped[str] = mapped_column(BoundedText(NAME_CHARACTERS))
    item_id: Mapped[str] = mapped_column(BoundedText(NAME_CHARACTERS))
    text: Mapped[str]
    heard_text: Mapped[str]
    heard_ms: Mapped[int | None]
    audio_ms: Mapped[int | None]
    at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (Index(None, "call_id", "number"),)


class BargeInRow(Row):
    """One line of a call's barge-in ledger; times are seconds since the call began."""

    __tablename__ = f"{PREFIX}barge_ins"

    call_id: Mapped[UUID] = _call_id(primary_key=True)
    entry: Mapped[int] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(BoundedText(NAME_CHARACTERS))
    onset_s: Mapped[float]
    decided_s: Mapped[float]
    level_rms: Mapped[int]
    barge_in: Mapped[int | None]
    response_id: Mapped[str | None] = mapped_column(BoundedText(NAME_CHARACTERS))
    heard: Mapped[object] = mapped_column(nullable=False)
    flushed_frames: Mapped[int]
    settled_s: Mapped[float | None]
    cancel_sent_s: Mapped[float | None]
    cancel_resolved_s: Mapped[float | None]
    cancel_settlement: Mapped[str | None] = mapped_column(BoundedText(NAME_CHARACTERS))

    __table_args__ = (Index(None, "outcome", "call_id"),)


class EventRow(Row):
    """Something out of the ordinary that happened in a call."""

    __tablename__ = f"{PREFIX}events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_id: Mapped[UUID] = _call_id(index=True)
    kind: Mapped[str] = mapped_column(BoundedText(NAME_CHARACTERS))
    detail: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (Index(None, "kind", "at"),)


class UsageRow(Row):
    """What the model counted in a call, and what it cost; `cost_usd` is None without prices."""

    __tablename__ = f"{PREFIX}usage"

    call_id: Mapped[UUID] = _call_id(primary_key=True)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    input_audio_tokens: Mapped[int] = mapped_column(BigInteger)
    output_audio_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[float | None]


class SummaryRow(Row):
    """A call's summary: the numbers that are asked for across calls, and all of it as JSON."""

    __tablename__ = f"{PREFIX}summaries"

    call_id: Mapped[UUID] = _call_id(primary_key=True)
    first_chunk_bytes: Mapped[int]
    tx_frames: Mapped[int]
    tx_late_frames: Mapped[int]
    tx_schedule_resets: Mapped[int]
    barge_in_events: Mapped[int]
    stuck_recoveries: Mapped[int]
    context_errors: Mapped[int]
    restarts: Mapped[int]
    model_reconnects: Mapped[int]
    fallbacks: Mapped[int]
    dead_air_s: Mapped[float]
    transferred: Mapped[bool]
    summary: Mapped[object] = mapped_column(nullable=False)


class ErasedCallRow(Row):
    """A call whose data was erased: what is still on its way to the database is not written."""

    __tablename__ = f"{PREFIX}erased_calls"

    call_id: Mapped[UUID] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(index=True)


OF_A_CALL: Final = (TurnRow, BargeInRow, EventRow, UsageRow, SummaryRow)
"""The tables whose rows go with their call."""
