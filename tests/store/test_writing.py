"""Writing a call down: all of it, once, in whatever order and however often it comes."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from callengine.errors import StoreRefused, StoreUnavailable
from callengine.machines.onsets import Outcome
from callengine.records import CallBegan, CallFinished, EventNoted, TurnTaken
from callengine.store import (
    EventRow,
    Store,
    SummaryRow,
    UsageRow,
    metadata,
)
from tests.store.made import CALLED, CALLER, NOON, began, summary, turn, whole_call

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from callengine.store.models import Row


def everything(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, as plain values."""
    with store.engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for name, table in metadata.tables.items()
        }


def only(store: Store, table: type[Row]) -> list[Row]:
    with Session(store.engine) as session:
        return list(session.scalars(select(table)))


def test_a_call_is_written_whole(store: Store) -> None:
    records = whole_call()
    store.write(records)
    call_id = records[0].call_id
    call = store.call(call_id)
    assert call is not None
    assert (call.call_sid, call.stream_sid, call.account_sid) == ("CA1", "MZ1", "AC1")
    assert (call.caller, call.called) == (CALLER, CALLED)
    assert (call.began_at, call.ended_at) == (NOON, NOON + timedelta(seconds=61))
    assert (call.end_cause, call.end_detail, call.duration_s) == ("caller_hung_up", "stop", 60.0)

    first, second = store.turns(call_id)
    assert (first.number, first.speaker, first.item_id) == (1, "agent", "item_1")
    assert (first.text, first.heard_text, first.heard_ms, first.audio_ms) == (
        "Hello",
        "He",
        120,
        400,
    )
    assert (first.at, second.number, second.text) == (NOON, 2, "Goodbye")

    (event,) = only(store, EventRow)
    assert isinstance(event, EventRow)
    assert (event.call_id, event.kind, event.detail, event.at) == (
        call_id,
        "fallback",
        "text",
        NOON,
    )


def test_the_ledger_and_the_numbers_are_written(store: Store) -> None:
    store.write(whole_call())
    (acted,) = store.barge_ins(Outcome.ACTED)
    assert (acted.entry, acted.barge_in, acted.response_id, acted.level_rms) == (2, 1, "r1", 1200)
    assert (acted.onset_s, acted.decided_s, acted.settled_s) == (10.0, 10.1, 10.3)
    assert (acted.cancel_sent_s, acted.cancel_resolved_s) == (10.2, 10.4)
    assert (acted.cancel_settlement, acted.flushed_frames) == ("done", 2)
    assert acted.heard == [{"item_id": "i1", "content_index": 0, "heard_ms": 230}]
    (guarded,) = store.barge_ins(Outcome.GUARDED)
    assert (guarded.barge_in, guarded.settled_s, guarded.cancel_settlement) == (None, None, None)

    (numbers,) = only(store, SummaryRow)
    assert isinstance(numbers, SummaryRow)
    assert (numbers.first_chunk_bytes, numbers.tx_frames, numbers.barge_in_events) == (160, 10, 1)
    assert numbers.summary == summary().to_dict()

    (usage,) = only(store, UsageRow)
    assert isinstance(usage, UsageRow)
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (700, 90, 300)
    assert (usage.input_audio_tokens, usage.output_audio_tokens) == (500, 80)
    assert usage.cost_usd == 0.0125


def test_writing_again_changes_nothing(store: Store) -> None:
    records = [*whole_call(), *whole_call(call_sid="CA2")]
    store.write(records)
    before = everything(store)
    store.write(records)
    for record in records:
        store.write([record])
    store.write(records + records)
    assert everything(store) == before


@pytest.mark.parametrize("seed", range(3))
def test_the_order_and_the_batches_make_no_difference(store: Store, seed: int) -> None:
    calls = [whole_call(), whole_call(call_sid="CA2")]
    records = [record for call in calls for record in call]
    store.write(records)
    in_order = everything(store)
    with store.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    chance = random.Random(seed)
    chance.shuffle(records)
    while records:
        some = chance.randint(1, 4)
        store.write(records[:some])
        del records[:some]
    assert everything(store) == in_order


