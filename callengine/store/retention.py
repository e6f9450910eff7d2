"""Deleting what is old, and what one caller asked to be forgotten, a few calls at a time.

Rows of a call are deleted by name, not by the database's cascade: on a host's SQLite foreign keys
may be off.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select

from callengine.store.connection import transaction
from callengine.store.models import OF_A_CALL, CallRow, ErasedCallRow, TurnRow
from callengine.store.writing import insert_new

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from sqlalchemy import ColumnElement, Connection, Engine

CHUNK_ROWS: Final = 500
"""Calls, or turns, of one transaction: nobody waits long for its locks."""


@dataclass(frozen=True, slots=True)
class Removed:
    """How many rows are gone: calls with everything that hung on them, of that the turns."""

    calls: int = 0
    turns: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.calls + other.calls, self.turns + other.turns)


def remove_calls(engine: Engine, which: ColumnElement[bool], *, for_good: bool) -> Removed:
    """Delete calls with all that hangs on them.

    `for_good` says that what is still to be written of them must not be written.
    """
    query = select(CallRow.id).where(which).limit(CHUNK_ROWS)

    def chunk(connection: Connection) -> Removed | None:
        calls = connection.scalars(query).all()
        if for_good:
            notes = [{"call_id": call, "erased_at": datetime.now(UTC)} for call in calls]
            insert_new(connection, ErasedCallRow, notes)
        return _remove(connection, calls) if calls else None

    return _repeat(engine, chunk)


def remove_turns(engine: Engine, before: datetime) -> Removed:
    """Delete what was said before a moment."""
    old = select(TurnRow.id).where(TurnRow.at < before).limit(CHUNK_ROWS)
    statement = delete(TurnRow).where(TurnRow.id.in_(old))

    def chunk(connection: Connection) -> Removed | None:
        turns = connection.execute(statement).rowcount
        return Removed(turns=turns) if turns else None

    return _repeat(engine, chunk)


def forget_erasures(engine: Engine, before: datetime) -> None:
    """Delete the notes of erasures so old that nothing can still be on its way."""
    with transaction(engine) as connection:
        connection.execute(delete(ErasedCallRow).where(ErasedCallRow.erased_at < before))


def _repeat(engine: Engine, chunk: Callable[[Connection], Removed | None]) -> Removed:
    """Delete chunk by chunk, each in a transaction, until there is nothing left."""
    removed = Removed()
    while True:
        with transaction(engine) as connection:
            some = chunk(connection)
        if some is None:
            return removed
        removed += some


def _remove(connection: Connection, calls: Sequence[UUID]) -> Removed:
    turns = 0
    for table in OF_A_CALL:
        gone = connection.execute(delete(table).where(table.__table__.c.call_id.in_(calls)))
        turns += gone.rowcount if table is TurnRow else 0
    gone = connection.execute(delete(CallRow).where(CallRow.id.in_(calls)))
    return Removed(gone.rowcount, turns)
