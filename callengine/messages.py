"""Every message that crosses an actor's border.

They are also what the machines take and return, so that what an actor does is read off the type.
Past tense tells what happened; `...Wanted` and `...Request` ask. Times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from callengine.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping


class EndCause(StrEnum):
    """Why a call ended."""

    CALLER_HUNG_UP = "caller_hung_up"
    CARRIER_LOST = "carrier_lost"
    CARRIER_SILENT = "carrier_silent"
    CARRIER_STALLED = "carrier_stalled"
    START_TIMEOUT = "start_timeout"
    SECOND_START = "second_start"
    UNSUPPORTED_MEDIA = "unsupported_media"
    OVERSIZE_MESSAGE = "oversize_message"
    FLOODED = "flooded"
    TICKET_REFUSED = "ticket_refused"
    MODEL_UNREACHABLE = "model_unreachable"
    MODEL_REFUSED = "model_refused"
    SESSION_REFUSED = "session_refused"
    SESSION_EXPIRED = "session_expired"
    MODEL_LOST = "model_lost"
    MODEL_SILENT = "model_silent"
    MODEL_FAILED = "model_failed"
    CALL_TOO_LONG = "call_too_long"
    BUDGET_SPENT = "budget_spent"
    DRAINED = "drained"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"


class Owner(StrEnum):
    """The states that a watchdog may watch and only their owners may change."""

    CARRIER = "carrier"
    PLAYOUT = "playout"
    RESPONSE = "response"
    MODEL = "model"


# ---- carrier -> TwilioIngress


@dataclass(frozen=True, slots=True)
class CarrierMessage:
    """One message as it came off the carrier's socket."""

    message: str | bytes


@dataclass(frozen=True, slots=True)
class CarrierClosed:
    """The carrier's socket is gone, whoever closed it."""

    code: int
    reason: str


# ---- TwilioIngress -> others


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The carrier named the stream; from here on frames may be sent.

    `caller` and `called` are telephone numbers as the webhook was told them; empty without one.
    """

    stream_sid: str
    call_sid: str
    custom_parameters: Mapping[str, str] = field(repr=False)  # one may be a token
    account_sid: str = ""
    caller: str = field(default="", repr=False)
    called: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CallerFrame:
    """Caller audio, mu-law, of any length; gaps are already filled with silence."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class MarkEchoed:
    """The carrier returned one of our marks: played, or dropped by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class DtmfPressed:
    """The caller pressed a key. Digits can be a card number: they stay out of `repr`."""

    digit: str = field(repr=False)


# ---- VADDetector <-> TxPacer


@dataclass(frozen=True, slots=True)
class FrameSent:
    """A frame left for the caller just now: what a detector needs to tell echo from speech."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class SpeechOnset:
    """Enough consecutive loud frames; the first of them began at `onset_at`."""

    onset_at: float
    level_rms: int


@dataclass(frozen=True, slots=True)
class SpeechConfirmed:
    """The caller has been loud for longer than a cough lasts."""

    onset_at: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The caller is quiet again."""

    onset_at: float


@dataclass(frozen=True, slots=True)
class OnsetDebounced:
    """Loud frames that were too few to be speech."""

    onset_at: float
    level_rms: int


# ---- RealtimeBridge <-> TxPacer


@dataclass(frozen=True, slots=True)
class PlayAudio:
    """Model audio to play, mu-law of any length.

    `generation` is the newest one the sender had heard of: audio that was under way when the
    caller interrupted carries an older number. It is played only if the barge-in is taken back.
    """

    response_id: str
    item_id: str
    content_index: int
    audio: bytes
    generation: int
    protected: bool = False


@dataclass(frozen=True, slots=True)
class AudioComplete:
    """No more audio will come for this response: its tail may be padded to a whole frame."""

    response_id: str


@dataclass(frozen=True, slots=True)
class AnswerOwed:
    """The caller waits for something to be said; `fallback` is mu-law audio that may be played if
    nothing comes. It is settled by the next audio of the model, or when the caller speaks.

    `since` is when he began to wait, if that was before it could be told. Audio of the response
    `behind` settles nothing: it began before.
    """

    fallback: bytes = field(default=b"", repr=False)
    since: float | None = None
    behind: str | None = None


@dataclass(frozen=True, slots=True)
class ModelHeardSpeech:
    """The model's own VAD hears the caller."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A barge-in was executed: the carrier's buffer is cleared and `generation` is the new one."""

    barge_in: int
    generation: int
    response_id: str


@dataclass(frozen=True, slots=True)
class HeardItem:
    """How much of an item's audio the caller heard before it was interrupted."""

    item_id: str
    content_index: int
    heard_ms: int


@dataclass(frozen=True, slots=True)
class BargeInConfirmed:
    """The caller really spoke: the model may be told what was heard of older generations."""

    generation: int
    heard: tuple[HeardItem, ...]