def test_a_call_whose_beginning_was_lost_has_a_row(store: Store) -> None:
    finished = whole_call()[-1]
    store.write([finished])
    call = store.call(finished.call_id)
    assert call is not None
    assert call.ended_at == NOON + timedelta(seconds=61)
    assert call.began_at == call.ended_at - timedelta(seconds=60)
    assert (call.call_sid, call.caller, call.called) == ("CA1", "", "")


def test_a_call_of_which_only_turns_came_has_a_row(store: Store) -> None:
    call_id = uuid4()
    later, earlier = turn(call_id, 2, at=NOON), turn(call_id, 1, at=NOON - timedelta(seconds=9))
    store.write([later, earlier])
    call = store.call(call_id)
    assert call is not None
    assert (call.began_at, call.ended_at) == (NOON - timedelta(seconds=9), None)
    assert [row.number for row in store.turns(call_id)] == [1, 2]


def test_a_beginning_that_comes_late_does_not_erase_the_end(store: Store) -> None:
    start = began(at=NOON - timedelta(milliseconds=300))
    store.write([CallFinished(call_id=start.call_id, summary=summary(), at=NOON)])
    store.write([start])
    call = store.call(start.call_id)
    assert call is not None
    assert (call.caller, call.began_at) == (CALLER, NOON - timedelta(milliseconds=300))
    assert (call.ended_at, call.end_cause, call.duration_s) == (NOON, "caller_hung_up", 60.0)


def test_a_batch_is_written_whole_or_not_at_all(store: Store) -> None:
    call = began()
    naive = turn(call.call_id, at=datetime(2026, 3, 1))  # noqa: DTZ001 - it means no moment
    with pytest.raises(StoreRefused):
        store.write([call, naive])
    assert store.calls() == []
    store.write([call])
    assert len(store.calls()) == 1


def test_nothing_to_write_asks_nothing_of_the_database() -> None:
    store = Store.from_url("postgresql://nobody@127.0.0.1:1/nowhere")
    store.write([])
    store.close()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("nul \x00 byte", "nul \ufffd byte"),
        ("half \ud83d a pair", "half \ufffd a pair"),
        ("whole \U0001f600 'quoted'; DROP TABLE callengine_turns --", None),
        ("long " * 5000, ("long " * 5000)[:20_000]),
        ("", None),
    ],
)
def test_text_of_all_kinds_is_kept(store: Store, said: str, kept: str | None) -> None:
    call_id = uuid4()
    store.write([turn(call_id, text=said)])
    (row,) = store.turns(call_id)
    assert row.text == (said if kept is None else kept)


def test_texts_in_all_columns_are_made_fit(store: Store) -> None:
    bad = "\x00\udc00" * 300
    call_id = uuid4()
    store.write(
        [
            CallBegan(
                call_id=call_id,
                call_sid=bad,
                stream_sid=bad,
                account_sid=bad,
                caller=bad,
                called=bad,
            ),
            EventNoted(call_id=call_id, kind=bad, detail=bad),
            CallFinished(call_id=call_id, summary=summary(bad, end_detail=bad)),
        ]
    )
    call = store.call(call_id)
    assert call is not None
    assert call.call_sid == "\ufffd" * 64
    (numbers,) = only(store, SummaryRow)
    assert isinstance(numbers, SummaryRow)
    assert isinstance(numbers.summary, dict)
    assert numbers.summary["end_detail"] == "\ufffd" * 600


def test_a_number_that_is_none_becomes_null(store: Store) -> None:
    told = summary()
    object.__setattr__(told, "late_at_s", (1.0, float("nan"), float("inf")))
    store.write([CallFinished(call_id=uuid4(), summary=told)])
    (numbers,) = only(store, SummaryRow)
    assert isinstance(numbers, SummaryRow)
    assert isinstance(numbers.summary, dict)
    assert numbers.summary["late_at_s"] == [1.0, None, None]


def test_a_number_too_great_is_refused_and_the_others_are_written(store: Store) -> None:
    call_id = uuid4()
    whole = turn(call_id)
    absurd = TurnTaken(
        call_id=call_id,
        number=2**70,
        speaker=whole.speaker,
        item_id="",
        text="a secret",
        heard_text="",
    )
    with pytest.raises(StoreRefused) as refused:
        store.write([whole, absurd])
    assert "secret" not in str(refused.value)
    assert refused.value.__suppress_context__, "a trace would show what was said"
    store.write([whole])
    assert len(store.turns(call_id)) == 1


