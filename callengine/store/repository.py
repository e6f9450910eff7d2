"""The store: calls are written down here, and businesses looked up.

It blocks: on the media path nobody calls it. It knows the host's engine, never its session.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from callengine.errors import SettingsError, StoreRefused
from callengine.store import retention, rows, writing
from callengine.store.clean import clean_number
from callengine.store.connection import check_engine, make_engine, transaction
from callengine.store.models import BargeInRow, BusinessRow, CallRow, TurnRow
from callengine.store.retention import Removed
from callengine.store.schema import missing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from typing import TypeVar
    from uuid import UUID

    from sqlalchemy import Engine, Select

    from callengine.machines.onsets import Outcome
    from callengine.records import Record
    from callengine.store.business import Business

    R = TypeVar("R")

MAX_KNOWN_BUSINESSES: Final = 1000
"""The businesses that are remembered; beyond that the one that was longest not asked for goes."""

MAX_ROWS: Final = 100
"""What a query returns unless it is asked for more."""


class Store:
    """Calls and businesses in a database; any thread may use it.

    `engine` may be the host's: connections are borrowed from its pool for one transaction each.
    Every method raises StoreUnavailable when the database does not answer in time.
    """

    def __init__(self, engine: Engine) -> None:
        check_engine(engine)
        self._engine = engine
        self._owns_engine = False
        self._known: OrderedDict[str, Business] = OrderedDict()
        self._lock = threading.Lock()  # guards _known

    @classmethod
    def from_url(cls, url: str) -> Store:
        """A store with an engine of its own; opens no connection yet.

        Raises SettingsError for a URL that cannot be used. `close` it.
        """
        store = cls(make_engine(url))
        store._owns_engine = True
        return store

    @property
    def engine(self) -> Engine:
        """What the store works on."""
        return self._engine

    def close(self) -> None:
        """Close the connections of an engine of our own; a host's engine is left alone."""
        if self._owns_engine:
            self._engine.dispose()

    # ---- calls

    def write(self, records: Sequence[Record]) -> None:
        """Write records in one transaction; what is written already is passed over.

        Raises StoreUnavailable if nothing was written, or if that is not known: write the same
        again later. Raises StoreRefused if one of them can never be written: then none is.
        """
        if records:
            with transaction(self._engine) as connection:
                writing.write(connection, records)

    def call(self, call_id: UUID) -> CallRow | None:
        """One call."""
        return next(iter(self._read(select(CallRow).where(CallRow.id == call_id))), None)

    def calls(
        self,
        *,
        called: str | None = None,
        caller: str | None = None,
        day: date | None = None,
        limit: int = MAX_ROWS,
    ) -> Sequence[CallRow]:
        """Calls, the latest first: to a number, of a caller, begun on a day (in UTC)."""
        query = select(CallRow).order_by(CallRow.began_at.desc()).limit(limit)
        if called is not None:
            query = query.where(CallRow.called == clean_number(called))
        if caller is not None:
            query = query.where(CallRow.caller == clean_number(caller))
        if day is not None:
            begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
            ends = begins + timedelta(days=1)
            query = query.where(CallRow.began_at >= begins, CallRow.began_at < ends)
        return self._read(query)

    def turns(self, call_id: UUID) -> Sequence[TurnRow]:
        """What was said in a call, in order."""
        return self._read(
            select(TurnRow).where(TurnRow.call_id == call_id).order_by(TurnRow.number)
        )

    def barge_ins(self, outcome: Outcome, *, limit: int = MAX_ROWS) -> Sequence[BargeInRow]:
        """Lines of the barge-in ledgers with an outcome, those of the latest calls first."""
        return self._read(
            select(BargeInRow)
            .join(CallRow, CallRow.id == BargeInRow.call_id)
            .where(BargeInRow.outcome == outcome.value)
            .order_by(CallRow.began_at.desc(), BargeInRow.entry)
            .limit(limit)
        )

    # ---- businesses

    def business(self, called: str) -> Business | None:
        """The business behind a number; None if there is none. It is remembered.

        Raises StoreRefused if what is kept of it was edited into nonsense.
        """
        number = clean_number(called)
        with transaction(self._engine) as connection, Session(connection) as session:
            found = session.scalar(select(BusinessRow).where(BusinessRow.called == number))
            try:
                business = rows.read_business(found) if found else None
            except (SettingsError, ValueError) as error:
                raise StoreRefused(f"a business cannot be read: {error}") from None
        self._remember(number, business)
        return business

    def known_business(self, called: str) -> Business | None:
        """The business as it was last looked up or saved here, without asking the database."""
        number = clean_number(called)
        with self._lock:
            if number in self._known:
                self._known.move_to_end(number)
            return self._known.get(number)

    def save_business(self, business: Business) -> None:
        """Keep a business; it takes the place of what was kept for its number."""
        values = rows.business(business)
        columns = tuple(values)
        with transaction(self._engine) as connection:
            writing.upsert(
                connection,
                BusinessRow,
                [values | {"id": uuid4()}],
                key="called",
                replacing=columns,
            )
        self._remember(business.called, business)

    # ---- retention

    def purge(
        self, *, calls_after_days: float | None = None, transcripts_after_days: float | None = None
    ) -> Removed:
        """Delete what is older: calls with all that hangs on them; of the others what was said.

        None keeps. Raises SettingsError for less than a day: such a call may still be on.
        """
        removed = Removed()
        if transcripts_after_days is not None:
            before = _ago(transcripts_after_days)
            removed += retention.remove_turns(self._engine, before)
        if calls_after_days is not None:
            before = _ago(calls_after_days)
            old = CallRow.began_at < before
            removed += retention.remove_calls(self._engine, old, for_good=False)
            retention.forget_erasures(self._engine, before)
        return removed

    def erase_caller(self, caller: str) -> Removed:
        """Delete all calls of one number, with all that hangs on them, for good.

        What is still to be written of these calls is not written any more. A call whose beginning
        is not written yet is not known here: ask again when it is.
        """
        number = clean_number(caller)
        if not number:
            raise SettingsError("no number to erase: an empty one would be everybody's")
        return retention.remove_calls(self._engine, CallRow.caller == number, for_good=True)

    # ---- state

    def ping(self) -> None:
        """Raise StoreUnavailable if the database does not answer."""
        with transaction(self._engine) as connection:
            connection.execute(select(1))

    def migrated(self) -> bool:
        """Whether all tables and columns are there, whoever made them."""
        return not missing(self._engine)

    def _read(self, query: Select[R]) -> Sequence[R]:
        with transaction(self._engine) as connection, Session(connection) as session:
            return session.scalars(query).all()

    def _remember(self, number: str, business: Business | None) -> None:
        with self._lock:
            self._known.pop(number, None)
            if business is not None:
                self._known[number] = business
            while len(self._known) > MAX_KNOWN_BUSINESSES:
                self._known.popitem(last=False)


def _ago(days: float) -> datetime:
    if not days >= 1:
        raise SettingsError(f"{days} days is too short; keep one at least")
    return datetime.now(UTC) - timedelta(days=days)
