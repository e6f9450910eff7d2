"""What a simulated Realtime server is told to do: its replies and its manners, as data.

Decides nothing; `realtime.py` carries it out. What shall go wrong is in `realtime_faults.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from callengine.testing import speech


class Ending(Enum):
    """How a response ends after what it says; the names of the two failure kinds are the codes."""

    COMPLETED = "completed"
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    CONTENT_FILTER = "content_filter"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    SERVER_ERROR = "server_error"
    MODEL_NOT_FOUND = "model_not_found"


@dataclass(frozen=True, slots=True)
class Speech:
    """One spoken item: mu-law audio (8 kHz) and its words; either may be empty."""

    audio: bytes = b""
    transcript: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function call; `arguments` is the JSON text (or the broken text) the model writes."""

    name: str
    arguments: str = "{}"
    call_id: str = ""
    """Invented by the server when empty."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answers with: speech first, then function calls, then the ending.

    No transcript: an audio-only response. No audio: a silent one, of words only. Neither, and no
    calls: a response without any output, as most failed ones are. `more_speech` are further audio
    items of the same response; each begins before the one in front of it is done.
    """

    audio: bytes = b""
    transcript: str = ""
    function_calls: tuple[ToolCall, ...] = ()
    more_speech: tuple[Speech, ...] = ()
    ending: Ending = Ending.COMPLETED

    def spoken(self) -> tuple[Speech, ...]:
        """The spoken items, in order."""
        first = (Speech(self.audio, self.transcript),) if self.audio or self.transcript else ()
        return first + self.more_speech


def said(clip_name: str) -> Reply:
    """The reply that says one of the clips of `callengine.testing.speech`."""
    return Reply(speech.clip(clip_name), speech.text(clip_name))


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """A response is wanted: what a function that chooses replies is told."""

    number: int
    """1 for the first response of the connection."""
    automatic: bool
    response: Mapping[str, Any]
    """The `response` object of the `response.create`; empty when there was none."""


Replies = Sequence[Reply] | Callable[[ReplyRequest], Reply]
"""The n-th response of a connection (greeting, out-of-band and automatic ones alike) gets the n-th
reply; after the last one they begin again. Or a function that chooses."""


class TranscriptionOutcome(Enum):
    """What becomes of the transcription of one thing the caller said."""

    COMPLETED = "completed"
    FAILED = "failed"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Transcription:
    """The words of one turn of the caller, `after_s` behind its commit (late: out of order)."""

    text: str = "What time do you open?"
    after_s: float = 0.5
    outcome: TranscriptionOutcome = TranscriptionOutcome.COMPLETED


class CancelStyle(Enum):
    """How much a cancelled response still says about its open items; all have been seen."""

    CLOSES_ITEMS = "closes_items"
    """All `*.done` events with status incomplete, then `response.done`."""
    OMITS_ITEM_EVENTS = "omits_item_events"
    """`response.done` alone, which lists the items."""
    EMPTY_OUTPUT = "empty_output"
    """`response.done` alone, with no output in it."""


UNEVEN_DELTA_BYTES: Final = (1, 159, 160, 161, 1000, 4133)
FAR_FUTURE_EPOCH_S: Final = 4_102_444_800


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The manners of the server while all goes well."""

    model: str = "gpt-realtime-2.1"
    expires_at: int = FAR_FUTURE_EPOCH_S
    """What the session says about its end (epoch seconds)."""
    latency_s: float = 0.0
    """Each way: what is received is handled, and what is sent arrives, this much later."""
    pace: float = 6.0
    """Audio is generated this many times faster than it plays; below 1 the line runs dry."""
    created_after_s: float = 0.01
    """From the request to `response.created`; until then the response cannot be cancelled."""
    first_audio_s: float = 0.3
    """From `response.created` to the first output."""
    delta_bytes: tuple[int, ...] = UNEVEN_DELTA_BYTES
    """Sizes of audio deltas, drawn with the seed; 0 is an empty delta."""
    deltas_in_flight: int = 2
    """Audio deltas still sent of a response after its cancellation."""
    cancel_takes_s: float = 0.02
    """From a cancellation to the end of the response."""
    cancel_style: CancelStyle = CancelStyle.CLOSES_ITEMS
    cancel_races_completion: bool = False
    """A cancel always comes too late: the response completes at once, the cancel is refused."""
    transcript_done_first: bool = False
    """`output_audio_transcript.done` before `output_audio.done` instead of after it."""
    active_error_names_event: bool = True
    """`conversation_already_has_active_response` tells the client's `event_id`; it may be null."""
    transcriptions: tuple[Transcription, ...] = (Transcription(),)
    """The n-th turn of the caller gets the n-th one; after the last one they begin again."""

    def __post_init__(self) -> None:
        if self.pace <= 0:
            raise ValueError(f"pace is {self.pace}, but must be above 0 (1.0 is real time)")
        if not any(self.delta_bytes):
            raise ValueError("delta_bytes needs at least one size above 0")
        if not self.transcriptions:
            raise ValueError("transcriptions is empty; use TranscriptionOutcome.NEVER for none")
