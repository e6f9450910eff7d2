"""What the actors of a call report at its end: their counts, which the summary puts together."""

from __future__ import annotations

from collections import Counter
from dataclasses import field, fields, is_dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from callengine.machines.conversation_terms import ConversationCounts
from callengine.machines.dialogue import DialogueCounts
from callengine.machines.metering import Usage
from callengine.machines.response_terms import Cancel, ResponseCounts
from callengine.machines.session import SessionCounts
from callengine.machines.tools import ToolCounts
from callengine.machines.transmission_terms import PlayoutCounts, TransmissionCounts
from callengine.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from callengine.machines.onsets import Onset
    from callengine.machines.turns import OpenTurn
    from callengine.messages import HeardItem, TurnSettled

GREATEST: Final = frozenset({"first_chunk_bytes", "max_lateness_ms", "dead_air_s"})
"""Of these the greatest of an actor's lives counts; everything else is added up."""


@dataclass(frozen=True, slots=True)
class Crash:
    """An actor that died, when (monotonic seconds), of what, and whether it began anew."""

    actor: str
    error: str
    at: float
    restarted: bool


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
    hearing: tuple[HeardItem, ...] = ()


@dataclass(frozen=True, slots=True)
class BridgeReport:
    """What RealtimeBridge counted, in all its sessions."""

    conversation: ConversationCounts = field(default_factory=ConversationCounts)
    session: SessionCounts = field(default_factory=SessionCounts)
    response: ResponseCounts = field(default_factory=ResponseCounts)
    tools: ToolCounts = field(default_factory=ToolCounts)
    cancels: tuple[Cancel, ...] = ()
    dialogue: DialogueCounts = field(default_factory=DialogueCounts)
    usage: Usage = field(default_factory=Usage)
    turns_left: tuple[OpenTurn, ...] = ()


def total(lives: Iterable[object]) -> object:
    """What an actor counted in all its lives. None is of a life that told nothing."""
    told = [counts for counts in lives if counts is not None]
    return reduce(_add, told) if told else None


def _add(one: Any, two: Any) -> Any:  # noqa: ANN401 - counts of any kind, both of the same
    if one is None or two is None:
        return two if one is None else one
    if not is_dataclass(one):
        return one + two
    added = {
        each.name: (max if each.name in GREATEST else _add)(
            getattr(one, each.name), getattr(two, each.name)
        )
        for each in fields(one)
    }
    return one.__class__(**added)


def turns_at_the_end(counts: Mapping[str, object]) -> list[TurnSettled]:
    """The agent's turns that were not over: their words are the bridge's, what was heard of them is
    the pacer's. Both are missing of an actor that could tell nothing."""
    bridge, pacer = counts.get("RealtimeBridge"), counts.get("TxPacer")
    if not isinstance(bridge, BridgeReport):
        return []
    heard_ms: Counter[str] = Counter()
    for item in pacer.hearing if isinstance(pacer, PacerReport) else ():
        heard_ms[item.item_id] += item.heard_ms
    return [
        replace(turn, heard_ms=(turn.heard_ms or 0) + heard_ms[turn.item_id]).settled()
        for turn in bridge.turns_left
    ]
