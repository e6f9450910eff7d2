"""What a conversation is told and asks to be done, and what it counts.

Decides nothing: that is `conversation`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from typing import Literal, TypeAlias

from callengine.machines.presence import SendProbe
from callengine.machines.response_terms import SendCancel, SendCreate
from callengine.machines.session import SendAppend, SendSessionUpdate, SendTurnDetection
from callengine.machines.unheard import SendTruncate
from callengine.messages import (
    AgentSaid,
    AnswerOwed,
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallEnding,
    CallerFrame,
    CallerSaid,
    CallerSpoke,
    DeadlineReached,
    Interrupted,
    ItemHeard,
    ModelAlive,
    ModelClosed,
    ModelConnected,
    ModelHeardSpeech,
    PlayAudio,
    ResetGranted,
    ResetRefused,
    ResetRequest,
    ResponseHeard,
    StateChanged,
    ToolCalled,
    ToolReturned,
)
from callengine.values import dataclass
from callengine.wire import realtime_events as wire


@dataclass(frozen=True, slots=True)
class SendFunctionOutput:
    """Send a tool's result."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class SaidTurn:
    """What a new session is told of the conversation so far; `role` is the wire's."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class SendTurn:
    """Put into the model's conversation what was said in an earlier session."""

    event_id: str
    turn: SaidTurn


@dataclass(frozen=True, slots=True)
class Since:
    """Numbers that never go back, in whichever session."""

    generation: int = 0
    slot_version: int = 0
    presence_version: int = 0


@dataclass(frozen=True, slots=True)
class Resume:
    """What a session takes over from one that was lost. `instructions` are for the answer that is
    owed; None if none is."""

    turns: tuple[SaidTurn, ...]
    instructions: str | None


Event: TypeAlias = (
    ModelConnected
    | ModelAlive
    | ModelClosed
    | wire.ServerEvent
    | CallerFrame
    | Interrupted
    | BargeInConfirmed
    | BargeInDismissed
    | CallerSpoke
    | ResponseHeard
    | ToolReturned
    | ResetRequest
    | DeadlineReached
)

Action: TypeAlias = (
    SendSessionUpdate
    | SendTurnDetection
    | SendAppend
    | SendCreate
    | SendCancel
    | SendProbe
    | SendTruncate
    | SendTurn
    | SendFunctionOutput
    | AnswerOwed
    | ItemHeard
    | PlayAudio
    | AudioComplete
    | ModelHeardSpeech
    | ToolCalled
    | CallerSaid
    | AgentSaid
    | CallEnding
    | StateChanged
    | ResetGranted
    | ResetRefused
)


@dataclass(slots=True)
class ConversationCounts:
    """What the summary says about the model's side."""

    audio_bytes: int = 0
    audio_deltas: int = 0
    dropped_cancelled_bytes: int = 0
    dropped_out_of_band_bytes: int = 0
    dropped_unknown_bytes: int = 0
    silent_responses: int = 0
    failed_responses: int = 0
    answers_asked_for: int = 0
    truncates_sent: int = 0
    probes_sent: int = 0
    unknown_events: int = 0
    malformed_events: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
