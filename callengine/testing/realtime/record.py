"""What one connection of the simulated Realtime server saw and did, kept for assertions.

Plain data, filled by the simulator and read by tests; it decides nothing. Times are those of the
clock that drives the simulator (monotonic seconds).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One protocol event as it crossed the socket (parsed JSON)."""

    at: float
    body: dict[str, Any]

    @property
    def type(self) -> str:
        """The event's `type`, empty when it had none."""
        return str(self.body.get("type", ""))


@dataclass(slots=True)
class ItemRecord:
    """One item a response produced, with the audio that was really sent of it."""

    id: str
    type: str
    audio: bytes = b""
    """Raw bytes in the output format that was in force: mu-law on a telephone line."""
    transcript: str = ""
    call_id: str = ""


@dataclass(slots=True)
class ResponseRecord:
    """One response, from the request to its end."""

    id: str
    number: int
    """1 for the first response of the connection; reply `number - 1` of the script answered it."""
    automatic: bool
    """Asked for by the server's turn detection, not by a `response.create`."""
    out_of_band: bool
    requested_at: float
    metadata: dict[str, str] | None = None
    items: list[ItemRecord] = field(default_factory=list)
    deltas_sent: int = 0
    """Audio deltas."""
    audio_ms_sent: int = 0
    created_at: float | None = None
    """When it was announced, or (`NoCreated`) would have been."""
    first_audio_at: float | None = None
    done_at: float | None = None
    status: str = "in_progress"
    """In progress until `response.done` was really sent."""
    reason: str | None = None
    """`client_cancelled`, `turn_detected`, `max_output_tokens`, ... or an error code."""

    @property
    def audio(self) -> bytes:
        """All audio sent, item after item."""
        return b"".join(item.audio for item in self.items)


class CancelOutcome(Enum):
    """What became of a `response.cancel`."""

    CANCELLED = "cancelled"
    NOT_ACTIVE = "not_active"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class CancelRecord:
    """A `response.cancel`; `response_id` is None when the client named no response."""

    response_id: str | None
    at: float
    outcome: CancelOutcome


@dataclass(frozen=True, slots=True)
class TruncateRecord:
    """A `conversation.item.truncate` as the client sent it, and whether it was carried out."""

    item_id: str
    content_index: int
    audio_end_ms: float
    accepted: bool
    at: float


@dataclass(frozen=True, slots=True)
class CreateRecord:
    """A `response.create`; `response_id` is None when it was refused."""

    at: float
    response_id: str | None
    response: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """An `error` event that was sent."""

    code: str | None
    at: float
    message: str
    event_id: str | None
    """The client event it answers, if that had an id."""


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    """The result of a function call, as the client gave it back."""

    call_id: str
    output: str
    at: float


@dataclass(frozen=True, slots=True)
class SpeechEdge:
    """Turn detection: speech started (`audio_ms` with prefix padding) or stopped."""

    at: float
    item_id: str
    audio_ms: int


@dataclass(slots=True)
class Record:
    """Everything that happened on one connection, in order."""

    received: list[Event] = field(default_factory=list)
    unreadable: list[str | bytes] = field(default_factory=list)
    """Messages that were no JSON object."""
    sent: list[Event] = field(default_factory=list)
    """Every event that went out, `SendRaw` included as far as it is a JSON object."""
    responses: list[ResponseRecord] = field(default_factory=list)
    creates: list[CreateRecord] = field(default_factory=list)
    cancels: list[CancelRecord] = field(default_factory=list)
    truncates: list[TruncateRecord] = field(default_factory=list)
    errors: list[ErrorRecord] = field(default_factory=list)
    function_outputs: list[FunctionOutput] = field(default_factory=list)
    speech_started: list[SpeechEdge] = field(default_factory=list)
    speech_stopped: list[SpeechEdge] = field(default_factory=list)
    appended: bytearray = field(default_factory=bytearray)
    """All audio the client appended."""
    appends_received: int = 0
    misread_bytes: int = 0
    """Bytes appended while the input format was not `audio/pcmu`: a call read as static."""
    opened_at: float | None = None
    closed: tuple[int, str, float] | None = None
    """Code, reason and time at which the socket ended, whoever ended it."""

    @property
    def audio_bytes_sent(self) -> int:
        """Bytes of audio sent in all responses."""
        return sum(len(item.audio) for made in self.responses for item in made.items)

    @property
    def deltas_sent(self) -> int:
        """Audio deltas sent in all responses."""
        return sum(made.deltas_sent for made in self.responses)

    def types_sent(self) -> list[str]:
        """The types of all events sent, in order."""
        return [event.type for event in self.sent]

    def types_received(self) -> list[str]:
        """The types of all events received, in order."""
        return [event.type for event in self.received]

    def response(self, response_id: str) -> ResponseRecord:
        """The response of that id. Raises `KeyError`."""
        for made in self.responses:
            if made.id == response_id:
                return made
        raise KeyError(response_id)