@dataclass(frozen=True, slots=True)
class BargeInDismissed:
    """It was a cough or a click; what was flushed is being played after all."""


@dataclass(frozen=True, slots=True)
class CallerSpoke:
    """Confirmed speech while nothing was audible: an answer under way is outdated.

    Audio of a generation older than this one is not played any more.
    """

    generation: int


@dataclass(frozen=True, slots=True)
class ResponseHeard:
    """The caller heard this response to its end."""

    response_id: str


# ---- model -> RealtimeBridge


@dataclass(frozen=True, slots=True)
class ModelConnected:
    """The model's socket is open. `session` counts the sockets of a call, from 0, here and below:
    what a socket tells that was given up no longer counts."""

    session: int = 0


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One message as it came off the model's socket."""

    message: str | bytes
    session: int = 0


@dataclass(frozen=True, slots=True)
class ModelAlive:
    """The model's socket answered a ping."""

    session: int = 0


@dataclass(frozen=True, slots=True)
class ModelClosed:
    """The model's socket is gone, or never opened."""

    cause: EndCause
    detail: str
    session: int = 0


# ---- RealtimeBridge <-> HostCalls


@dataclass(frozen=True, slots=True)
class AgentChosen:
    """The host's choice: `agent` is an `Agent`, or None if there was none to be had."""

    agent: Any


@dataclass(frozen=True, slots=True)
class AgentSettled:
    """Whoever answers this call from now on: the host's choice, or the stand-in."""

    agent: Any


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model wants a tool of the host run."""

    call_id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool's result as JSON text, ready for the model."""

    call_id: str
    output: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallerSaid:
    """The model's transcript of a caller's turn."""

    item_id: str
    transcript: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AgentSaid:
    """The transcript of what the model generated, whether or not all of it was heard."""

    item_id: str
    transcript: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ItemHeard:
    """What became of an item's audio: so much of it was heard, and no more will be."""

    item_id: str
    heard_ms: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class TurnSettled:
    """What the agent said, and how much of it was heard, in words and in milliseconds."""

    item_id: str
    text: str = field(repr=False)
    heard_text: str = field(repr=False)
    heard_ms: int
    audio_ms: int


HostEvent: TypeAlias = StreamStarted | DtmfPressed | CallerSaid | AgentSaid


# ---- watchdog protocol


@dataclass(frozen=True, slots=True)
class StateChanged:
    """An owner entered `state`, or made progress in it; every such step has its own version."""

    owner: Owner
    state: str
    version: int


class ResetReason(StrEnum):
    """What the watchdog suspects."""

    STUCK_RESPONSE = "stuck_response"
    SILENT_RESPONSE = "silent_response"
    PLAYOUT_STALLED = "playout_stalled"
    MODEL_SILENT = "model_silent"
    CARRIER_SILENT = "carrier_silent"


class Refusal(StrEnum):
    """Why an owner refuses to reset."""

    VERSION_MOVED = "version_moved"
    CANCEL_PENDING = "cancel_pending"
    NOT_STUCK = "not_stuck"


@dataclass(frozen=True, slots=True)
class StatesWanted:
    """A new watchdog knows of no state: an owner tells again what it told last."""


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """The watchdog asks the owner to reset, provided its state is still `if_version`."""

    owner: Owner
    reason: ResetReason
    if_version: int


@dataclass(frozen=True, slots=True)
class ResetGranted:
    """The owner agreed and recovered."""

    owner: Owner
    reason: ResetReason


@dataclass(frozen=True, slots=True)
class ResetRefused:
    """The owner knows better."""

    owner: Owner
    reason: ResetReason
    why: Refusal


# ---- supervisor and life


@dataclass(frozen=True, slots=True)
class CallEnding:
    """Whoever saw the end of the call coming tells the supervisor."""

    cause: EndCause
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EventSeen:
    """Something worth writing down; `detail` holds nothing that was said."""

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """Play what is queued and then `farewell` to its end, then say so."""

    farewell: bytes


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing is left to be heard."""


@dataclass(frozen=True, slots=True)
class TransferWanted:
    """Put the caller through, or let the carrier say a last word; TwiML for a call in progress."""

    account_sid: str
    call_sid: str
    twiml: str


@dataclass(frozen=True, slots=True)
class Transferred:
    """The carrier took the call over, or would not: then `refusal` says why."""

    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """To the only writer of a socket: close it behind everything that is waiting."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ActorCrashed:
    """An actor's last words; the process and the other calls go on.

    `counts` is what it had counted, None if it could not tell, or had told before. What it is told
    from now on waits.
    """

    actor: str
    error: str
    counts: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BeginAnew:
    """An actor that crashed lives on with nothing of what it knew.

    It takes `first`, then what has waited for it, in order, without the message that it died of.
    """

    first: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """The time an actor asked to be woken at has come."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """The call is over: tell the supervisor what was counted."""
