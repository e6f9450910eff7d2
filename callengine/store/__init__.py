"""Where calls are written down and businesses looked up: SQLite, or PostgreSQL.

`metadata` has all tables, for hosts that generate their own migrations; the others run ours with
`upgrade(engine)` or `python -m callengine db upgrade`.
"""

from __future__ import annotations

from callengine.store.business import WEEKDAYS, Business
from callengine.store.models import (
    BargeInRow,
    BusinessRow,
    CallRow,
    EventRow,
    SummaryRow,
    TurnRow,
    UsageRow,
    metadata,
)
from callengine.store.repository import Store
from callengine.store.retention import Removed
from callengine.store.schema import current, downgrade, head, missing, upgrade

__all__ = [
    "WEEKDAYS",
    "BargeInRow",
    "Business",
    "BusinessRow",
    "CallRow",
    "EventRow",
    "Removed",
    "Store",
    "SummaryRow",
    "TurnRow",
    "UsageRow",
    "current",
    "downgrade",
    "head",
    "metadata",
    "missing",
    "upgrade",
]
