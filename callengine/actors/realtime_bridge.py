"""RealtimeBridge: sole owner of the model session and its one response slot.

It is the only writer of the model's socket. The session begins when the carrier's stream does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from callengine.actors.dispatch import Dispatcher, tell
from callengine.actors.shell import Shell
from callengine.agent import Agent
from callengine.machines.conversation_terms import SendFunctionOutput, SendTurn
from callengine.machines.dialogue import (
    AgentFound,
    Brief,
    Dialogue,
    ForgetModel,
    OpenModel,
    StandInWanted,
)
from callengine.machines.presence import SendProbe
from callengine.machines.response_terms import SendCancel, SendCreate
from callengine.machines.session import (
    SendAppend,
    SendSessionUpdate,
    SendTurnDetection,
)
from callengine.machines.unheard import SendTruncate
from callengine.messages import (
    AgentChosen,
    AgentSaid,
    AgentSettled,
    AnswerOwed,
    AudioComplete,
    CallEnding,
    CallerFrame,
    CallerSaid,
    CloseSocket,
    EventSeen,
    ModelAlive,
    ModelClosed,
    ModelConnected,
    ModelHeardSpeech,
    ModelMessage,
    PlayAudio,
    ResetGranted,
    ResetRefused,
    StateChanged,
    StreamStarted,
    ToolCalled,
    TurnSettled,
)
from callengine.reports import BridgeReport, total
from callengine.wire import realtime_client, realtime_server
from callengine.wire.realtime_events import Malformed, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loguru import Logger


FromModel: TypeAlias = ModelConnected | ModelMessage | ModelAlive | ModelClosed
"""What a link tells."""

MAX_KINDS_LOGGED = 32
"""Kinds of events not understood that a call logs, the first of each. All of them are counted."""


class ModelLink(Protocol):
    """The way to the model. Nothing here waits; the bound and its policy are the link's."""

    def connect(self, tell_bridge: Callable[[FromModel], None]) -> None:
        """Open a socket; what happens is told.

        Tells `ModelConnected`, `ModelMessage`, `ModelAlive`, and once, last, `ModelClosed`. A
        socket that was open before is closed, and nothing more is told of it.
        """

    def send_media(self, message: str) -> None:
        """Queue caller audio."""

    def send(self, message: str) -> None:
        """Queue anything else, in order."""

    def close(self) -> None:
        """Close the socket behind what is queued, for good; a second call does nothing."""


