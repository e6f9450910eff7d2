"""What a call amounted to: the numbers a host stores, shows and alarms on."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from callengine.machines.inbound import InboundCounts
from callengine.machines.stall import StallCounts
from callengine.reports import BridgeReport, Crash, HostCounts, PacerReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callengine.machines.conversation_terms import ConversationCounts
    from callengine.machines.dialogue import DialogueCounts
    from callengine.machines.metering import Usage
    from callengine.machines.onsets import Onset, Outcome
    from callengine.machines.response_terms import ResponseCounts, Settlement
    from callengine.machines.session import SessionCounts
    from callengine.machines.tools import ToolCounts
    from callengine.machines.transmission_terms import PlayoutCounts, TransmissionCounts
    from callengine.messages import EndCause, HeardItem


@dataclass(frozen=True, slots=True)
class AudioConservation:
    """Where every byte of model audio went. `balance_bytes` is what is unaccounted for: always 0.

    `received` is what the model sent; `played` what the carrier was given and did not drop;
    `returned` what it held when we cleared it; `flushed` what was dropped at an interruption, the
    returned part included; the others are what was never queued, by cause.
    """

    received_bytes: int
    played_bytes: int
    returned_bytes: int
    flushed_bytes: int
    queued_bytes: int
    cancelled_bytes: int
    stale_bytes: int
    out_of_band_bytes: int
    unknown_response_bytes: int
    overflow_bytes: int

    @property
    def balance_bytes(self) -> int:
        """Received, less everything that is accounted for."""
        return self.received_bytes - (
            self.played_bytes
            + self.flushed_bytes
            + self.queued_bytes
            + self.cancelled_bytes
            + self.stale_bytes
            + self.out_of_band_bytes
            + self.unknown_response_bytes
            + self.overflow_bytes
        )


@dataclass(frozen=True, slots=True)
class BargeInEntry:
    """One onset of the caller's voice; times in seconds since the call began, None if not reached.

    `barge_in` numbers the interruptions that were executed, from 1. The clear was written when the
    decision was taken. `heard` tells how much of each item the caller had heard by then.
    """

    outcome: Outcome
    onset_s: float
    decided_s: float
    level_rms: int
    barge_in: int | None
    response_id: str | None
    heard: tuple[HeardItem, ...]
    flushed_frames: int
    settled_s: float | None
    cancel_sent_s: float | None
    cancel_resolved_s: float | None
    cancel_settlement: Settlement | None


@dataclass(frozen=True, slots=True)
class CrashEntry:
    """An actor of the call that died: when, in seconds since the call began, and of what.

    `restarted` says that it began anew; if not, the call ended with it.
    """

    actor: str
    error: str
    at_s: float
    restarted: bool


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One call. The first block is what a glance should show; the rest is by actor.

    `began_monotonic_s` is by the clock that all processes of a machine share, for whoever has timed
    the same call elsewhere. `lost_messages` counts by actor what waited for one that died and did
    not begin anew. `dead_air_s` is the longest the caller heard nothing while he was owed an
    answer; `fallbacks` counts what the engine said then in the model's place.
    """

    call_sid: str
    stream_sid: str
    end_cause: EndCause
    end_detail: str
    began_monotonic_s: float
    duration_s: float
    first_chunk_bytes: int
    tx_frames: int
    tx_late_frames: int
    tx_schedule_resets: int
    barge_in_events: int
    stuck_recoveries: int
    context_errors: int
    restarts: int
    model_reconnects: int
    fallbacks: int
    dead_air_s: float
    transferred: bool
    usage: Usage
    audio: AudioConservation
    barge_ins: tuple[BargeInEntry, ...]
    late_at_s: tuple[float, ...]
    crashes: tuple[CrashEntry, ...]
    lost_messages: Mapping[str, int]
    inbound: InboundCounts
    transmission: TransmissionCounts
    playout: PlayoutCounts
    dialogue: DialogueCounts
    conversation: ConversationCounts
    session: SessionCounts
    response: ResponseCounts
    tools: ToolCounts
    watchdog: StallCounts

    def to_dict(self) -> dict[str, object]:
        """Plain values only, ready for JSON."""
        plain: dict[str, object] = _plain(self)  # type: ignore[assignment]
        plain["audio"] = {**_dict(self.audio), "balance_bytes": self.audio.balance_bytes}
        return plain

    def to_json(self) -> str:
        """The summary as JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    def log_fields(self) -> dict[str, object]:
        """The numbers for one log line: nothing that was said, no phone number."""
        names = (
            "end_cause duration_s first_chunk_bytes tx_frames tx_late_frames tx_schedule_resets"
            " barge_in_events stuck_recoveries context_errors restarts model_reconnects fallbacks"
            " dead_air_s"
        )
        return {name: _plain(getattr(self, name)) for name in names.split()}


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What the supervisor knows of a call without asking anybody."""

    call_sid: str
    stream_sid: str
    end_cause: EndCause
    end_detail: str
    began_at: float
    ended_at: float
    crashes: tuple[Crash, ...] = ()
    lost_messages: Mapping[str, int] = field(default_factory=dict)
    transferred: bool = False


