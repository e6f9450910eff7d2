"""Records survive the journal's file, whatever is in them, and no line breaks the reader."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.onsets import Outcome
from callengine.machines.response_terms import Settlement
from callengine.messages import HeardItem
from callengine.record_codec import Unreadable, decode, encode
from callengine.records import CallBegan, CallFinished, EventNoted, Speaker, TurnTaken
from callengine.summary import BargeInEntry, CrashEntry
from callengine.testing import (
    BargeIn,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    WaitUntilQuiet,
)
from callengine.testing.held import reply
from callengine.testing.speech import clip

if TYPE_CHECKING:
    from callengine.records import Record
    from callengine.summary import CallSummary

CALL = UUID(int=7)
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BEGAN = CallBegan(call_id=CALL, call_sid="CA1", stream_sid="MZ1", caller="+15550100", at=AT)
EVENT = EventNoted(call_id=CALL, kind="outage", detail="1006", at=AT)


@pytest.fixture(scope="module")
def summary() -> CallSummary:
    """Of a call with an interruption, and with what only a worse call would have."""
    caller = SimulatedCaller([BargeIn(clip("caller_barge_in_1"), 1.0), WaitUntilQuiet(0.7, 20.0)])
    held = Simulation(caller, SimulatedRealtime([reply(4.0, seed=n) for n in range(3)])).run()
    assert held.barge_ins
    entry = BargeInEntry(
        outcome=Outcome.ACTED,
        onset_s=1.25,
        decided_s=1.5,
        level_rms=900,
        barge_in=1,
        response_id="resp_1",
        heard=(HeardItem("item_1", 0, 700), HeardItem("item_2", 1, 0)),
        flushed_frames=3,
        settled_s=2.0,
        cancel_sent_s=1.5,
        cancel_resolved_s=None,
        cancel_settlement=Settlement.DONE,
    )
    return replace(
        held,
        barge_ins=(*held.barge_ins, entry),
        crashes=(CrashEntry("TxPacer", "ValueError", 2.5, restarted=True),),
        lost_messages={"TxPacer": 3},
        late_at_s=(1.5, 2.0),
        inbound=replace(held.inbound, malformed=Counter({"not_json": 2})),
    )


def test_a_summary_comes_back_as_it_was(summary: CallSummary) -> None:
    finished = CallFinished(call_id=CALL, summary=summary, at=AT)
    again = decode(encode(finished))
    assert again == finished
    assert isinstance(again, CallFinished)
    assert same_types(again.summary, summary)
    assert again.summary.to_json() == summary.to_json()


def test_a_whole_number_of_seconds_is_read(summary: CallSummary) -> None:
    finished = CallFinished(call_id=CALL, summary=replace(summary, duration_s=60), at=AT)
    assert decode(encode(finished)) == finished


def same_types(one: object, two: object) -> bool:
    """Equal values of other types would be equal too: an enum and its text, 1 and 1.0."""
    if is_dataclass(one):
        return type(one) is type(two) and all(
            same_types(getattr(one, each.name), getattr(two, each.name)) for each in fields(one)
        )
    if isinstance(one, tuple) and isinstance(two, tuple):
        return all(map(same_types, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return type(one) is type(two) and all(
            map(same_types, (*one, *one.values()), (*two, *two.values()))
        )
    return type(one) is type(two)


TEXTS = st.text()
TURNS = st.builds(
    TurnTaken,
    call_id=st.uuids(),
    number=st.integers(1, 10_000),
    speaker=st.sampled_from(Speaker),
    item_id=TEXTS,
    text=TEXTS,
    heard_text=TEXTS,
    heard_ms=st.none() | st.integers(0),
    audio_ms=st.none() | st.integers(0),
    record_id=st.uuids(),
    at=st.datetimes(timezones=st.just(UTC)),
)
RECORDS = (
    TURNS
    | st.builds(CallBegan, call_id=st.uuids(), call_sid=TEXTS, stream_sid=TEXTS, caller=TEXTS)
    | st.builds(EventNoted, call_id=st.uuids(), kind=TEXTS, detail=TEXTS)
)


@given(RECORDS)
def test_every_record_is_one_line_and_comes_back(record: Record) -> None:
    line = encode(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == record


def test_a_text_that_is_no_text_comes_back() -> None:
    lonely = replace(EVENT, detail="\ud800")
    assert decode(encode(lonely)) == lonely


@given(st.binary() | TEXTS.map(str.encode))
def test_any_line_is_read_or_its_fault_is_told(line: bytes) -> None:
    assert isinstance(decode(line), Unreadable)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda below: st.lists(below) | st.dictionaries(TEXTS, below),
    max_leaves=10,
)


@given(
    kind=st.sampled_from(["CallBegan", "TurnTaken", "EventNoted", "CallFinished"]),
    at=st.sampled_from(["call_id", "summary", "at", "number", "speaker", "text", "record_id"]),
    value=JSON,
)
def test_any_value_is_read_or_its_fault_is_told(kind: str, at: str, value: object) -> None:
    line = json.dumps({"v": 1, "kind": kind, "record": {"call_id": str(CALL), at: value}})
    decode(line.encode())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b"{}",
        encode(EVENT)[:-10],
        encode(EVENT).replace(b'"v":1', b'"v":2'),
        encode(EVENT).replace(b"EventNoted", b"EventLost"),
        encode(EVENT).replace(b'"detail":"1006"', b'"detail":1006'),
        encode(EVENT).replace(str(CALL).encode(), b"+15550100"),
    ],
)
def test_a_line_that_is_no_record_tells_why_and_quotes_nothing(line: bytes) -> None:
    told = decode(line)
    assert isinstance(told, Unreadable)
    assert "1006" not in told.cause
    assert "15550100" not in told.cause


def test_what_another_release_did_not_know_is_nothing(summary: CallSummary) -> None:
    told: Any = json.loads(encode(CallFinished(call_id=CALL, summary=summary, at=AT)))
    for name in ("restarts", "usage", "lost_messages", "barge_ins", "end_detail", "audio"):
        del told["record"]["summary"][name]
    told["record"]["added_later"] = {"or": ["removed since"]}
    again = decode(json.dumps(told).encode())
    assert isinstance(again, CallFinished)
    assert again.summary.restarts == 0
    assert again.summary.barge_ins == ()
    assert again.summary.audio.received_bytes == 0
    assert again.summary.tx_frames == summary.tx_frames


def test_an_identity_that_is_missing_cannot_be_made_up() -> None:
    line = json.dumps({"v": 1, "kind": "EventNoted", "record": {"kind": "outage"}})
    assert isinstance(decode(line.encode()), Unreadable)


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        encode(replace(BEGAN, call_sid=object()))  # type: ignore[arg-type]


def test_identities_are_kept() -> None:
    turn = TurnTaken(
        call_id=uuid4(), number=1, speaker=Speaker.AGENT, item_id="i", text="t", heard_text=""
    )
    again = decode(encode(turn))
    assert isinstance(again, TurnTaken)
    assert (again.record_id, again.at) == (turn.record_id, turn.at)
    assert again.speaker is Speaker.AGENT
