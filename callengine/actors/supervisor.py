"""Supervisor: one per call; sees it through from the first message to the summary."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from callengine.actors.dispatch import Dispatcher, tell
from callengine.actors.realtime_bridge import RealtimeBridge
from callengine.actors.shell import Peers, Report, Shell
from callengine.machines.lifecycle import (
    CloseSockets,
    CollectReports,
    Conclude,
    Drain,
    Lifecycle,
    Reported,
)
from callengine.messages import (
    ActorCrashed,
    CloseSocket,
    DrainRequest,
    ReportRequest,
    StreamStarted,
)
from callengine.summary import CallFacts, CallSummary, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pykka

    from callengine.actors.realtime_bridge import ModelLink
    from callengine.actors.tx_pacer import CarrierLink
    from callengine.logs import CallLog


class Supervisor(Shell):
    """Hears of ends and deaths; closes the sockets, gathers what was counted, stops the actors."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        log: CallLog,
        links: tuple[CarrierLink, ModelLink],
        farewell: bytes,
        conclude: Callable[[CallSummary], None],
    ) -> None:
        super().__init__(dispatcher, log.logger)
        self._log = log
        self._carrier, self._model = links
        self._farewell = farewell
        self._conclude = conclude
        self._life = Lifecycle()
        self._began_at = dispatcher.now()
        self._started: StreamStarted | None = None
        self._reports: dict[str, object] = {}

    def handle(self, message: Any, now: float) -> Iterable[object]:  # noqa: ANN401
        """See `Shell.handle`."""
        match message:
            case StreamStarted():
                self._started = message
                self._log.call_sid = message.call_sid
                self.log.info("call started", stream_sid=message.stream_sid)
                return []
            case Report(actor, counts):
                self._reports[actor] = counts
                if actor == RealtimeBridge.__name__:
                    self.tell("pacer", ReportRequest())  # now all audio has been told to it
                return self._life.handle(Reported(), now) if self._all_reported() else []
            case _:
                return self._life.handle(message, now)

    def next_deadline(self) -> float | None:
        """See `Shell.next_deadline`."""
        return self._life.next_deadline()

    def perform(self, action: object) -> None:
        """See `Shell.perform`."""
        match action:
            case Drain():
                self.log.warning(
                    "call ending", cause=str(self._life.cause), detail=self._life.detail
                )
                self.tell("bridge", CloseSocket(1000, ""))
                self.tell("pacer", DrainRequest(self._farewell))
            case CloseSockets(code, reason):
                self.tell("bridge", CloseSocket(1000, ""))
                self.tell("pacer", CloseSocket(code, reason))
            case CollectReports():
                self._collect_reports()
            case Conclude():
                self._end()
                self.stop()
            case _:
                super().perform(action)

    def _die(self, error: BaseException) -> None:
        """Nobody supervises the supervisor: it ends the call at once, without anything counted."""
        super()._die(error)
        if self.peers is not None:
            crashed = ActorCrashed(type(self).__name__, type(error).__name__)
            self._life.handle(crashed, self.dispatcher.now())
            self._reports.clear()
            self._end()

    def _collect_reports(self) -> None:
        assert self.peers is not None, "the first message is Peers"
        for ref in self._others():
            if ref != self.peers.pacer or not self.peers.bridge.is_alive():
                tell(ref, ReportRequest())

    def _others(self) -> list[pykka.ActorRef[Any]]:
        assert self.peers is not None, "the first message is Peers"
        refs = [getattr(self.peers, each.name) for each in fields(Peers)]
        return [ref for ref in refs if ref != self.actor_ref]

    def _all_reported(self) -> bool:
        return len(self._reports) >= len(self._others())

    def _end(self) -> None:
        started, cause = self._started, self._life.cause
        assert cause is not None, "a call that is over has a cause"
        # In case the one who should have done it is dead.
        self._model.close()
        self._carrier.close(self._life.close_code, cause)
        for ref in self._others():
            ref.stop(block=False)
        summary = summarise(
            CallFacts(
                call_sid=started.call_sid if started else "",
                stream_sid=started.stream_sid if started else "",
                end_cause=cause,
                end_detail=self._life.detail,
                began_at=self._began_at,
                ended_at=self.dispatcher.now(),
            ),
            self._reports,
        )
        self.log.info("call ended", **summary.log_fields())
        self._conclude(summary)
