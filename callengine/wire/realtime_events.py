"""What the model's side of a call can tell us, in types: the Realtime API's GA server events.

Personal content (audio, words, tool arguments) stays out of every `repr`, hence out of logs and
tracebacks. Facts: OpenAI Realtime API reference, server events; `openai.types.realtime`.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, TypeAlias

from callengine.values import dataclass

if TYPE_CHECKING:
    from callengine.wire.fault import Fault


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """An audio format as the session names it; G.711 (`audio/pcmu`) carries no rate."""

    type: str
    rate_hz: int | None


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """The voice activity detection the session says is in force; None where it does not say."""

    type: str
    create_response: bool | None
    interrupt_response: bool | None


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """The session exists, with the server's defaults. `expires_at_s` is Unix time."""

    session_id: str | None
    expires_at_s: int | None


@dataclass(frozen=True, slots=True)
class SessionUpdated:
    """The configuration in force after an update; None where absent, null or unreadable."""

    input_format: AudioFormat | None
    output_format: AudioFormat | None
    turn_detection: TurnDetection | None
    voice: str | None


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The server heard the caller begin. The time counts audio appended, padding included."""

    item_id: str
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The server heard the caller end. The time counts audio appended."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class InputCommitted:
    """The caller's audio became a conversation item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class InputTranscript:
    """What the caller said in that item; may come long after the answer to it."""

    item_id: str
    transcript: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class InputTranscriptFailed:
    """The caller's item has no transcript. `code` falls back to the error's type."""

    item_id: str
    code: str | None


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    """A response began. `out_of_band`: it belongs to no conversation and must not be spoken.

    `answers` is the event id of the `response.create` it answers, echoed from the metadata.
    """

    response_id: str
    out_of_band: bool
    answers: str | None = None


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """A piece of speech in the session's output format, of any length, not frame-aligned."""

    response_id: str
    item_id: str
    content_index: int
    audio: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AudioDone:
    """No more audio comes for this part."""

    response_id: str
    item_id: str
    content_index: int


@dataclass(frozen=True, slots=True)
class TranscriptDelta:
    """A piece of the words being spoken; runs ahead of the audio."""

    response_id: str
    item_id: str
    content_index: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TranscriptDone:
    """All the words of this part."""

    response_id: str
    item_id: str
    content_index: int
    transcript: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The model calls a tool. Told up to three times: execute once per `call_id`.

    `arguments` is text that should be a JSON object; the model may have got it wrong.
    """

    response_id: str
    item_id: str
    call_id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens one response cost; a count the server did not give is 0."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """A response ended, whatever the outcome; a cancelled one too ends with this.

    `status`: completed, cancelled, incomplete or failed. `reason`: why cancelled or incomplete.
    `error_code`: why failed, falling back to the error's type. `function_calls`: the finished
    ones, in order; an interrupted call has half its arguments and is left out.
    """

    response_id: str
    status: str
    reason: str | None
    error_code: str | None
    usage: Usage | None
    function_calls: tuple[FunctionCall, ...]


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """The server cut an assistant item to what was heard, and dropped its transcript."""

    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ErrorReceived:
    """The server refused something; most errors leave the session usable.

    `caused_by` is the `event_id` of our frame, where the server says which it was.
    """

    code: str | None
    error_type: str | None
    message: str
    param: str | None
    caused_by: str | None


@dataclass(frozen=True, slots=True)
class Noted:
    """A known event that carries nothing the engine needs."""

    kind: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A `type` the GA API does not have: a newer one, or a beta name."""

    kind: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message that is not a well-formed event. `kind` is empty when it could not be read."""

    fault: Fault
    kind: str
    detail: str


ServerEvent: TypeAlias = (
    SessionCreated
    | SessionUpdated
    | SpeechStarted
    | SpeechStopped
    | InputCommitted
    | InputTranscript
    | InputTranscriptFailed
    | ResponseCreated
    | AudioDelta
    | AudioDone
    | TranscriptDelta
    | TranscriptDone
    | FunctionCall
    | ResponseDone
    | ItemTruncated
    | ErrorReceived
    | Noted
    | Unknown
    | Malformed
)
