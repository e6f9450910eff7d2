"""Records into the tables, in one transaction, so that writing them twice is writing them once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from callengine.records import CallBegan, CallFinished, EventNoted, TurnTaken
from callengine.store import rows
from callengine.store.models import (
    BargeInRow,
    CallRow,
    ErasedCallRow,
    EventRow,
    SummaryRow,
    TurnRow,
    UsageRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from callengine.records import Record
    from callengine.store.models import Row
    from callengine.store.rows import Values


def write(connection: Connection, records: Sequence[Record]) -> None:
    """Write records; those that are written, and those of erased calls, are passed over.

    The calls come first: what hangs on them needs their rows; the insert takes SQLite's write
    lock before anything is read; and an erasure that is under way is waited for.
    """
    _write_calls(connection, records)
    erased = _erased(connection, {record.call_id for record in records})
    kept = [record for record in records if record.call_id not in erased]
    insert_new(connection, TurnRow, (rows.turn(r) for r in kept if isinstance(r, TurnTaken)))
    insert_new(connection, EventRow, (rows.event(r) for r in kept if isinstance(r, EventNoted)))
    finished = [record for record in kept if isinstance(record, CallFinished)]
    insert_new(connection, BargeInRow, (row for r in finished for row in rows.barge_ins(r)))
    insert_new(connection, UsageRow, map(rows.usage, finished))
    insert_new(connection, SummaryRow, map(rows.summary, finished))


def upsert(
    connection: Connection,
    table: type[Row],
    values: Iterable[Values],
    *,
    key: str,
    replacing: tuple[str, ...],
) -> None:
    """Insert rows; of those whose `key` is there already replace the columns `replacing`."""
    once = {row[key]: row for row in values}
    if once:
        insert = _insert(connection, table)
        better = {name: insert.excluded[name] for name in replacing}
        statement = insert.on_conflict_do_update(index_elements=[key], set_=better)
        connection.execute(statement, list(once.values()))


def insert_new(connection: Connection, table: type[Row], values: Iterable[Values]) -> None:
    """Insert rows; those whose primary key is there already stay as they are."""
    new = list(values)
    if new:
        key = list(table.__table__.primary_key)
        insert = _insert(connection, table)
        connection.execute(insert.on_conflict_do_nothing(index_elements=key), new)


def _insert(connection: Connection, table: type[Row]) -> postgresql.Insert | sqlite.Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _write_calls(connection: Connection, records: Sequence[Record]) -> None:
    began = [rows.call_began(r) for r in records if isinstance(r, CallBegan)]
    finished = [rows.call_finished(r) for r in records if isinstance(r, CallFinished)]
    upsert(connection, CallRow, began, key="id", replacing=rows.BEGINNING)
    upsert(connection, CallRow, finished, key="id", replacing=rows.END)
    known = {row["id"] for row in (*began, *finished)}
    first_seen: dict[UUID, datetime] = {}
    for record in records:
        if record.call_id not in known:
            at = first_seen.setdefault(record.call_id, record.at)
            first_seen[record.call_id] = min(at, record.at)
    insert_new(connection, CallRow, (rows.call_seen(*each) for each in first_seen.items()))


def _erased(connection: Connection, call_ids: set[UUID]) -> set[UUID]:
    """Which of the calls were erased; their rows, just written, go again."""
    query = select(ErasedCallRow.call_id).where(ErasedCallRow.call_id.in_(call_ids))
    erased = set(connection.scalars(query))
    if erased:
        connection.execute(delete(CallRow).where(CallRow.id.in_(erased)))
    return erased
