"""Watchdog: owns nothing but its own list of deadlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from callengine.actors.shell import Shell
from callengine.machines.stall import Stall, StallCounts
from callengine.messages import (
    CallEnding,
    DeadlineReached,
    Owner,
    ResetGranted,
    ResetRefused,
    ResetRequest,
    StateChanged,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loguru import Logger

    from callengine.actors.dispatch import Dispatcher

OWNERS = {
    Owner.CARRIER: "ingress",
    Owner.PLAYOUT: "pacer",
    Owner.RESPONSE: "bridge",
    Owner.MODEL: "bridge",
}


class Watchdog(Shell):
    """Hears of states; asks their owners to reset the ones that last too long."""

    ROUTES: ClassVar = {CallEnding: ("supervisor",)}

    def __init__(self, dispatcher: Dispatcher, log: Logger) -> None:
        super().__init__(dispatcher, log)
        self.renew()

    def renew(self) -> None:
        """See `Shell.renew`. The owners are asked to tell their states again."""
        self._stall = Stall()

    def handle(
        self, message: StateChanged | ResetGranted | ResetRefused | DeadlineReached, now: float
    ) -> Iterable[object]:
        """See `Shell.handle`."""
        match message:
            case StateChanged():
                self._stall.changed(message, now)
            case ResetGranted() | ResetRefused():
                self.log.info("watchdog answered", answer=repr(message))
                self._stall.answered(message)
            case DeadlineReached():
                return self._stall.expire(now)
        return []

    def next_deadline(self) -> float | None:
        """See `Shell.next_deadline`."""
        return self._stall.next_deadline()

    def perform(self, action: object) -> None:
        """See `Shell.perform`."""
        assert isinstance(action, ResetRequest), "a watchdog only asks"
        self.log.warning("stuck", owner=action.owner, reason=action.reason)
        self.tell(OWNERS[action.owner], action)

    def report(self) -> StallCounts:
        """See `Shell.report`."""
        return self._stall.counts
