"""TwilioIngress: sole owner of the inbound stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from callengine.actors.shell import Shell
from callengine.machines.inbound import Inbound, InboundCounts
from callengine.messages import (
    CallEnding,
    CallerFrame,
    CarrierClosed,
    CarrierMessage,
    DeadlineReached,
    DtmfPressed,
    MarkEchoed,
    ResetGranted,
    ResetRefused,
    ResetRequest,
    StateChanged,
    StreamStarted,
)
from callengine.wire import twilio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loguru import Logger

    from callengine.actors.dispatch import Dispatcher


class TwilioIngress(Shell):
    """Hears raw messages; tells caller audio, marks, digits and the life of the stream."""

    ROUTES: ClassVar = {
        StreamStarted: ("pacer", "bridge", "supervisor", "host_calls"),
        CallerFrame: ("detector", "bridge"),
        MarkEchoed: ("pacer",),
        DtmfPressed: ("host_calls",),
        CallEnding: ("supervisor",),
        StateChanged: ("watchdog",),
        ResetGranted: ("watchdog",),
        ResetRefused: ("watchdog",),
    }

    def __init__(self, dispatcher: Dispatcher, log: Logger) -> None:
        super().__init__(dispatcher, log)
        self._inbound = Inbound(dispatcher.now())

    def handle(
        self,
        message: CarrierMessage | CarrierClosed | ResetRequest | DeadlineReached,
        now: float,
    ) -> Iterable[object]:
        """See `Shell.handle`."""
        if isinstance(message, CarrierMessage):
            return self._inbound.handle(twilio.decode(message.message), now)
        return self._inbound.handle(message, now)

    def next_deadline(self) -> float | None:
        """See `Shell.next_deadline`."""
        return self._inbound.next_deadline()

    def report(self) -> InboundCounts:
        """See `Shell.report`."""
        return self._inbound.counts
