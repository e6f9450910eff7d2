"""Records as a call makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from callengine.machines.metering import Usage
from callengine.machines.onsets import Onset, Outcome
from callengine.machines.response_terms import Cancel, Settlement
from callengine.machines.transmission_terms import TransmissionCounts
from callengine.messages import EndCause, HeardItem
from callengine.records import CallBegan, CallFinished, EventNoted, Record, Speaker, TurnTaken
from callengine.reports import BridgeReport, PacerReport
from callengine.summary import CallFacts, CallSummary, summarise

CALLER = "+15550101"
CALLED = "+15550100"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def summary(call_sid: str = "CA1", *, end_detail: str = "stop") -> CallSummary:
    """The summary of a minute with a guarded onset and one barge-in."""
    facts = CallFacts(call_sid, "MZ1", EndCause.CALLER_HUNG_UP, end_detail, 100.0, 160.0)
    guarded = Onset(101.0, 101.1, Outcome.GUARDED, level_rms=900)
    acted = Onset(
        onset_at=110.0,
        decided_at=110.1,
        outcome=Outcome.ACTED,
        level_rms=1200,
        barge_in=1,
        response_id="r1",
        heard=(HeardItem("i1", 0, 230),),
        flushed_frames=2,
        settled_at=110.3,
    )
    pacer = PacerReport(
        transmission=TransmissionCounts(first_chunk_bytes=160, frames=10, barge_in_events=1),
        ledger=(guarded, acted),
    )
    bridge = BridgeReport(
        cancels=(Cancel("r1", 110.2, 1, 110.4, Settlement.DONE),),
        usage=Usage(700, 90, 300, 500, 80, 0.0125),
    )
    return summarise(facts, {"TxPacer": pacer, "RealtimeBridge": bridge})


def began(
    call_id: UUID | None = None,
    *,
    caller: str = CALLER,
    called: str = CALLED,
    at: datetime = NOON,
    call_sid: str = "CA1",
) -> CallBegan:
    return CallBegan(
        call_id=call_id or uuid4(),
        call_sid=call_sid,
        stream_sid="MZ1",
        account_sid="AC1",
        caller=caller,
        called=called,
        at=at,
    )


def turn(call_id: UUID, number: int = 1, text: str = "Hello", at: datetime = NOON) -> TurnTaken:
    return TurnTaken(
        call_id=call_id,
        number=number,
        speaker=Speaker.AGENT,
        item_id="item_1",
        text=text,
        heard_text=text[:2],
        heard_ms=120,
        audio_ms=400,
        at=at,
    )


def whole_call(
    *, caller: str = CALLER, called: str = CALLED, at: datetime = NOON, call_sid: str = "CA1"
) -> list[Record]:
    """All records of one call of a minute: two turns, an event, an end that was told late."""
    first = began(caller=caller, called=called, at=at, call_sid=call_sid)
    return [
        first,
        turn(first.call_id, 1, at=at),
        turn(first.call_id, 2, "Goodbye", at=at),
        EventNoted(call_id=first.call_id, kind="fallback", detail="text", at=at),
        CallFinished(
            call_id=first.call_id, summary=summary(call_sid), at=at + timedelta(seconds=61)
        ),
    ]
