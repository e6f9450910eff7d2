"""One response of the simulated server while it is generated: its events, end and cancellation.

Follows the steps of its plan on the agenda; refuses to know who asked for it and what comes next.
"""

from __future__ import annotations

import base64
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, assert_never

from callengine.testing.realtime.conversation import Item
from callengine.testing.realtime.order import (
    CONVERSATION_ID,
    OUTCOMES,
    RATE_LIMITS,
    Order,
    usage,
)
from callengine.testing.realtime.plan import Output, Step, StepKind
from callengine.testing.realtime.record import ItemRecord, ResponseRecord
from callengine.testing.realtime.script import CancelStyle, Ending, Speech, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.testing.realtime.stage import Stage


class Phase(Enum):
    """Where a response stands; only a generating one can be cancelled."""

    REQUESTED = "requested"
    GENERATING = "generating"
    CANCELLING = "cancelling"
    DONE = "done"


@dataclass(slots=True)
class _Made:
    """One item as far as it has come."""

    index: int
    output: Output
    item: Item
    record: ItemRecord
    is_open: bool = True
    text: str = ""
    audio_bytes: int = 0
    place: dict[str, Any] = field(default_factory=dict)
    """The keys that say which part of which response an event is about."""


class Generation:
    """One response, from the request to `response.done`."""

    def __init__(
        self,
        made: ResponseRecord,
        order: Order,
        stage: Stage,
        on_done: Callable[[Generation, float], None],
    ) -> None:
        self.record = made
        self.phase = Phase.REQUESTED
        self._order = order
        self._stage = stage
        self._on_done = on_done
        self._steps = deque(order.steps)
        self._items: dict[int, _Made] = {}
        self._started_at = 0.0

    def start(self, now: float) -> None:
        """Announce the response a little later, and generate it."""
        self._stage.agenda.at(now + self._stage.behaviour.created_after_s, self._created)

    def cancel(self, reason: str, now: float) -> None:
        """Send what is in flight, then end as cancelled."""
        self.phase = Phase.CANCELLING
        takes_s = self._stage.behaviour.cancel_takes_s
        self._stage.agenda.at(now + takes_s / 2, self._send_in_flight)
        details = {"type": "cancelled", "reason": reason}
        self._stage.agenda.at(now + takes_s, lambda at: self._finish("cancelled", details, at))

    def complete_at_once(self, now: float) -> None:
        """Send all that is left and end as planned: a cancel that came too late."""
        while self._steps:
            self._perform(self._steps.popleft(), now)
        self._complete(now)

    def _created(self, now: float) -> None:
        self.phase = Phase.GENERATING
        self._started_at = now
        if self._stage.line.send("response.created", now, response=self._to_wire()):
            self.record.created_at = now
        self._stage.line.strike(now)
        first_s = self._steps[0].after_s if self._steps else self._stage.behaviour.first_audio_s
        self._stage.agenda.at(now + first_s, self._go_on)

    def _go_on(self, now: float) -> None:
        if self.phase is not Phase.GENERATING:
            return
        if self._steps:
            self._perform(self._steps.popleft(), now)
        if not self._steps:
            self._complete(now)
            return
        self._stage.agenda.at(self._started_at + self._steps[0].after_s, self._go_on)

    def _send_in_flight(self, now: float) -> None:
        left = self._stage.behaviour.deltas_in_flight
        while left and self._steps and self._steps[0].kind in (StepKind.WORDS, StepKind.AUDIO):
            step = self._steps.popleft()
            self._perform(step, now)
            left -= step.kind is StepKind.AUDIO

    def _perform(self, step: Step, now: float) -> None:
        match step.kind:
            case StepKind.OPEN:
                self._open(step.index, now)
            case StepKind.WORDS:
                self._send_words(self._items[step.index], step.text, now)
            case StepKind.AUDIO:
                self._send_audio(self._items[step.index], step.audio, now)
            case StepKind.ARGUMENTS:
                self._send_arguments(self._items[step.index], step.text, now)
            case StepKind.CLOSE:
                is_last = step.index == len(self._order.outputs) - 1
                broken = is_last and self._order.ending is not Ending.COMPLETED
                status = "incomplete" if broken else "completed"
                self._close(self._items[step.index], status, now)
            case _:
                assert_never(step.kind)

    def _open(self, index: int, now: float) -> None:
        made = self._new_item(index)
        self._items[index] = made
        self.record.items.append(made.record)
        conversation = self._stage.conversation
        if not self.record.out_of_band:
            conversation.add(made.item)
        self._send_item("response.output_item.added", made, now)
        self._send_to_conversation("conversation.item.added", made, now)
        if not isinstance(made.output, ToolCall):
            self._send("response.content_part.added", made, now, part=self._part(""))

    def _new_item(self, index: int) -> _Made:
        output = self._order.outputs[index]
        new_id = self._stage.conversation.new_id
        if isinstance(output, ToolCall):
            item = Item(new_id("f"), "function_call", status="in_progress")
            call_id = output.call_id or f"call_{item.id.removeprefix('item_')}"
            item.fields = {"name": output.name, "call_id": call_id, "arguments": ""}
            kept = ItemRecord(item.id, item.type, call_id=call_id)
        else:
            item = Item(new_id("a"), "message", status="in_progress")
            item.fields = {"role": "assistant", "content": []}
            kept = ItemRecord(item.id, item.type)
        made = _Made(index, output, item, kept)
        made.place = {"response_id": self.record.id, "item_id": item.id, "output_index": index}
        if not isinstance(output, ToolCall):
            made.place["content_index"] = 0
        return made

    def _send_words(self, made: _Made, words: str, now: float) -> None:
        name = "output_text" if self._is_text else "output_audio_transcript"
        if self._send(f"response.{name}.delta", made, now, delta=words):
            made.record.transcript += words
        made.text += words

    def _send_audio(self, made: _Made, audio: bytes, now: float) -> None:
        made.audio_bytes += len(audio)
        made.item.grow(self._order.audio_format.milliseconds(made.audio_bytes))
        delta = base64.b64encode(audio).decode()
        if self._send("response.output_audio.delta", made, now, delta=delta):
            self.record.deltas_sent += 1
            made.record.audio += audio
            sent_bytes = sum(len(item.audio) for item in self.record.items)
            self.record.audio_ms_sent = self._order.audio_format.milliseconds(sent_bytes)
            if self.record.first_audio_at is None:
                self.record.first_audio_at = now
        self._stage.line.strike(now)

    def _send_arguments(self, made: _Made, piece: str, now: float) -> None:
        made.text += piece
        call_id = made.item.fields["call_id"]
        name = "response.function_call_arguments.delta"
        self._send(name, made, now, call_id=call_id, delta=piece)

    def _close(self, made: _Made, status: str, now: float) -> None:
        self._settle(made, status)
        if isinstance(made.output, ToolCall):
            if status == "completed":
                keys = {key: made.item.fields[key] for key in ("call_id", "name", "arguments")}
                self._send("response.function_call_arguments.done", made, now, **keys)
        else:
            self._close_content(made, made.output, now)
        self._send_item("response.output_item.done", made, now)
        self._send_to_conversation("conversation.item.done", made, now)

    def _close_content(self, made: _Made, output: Speech, now: float) -> None:
        if self._is_text:
            self._send("response.output_text.done", made, now, text=made.text)
        else:
            told: list[tuple[str, dict[str, str]]] = []
            if output.audio:
                told.append(("response.output_audio.done", {}))
            if output.transcript:
                words = {"transcript": made.text}
                told.append(("response.output_audio_transcript.done", words))
            if self._stage.behaviour.transcript_done_first:
                told.reverse()
            for name, keys in told:
                self._send(name, made, now, **keys)
        self._send("response.content_part.done", made, now, part=self._part(made.text))

    def _settle(self, made: _Made, status: str) -> None:
        made.is_open = False
        made.item.status = status
        if isinstance(made.output, ToolCall):
            made.item.fields["arguments"] = made.text
        elif self._is_text:
            made.item.set_content({"type": "output_text", "text": made.text})
        else:
            made.item.set_content({"type": "output_audio", "transcript": made.text})

    def _complete(self, now: float) -> None:
        status, details = OUTCOMES[self._order.ending]
        self._finish(status, {"type": status, **details} if details else None, now)

    def _finish(self, status: str, details: dict[str, Any] | None, now: float) -> None:
        style = self._stage.behaviour.cancel_style
        is_quiet = status == "cancelled" and style is not CancelStyle.CLOSES_ITEMS
        for made in self._items.values():
            if made.is_open and is_quiet:
                self._settle(made, "incomplete")
            elif made.is_open:
                self._close(made, "incomplete", now)
        self.phase = Phase.DONE
        response = self._to_wire(status, details)
        if status == "cancelled" and style is CancelStyle.EMPTY_OUTPUT:
            response["output"] = []
        if self._stage.line.send("response.done", now, response=response):
            self._note_end(status, details, now)
        self._stage.line.strike(now)
        self._stage.line.send("rate_limits.updated", now, rate_limits=RATE_LIMITS)
        self._on_done(self, now)

    def _note_end(self, status: str, details: dict[str, Any] | None, now: float) -> None:
        self.record.status = status
        self.record.done_at = now
        error = (details or {}).get("error", {})
        self.record.reason = (details or {}).get("reason") or error.get("code")

    @property
    def _is_text(self) -> bool:
        return self._order.modalities == ["text"]

    def _part(self, words: str) -> dict[str, str]:
        # An item's content is output_audio or output_text, but a content part's type has no prefix.
        if self._is_text:
            return {"type": "text", "text": words}
        return {"type": "audio", "transcript": words}

    def _send(self, event_type: str, made: _Made, now: float, **body: Any) -> bool:  # noqa: ANN401
        return self._stage.line.send(event_type, now, **made.place, **body)

    def _send_item(self, event_type: str, made: _Made, now: float) -> None:
        where = {"response_id": self.record.id, "output_index": made.index}
        self._stage.line.send(event_type, now, **where, item=made.item.to_wire())

    def _send_to_conversation(self, event_type: str, made: _Made, now: float) -> None:
        if not self.record.out_of_band:
            before = self._stage.conversation.previous_id(made.item)
            item = made.item.to_wire()
            self._stage.line.send(event_type, now, previous_item_id=before, item=item)

    def _to_wire(
        self, status: str = "in_progress", details: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        has_usage = status in ("completed", "cancelled", "incomplete")
        return {
            "object": "realtime.response",
            "id": self.record.id,
            "status": status,
            "status_details": details,
            "output": [made.item.to_wire() for made in self._items.values()],
            "conversation_id": None if self.record.out_of_band else CONVERSATION_ID,
            **self._order.to_wire(),
            "usage": self._usage() if has_usage else None,
            "metadata": self.record.metadata,
        }

    def _usage(self) -> dict[str, Any]:
        written = sum(len(made.text) for made in self._items.values())
        return usage(len(self._stage.record.appended), self.record.audio_ms_sent, written)