def test_times_come_back_in_utc_whatever_zone_they_were_told_in(store: Store) -> None:
    tokyo = timezone(timedelta(hours=9))
    call = began(at=datetime(2026, 3, 1, 21, 0, tzinfo=tokyo))
    store.write([call])
    row = store.call(call.call_id)
    assert row is not None
    assert (row.began_at, row.began_at.tzinfo) == (NOON, UTC)


def test_calls_are_found_by_number_and_day(store: Store) -> None:
    for days, called, sid in [(0, CALLED, "CA1"), (1, CALLED, "CA2"), (1, "+15550199", "CA3")]:
        store.write([began(called=called, at=NOON + timedelta(days=days), call_sid=sid)])
    store.write([began(at=datetime(2026, 3, 2, tzinfo=UTC), call_sid="CA4", caller="+15550102")])

    def found(**wanted: object) -> list[str]:
        return [call.call_sid for call in store.calls(**wanted)]  # type: ignore[arg-type]

    assert found(called=CALLED) == ["CA2", "CA4", "CA1"]
    assert found(called=" +1 (555) 0100", day=(NOON + timedelta(days=1)).date()) == ["CA2", "CA4"]
    assert found(day=NOON.date()) == ["CA1"]
    assert found(caller="+15550102") == ["CA4"]
    assert len(found(limit=2)) == 2


def test_numbers_are_kept_spelled_one_way(store: Store) -> None:
    store.write([began(caller=" +1 555-0101", called="+1 (555) 0100 ")])
    (call,) = store.calls(caller=CALLER, called=CALLED)
    assert (call.caller, call.called) == (CALLER, CALLED)


def test_any_thread_may_write(store: Store) -> None:
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            for _ in range(5):
                store.write(whole_call(call_sid=f"CA{number}"))
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.calls()) == 20


def test_two_that_write_the_same_write_it_once(url: str) -> None:
    """As when a commit's answer is lost: it is written again while the first may still be."""
    stores = [Store.from_url(url), Store.from_url(url)]
    records = [record for _ in range(10) for record in whole_call()]
    failures: list[BaseException] = []
    start = threading.Barrier(2)

    def run(store: Store) -> None:
        start.wait()
        try:
            store.write(records)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(everything(stores[0])["callengine_turns"]) == 20
    for store in stores:
        store.close()


def test_a_database_that_is_not_migrated_is_waited_for(empty_url: str) -> None:
    store = Store.from_url(empty_url)
    with pytest.raises(StoreUnavailable, match="callengine_calls"):
        store.write(whole_call())
    metadata.create_all(store.engine)
    store.write(whole_call())
    store.close()


def test_rows_go_with_their_call(store: Store) -> None:
    store.write(whole_call())
    with store.engine.begin() as connection:
        connection.execute(text("DELETE FROM callengine_calls"))
    assert set(map(len, everything(store).values())) == {0}


def plan(engine: Engine, statement: str) -> str:
    """The database's plan for a statement, told not to read whole tables if it can help it."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))
            return "\n".join(connection.scalars(text(f"EXPLAIN {statement}")))
        return "\n".join(
            row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {statement}"))
        )


INDEXED = {
    "called_began_at": "calls WHERE called = 'x' AND began_at > '2026-01-01'",
    "caller": "calls WHERE caller = 'x'",
    "call_sid": "calls WHERE call_sid = 'x'",
    "began_at": "calls WHERE began_at < '2026-01-01'",
    "outcome_call_id": "barge_ins WHERE outcome = 'false'",
    "call_id_number": f"turns WHERE call_id = '{UUID(int=0).hex}' ORDER BY number",
    "at": "turns WHERE at < '2026-01-01'",
    "kind_at": "events WHERE kind = 'fallback' AND at > '2026-01-01'",
}


def test_the_queries_that_people_run_have_an_index(store: Store) -> None:
    for index, where in INDEXED.items():
        name = f"ix_callengine_{where.partition(' ')[0]}_{index}"
        assert name in plan(store.engine, f"SELECT * FROM callengine_{where}").split()
