"""RealtimeBridge: sole owner of the model session and its one response slot.

It is the only writer of the model's socket. The session begins when the carrier's stream does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from callengine.actors.dispatch import Dispatcher, tell
from callengine.actors.shell import Shell, wait_until_handled
from callengine.machines.conversation import Conversation, SendFunctionOutput
from callengine.machines.presence import SendProbe
from callengine.machines.response_terms import SendCancel, SendCreate
from callengine.machines.session import (
    SendAppend,
    SendSessionUpdate,
    SendTurnDetection,
)
from callengine.machines.unheard import SendTruncate
from callengine.messages import (
    AgentSaid,
    AudioComplete,
    CallEnding,
    CallerSaid,
    CloseSocket,
    ModelHeardSpeech,
    ModelMessage,
    PlayAudio,
    ResetGranted,
    ResetRefused,
    StateChanged,
    StreamStarted,
    ToolCalled,
)
from callengine.reports import BridgeReport
from callengine.wire import realtime_client, realtime_server
from callengine.wire.realtime_events import Malformed, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loguru import Logger


MAX_KINDS_LOGGED = 32
"""Kinds of events not understood that a call logs, the first of each. All of them are counted."""


class ModelLink(Protocol):
    """The way to the model. Nothing here waits; the bound and its policy are the link's."""

    def connect(self, tell_bridge: Callable[[object], None], flow: Callable[[], None]) -> None:
        """Open the socket; what happens is told. `flow` waits until all that was told is handled.

        Tells `ModelConnected`, `ModelMessage`, `ModelAlive`, and once, last, `ModelClosed`.
        """

    def send_media(self, message: str) -> None:
        """Queue caller audio."""

    def send(self, message: str) -> None:
        """Queue anything else, in order."""

    def close(self) -> None:
        """Close the socket behind what is queued; a second call does nothing."""


class RealtimeBridge(Shell):
    """Hears the model, the caller's audio and what became of playout; tells audio to play."""

    ROUTES: ClassVar = {
        PlayAudio: ("pacer",),
        AudioComplete: ("pacer",),
        ModelHeardSpeech: ("pacer",),
        ToolCalled: ("host_calls",),
        CallerSaid: ("host_calls",),
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
        converse: Callable[[float], Conversation],
    ) -> None:
        super().__init__(dispatcher, log)
        self._link = link
        self._converse = converse
        self._conversation: Conversation | None = None
        self._logged: set[str] = set()

    def handle(self, message: Any, now: float) -> Iterable[object]:  # noqa: ANN401
        """See `Shell.handle`."""
        if isinstance(message, StreamStarted):
            self._begin(now)
            return []
        if isinstance(message, CloseSocket):
            self._link.close()
            if self._conversation is not None:
                self._conversation.close()
            return []
        if self._conversation is None:
            return []  # the call ended before it began
        if isinstance(message, ModelMessage):
            event = realtime_server.decode(message.message)
            if isinstance(event, Unknown | Malformed):
                self._log_once(repr(event))
            return self._conversation.handle(event, now)
        return self._conversation.handle(message, now)

    def bequeath(self, message: object) -> Iterable[object]:  # noqa: ARG002
        """See `Shell.bequeath`: nobody else closes the model's socket while the call goes on."""
        self._link.close()
        return []

    def _log_once(self, event: str) -> None:
        if event not in self._logged and len(self._logged) < MAX_KINDS_LOGGED:
            self._logged.add(event)
            self.log.warning("model event not understood", event=event)

    def _begin(self, now: float) -> None:
        self._conversation = self._converse(now)
        me = self.actor_ref
        self._link.connect(lambda message: tell(me, message), self._flow)

    def _flow(self) -> None:
        """For the socket's reader: wait until this actor has handled what it was told."""
        wait_until_handled(self.actor_ref)

    def next_deadline(self) -> float | None:
        """See `Shell.next_deadline`."""
        return self._conversation.next_deadline() if self._conversation else None

    def perform(self, action: object) -> None:
        """See `Shell.perform`."""
        encode = realtime_client
        match action:
            case SendAppend(payload):
                self._link.send_media(encode.encode_append(payload))
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

    def report(self) -> BridgeReport | None:
        """See `Shell.report`."""
        conversation = self._conversation
        if conversation is None:
            return None
        return BridgeReport(
            conversation.counts,
            conversation.session.counts,
            conversation.slot.counts,
            conversation.tools.counts,
            tuple(conversation.slot.cancelled),
        )
