"""What the actors of a call report at its end: their counts, which the summary puts together."""

from __future__ import annotations

from dataclasses import dataclass, field

from callengine.machines.conversation import ConversationCounts
from callengine.machines.playout import PlayoutCounts
from callengine.machines.response_terms import Cancel, ResponseCounts
from callengine.machines.session import SessionCounts
from callengine.machines.tools import ToolCounts
from callengine.machines.transmission import Onset, TransmissionCounts


@dataclass(slots=True)
class HostCounts:
    """What HostCalls counted."""

    context_errors: int = 0


@dataclass(frozen=True, slots=True)
class PacerReport:
    """What TxPacer counted; the ledger has one entry per onset."""

    transmission: TransmissionCounts = field(default_factory=TransmissionCounts)
    playout: PlayoutCounts = field(default_factory=PlayoutCounts)
    queued_bytes: int = 0
    unsent_frames: int = 0
    own_audio_bytes: int = 0
    late_at: tuple[float, ...] = ()
    ledger: tuple[Onset, ...] = ()


@dataclass(frozen=True, slots=True)
class BridgeReport:
    """What RealtimeBridge counted."""

    conversation: ConversationCounts = field(default_factory=ConversationCounts)
    session: SessionCounts = field(default_factory=SessionCounts)
    response: ResponseCounts = field(default_factory=ResponseCounts)
    tools: ToolCounts = field(default_factory=ToolCounts)
    cancels: tuple[Cancel, ...] = ()
