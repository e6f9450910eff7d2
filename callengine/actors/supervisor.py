"""Supervisor: one per call; sees it through from the first message to the summary."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from callengine.actors.dispatch import Dispatcher, tell
from callengine.actors.realtime_bridge import RealtimeBridge
from callengine.actors.shell import Peers, Report, Shell
from callengine.logs import trace_of
from callengine.machines.lifecycle import (
    CloseSockets,
    CollectReports,
    Conclude,
    Drain,
    HandOver,
    Lifecycle,
    MediaReported,
    Reported,
    Restart,
)
from callengine.messages import (
    ActorCrashed,
    AgentSettled,
    BeginAnew,
    CallerSaid,
    CloseSocket,
    DrainRequest,
    EndCause,
    EventSeen,
    ReportRequest,
    StatesWanted,
    StreamStarted,
    Transferred,
    TransferWanted,
    TurnSettled,
)
from callengine.records import CallBegan, CallFinished, EventNoted, Speaker, TurnTaken
from callengine.reports import Crash, total, turns_at_the_end
from callengine.summary import CallFacts, CallSummary, summarise
from callengine.values import dataclass
from callengine.wire.call_update import put_through, say_goodbye

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pykka
    from loguru import Logger

    from callengine.actors.realtime_bridge import ModelLink
    from callengine.actors.tx_pacer import CarrierLink
    from callengine.agent import Agent
    from callengine.records import Record


RESTARTABLE: Final = {
    "TwilioIngress": "ingress",
    "VADDetector": "detector",
    "TxPacer": "pacer",
    "Watchdog": "watchdog",
    "HostCalls": "host_calls",
}
"""The actors that may begin anew, and who they are among the peers."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a call may count on: who answers if nobody else is found, how long it may take, where it
    is written down, and whether the carrier can be asked to take it over."""

    agent: Agent
    max_call_s: float = 3600.0
    note: Callable[[Record], None] = lambda _: None
    can_redirect: bool = False


class Supervisor(Shell):
    """Hears of ends and deaths; lets actors begin anew; in the end closes the sockets, gathers what
    was counted, and stops the actors."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        log: Logger,
        links: tuple[CarrierLink, ModelLink],
        conclude: Callable[[CallSummary], None],
        terms: Terms,
    ) -> None:
        super().__init__(dispatcher, log)
        self._carrier, self._model = links
        self._terms = terms
        self._agent = terms.agent
        self._call_id = uuid4()
        self._conclude: Callable[[CallSummary], None] | None = conclude
        self._began_at = dispatcher.now()
        self._life = Lifecycle(ends_at=self._began_at + terms.max_call_s)
        self._transferred = False
        self._turns = 0
        self._started: StreamStarted | None = None
        self._counts: defaultdict[str, list[object]] = defaultdict(list)  # one entry per life
        self._lost: Counter[str] = Counter()
        self._reported: set[str] = set()
        self._crashes: list[Crash] = []

    def handle(self, message: Any, now: float) -> Iterable[object]:  # noqa: ANN401
        """See `Shell.handle`."""
        match message:
            case StreamStarted():
                self._begin(message)
                return []
            case AgentSettled(agent):
                self._agent = agent
                return []
            case CallerSaid(item_id, transcript):
                self._note_turn(Speaker.CALLER, TurnSettled(item_id, transcript, transcript, 0, 0))
                return []
            case TurnSettled():
                self._note_turn(Speaker.AGENT, message)
                return []
            case EventSeen(kind, detail):
                self.log.warning("event of the call", kind=kind, detail=detail)
                self._note_event(kind, detail)
                return []
            case Transferred(refusal):
                self._transferred = refusal is None
                kind = "handed_over" if refusal is None else "hand_over_failed"
                self.log.warning("event of the call", kind=kind, detail=refusal or "")
                self._note_event(kind, refusal or "")
                return self._life.handle(message, now)
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
                self._life.hands_over = self._goodbye() is not None
                self._note_event(str(self._life.cause), self._life.detail)
                self.tell("bridge", CloseSocket(1000, ""))
                self.tell("pacer", DrainRequest(self._farewell()))
            case HandOver():
                if (goodbye := self._goodbye()) is not None:
                    self.tell("host_calls", goodbye)
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

    # ---- what is written down

    def _begin(self, started: StreamStarted) -> None:
        if self._started is not None:
            return
        self._started = started
        self.log.info("call started", stream_sid=started.stream_sid)
        self._terms.note(
            CallBegan(
                call_id=self._call_id,
                call_sid=started.call_sid,
                stream_sid=started.stream_sid,
                account_sid=started.account_sid,
                caller=started.caller,
                called=started.called,
            )
        )

    def _note_turn(self, speaker: Speaker, turn: TurnSettled) -> None:
        self._turns += 1
        is_agent = speaker is Speaker.AGENT
        self._terms.note(
            TurnTaken(
                call_id=self._call_id,
                number=self._turns,
                speaker=speaker,
                item_id=turn.item_id,
                text=turn.text,
                heard_text=turn.heard_text,
                heard_ms=turn.heard_ms if is_agent else None,
                audio_ms=turn.audio_ms if is_agent else None,
            )
        )

    def _note_turns_left(self, counts: Mapping[str, object]) -> None:
        """What was being said when the call ended."""
        for turn in turns_at_the_end(counts):
            self._note_turn(Speaker.AGENT, turn)

    def _note_event(self, kind: str, detail: str) -> None:
        self._terms.note(EventNoted(call_id=self._call_id, kind=kind, detail=detail))

    def _farewell(self) -> bytes:
        """Words of the host's own go before a clip that is not."""
        agent = self._agent
        if agent.farewell is None and agent.farewell_text and self._terms.can_redirect:
            return b""
        return agent.farewell_audio()

    def _goodbye(self) -> TransferWanted | None:
        """What the carrier is asked to do with a caller who stays when the call cannot go on."""
        agent, started = self._agent, self._started
        if started is None or not started.account_sid or not self._terms.can_redirect:
            return None
        words = None if self._farewell() else agent.farewell_text
        if agent.transfer_number is not None:
            twiml = put_through(agent.transfer_number, words, agent.language)
        elif words:
            twiml = say_goodbye(words, agent.language)
        else:
            return None
        return TransferWanted(started.account_sid, started.call_sid, twiml)

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
        counts = self._total()
        self._attempt(functools.partial(self._note_turns_left, counts))
        summary = self._summary(cause, counts)
        self.log.info("call ended", **summary.log_fields())
        finished = CallFinished(call_id=self._call_id, summary=summary)
        self._attempt(functools.partial(self._terms.note, finished))
        self._attempt(functools.partial(conclude, summary))

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - the call ends all the same
            self._note_disorder(error)

    def _note_disorder(self, error: BaseException) -> None:
        self.log.error("call ends in disorder", **trace_of(error))

    def _total(self) -> dict[str, object]:
        """What was counted by each actor in all its lives, as far as that can be told."""
        try:
            return {actor: total(lives) for actor, lives in self._counts.items()}
        except BaseException as error:  # noqa: BLE001 - the call ends all the same
            self._note_disorder(error)
            return {}

    def _summary(self, cause: EndCause, counts: Mapping[str, object]) -> CallSummary:
        facts = CallFacts(
            call_sid=self._started.call_sid if self._started else "",
            stream_sid=self._started.stream_sid if self._started else "",
            end_cause=cause,
            end_detail=self._life.detail,
            began_at=self._began_at,
            ended_at=self.dispatcher.now(),
            crashes=tuple(self._crashes),
            lost_messages=dict(+self._lost),
            transferred=self._transferred,
        )
        try:
            return summarise(facts, counts)
        except BaseException as error:  # noqa: BLE001 - the call ends all the same
            self._note_disorder(error)
            return summarise(facts, {})