def summarise(facts: CallFacts, reports: Mapping[str, object]) -> CallSummary:
    """Put together what the actors counted. One that could tell nothing counts as zero."""
    inbound = _report(reports, "TwilioIngress", InboundCounts)
    watchdog = _report(reports, "Watchdog", StallCounts)
    host = _report(reports, "HostCalls", HostCounts)
    pacer = _report(reports, "TxPacer", PacerReport)
    bridge = _report(reports, "RealtimeBridge", BridgeReport)
    sent = pacer.transmission
    return CallSummary(
        call_sid=facts.call_sid,
        stream_sid=facts.stream_sid,
        end_cause=facts.end_cause,
        end_detail=facts.end_detail,
        began_monotonic_s=round(facts.began_at, 4),
        duration_s=round(facts.ended_at - facts.began_at, 3),
        first_chunk_bytes=sent.first_chunk_bytes,
        tx_frames=sent.frames - pacer.unsent_frames,
        tx_late_frames=sent.late_frames,
        tx_schedule_resets=sent.schedule_resets,
        barge_in_events=sent.barge_in_events,
        stuck_recoveries=sent.stuck_recoveries + bridge.response.stuck_recoveries,
        context_errors=host.context_errors,
        restarts=sum(crash.restarted for crash in facts.crashes),
        model_reconnects=bridge.dialogue.reconnects,
        fallbacks=sent.fallbacks,
        dead_air_s=sent.dead_air_s,
        transferred=facts.transferred,
        usage=bridge.usage,
        audio=_conservation(pacer, bridge),
        barge_ins=_ledger(pacer, bridge, facts.began_at),
        late_at_s=tuple(round(at - facts.began_at, 4) for at in pacer.late_at),
        crashes=tuple(
            CrashEntry(each.actor, each.error, round(each.at - facts.began_at, 4), each.restarted)
            for each in facts.crashes
        ),
        lost_messages=facts.lost_messages,
        inbound=inbound,
        transmission=sent,
        playout=pacer.playout,
        dialogue=bridge.dialogue,
        conversation=bridge.conversation,
        session=bridge.session,
        response=bridge.response,
        tools=bridge.tools,
        watchdog=watchdog,
    )


def _ledger(pacer: PacerReport, bridge: BridgeReport, began_at: float) -> tuple[BargeInEntry, ...]:
    cancels = {cancel.barge_in: cancel for cancel in bridge.cancels if cancel.barge_in}

    def since(at: float | None) -> float | None:
        return None if at is None else round(at - began_at, 4)

    def entry(onset: Onset) -> BargeInEntry:
        cancel = cancels.get(onset.barge_in or 0)
        return BargeInEntry(
            outcome=onset.outcome,
            onset_s=round(onset.onset_at - began_at, 4),
            decided_s=round(onset.decided_at - began_at, 4),
            level_rms=onset.level_rms,
            barge_in=onset.barge_in,
            response_id=onset.response_id,
            heard=onset.heard,
            flushed_frames=onset.flushed_frames,
            settled_s=since(onset.settled_at),
            cancel_sent_s=since(cancel.sent_at) if cancel else None,
            cancel_resolved_s=since(cancel.resolved_at) if cancel else None,
            cancel_settlement=cancel.settlement if cancel else None,
        )

    return tuple(entry(onset) for onset in pacer.ledger)


def _conservation(pacer: PacerReport, bridge: BridgeReport) -> AudioConservation:
    playout, model = pacer.playout, bridge.conversation
    return AudioConservation(
        received_bytes=model.audio_bytes + pacer.own_audio_bytes,
        played_bytes=playout.sent_bytes - playout.returned_bytes,
        returned_bytes=playout.returned_bytes,
        flushed_bytes=playout.flushed_bytes,
        queued_bytes=pacer.queued_bytes,
        cancelled_bytes=model.dropped_cancelled_bytes,
        stale_bytes=playout.stale_bytes,
        out_of_band_bytes=model.dropped_out_of_band_bytes,
        unknown_response_bytes=model.dropped_unknown_bytes,
        overflow_bytes=playout.overflow_bytes,
    )


T = TypeVar("T")


def _report(reports: Mapping[str, object], actor: str, kind: type[T]) -> T:
    report = reports.get(actor)
    return report if isinstance(report, kind) else kind()


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dict(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque):
        return [_plain(each) for each in value]
    return value


def _dict(value: object) -> dict[str, object]:
    assert dataclasses.is_dataclass(value), "only dataclasses have fields"
    return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
