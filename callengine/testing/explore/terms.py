"""The words in which the explored world is told: voices, what is under way, what is rationed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from callengine.machines.presence import SendProbe
from callengine.machines.response_terms import SendCancel, SendCreate
from callengine.machines.session import SendTurnDetection
from callengine.machines.transmission_terms import SendClear, SendMark, SendMedia
from callengine.messages import (
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    Interrupted,
    ModelHeardSpeech,
    PlayAudio,
    ResponseHeard,
)

if TYPE_CHECKING:
    from callengine.testing.explore.carrier import Echo
    from callengine.wire import realtime_events as wire

MAX_ON_A_LINE: Final = 4
MAX_IN_A_MAILBOX: Final = 6


class Voice(StrEnum):
    """The caller, as our detector hears him."""

    QUIET = "quiet"
    SPEAKING = "speaking"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Budget:
    """How often what may always happen again happens at most."""

    onsets: int = 1
    turns: int = 1
    calls: int = 0
    failures: int = 0
    resets: int = 0
    silences: int = 0
    lapses: int = 0
    """A deadline of the bridge passes while what it waits for is under way."""


class Downlink(NamedTuple):
    """What the server says in one breath, and the create that it is about, said or not."""

    events: tuple[wire.ServerEvent, ...]
    about: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message between us and the carrier, and since when it is under way."""

    since: float
    message: SendMedia | SendMark | SendClear | Echo


TO_BRIDGE: Final = (Interrupted, BargeInConfirmed, BargeInDismissed, CallerSpoke, ResponseHeard)
TO_PACER: Final = (PlayAudio, AudioComplete, ModelHeardSpeech)
"""`AnswerOwed` is left out. What fills a silence is seconds away from any race: it is one more
response of one's own, and drawn calls judge it by the caller's ear."""
TO_SERVER: Final = (SendCreate, SendCancel, SendTurnDetection, SendProbe)
TO_CARRIER: Final = (SendMedia, SendMark, SendClear)
