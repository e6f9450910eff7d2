from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.machines.conversation_terms import ConversationCounts
from callengine.machines.inbound import InboundCounts
from callengine.machines.onsets import Onset, Outcome
from callengine.machines.response import Cancel, ResponseCounts, Settlement
from callengine.machines.stall import StallCounts
from callengine.machines.transmission_terms import PlayoutCounts, TransmissionCounts
from callengine.messages import EndCause, HeardItem
from callengine.reports import GREATEST, BridgeReport, Crash, HostCounts, PacerReport, total
from callengine.summary import AudioConservation, CallFacts, CallSummary, summarise

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS = CallFacts("CA1", "MZ1", EndCause.CALLER_HUNG_UP, "stop +15550100", 100.0, 161.5)

REPORTS = {
    "TwilioIngress": InboundCounts(),
    "TxPacer": PacerReport(
        transmission=TransmissionCounts(
            first_chunk_bytes=160, frames=10, late_frames=2, barge_in_events=1, stuck_recoveries=1
        ),
        playout=PlayoutCounts(
            received_bytes=1000,
            sent_bytes=900,
            returned_bytes=200,
            flushed_bytes=250,
            stale_bytes=20,
        ),
        queued_bytes=30,
        unsent_frames=3,
        own_audio_bytes=100,
        ledger=(
            Onset(101.0, 101.1, Outcome.GUARDED, level_rms=900),
            Onset(
                onset_at=110.0,
                decided_at=110.1,
                outcome=Outcome.ACTED,
                level_rms=1200,
                barge_in=1,
                response_id="r1",
                heard=(HeardItem("i1", 0, 230),),
                flushed_frames=2,
                settled_at=110.3,
            ),
        ),
        late_at=(120.00004, 130.5),
    ),
    "RealtimeBridge": BridgeReport(
        conversation=ConversationCounts(
            audio_bytes=1400,
            dropped_cancelled_bytes=300,
            dropped_out_of_band_bytes=150,
            dropped_unknown_bytes=50,
        ),
        response=ResponseCounts(stuck_recoveries=2),
        cancels=(
            Cancel("r0", 105.0),
            Cancel("r1", 110.2, 1, 110.4, Settlement.DONE),
        ),
    ),
    "Watchdog": StallCounts(resets_asked=4),
    "HostCalls": HostCounts(context_errors=5),
}


def test_the_glance() -> None:
    summary = summarise(FACTS, REPORTS)
    assert summary.log_fields() == {
        "end_cause": "caller_hung_up",
        "duration_s": 61.5,
        "first_chunk_bytes": 160,
        "tx_frames": 7,  # less those that were still to be written when they were cleared
        "tx_late_frames": 2,
        "tx_schedule_resets": 0,
        "barge_in_events": 1,
        "stuck_recoveries": 3,
        "context_errors": 5,
        "restarts": 0,
        "model_reconnects": 0,
        "fallbacks": 0,
        "dead_air_s": 0.0,
    }
    assert (summary.call_sid, summary.stream_sid, summary.end_detail) == (
        "CA1",
        "MZ1",
        "stop +15550100",
    )
    assert summary.late_at_s == (20.0, 30.5)
    assert summary.began_monotonic_s == 100.0
    assert summary.watchdog.resets_asked == 4


def test_the_ledger_joins_a_barge_in_with_its_cancel() -> None:
    guarded, acted = summarise(FACTS, REPORTS).barge_ins
    assert (guarded.outcome, guarded.onset_s, guarded.decided_s) == (Outcome.GUARDED, 1.0, 1.1)
    assert (guarded.barge_in, guarded.settled_s, guarded.cancel_sent_s) == (None, None, None)
    assert (guarded.cancel_resolved_s, guarded.cancel_settlement) == (None, None)
    assert (acted.barge_in, acted.response_id, acted.level_rms) == (1, "r1", 1200)
    assert (acted.heard, acted.flushed_frames) == ((HeardItem("i1", 0, 230),), 2)
    assert (acted.settled_s, acted.cancel_sent_s, acted.cancel_resolved_s) == (10.3, 10.2, 10.4)
    assert acted.cancel_settlement is Settlement.DONE


def test_a_cancel_that_was_not_resolved_by_the_end_of_the_call() -> None:
    bridge = BridgeReport(cancels=(Cancel("r1", 110.2, 1),))
    entry = summarise(FACTS, {**REPORTS, "RealtimeBridge": bridge}).barge_ins[1]
    assert (entry.cancel_sent_s, entry.cancel_resolved_s, entry.cancel_settlement) == (
        10.2,
        None,
        None,
    )


def test_l11_the_audio_is_accounted_for() -> None:
    assert summarise(FACTS, REPORTS).audio == AudioConservation(
        received_bytes=1500,
        played_bytes=700,
        returned_bytes=200,
        flushed_bytes=250,
        queued_bytes=30,
        cancelled_bytes=300,
        stale_bytes=20,
        out_of_band_bytes=150,
        unknown_response_bytes=50,
        overflow_bytes=0,
    )
    assert summarise(FACTS, REPORTS).audio.balance_bytes == 0


COUNTED = [f.name for f in fields(AudioConservation) if f.name != "returned_bytes"]


@pytest.mark.parametrize("name", COUNTED)
def test_l11_a_byte_that_is_missing_anywhere_shows_in_the_balance(name: str) -> None:
    audio = summarise(FACTS, REPORTS).audio
    changed = replace(audio, **{name: getattr(audio, name) + 1})
    assert changed.balance_bytes == (1 if name == "received_bytes" else -1)


