"""What is old goes, what one caller wants forgotten goes for good, and the rest stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, event, func, select, text

from callengine.errors import SettingsError, StoreUnavailable
from callengine.store import Removed, Store, connection, metadata, retention
from tests.store.made import CALLER, began, turn, whole_call

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "+15550102"


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def count(store: Store) -> dict[str, int]:
    """Rows of each table that has any."""
    with store.engine.connect() as connection:
        rows = {
            name.removeprefix("callengine_"): connection.scalar(
                select(func.count()).select_from(table)
            )
            or 0
            for name, table in metadata.tables.items()
        }
    return {name: number for name, number in rows.items() if number}


ONE_CALL = {"calls": 1, "turns": 2, "events": 1, "barge_ins": 2, "usage": 1, "summaries": 1}


def test_calls_go_with_all_that_hangs_on_them(store: Store) -> None:
    store.write([*whole_call(at=days_ago(31)), *whole_call(at=days_ago(29))])
    assert store.purge(calls_after_days=30) == Removed(calls=1, turns=2)
    assert count(store) == ONE_CALL
    assert store.purge(calls_after_days=30) == Removed()


def test_transcripts_have_a_clock_of_their_own(store: Store) -> None:
    store.write([*whole_call(at=days_ago(31)), *whole_call(at=days_ago(8)), *whole_call()])
    store.write(whole_call(at=days_ago(6)))
    assert store.purge(transcripts_after_days=7, calls_after_days=30) == Removed(calls=2, turns=6)
    assert count(store) == {name: n * 2 for name, n in ONE_CALL.items()} | {"turns": 2}


def test_nothing_is_deleted_unasked(store: Store) -> None:
    store.write(whole_call())
    assert store.purge() == Removed()
    assert count(store) == ONE_CALL


@pytest.mark.parametrize("days", [0.9, 0, -1, float("nan")])
def test_a_clock_under_a_day_is_refused(store: Store, days: float) -> None:
    """A call may last a day; deleted under way, it would come back in pieces."""
    with pytest.raises(SettingsError, match="days"):
        store.purge(calls_after_days=days)
    with pytest.raises(SettingsError, match="days"):
        store.purge(transcripts_after_days=days)


def test_it_goes_in_chunks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK_ROWS", 3)
    store.write([record for _ in range(7) for record in whole_call(at=days_ago(40))])
    commits: list[object] = []
    event.listen(store.engine, "commit", commits.append)
    assert store.purge(transcripts_after_days=30) == Removed(turns=14)
    assert len(commits) == 6
    commits.clear()
    assert store.purge(calls_after_days=30) == Removed(calls=7)
    assert len(commits) == 5
    assert count(store) == {}


def test_one_caller_is_erased_and_nobody_else(store: Store) -> None:
    store.write([*whole_call(), *whole_call(caller=OTHER), *whole_call()])
    assert store.erase_caller(" +1 555-0101 ") == Removed(calls=2, turns=4)
    assert count(store) == ONE_CALL | {"erased_calls": 2}
    assert [call.caller for call in store.calls()] == [OTHER]
    assert store.erase_caller(CALLER) == Removed()


@pytest.mark.parametrize("split", range(1, 6))
def test_what_was_on_its_way_when_its_call_was_erased_is_not_written(
    store: Store, split: int
) -> None:
    records = whole_call()
    store.write(records[:split])
    store.erase_caller(CALLER)
    store.write([*records[split:], *whole_call(caller=OTHER)])
    store.write(records)
    assert count(store) == ONE_CALL | {"erased_calls": 1}


def test_an_erasure_and_a_write_of_the_same_call_wait_for_each_other(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STATEMENT_TIMEOUT_MS", 100)
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.1)
    eraser, writer = Store.from_url(url), Store.from_url(url)
    call = began()
    eraser.write([call])
    waited: list[StoreUnavailable] = []

    def write(_: object) -> None:
        try:
            writer.write([turn(call.call_id)])
        except StoreUnavailable as error:
            waited.append(error)

    def erase(_: object) -> None:
        try:
            eraser.erase_caller(CALLER)
        except StoreUnavailable as error:
            waited.append(error)

    event.listen(writer.engine, "commit", erase, once=True)
    writer.write([turn(call.call_id)])
    assert len(waited) == 1
    event.listen(eraser.engine, "commit", write, once=True)
    assert eraser.erase_caller(CALLER) == Removed(calls=1, turns=1)
    assert len(waited) == 2
    write(None)
    assert len(waited) == 2
    assert count(eraser) == {"erased_calls": 1}
    eraser.close()
    writer.close()


def test_the_notes_of_erasures_go_with_the_clock_of_calls(store: Store) -> None:
    store.write(whole_call())
    store.erase_caller(CALLER)
    store.purge(calls_after_days=30)
    assert count(store) == {"erased_calls": 1}
    with store.engine.begin() as connection:
        connection.execute(
            text("UPDATE callengine_erased_calls SET erased_at = :at"),
            {"at": days_ago(31).replace(tzinfo=None).isoformat(" ")},
        )
    store.purge(calls_after_days=30)
    assert count(store) == {}


@pytest.mark.parametrize("caller", ["", "  ", "-"])
def test_nobody_is_everybody_and_is_refused(store: Store, caller: str) -> None:
    """Calls with a withheld number, or whose beginning was lost, have an empty one."""
    store.write([began(caller="")])
    if caller == "-":
        assert store.erase_caller(caller) == Removed()
    else:
        with pytest.raises(SettingsError, match="number"):
            store.erase_caller(caller)
    assert count(store) == {"calls": 1}


def test_on_a_host_engine_without_foreign_keys_nothing_is_left_over(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    metadata.create_all(engine)
    store = Store(engine)
    store.write([*whole_call(at=days_ago(40)), *whole_call(at=days_ago(1))])
    store.purge(calls_after_days=30)
    assert count(store) == ONE_CALL
    records = whole_call(caller=OTHER)
    store.write(records[:1])
    store.erase_caller(OTHER)
    store.write([turn(records[0].call_id)])
    assert count(store) == ONE_CALL | {"erased_calls": 1}
    engine.dispose()


def test_an_erased_text_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    file = tmp_path / "calls.db"
    store = Store.from_url(f"sqlite:///{file}")
    metadata.create_all(store.engine)
    call = began()
    store.write([call, turn(call.call_id, text="the treasure is under the oak")])
    store.erase_caller(CALLER)
    store.close()  # the last connection takes the write-ahead log back into the file
    assert [each.name for each in tmp_path.iterdir()] == ["calls.db"]
    assert b"treasure" not in file.read_bytes()
