"""What a record becomes in the tables: values by column name. It writes nothing."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from callengine.store.business import Business
from callengine.store.clean import clean_number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from callengine.records import CallBegan, CallFinished, EventNoted, TurnTaken
    from callengine.store.models import BusinessRow

Values: TypeAlias = dict[str, Any]

BEGINNING: Final = ("call_sid", "stream_sid", "account_sid", "caller", "called", "began_at")
"""What a call's beginning knows better than a row that is already there."""

END: Final = ("call_sid", "stream_sid", "ended_at", "end_cause", "end_detail", "duration_s")
"""What a call's end knows better."""


def call_seen(call_id: UUID, at: datetime) -> Values:
    """A call of which nothing is known but that it was on at that moment."""
    return {
        "id": call_id,
        "call_sid": "",
        "stream_sid": "",
        "account_sid": "",
        "caller": "",
        "called": "",
        "began_at": at,
    }


def call_began(record: CallBegan) -> Values:
    """The row of a call that begins."""
    return {
        "id": record.call_id,
        "call_sid": record.call_sid,
        "stream_sid": record.stream_sid,
        "account_sid": record.account_sid,
        "caller": clean_number(record.caller),
        "called": clean_number(record.called),
        "began_at": record.at,
    }


def call_finished(record: CallFinished) -> Values:
    """The row of a call that is over; its beginning is reckoned, in case nothing else tells it."""
    summary = record.summary
    began_at = record.at - timedelta(seconds=summary.duration_s)
    return call_seen(record.call_id, began_at) | {
        "call_sid": summary.call_sid,
        "stream_sid": summary.stream_sid,
        "ended_at": record.at,
        "end_cause": summary.end_cause.value,
        "end_detail": summary.end_detail,
        "duration_s": summary.duration_s,
    }


def turn(record: TurnTaken) -> Values:
    """The row of a turn."""
    return {
        "id": record.record_id,
        "call_id": record.call_id,
        "number": record.number,
        "speaker": record.speaker.value,
        "item_id": record.item_id,
        "text": record.text,
        "heard_text": record.heard_text,
        "heard_ms": record.heard_ms,
        "audio_ms": record.audio_ms,
        "at": record.at,
    }


def event(record: EventNoted) -> Values:
    """The row of an event."""
    return {
        "id": record.record_id,
        "call_id": record.call_id,
        "kind": record.kind,
        "detail": record.detail,
        "at": record.at,
    }


def summary(record: CallFinished) -> Values:
    """The row of a summary."""
    told = record.summary
    return {
        "call_id": record.call_id,
        "first_chunk_bytes": told.first_chunk_bytes,
        "tx_frames": told.tx_frames,
        "tx_late_frames": told.tx_late_frames,
        "tx_schedule_resets": told.tx_schedule_resets,
        "barge_in_events": told.barge_in_events,
        "stuck_recoveries": told.stuck_recoveries,
        "context_errors": told.context_errors,
        "restarts": told.restarts,
        "model_reconnects": told.model_reconnects,
        "fallbacks": told.fallbacks,
        "dead_air_s": told.dead_air_s,
        "transferred": told.transferred,
        "summary": told.to_dict(),
    }


def usage(record: CallFinished) -> Values:
    """The row of what a call used."""
    used = record.summary.usage
    return {
        "call_id": record.call_id,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cached_tokens": used.cached_tokens,
        "input_audio_tokens": used.input_audio_tokens,
        "output_audio_tokens": used.output_audio_tokens,
        "cost_usd": used.cost_usd,
    }


def barge_ins(record: CallFinished) -> Iterator[Values]:
    """The rows of a call's ledger, numbered from 1."""
    for number, entry in enumerate(record.summary.barge_ins, start=1):
        settlement = entry.cancel_settlement
        yield {
            "call_id": record.call_id,
            "entry": number,
            "outcome": entry.outcome.value,
            "onset_s": entry.onset_s,
            "decided_s": entry.decided_s,
            "level_rms": entry.level_rms,
            "barge_in": entry.barge_in,
            "response_id": entry.response_id,
            "heard": [
                {
                    "item_id": each.item_id,
                    "content_index": each.content_index,
                    "heard_ms": each.heard_ms,
                }
                for each in entry.heard
            ],
            "flushed_frames": entry.flushed_frames,
            "settled_s": entry.settled_s,
            "cancel_sent_s": entry.cancel_sent_s,
            "cancel_resolved_s": entry.cancel_resolved_s,
            "cancel_settlement": settlement.value if settlement else None,
        }


def business(value: Business) -> Values:
    """The row of a business, but for its id."""
    return {each.name: getattr(value, each.name) for each in fields(Business)}


def read_business(row: BusinessRow) -> Business:
    """A business as it was saved. Raises SettingsError for one that was edited into nonsense."""
    return Business(**{each.name: getattr(row, each.name) for each in fields(Business)})