def test_crashes_are_told_with_their_time_and_those_that_were_survived_are_counted() -> None:
    crashes = (
        Crash("VADDetector", "ValueError", 110.5, restarted=True),
        Crash("TxPacer", "MemoryError", 111.00004, restarted=True),
        Crash("TxPacer", "SystemExit", 112.0, restarted=False),
    )
    summary = summarise(replace(FACTS, crashes=crashes, lost_messages={"TxPacer": 7}), REPORTS)
    assert summary.restarts == 2
    told: dict[str, Any] = summary.to_dict()
    assert told["crashes"] == [
        {"actor": "VADDetector", "error": "ValueError", "at_s": 10.5, "restarted": True},
        {"actor": "TxPacer", "error": "MemoryError", "at_s": 11.0, "restarted": True},
        {"actor": "TxPacer", "error": "SystemExit", "at_s": 12.0, "restarted": False},
    ]
    assert told["lost_messages"] == {"TxPacer": 7}


def leaves(counts: object, name: str = "") -> Iterator[tuple[str, object]]:
    """The counters in a report, however deep."""
    if is_dataclass(counts) and not isinstance(counts, type):
        for each in fields(counts):
            yield from leaves(getattr(counts, each.name), each.name)
    else:
        yield name, counts


@pytest.mark.parametrize("actor", REPORTS)
def test_l15_the_lives_of_an_actor_add_up(actor: str) -> None:
    counts = REPORTS[actor]
    for (name, one), (_, two) in zip(leaves(counts), leaves(total([counts, counts])), strict=True):
        if name in GREATEST:
            assert two == one
        elif isinstance(one, Counter):
            assert two == one + one
        elif one is None:
            assert two is None
        else:
            assert type(one) in {int, tuple}, f"what is the sum of two {name}?"
            assert two == one + one  # type: ignore[operator]


def test_l15_errors_of_two_lives_add_up_by_name_and_nothing_is_changed() -> None:
    one, two = InboundCounts(frames=3), InboundCounts(frames=4)
    one.malformed.update(a=1, b=1)
    two.malformed.update(b=2, c=1)
    added = total([one, None, two])
    assert added == InboundCounts(frames=7, malformed=Counter(a=1, b=3, c=1))
    assert (one.frames, one.malformed) == (3, Counter(a=1, b=1))


@pytest.mark.parametrize("lives", [[], [None], [None, None]])
def test_lives_that_told_nothing_are_nothing(lives: list[object]) -> None:
    assert total(lives) is None


@pytest.mark.parametrize("missing", REPORTS)
def test_an_actor_that_died_counts_as_zero(missing: str) -> None:
    reports = {name: report for name, report in REPORTS.items() if name != missing}
    assert json.loads(summarise(FACTS, reports).to_json())["end_cause"] == "caller_hung_up"


def test_a_call_that_never_began_has_a_summary() -> None:
    """A bridge that never opened a session reports None."""
    summary = summarise(FACTS, {"RealtimeBridge": None})
    assert summary.audio.balance_bytes == 0
    assert summary.barge_ins == ()


def plain(value: object) -> bool:
    match value:
        case dict():
            return all(type(key) is str and plain(each) for key, each in value.items())
        case list():
            return all(plain(each) for each in value)
        case _:
            return value is None or type(value) in {str, int, float, bool}


def test_the_dict_is_plain_names_every_field_and_survives_json() -> None:
    summary = summarise(FACTS, REPORTS)
    summary.conversation.errors["server_error"] += 2
    told = summary.to_dict()
    assert plain(told)
    assert set(told) == {field.name for field in fields(CallSummary)}
    assert json.loads(summary.to_json()) == told
    picked: dict[str, Any] = told
    assert picked["audio"]["balance_bytes"] == 0
    assert picked["conversation"]["errors"] == {"server_error": 2}
    assert picked["barge_ins"][1]["cancel_settlement"] == "done"
    assert picked["barge_ins"][1]["heard"] == [
        {"item_id": "i1", "content_index": 0, "heard_ms": 230}
    ]
    summary.conversation.errors.clear()


def test_what_is_logged_is_short_and_holds_nothing_that_was_said() -> None:
    """No free text: not even the detail of the end, which may quote the other side."""
    fields_logged = summarise(FACTS, REPORTS).log_fields()
    texts = [value for value in fields_logged.values() if isinstance(value, str)]
    assert texts == ["caller_hung_up"]
    assert all(type(value) in {str, int, float} for value in fields_logged.values())


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=6, max_size=6))
def test_l11_the_balance_follows_from_the_two_ledgers(sizes: list[int]) -> None:
    """The bridge's: received = told + dropped. The pacer's: told = played + ... See L11."""
    sent, queued, flushed, stale, overflow, dropped = sizes
    told = sent + queued + flushed + stale + overflow
    pacer = PacerReport(
        playout=PlayoutCounts(
            received_bytes=told,
            sent_bytes=sent,
            flushed_bytes=flushed,
            stale_bytes=stale,
            overflow_bytes=overflow,
        ),
        queued_bytes=queued,
    )
    bridge = BridgeReport(
        conversation=ConversationCounts(audio_bytes=told + dropped, dropped_unknown_bytes=dropped)
    )
    summary = summarise(FACTS, {"TxPacer": pacer, "RealtimeBridge": bridge})
    assert summary.audio.balance_bytes == 0
