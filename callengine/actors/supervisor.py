"""Supervisor: one per call; sees it through from the first message to the summary."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from callengine.actors.dispatch import Dispatcher, tell
from callengine.actors.realtime_bridge import RealtimeBridge
from callengine.actors.shell import Peers, Report, Shell
from callengine.logs import trace_of
from callengine.machines.lifecycle import (
    CloseSockets,
    CollectReports,
    Conclude,
    Drain,
    Lifecycle,
    MediaReported,
    Reported,
    Restart,
)
from callengine.messages import (
    ActorCrashed,
    BeginAnew,
    CloseSocket,
    DrainRequest,
    EndCause,
    ReportRequest,
    StatesWanted,
    StreamStarted,
)
from callengine.reports import Crash, total
from callengine.summary import CallFacts, CallSummary, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pykka
    from loguru import Logger

    from callengine.actors.realtime_bridge import ModelLink
    from callengine.actors.tx_pacer import CarrierLink


RESTARTABLE: Final = {
    "TwilioIngress": "ingress",
    "VADDetector": "detector",
    "TxPacer": "pacer",
    "Watchdog": "watchdog",
    "HostCalls": "host_calls",
}
"""The actors that may begin anew, and who they are among the peers."""


class Supervisor(Shell):
    """Hears of ends and deaths; lets actors begin anew; in the end closes the sockets, gathers what
    was counted, and stops the actors."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        log: Logger,
        links: tuple[CarrierLink, ModelLink],
        farewell: bytes,
        conclude: Callable[[CallSummary], None],
    ) -> None:
        super().__init__(dispatcher, log)
        self._carrier, self._model = links
        self._farewell = farewell
        self._conclude: Callable[[CallSummary], None] | None = conclude
        self._life = Lifecycle()
        self._began_at = dispatcher.now()
        self._started: StreamStarted | None = None
        self._counts: defaultdict[str, list[object]] = defaultdict(list)  # one entry per life
        self._lost: Counter[str] = Counter()
        self._reported: set[str] = set()
        self._crashes: list[Crash] = []

    def handle(self, message: Any, now: float) -> Iterable[object]:  # noqa: ANN401
        """See `Shell.handle`."""
        match message:
            case StreamStarted():
                self._started = message
                self.log.info("call started", stream_sid=message.stream_sid)
                return []
            case ActorCrashed(actor, error, counts):
                actions = self._life.handle(message, now)
                self._counts[actor].append(counts)
                self._crashes.append(Crash(actor, error, now, Restart(actor) in actions))
                return actions
            case Report(actor, counts, lost_messages):
                self._reported.add(actor)
                self._counts[actor].append(counts)
                self._lost[actor] += lost_messages
                if actor == RealtimeBridge.__name__:
                    self.tell("pacer", ReportRequest())  # now all audio has been told to it
                missing = len(self._others()) - len(self._reported)
                if missing == 0:
                    return self._life.handle(Reported(), now)
                if missing == 1 and "HostCalls" not in self._reported:
                    return self._life.handle(MediaReported(), now)
                return []
            case _:
                return self._life.handle(message, now)

    def next_deadline(self) -> float | None:
        """See `Shell.next_deadline`."""
        return self._life.next_deadline()

    def perform(self, action: object) -> None:
        """See `Shell.perform`."""
        match action:
            case Restart(actor):
                self._restart(actor)
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

    # ---- deaths

    def _restart(self, actor: str) -> None:
        """Let it begin anew, and have it told what it can know of the call."""
        knows_stream = actor in {"TwilioIngress", "TxPacer"} and self._started is not None
        self.tell(RESTARTABLE[actor], BeginAnew((self._started,) if knows_stream else ()))
        if actor == "Watchdog":
            for owner in ("ingress", "pacer", "bridge"):
                self.tell(owner, StatesWanted())
        self.log.warning("actor began anew", actor=actor, restarts=self._life.restarts)

    def _die(self, error: BaseException, message: object) -> None:  # noqa: ARG002
        """Nobody supervises the supervisor: it ends the call at once, without anything counted."""
        name = type(self).__name__
        crash = ActorCrashed(name, type(error).__name__)
        self._attempt(functools.partial(self._life.handle, crash, self.dispatcher.now()))
        self._crashes.append(Crash(name, crash.error, self.dispatcher.now(), restarted=False))
        self._counts.clear()
        if self.peers is not None:
            self._end()
        self._stop()
        self.log.error("actor crashed", actor=name, **trace_of(error))

    # ---- the end

    def _collect_reports(self) -> None:
        assert self.peers is not None, "the first message is Peers"
        for ref in self._others():
            if ref != self.peers.pacer or not self.peers.bridge.is_alive():
                tell(ref, ReportRequest())

    def _others(self) -> list[pykka.ActorRef[Any]]:
        assert self.peers is not None, "the first message is Peers"
        refs = [getattr(self.peers, each.name) for each in fields(Peers)]
        return [ref for ref in refs if ref != self.actor_ref]

    def _end(self) -> None:
        """End the call, once; what fails on the way keeps nothing else from being done."""
        conclude, self._conclude = self._conclude, None
        if conclude is None:
            return
        cause = self._life.cause or EndCause.CRASHED
        # In case the one who should have done it is dead.
        self._attempt(self._model.close)
        self._attempt(functools.partial(self._carrier.close, self._life.close_code, cause))
        for ref in self._others():
            self._attempt(functools.partial(ref.stop, block=False))
        summary = self._summary(cause)
        self.log.info("call ended", **summary.log_fields())
        self._attempt(functools.partial(conclude, summary))

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - the call ends all the same
            self._note_disorder(error)

    def _note_disorder(self, error: BaseException) -> None:
        self.log.error("call ends in disorder", **trace_of(error))

    def _summary(self, cause: EndCause) -> CallSummary:
        facts = CallFacts(
            call_sid=self._started.call_sid if self._started else "",
            stream_sid=self._started.stream_sid if self._started else "",
            end_cause=cause,
            end_detail=self._life.detail,
            began_at=self._began_at,
            ended_at=self.dispatcher.now(),
            crashes=tuple(self._crashes),
            lost_messages=dict(+self._lost),
        )
        try:
            counts = {actor: total(lives) for actor, lives in self._counts.items()}
            return summarise(facts, counts)
        except BaseException as error:  # noqa: BLE001 - the call ends all the same
            self._note_disorder(error)
            return summarise(facts, {})
