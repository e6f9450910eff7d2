"""Column types that behave the same on SQLite and PostgreSQL.

Each is its SQLAlchemy type in the database; only values on their way in and out are looked at.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from sqlalchemy import JSON, DateTime, String
from sqlalchemy.types import TypeDecorator

from callengine.store.clean import clean_json, clean_text

if TYPE_CHECKING:
    from sqlalchemy import Dialect


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes, in and out; SQLite keeps no time zone, so all are kept in UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC. Raises ValueError for a datetime without a time zone: it means no moment."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a datetime without a time zone; use datetime.now(UTC)")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC, and says so."""
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value and value.astimezone(UTC)


class BoundedText(TypeDecorator[str]):
    """Text of at most `length` characters: what is longer is cut, what is no character replaced."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Clean, and short enough."""
        return value if value is None else clean_text(value, cast("String", self.impl).length)


class CleanJson(TypeDecorator[object]):
    """JSON whose texts are clean."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> object:
        """Plain values, clean."""
        return clean_json(value)