class RealtimeBridge(Shell):
    """Hears the model, the caller's audio and what became of playout; tells audio to play."""

    ROUTES: ClassVar = {
        PlayAudio: ("pacer",),
        AudioComplete: ("pacer",),
        AnswerOwed: ("pacer",),
        AgentSettled: ("host_calls", "supervisor"),
        EventSeen: ("supervisor",),
        TurnSettled: ("supervisor",),
        ModelHeardSpeech: ("pacer",),
        ToolCalled: ("host_calls",),
        CallerSaid: ("host_calls", "supervisor"),
        AgentSaid: ("host_calls",),
        CallEnding: ("supervisor",),
        StateChanged: ("watchdog",),
        ResetGranted: ("watchdog",),
        ResetRefused: ("watchdog",),
    }

    def __init__(
        self,
        dispatcher: Dispatcher,
        log: Logger,
        link: ModelLink,
        dialogue: Dialogue,
        stand_in: Callable[[StreamStarted], Agent] = lambda _: Agent(),
    ) -> None:
        super().__init__(dispatcher, log)
        self._link = link
        self._dialogue = dialogue
        self._stand_in = stand_in
        self._started: StreamStarted | None = None
        self._session = 0
        self._logged: set[str] = set()

    def handle(self, message: Any, now: float) -> Iterable[object]:  # noqa: ANN401
        """See `Shell.handle`."""
        match message:
            case CallerFrame():
                pass  # it comes first because most messages are one
            case CloseSocket():
                self._link.close()
                self._dialogue.close()
                return []
            case AgentChosen(agent):
                return self._settle(agent, now)
            case ModelConnected() | ModelMessage() | ModelAlive() | ModelClosed() if (
                message.session != self._session
            ):
                return []  # of a socket that was given up
            case ModelMessage(content):
                event = realtime_server.decode(content)
                if isinstance(event, Unknown | Malformed):
                    self._log_once(repr(event))
                return self._dialogue.handle(event, now)
            case StreamStarted():
                self._started = message
        return self._dialogue.handle(message, now)

    def _settle(self, agent: Agent | None, now: float) -> Iterable[object]:
        """The host has chosen, or could not; too late a choice changes nothing."""
        if not self._dialogue.is_casting:
            return []
        if agent is None:
            assert self._started is not None, "somebody is looked for once the stream began"
            agent = self._stand_in(self._started)
        return [AgentSettled(agent), *self._dialogue.handle(AgentFound(brief_of(agent)), now)]

    def bequeath(self, message: object) -> Iterable[object]:  # noqa: ARG002
        """See `Shell.bequeath`: nobody else closes the model's socket while the call goes on."""
        self._link.close()
        return []

    def _log_once(self, event: str) -> None:
        if event not in self._logged and len(self._logged) < MAX_KINDS_LOGGED:
            self._logged.add(event)
            self.log.warning("model event not understood", event=event)

    def _connect(self) -> None:
        me, session = self.actor_ref, self._session

        def tell_me(message: FromModel) -> None:
            tell(me, replace(message, session=session) if session else message)

        self._link.connect(tell_me)

    def next_deadline(self) -> float | None:
        """See `Shell.next_deadline`."""
        return self._dialogue.next_deadline()

    def perform(self, action: object) -> None:
        """See `Shell.perform`."""
        encode = realtime_client
        match action:
            case SendAppend():  # not taken apart by its pattern, which would cost 0.1 us
                self._link.send_media(encode.encode_append(action.payload))
            case OpenModel():
                self._connect()
            case ForgetModel():
                self._session += 1
            case StandInWanted():
                self._act(self._settle(None, self.dispatcher.now()))
            case SendTurn(event_id, turn):
                self._link.send(encode.encode_turn(event_id, turn.role, turn.text))
            case SendCreate(event_id, wanted):
                self._link.send(encode.encode_response_create(event_id, wanted.instructions))
            case SendCancel(event_id, response_id):
                self._link.send(encode.encode_response_cancel(event_id, response_id))
            case SendTruncate(item_id, content_index, audio_end_ms):
                event_id = f"truncate-{item_id}"
                self._link.send(
                    encode.encode_truncate(event_id, item_id, content_index, audio_end_ms)
                )
            case SendSessionUpdate(event_id, config, interrupts):
                self._link.send(
                    encode.encode_session_update(event_id, config, interrupt_response=interrupts)
                )
            case SendTurnDetection(event_id, config, interrupts):
                self._link.send(
                    encode.encode_turn_detection_update(
                        event_id, config.vad, interrupt_response=interrupts
                    )
                )
            case SendProbe(event_id):
                self._link.send(encode.encode_session_query(event_id))
            case SendFunctionOutput(call_id, output):
                event_id = f"output-{call_id}"
                self._link.send(encode.encode_function_output(event_id, call_id, output))
            case _:
                super().perform(action)

    def report(self) -> BridgeReport:
        """See `Shell.report`."""
        dialogue = self._dialogue
        sessions = [
            BridgeReport(
                conversation=each.counts,
                session=each.session.counts,
                response=each.slot.counts,
                tools=each.tools.counts,
                cancels=tuple(each.slot.cancelled),
            )
            for each in dialogue.conversations
        ]
        own = BridgeReport(
            dialogue=dialogue.counts, usage=dialogue.meter.usage, turns_left=dialogue.turns_left
        )
        report = total([*sessions, own])
        assert isinstance(report, BridgeReport), "a total is of the kind of its parts"
        return report


def brief_of(agent: Agent) -> Brief:
    """What of an agent the model's side needs to know."""
    return Brief(
        agent.session_config(),
        agent.greeting,
        agent.greeting_protected,
        agent.fallback_audio(),
        agent.fallback_text,
    )
