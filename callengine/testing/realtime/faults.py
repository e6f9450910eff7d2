"""What shall go wrong on a connection of the simulated Realtime server, as data.

A fault names its moment: a `Trigger`, the n-th response, or the n-th session update (counting from
1). Ids are predictable, so that `SendRaw` can speak of them: the n-th response is `resp_sim` and n
in four digits, `resp_sim0001`. Each fault strikes once.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from callengine.testing.realtime.script import Ending


@dataclass(frozen=True, slots=True)
class After:
    """`seconds` after the socket opened; 0 is before `session.created`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AtAppend:
    """When the n-th `input_audio_buffer.append` was received."""

    number: int


@dataclass(frozen=True, slots=True)
class AtResponse:
    """When `audio_ms` of the n-th response were sent; 0 is right after its `response.created`."""

    number: int
    audio_ms: int = 0


@dataclass(frozen=True, slots=True)
class AtResponseDone:
    """Right after the `response.done` of the n-th response."""

    number: int


Trigger = After | AtAppend | AtResponse | AtResponseDone


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close with a code and reason; `abrupt` cuts the connection without a close frame."""

    at: Trigger
    code: int = 1011
    reason: str = ""
    abrupt: bool = False


@dataclass(frozen=True, slots=True)
class GoSilent:
    """The socket stays open, but nothing more is sent; a later `CloseSocket` still closes it."""

    at: Trigger


@dataclass(frozen=True, slots=True)
class StopHearing:
    """Audio appended from then on is taken and not listened to; all else goes on as before."""

    at: Trigger


@dataclass(frozen=True, slots=True)
class SendRaw:
    """Send exactly this message, whatever it is: an unknown event, broken JSON, a late delta."""

    at: Trigger
    message: str | bytes


@dataclass(frozen=True, slots=True)
class DelaySessionCreated:
    """`session.created` comes late, or (None) never; the server listens meanwhile."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class DelaySessionUpdated:
    """The n-th update takes effect, and is confirmed, late or (None) never."""

    seconds: float | None
    number: int = 1


@dataclass(frozen=True, slots=True)
class RefuseSessionUpdate:
    """The n-th update is refused with this error code; nothing of it is applied."""

    code: str = "unknown_parameter"
    number: int = 1


@dataclass(frozen=True, slots=True)
class EchoOtherFormat:
    """Updates are confirmed, but the session stays on 24 kHz PCM, and says so."""


@dataclass(frozen=True, slots=True)
class EchoOther:
    """Updates are confirmed, but with this value at this place, and it is in force.

    `path` begins below the session: `audio.input.turn_detection.create_response`.
    """

    path: str
    value: str | float | bool | None


@dataclass(frozen=True, slots=True)
class StallAudio:
    """The n-th response stops for `for_s` seconds when `after_ms` of its audio were sent."""

    response_number: int
    after_ms: int
    for_s: float


@dataclass(frozen=True, slots=True)
class FailResponse:
    """The n-th response ends like this after `after_ms` of its audio (0: without any output)."""

    response_number: int
    ending: Ending = Ending.SERVER_ERROR
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class NoCreated:
    """The n-th response runs and ends without ever having been announced."""

    response_number: int


@dataclass(frozen=True, slots=True)
class NoDone:
    """The n-th response runs and ends without its end ever being told."""

    response_number: int


@dataclass(frozen=True, slots=True)
class Unstoppable:
    """A cancel of the n-th response is not answered, and the caller's voice does not stop it."""

    response_number: int


@dataclass(frozen=True, slots=True)
class IgnoreCreate:
    """The n-th `response.create` is not answered, and nothing comes of it."""

    number: int


@dataclass(frozen=True, slots=True)
class RefuseTruncate:
    """The n-th truncate is refused: by the server's reckoning there was less audio."""

    number: int = 1
    code: str | None = "invalid_value"
    message: str = "Audio content of 3700ms is already shorter than 3760ms"


@dataclass(frozen=True, slots=True)
class DuplicateEvents:
    """Events of these types that belong to the n-th response are sent twice; audio counts once."""

    response_number: int
    types: tuple[str, ...] = ("response.created", "response.done")


@dataclass(frozen=True, slots=True)
class RenameEvents:
    """Events go out under other names, as from an old or foreign server: pairs (ours, sent)."""

    names: tuple[tuple[str, str], ...]


Fault = (
    CloseSocket
    | GoSilent
    | StopHearing
    | SendRaw
    | DelaySessionCreated
    | DelaySessionUpdated
    | RefuseSessionUpdate
    | EchoOtherFormat
    | EchoOther
    | StallAudio
    | FailResponse
    | NoCreated
    | NoDone
    | Unstoppable
    | IgnoreCreate
    | RefuseTruncate
    | DuplicateEvents
    | RenameEvents
)


def key_refused() -> tuple[Fault, ...]:
    """A bad key, the WebSocket way: the socket opens and is closed with 3000."""
    return (CloseSocket(After(0), 3000, "invalid_request_error.invalid_api_key"),)


def beta_shape_refused() -> tuple[Fault, ...]:
    """What a client that sends `OpenAI-Beta: realtime=v1` gets: an error, then close 4000."""
    code = "beta_api_shape_disabled"
    error = error_message(code, "The Realtime Beta API is no longer supported.")
    return (
        SendRaw(After(0), error),
        CloseSocket(After(0), 4000, f"invalid_request_error.{code}"),
    )


def beta_names() -> tuple[Fault, ...]:
    """A server that speaks the beta's language, as old Azure deployments did."""
    spoken = {"audio": "output_audio", "audio_transcript": "output_audio_transcript"}
    names = [
        (f"response.{ours}.{end}", f"response.{old}.{end}")
        for old, ours in {**spoken, "text": "output_text"}.items()
        for end in ("delta", "done")
    ]
    return (RenameEvents((*names, ("conversation.item.added", "conversation.item.created"))),)


def session_expired(at: Trigger) -> tuple[Fault, ...]:
    """The session's longest duration is over: an error, then close 1001 with the same words."""
    words = "Your session hit the maximum duration of 60 minutes."
    return SendRaw(at, error_message("session_expired", words)), CloseSocket(at, 1001, words)


def error_message(code: str | None, message: str, kind: str = "invalid_request_error") -> str:
    """The JSON text of an `error` event that answers no client event, for `SendRaw`."""
    error = {"type": kind, "code": code, "message": message, "param": None, "event_id": None}
    return json.dumps({"type": "error", "event_id": "event_simraw", "error": error})


def event_message(event_type: str, **body: object) -> str:
    """The JSON text of any event of the server, for `SendRaw`."""
    return json.dumps({"type": event_type, "event_id": "event_simraw", **body})


def delta_message(response_id: str, item_id: str, audio: bytes) -> str:
    """The JSON text of a piece of audio that no reply has, for `SendRaw`."""
    return event_message(
        "response.output_audio.delta",
        response_id=response_id,
        item_id=item_id,
        output_index=0,
        content_index=0,
        delta=base64.b64encode(audio).decode(),
    )
