"""TwilioIngress: sole owner of the inbound stream, and of the ticket that it begins with."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from callengine.actors.shell import Shell
from callengine.machines.inbound import Inbound, InboundCounts, StartRefused, State
from callengine.messages import (
    CallEnding,
    CallerFrame,
    CarrierClosed,
    CarrierMessage,
    DeadlineReached,
    DtmfPressed,
    EndCause,
    MarkEchoed,
    ResetGranted,
    ResetRefused,
    ResetRequest,
    StateChanged,
    StreamStarted,
)
from callengine.security.tickets import TICKET_PARAMETER, TicketFault
from callengine.wire import twilio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callengine.actors.dispatch import Dispatcher
    from callengine.logs import CallLog
    from callengine.security.tickets import Redeems


class TwilioIngress(Shell):
    """Hears raw messages; tells caller audio, marks, digits and the life of the stream.

    With `tickets`, a start without a valid one is told to nobody and ends the call.
    """

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

    def __init__(
        self, dispatcher: Dispatcher, log: CallLog, tickets: Redeems | None = None
    ) -> None:
        super().__init__(dispatcher, log.logger)
        self._call_log = log
        self._tickets = tickets
        self.renew()

    def renew(self) -> None:
        """See `Shell.renew`."""
        self._inbound = Inbound(self.dispatcher.now())

    def bequeath(self, message: object) -> Iterable[object]:
        """See `Shell.bequeath`: what the carrier says only once must not be lost."""
        match twilio.decode(message.message) if isinstance(message, CarrierMessage) else message:
            case CarrierClosed(code):
                return [
                    CallEnding(EndCause.CARRIER_LOST, f"the carrier's socket closed with {code}")
                ]
            case twilio.Mark(_, _, name):
                return [MarkEchoed(name)]
            case twilio.Dtmf(_, _, digit):
                return [DtmfPressed(digit)]
            case twilio.Stop():
                return [CallEnding(EndCause.CALLER_HUNG_UP)]
            case twilio.Start():
                return [CallEnding(EndCause.CRASHED, "the start of the stream was lost")]
        return []

    def handle(
        self,
        message: CarrierMessage | StreamStarted | CarrierClosed | ResetRequest | DeadlineReached,
        now: float,
    ) -> Iterable[object]:
        """See `Shell.handle`."""
        if not isinstance(message, CarrierMessage):
            return self._inbound.handle(message, now)
        event = twilio.decode(message.message)
        if isinstance(event, twilio.Start):
            self._call_log.name(event.call_sid)  # before anybody can have something to log
            if self._tickets is not None and self._inbound.state is State.WAITING:
                return self._redeem(self._tickets, event, now)
        return self._inbound.handle(event, now)

    def _redeem(self, tickets: Redeems, start: twilio.Start, now: float) -> Iterable[object]:
        parameters = dict(start.custom_parameters)
        token = parameters.pop(TICKET_PARAMETER, None)
        ticket = tickets.redeem(token, start.call_sid, time.time())
        if isinstance(ticket, TicketFault):
            return self._inbound.handle(StartRefused(f"the ticket is {ticket}"), now)
        return [
            replace(action, caller=ticket.caller, called=ticket.called)
            if isinstance(action, StreamStarted)
            else action
            for action in self._inbound.handle(replace(start, custom_parameters=parameters), now)
        ]

    def next_deadline(self) -> float | None:
        """See `Shell.next_deadline`."""
        return self._inbound.next_deadline()

    def report(self) -> InboundCounts:
        """See `Shell.report`."""
        return self._inbound.counts
