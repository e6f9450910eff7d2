"""The words in which the outbound side is spoken to, and in which it answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from typing import TypeAlias

from callengine.machines.barge_in import Evidence
from callengine.messages import (
    AnswerOwed,
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    Drained,
    DrainRequest,
    FrameSent,
    Interrupted,
    MarkEchoed,
    OnsetDebounced,
    PlayAudio,
    ResetGranted,
    ResetRefused,
    ResetRequest,
    ResponseHeard,
    StateChanged,
    StreamStarted,
)
from callengine.values import dataclass


@dataclass(frozen=True, slots=True)
class SendMedia:
    """Write 160 bytes to the carrier."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class SendMark:
    """Write a mark to the carrier."""

    name: str


@dataclass(frozen=True, slots=True)
class SendClear:
    """Write a clear to the carrier, ahead of everything that is waiting to be written."""


Event: TypeAlias = (
    StreamStarted
    | PlayAudio
    | AudioComplete
    | AnswerOwed
    | Evidence
    | OnsetDebounced
    | MarkEchoed
    | ResetRequest
    | DrainRequest
)

Action: TypeAlias = (
    SendMedia
    | SendMark
    | SendClear
    | FrameSent
    | Interrupted
    | BargeInConfirmed
    | BargeInDismissed
    | CallerSpoke
    | ResponseHeard
    | StateChanged
    | ResetGranted
    | ResetRefused
    | Drained
)


@dataclass(slots=True)
class TransmissionCounts:
    """What the summary says about the outbound side.

    `lateness` counts all frames by the upper bound, in ms, of how late they left.
    """

    first_chunk_bytes: int = 0
    frames: int = 0
    late_frames: int = 0
    schedule_resets: int = 0
    max_lateness_ms: float = 0.0
    lateness: Counter[float] = field(default_factory=Counter)
    clears: int = 0
    barge_in_events: int = 0
    barge_ins_guarded: int = 0
    false_triggers: int = 0
    onsets_debounced: int = 0
    stuck_recoveries: int = 0
    fallbacks: int = 0
    dead_air_s: float = 0.0


@dataclass(slots=True)
class PlayoutCounts:
    """Audio bytes by what became of them, and marks; see `Playout` for the identity that holds."""

    received_bytes: int = 0
    sent_bytes: int = 0
    returned_bytes: int = 0
    flushed_bytes: int = 0
    stale_bytes: int = 0
    overflow_bytes: int = 0
    padding_bytes: int = 0
    marks_sent: int = 0
    marks_heard: int = 0
    marks_cleared: int = 0
    marks_unknown: int = 0
    marks_lost: int = 0
