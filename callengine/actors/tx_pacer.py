"""TxPacer: sole owner of playout and the only writer of the carrier's socket."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from callengine.actors.shell import Shell
from callengine.machines.transmission_terms import SendClear, SendMark, SendMedia
from callengine.messages import (
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    CloseSocket,
    Drained,
    FrameSent,
    Interrupted,
    ResetGranted,
    ResetRefused,
    ResponseHeard,
    StateChanged,
    StreamStarted,
)
from callengine.reports import PacerReport
from callengine.wire import twilio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loguru import Logger

    from callengine.actors.dispatch import Dispatcher
    from callengine.machines.transmission import Transmission


class CarrierLink(Protocol):
    """The way out to the carrier. Nothing here waits; the bound and its policy are the link's."""

    def send_media(self, message: str) -> None:
        """Queue audio."""

    def send(self, message: str) -> None:
        """Queue anything else, in order."""

    def send_first(self, message: str) -> tuple[int, int]:
        """Drop all that is queued and send this; returns how many media and marks were dropped."""

    def close(self, code: int, reason: str) -> None:
        """Close the socket behind what is queued; a second call does nothing."""


class TxPacer(Shell):
    """Hears model audio, marks and the caller's voice; tells what was interrupted and heard."""

    ROUTES: ClassVar = {
        FrameSent: ("detector",),
        Interrupted: ("bridge",),
        BargeInConfirmed: ("bridge",),
        BargeInDismissed: ("bridge",),
        CallerSpoke: ("bridge",),
        ResponseHeard: ("bridge",),
        StateChanged: ("watchdog",),
        ResetGranted: ("watchdog",),
        ResetRefused: ("watchdog",),
        Drained: ("supervisor",),
    }

    def __init__(
        self,
        dispatcher: Dispatcher,
        log: Logger,
        link: CarrierLink,
        transmit: Callable[[int], Transmission],
    ) -> None:
        super().__init__(dispatcher, log)
        self._link = link
        self._transmit = transmit
        self._begin(generation=0)

    def renew(self) -> None:
        """See `Shell.renew`. What was meant for, or comes back to, the one before is outdated."""
        self._begin(self._transmission.playout.generation + 1)

    def _begin(self, generation: int) -> None:
        self._transmission = self._transmit(generation)
        self._stream_sid = ""
        self._unsent_frames = self._unsent_marks = 0

    def handle(self, message: Any, now: float) -> Iterable[object]:  # noqa: ANN401
        """See `Shell.handle`."""
        if isinstance(message, CloseSocket):
            self._transmission.close(now)
            self._link.close(message.code, message.reason)
            return []
        if isinstance(message, StreamStarted):
            self._stream_sid = message.stream_sid
        return self._transmission.handle(message, now)

    def next_deadline(self) -> float | None:
        """See `Shell.next_deadline`."""
        return self._transmission.next_deadline()

    def perform(self, action: object) -> None:
        """See `Shell.perform`."""
        match action:
            case SendMedia():  # each frame: naming its payload here would double the time
                self._link.send_media(twilio.encode_media(self._stream_sid, action.payload))
            case SendMark(name):
                self._link.send(twilio.encode_mark(self._stream_sid, name))
            case SendClear():
                clear = twilio.encode_clear(self._stream_sid)
                frames, marks = self._link.send_first(clear)
                self._unsent_frames += frames
                self._unsent_marks += marks
            case _:
                super().perform(action)

    def report(self) -> PacerReport:
        """See `Shell.report`."""
        machine = self._transmission
        playout = machine.playout.counts
        return PacerReport(
            transmission=machine.counts,
            playout=replace(playout, marks_sent=playout.marks_sent - self._unsent_marks),
            queued_bytes=machine.playout.queued_bytes,
            unsent_frames=self._unsent_frames,
            own_audio_bytes=machine.own_audio_bytes,
            late_at=tuple(machine.late_at),
            ledger=tuple(machine.onsets.ledger),
            hearing=machine.playout.hearing,
        )
