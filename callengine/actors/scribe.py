"""The scribe: waits for the database, and does nothing else, so that nobody else has to.

The texts of the store's errors are logged: they quote nothing of a record.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from callengine.actors.dispatch import DispatchedActor, Dispatcher, tell
from callengine.errors import StoreRefused, StoreUnavailable
from callengine.logs import QuietLog, trace_of
from callengine.machines.backlog import Verdict
from callengine.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loguru import Logger

    from callengine.actors.shell import Ref
    from callengine.records import Record


@dataclass(frozen=True, slots=True)
class WriteOrder:
    """Write these and tell the keeper."""

    number: int
    records: Sequence[Record]
    unreadable: int
    keeper: Ref


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an order."""

    number: int
    verdict: Verdict
    unreadable: int


class Scribe(DispatchedActor):
    """Waits for the database, so that nobody else has to."""

    def __init__(
        self, dispatcher: Dispatcher, write: Callable[[Sequence[Record]], None], log: Logger
    ) -> None:
        super().__init__(dispatcher)
        self._write = write
        self._log = QuietLog(log)

    def on_receive(self, order: WriteOrder) -> None:
        """pykka's entry."""
        verdict = Verdict.FAILED
        with contextlib.suppress(BaseException):
            verdict = self._verdict(order.records)
        with contextlib.suppress(BaseException):  # beyond here it would stop every call
            tell(order.keeper, Settled(order.number, verdict, order.unreadable))

    def _verdict(self, records: Sequence[Record]) -> Verdict:
        try:
            self._write(records)
        except StoreUnavailable as error:
            self._log.warning("records not written yet", records=len(records), reason=str(error))
            return Verdict.UNAVAILABLE
        except StoreRefused as error:
            self._refused(records, error)
            return Verdict.REFUSED
        except BaseException as error:  # noqa: BLE001 - even sys.exit() in a driver ends nothing
            self._log.error("store failed", records=len(records), **trace_of(error))
            return Verdict.FAILED
        return Verdict.WRITTEN

    def _refused(self, records: Sequence[Record], error: StoreRefused) -> None:
        if len(records) > 1:  # it will be seen which it is
            return
        kind, call_id = type(records[0]).__name__, str(getattr(records[0], "call_id", ""))
        self._log.error("record refused", kind=kind, call_id=call_id, reason=str(error))
