"""The model's end of one call: a session, a turn detection by one byte, and responses.

It answers what the engine may ask for, and refuses what the real one refuses. It is told the time,
asks a `Line` to be woken, and knows of no socket.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from callengine.audio.g711 import BYTES_PER_MS
from callengine.testing.bench import script
from callengine.testing.bench.sounds import LOUD

if TYPE_CHECKING:
    from collections.abc import Callable

VOICED_MS: Final = 120
SILENCE_MS: Final = 500
PREFIX_MS: Final = 300
ANSWERS_AFTER_S: Final = 0.3
TRANSCRIBES_AFTER_S: Final = 0.4
CANCEL_TAKES_S: Final = 0.03
"""One more delta leaves meanwhile."""

_APPEND: Final = b'{"type":"input_audio_buffer.append","audio":"'
_END_OF_APPEND: Final = b'"}'


class Line(Protocol):
    """What a model needs of the world."""

    def send(self, messages: bytes) -> None:
        """Send WebSocket frames."""

    def at(self, when: float, action: Callable[[float], None]) -> None:
        """Call `action` with the time when it is due."""

    def speaks(self, number: int, now: float) -> None:
        """The first audio of the n-th response was sent."""

    def configured(self, instructions: str) -> int:
        """The session was configured; returns how many responses the call has had before it."""


@dataclass(slots=True)
class ModelCounts:
    """What was said to it and by it. `unreadable` are messages that are no event."""

    appends: int = 0
    appended_bytes: int = 0
    turns: int = 0
    responses: int = 0
    completed: int = 0
    cancelled: int = 0
    sent_bytes: int = 0
    truncates: int = 0
    unreadable: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Model:
    """One session."""

    def __init__(self, line: Line) -> None:
        self.counts = ModelCounts()
        self._line = line
        self._session = script.session()
        self._numbered_from = 0
        self._events = 0
        self._heard_ms = 0.0
        self._voiced_ms = self._silent_ms = 0.0
        self._speaking = False
        self._active: int | None = None
        self._cancelling = False
        self._metadata: object = None
        self._steps: tuple[script.Step, ...] = ()
        self._next = 0
        self._said_ms = 0
        self._hushed = False

    def open(self, now: float) -> None:
        """The socket is there."""
        del now
        self._send("session.created", session=self._session)

    def received(self, message: bytes, now: float) -> None:
        """One message of the engine."""
        if message.startswith(_APPEND) and message.endswith(_END_OF_APPEND):
            self._append(message, now)
            return
        try:
            event = json.loads(message)
            handle = self._HANDLERS[event["type"]]
        except (ValueError, TypeError, KeyError):
            self.counts.unreadable += 1
            return
        handle(self, event, now)

    def hush(self) -> None:
        """Say nothing more, so that nothing is under way when the call ends."""
        self._steps = self._steps[: self._next]
        self._hushed = True

    # ---- the caller

    def _append(self, message: bytes, now: float) -> None:
        """Loud or quiet is seen by the first byte: a frame of these callers is either."""
        begin, end = len(_APPEND), len(message) - len(_END_OF_APPEND)
        size = (end - begin) * 3 // 4 - message.count(b"=", end - 2, end)
        counts = self.counts
        counts.appends += 1
        counts.appended_bytes += size
        self._heard_ms += size / BYTES_PER_MS
        if message[begin] in LOUD:
            self._voiced_ms += size / BYTES_PER_MS
            self._silent_ms = 0
            if not self._speaking and self._voiced_ms >= VOICED_MS:
                self._speech_started(now)
            return
        self._voiced_ms = 0
        if self._speaking:
            self._silent_ms += size / BYTES_PER_MS
            if self._silent_ms >= SILENCE_MS:
                self._speech_stopped(now)

    def _speech_started(self, now: float) -> None:
        self._speaking = True
        self.counts.turns += 1
        onset_ms = max(round(self._heard_ms - self._voiced_ms) - PREFIX_MS, 0)
        kind = "input_audio_buffer.speech_started"
        self._send(kind, audio_start_ms=onset_ms, item_id=self._turn_id)
        self._cancel("turn_detected", now)

    def _speech_stopped(self, now: float) -> None:
        self._speaking = False
        turn_id = self._turn_id
        end_ms = round(self._heard_ms)
        self._send("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=turn_id)
        self._send("input_audio_buffer.committed", previous_item_id=None, item_id=turn_id)
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": turn_id, "type": "message", "status": "completed", "role": "user"}
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._send(kind, previous_item_id=None, item={**item, "content": content})
        self._line.at(now + ANSWERS_AFTER_S, lambda at: self._answer(None, at))
        self._line.at(now + TRANSCRIBES_AFTER_S, lambda _: self._transcribed(turn_id))

    def _transcribed(self, turn_id: str) -> None:
        self._send(
            "conversation.item.input_audio_transcription.completed",
            item_id=turn_id,
            content_index=0,
            transcript="A question of the caller.",
            usage={"type": "duration", "seconds": 1.2},
        )

    @property
    def _turn_id(self) -> str:
        return f"item_bench_u{self.counts.turns:04d}"

    # ---- responses

    def _answer(self, metadata: object, now: float) -> None:
        if self._hushed:
            return
        if self._active is not None:
            self._refuse("conversation_already_has_active_response", None)
            return
        self.counts.responses += 1
        self._active = number = self._numbered_from + self.counts.responses
        self._metadata = metadata
        self._steps, self._next, self._said_ms = script.steps(number), 0, 0
        self._send("response.created", response=self._response("in_progress"))
        self._go_on(number, now, now)

    def _go_on(self, number: int, began_at: float, now: float) -> None:
        """Send what is due, and come again."""
        if self._active != number or self._cancelling or self._hushed:
            return
        self._say(began_at, now)
        if self._next == len(self._steps):
            self._end("completed", None)
            self.counts.completed += 1
            return
        due = began_at + self._steps[self._next].after_s
        self._line.at(due, lambda at: self._go_on(number, began_at, at))

    def _say(self, began_at: float, now: float) -> None:
        """Send all that is due in one go."""
        messages = []
        while self._next < len(self._steps) and began_at + self._steps[self._next].after_s <= now:
            messages.append(self._take_step(now).message)
        self._line.send(b"".join(messages))

    def _take_step(self, now: float) -> script.Step:
        step = self._steps[self._next]
        self._next += 1
        if step.audio_ms and not self._said_ms and self._active is not None:
            self._line.speaks(self._active, now)
        self._said_ms += step.audio_ms
        self.counts.sent_bytes += step.audio_ms * BYTES_PER_MS
        return step

    def _cancel(self, reason: str, now: float) -> None:
        number = self._active
        if number is None or self._cancelling:
            return
        self._cancelling = True
        self.counts.cancelled += 1
        self._line.at(now + CANCEL_TAKES_S, lambda at: self._cancelled(reason, at))

    def _cancelled(self, reason: str, now: float) -> None:
        if self._next < len(self._steps):
            self._line.send(self._take_step(now).message)
        self._end("cancelled", {"type": "cancelled", "reason": reason})

    def _end(self, status: str, details: dict[str, str] | None) -> None:
        response = self._response(status, status_details=details)
        self._send("response.done", response=response)
        self._send("rate_limits.updated", rate_limits=[])
        self._active, self._cancelling = None, False

    def _response(self, status: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        number = self._active or 0
        return script.response(number, status, metadata=self._metadata, **more)

    # ---- the engine

    def _update(self, event: dict[str, Any], now: float) -> None:
        del now
        self._session = script.merged(self._session, event["session"])
        if "instructions" in event["session"]:
            self._numbered_from = self._line.configured(event["session"]["instructions"])
        self._send("session.updated", session=self._session)

    def _create(self, event: dict[str, Any], now: float) -> None:
        self._answer(event.get("response", {}).get("metadata"), now)

    def _cancel_asked(self, event: dict[str, Any], now: float) -> None:
        wanted = event.get("response_id")
        active = self._active is not None and not self._cancelling
        if not active or wanted not in {None, script.response_id(self._active or 0)}:
            self._refuse("response_cancel_not_active", event.get("event_id"))
            return
        self._cancel("client_cancelled", now)

    def _truncate(self, event: dict[str, Any], now: float) -> None:
        del now
        self.counts.truncates += 1
        keys = ("item_id", "content_index", "audio_end_ms")
        self._send("conversation.item.truncated", **{key: event[key] for key in keys})

    _HANDLERS: Final[dict[str, Callable[[Model, dict[str, Any], float], None]]] = {
        "session.update": _update,
        "response.create": _create,
        "response.cancel": _cancel_asked,
        "conversation.item.truncate": _truncate,
    }

    def _refuse(self, code: str, caused_by: str | None) -> None:
        self.counts.errors[code] += 1
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": f"Refused: {code}.",
            "param": None,
            "event_id": caused_by,
        }
        self._send("error", error=error)

    def _send(self, kind: str, **body: Any) -> None:  # noqa: ANN401 - JSON
        self._events += 1
        self._line.send(script.event(kind, f"event_{self._events}", **body))
