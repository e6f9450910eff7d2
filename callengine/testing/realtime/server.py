"""A simulated OpenAI Realtime server (GA shape), one instance per connection, for testing agents.

It is an opinion of the protocol of its own: JSON and base64 only, nothing shared with the engine it
tests. It speaks, listens for speech, obeys and refuses like the real one, on whatever clock drives
it, and misbehaves as `realtime_faults` says. What it does not simulate is understanding: the n-th
response gets the n-th reply of the script, whatever was said.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from callengine.testing.realtime.conversation import Conversation, Item
from callengine.testing.realtime.events import check, read
from callengine.testing.realtime.faults import (
    DelaySessionCreated,
    DelaySessionUpdated,
    EchoOther,
    EchoOtherFormat,
    Fault,
    IgnoreCreate,
    RefuseSessionUpdate,
    RefuseTruncate,
)
from callengine.testing.realtime.input import InputBuffer
from callengine.testing.realtime.line import Agenda, Line, faults_of
from callengine.testing.realtime.record import (
    CreateRecord,
    Event,
    FunctionOutput,
    Record,
    TruncateRecord,
)
from callengine.testing.realtime.responses import Responses
from callengine.testing.realtime.rules import Refusal
from callengine.testing.realtime.script import Behaviour, Replies
from callengine.testing.realtime.session import Session
from callengine.testing.realtime.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callengine.testing.peer import Outgoing


class SimulatedRealtime:
    """The server's side of one Realtime WebSocket: a `Peer`.

    `replies` are spoken one after the other and begin again at the end, or are chosen by a
    function. `record` tells afterwards everything that was received, sent and refused. The same
    script, seed and client give the same bytes. Ids are counted from `ids_from`: those of two
    sessions of one call must differ, as they do at the real server. On a real port:

        with PeerServer(lambda: SimulatedRealtime([said("agent_reply_1")])) as server:
            ...  # connect the agent to server.url
    """

    def __init__(
        self,
        replies: Replies,
        *,
        behaviour: Behaviour | None = None,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        ids_from: int = 0,
    ) -> None:
        if not callable(replies) and not replies:
            raise ValueError("replies is empty; a response needs at least one reply to give")
        behaviour = behaviour or Behaviour()
        self.record = Record()
        agenda = Agenda()
        self._stage = Stage(
            behaviour,
            tuple(faults),
            self.record,
            agenda,
            Line(agenda, self.record, tuple(faults), behaviour.latency_s, ids_from=ids_from),
            Session(behaviour),
            Conversation(ids_from),
            ids_from,
        )
        self._responses = Responses(self._stage, replies, Random(seed))
        self._input = InputBuffer(self._stage, self._responses)
        self._arriving: deque[str | bytes] = deque()
        self._updates = 0
        self._answers = self._answer_table()

    def opened(self, now: float) -> None:
        """The WebSocket is up: greet with `session.created`."""
        self.record.opened_at = now
        self._stage.line.open(now)
        late = faults_of(DelaySessionCreated, self._stage.faults)
        self._at(now, late[0].seconds if late else 0, self._session_created)

    def received(self, message: str | bytes, now: float) -> None:
        """The client said something; it is handled after the latency."""
        self._stage.agenda.run(now)
        self._arriving.append(message)
        self._at(now, self._stage.behaviour.latency_s, self._arrived)

    def closed(self, code: int, reason: str, now: float) -> None:
        """The client is gone; what it had sent before arrives before."""
        while self._arriving:
            self._arrived(now)
        self._stage.line.end()
        self._stage.agenda.clear()
        self.record.closed = (code, reason, now)

    def advance(self, now: float) -> None:
        """Do everything that is due up to `now`."""
        self._stage.agenda.run(now)

    def next_deadline(self) -> float | None:
        """When something is due next."""
        return self._stage.agenda.next_due()

    def take_outgoing(self) -> list[Outgoing]:
        """What to send now, in order."""
        return self._stage.line.take()

    def _at(self, now: float, after_s: float | None, action: Callable[[float], None]) -> None:
        """Act now, later, or (None) never."""
        if after_s is None:
            return
        if after_s > 0:
            self._stage.agenda.at(now + after_s, action)
        else:
            action(now)

    def _arrived(self, now: float) -> None:
        self._handle(self._arriving.popleft(), now)

    def _session_created(self, now: float) -> None:
        self._stage.line.send("session.created", now, session=self._stage.session.describe())

    def _handle(self, message: str | bytes, now: float) -> None:
        try:
            event = read(message)
        except Refusal as refusal:
            self.record.unreadable.append(message)
            self._stage.refuse(refusal, now)
            return
        self.record.received.append(Event(now, event))
        try:
            check(event)
            self._answers[event["type"]](event, now)
        except Refusal as refusal:
            self._stage.refuse(refusal, now, self._named(event, refusal))

    def _named(self, event: dict[str, Any], refusal: Refusal) -> str | None:
        is_active_error = refusal.code == "conversation_already_has_active_response"
        if is_active_error and not self._stage.behaviour.active_error_names_event:
            return None
        event_id = event.get("event_id")
        return event_id if isinstance(event_id, str) else None

    def _answer_table(self) -> dict[str, Callable[[dict[str, Any], float], None]]:
        return {
            "session.update": self._update_session,
            "input_audio_buffer.append": lambda event, at: self._input.append(event["audio"], at),
            "input_audio_buffer.commit": lambda _, at: self._input.commit(at),
            "input_audio_buffer.clear": lambda _, at: self._input.clear(at),
            "output_audio_buffer.clear": self._clear_output,
            "conversation.item.create": self._create_item,
            "conversation.item.delete": self._delete_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.truncate": self._truncate_item,
            "response.create": self._create_response,
            "response.cancel": lambda event, at: self._responses.cancel(
                event.get("response_id"), at
            ),
        }

    def _update_session(self, event: dict[str, Any], now: float) -> None:
        self._updates += 1
        for refused in faults_of(RefuseSessionUpdate, self._stage.faults):
            if refused.number == self._updates:
                raise Refusal(refused.code, f"The session update was refused ({refused.code}).")
        update = event["session"]
        self._stage.session.check(update, audio_was_sent=self.record.audio_bytes_sent > 0)
        late = [
            fault.seconds
            for fault in faults_of(DelaySessionUpdated, self._stage.faults)
            if fault.number == self._updates
        ]
        self._at(now, late[0] if late else 0, lambda at: self._apply(update, at))

    def _apply(self, update: dict[str, Any], now: float) -> None:
        before = self._stage.session.input_format
        keep = bool(faults_of(EchoOtherFormat, self._stage.faults))
        self._stage.session.apply(update, keep_formats=keep)
        for other in faults_of(EchoOther, self._stage.faults):
            self._stage.session.put(other.path, other.value)
        self._input.session_changed(before)
        self._stage.line.send("session.updated", now, session=self._stage.session.describe())

    def _clear_output(self, _: dict[str, Any], __: float) -> None:
        raise Refusal(
            "invalid_value",
            "Invalid value: 'output_audio_buffer.clear'. Over a WebSocket there is no such buffer.",
            "type",
        )

    def _create_item(self, event: dict[str, Any], now: float) -> None:
        body = dict(event["item"])
        is_output = body["type"] == "function_call_output"
        if is_output and not self._stage.conversation.has_call(body["call_id"]):
            raise Refusal(
                "invalid_tool_call_id",
                f"Tool call ID '{body['call_id']}' not found in conversation.",
            )
        item_id = body.pop("id", None) or self._stage.conversation.new_id("c")
        status = body.pop("status", "completed")
        body.pop("object", None)
        item = Item(item_id, body.pop("type"), body, status)
        self._stage.add_item(item, now, previous_item_id=event.get("previous_item_id"))
        if is_output:
            output = FunctionOutput(body["call_id"], body["output"], now)
            self.record.function_outputs.append(output)

    def _delete_item(self, event: dict[str, Any], now: float) -> None:
        self._stage.conversation.delete(event["item_id"])
        self._stage.line.send("conversation.item.deleted", now, item_id=event["item_id"])

    def _retrieve_item(self, event: dict[str, Any], now: float) -> None:
        code = "item_retrieve_invalid_item_id"
        item = self._stage.conversation.find(event["item_id"], code)
        self._stage.line.send("conversation.item.retrieved", now, item=item.to_wire())

    def _truncate_item(self, event: dict[str, Any], now: float) -> None:
        keys = ("item_id", "content_index", "audio_end_ms")
        cut = {key: event[key] for key in keys}
        try:
            self._refuse_truncate(len(self.record.truncates) + 1)
            self._stage.conversation.truncate(**cut)
        except Refusal:
            self.record.truncates.append(TruncateRecord(**cut, accepted=False, at=now))
            raise
        self.record.truncates.append(TruncateRecord(**cut, accepted=True, at=now))
        self._stage.line.send("conversation.item.truncated", now, **cut)

    def _refuse_truncate(self, number: int) -> None:
        for fault in faults_of(RefuseTruncate, self._stage.faults):
            if fault.number == number:
                raise Refusal(fault.code, fault.message)

    def _create_response(self, event: dict[str, Any], now: float) -> None:
        response = event.get("response", {})
        made_id = None
        number = len(self.record.creates) + 1
        try:
            if number not in [f.number for f in faults_of(IgnoreCreate, self._stage.faults)]:
                made_id = self._responses.create(response, now).id
        finally:
            self.record.creates.append(CreateRecord(now, made_id, response))
