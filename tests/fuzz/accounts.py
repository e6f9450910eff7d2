"""What an independent clerk expects to be counted, to be held against what the engine counted.

It looks over the shoulders of three actors: it reads every message with the decoders, which have
fuzz targets of their own, at the moment the actor does, and stops with the actor's report.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from callengine.machines import inbound, session
from callengine.machines.inbound import MAX_FILL_MS
from callengine.messages import CallerFrame, CarrierMessage, MarkEchoed, ModelMessage
from callengine.wire import realtime_events as ai
from callengine.wire import realtime_server, twilio

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.actors.shell import Ref
    from callengine.actors.twilio_ingress import TwilioIngress
    from callengine.agent import Agent
    from callengine.machines.inbound import InboundCounts
    from callengine.summary import CallSummary

_EARLY: Final = ("Media", "Mark", "Dtmf")


@dataclasses.dataclass
class Seen:
    """What went through the actors' hands while it still mattered."""

    carrier: Counter[str] = dataclasses.field(default_factory=Counter)
    """`kind` of every message, and `kind, early` of those before the stream began."""
    faults: Counter[str] = dataclasses.field(default_factory=Counter)
    frames: int = 0
    frame_bytes: int = 0
    caller_bytes: int = 0
    """Caller audio told on, silence included."""
    model: Counter[str] = dataclasses.field(default_factory=Counter)
    model_bytes: int = 0
    tokens: int = 0
    errors: int = 0
    bridged_bytes: int = 0
    """Caller audio that reached an open session."""
    echoes: int = 0


class Clerk:
    """Keeps the accounts of one call."""

    def __init__(self, ingress: Ref, bridge: Ref, pacer: Ref) -> None:
        self.seen = Seen()
        self.stream_sid = ""
        self._reported: dict[str, Seen] = {}
        self._watch(ingress, "ingress", self._ingress)
        self._watch(bridge, "bridge", self._bridge)
        self._watch(pacer, "pacer", self._pacer)

    def _watch(self, ref: Ref, name: str, note: Callable[..., Any]) -> None:
        actor = actor_of(ref)
        handle, report = actor.handle, actor.report

        def noted_handle(message: object, now: float) -> Any:  # noqa: ANN401 - the actor's own
            return note(actor, message, lambda: handle(message, now))

        def noted_report() -> object:
            self._reported[name] = dataclasses.replace(
                self.seen,
                carrier=self.seen.carrier.copy(),
                faults=self.seen.faults.copy(),
                model=self.seen.model.copy(),
            )
            return report()

        actor.handle, actor.report = noted_handle, noted_report

    # ---- looking on

    def _ingress(self, actor: TwilioIngress, message: object, handle: Callable[[], Any]) -> Any:  # noqa: ANN401
        machine = actor._inbound
        event = None
        if machine.state is not inbound.State.ENDED and isinstance(message, CarrierMessage):
            event = twilio.decode(message.message)
            kind = type(event).__name__
            early = machine.state is inbound.State.WAITING and kind in _EARLY
            self.seen.carrier[f"{kind}, early" if early else kind] += 1
            if isinstance(event, twilio.Malformed):
                self.seen.faults[event.fault] += 1
            if isinstance(event, twilio.Start) and not self.stream_sid:
                self.stream_sid = event.stream_sid
        actions = handle()
        told = [action for action in actions if isinstance(action, CallerFrame)]
        self.seen.caller_bytes += sum(len(frame.payload) for frame in told)
        if told and isinstance(event, twilio.Media):
            assert told[-1].payload == event.payload
            self.seen.frames += 1
            self.seen.frame_bytes += len(event.payload)
        return actions

    def _bridge(self, actor: Any, message: object, handle: Callable[[], Any]) -> Any:  # noqa: ANN401
        sessions = actor._dialogue.conversations
        if sessions and sessions[-1].session.state is not session.State.CLOSED:
            if isinstance(message, CallerFrame):
                self.seen.bridged_bytes += len(message.payload)
            elif isinstance(message, ModelMessage) and message.session == actor._session:
                self._model_event(realtime_server.decode(message.message))
        return handle()

    def _model_event(self, event: ai.ServerEvent) -> None:
        self.seen.model[type(event).__name__] += 1
        if isinstance(event, ai.AudioDelta):
            self.seen.model_bytes += len(event.audio)
        elif isinstance(event, ai.ResponseDone) and event.usage is not None:
            self.seen.tokens += event.usage.input_tokens + event.usage.output_tokens

    def _pacer(self, _: object, message: object, handle: Callable[[], Any]) -> Any:  # noqa: ANN401
        self.seen.echoes += isinstance(message, MarkEchoed)
        return handle()

    # ---- at the end

    def audit(self, summary: CallSummary, agent: Agent) -> None:
        """Every message and every byte is in exactly one count."""
        self._audit_carrier(summary.inbound, self._reported["ingress"])
        self._audit_model(summary, self._reported["bridge"])
        assert summary.inbound.filled_ms <= summary.duration_s * 1000 + MAX_FILL_MS
        playout, seen = summary.playout, self._reported["pacer"]
        echoes = playout.marks_heard + playout.marks_cleared + playout.marks_unknown
        _same("echoes", echoes, seen.echoes)
        _same("audio unaccounted for", summary.audio.balance_bytes, 0)
        own_bytes = summary.audio.received_bytes - summary.conversation.audio_bytes
        own_bytes -= summary.fallbacks * len(agent.fallback_audio())
        assert own_bytes in {0, len(agent.farewell_audio())}

    def _audit_carrier(self, counts: InboundCounts, seen: Seen) -> None:
        kinds = seen.carrier
        early = sum(kinds[f"{kind}, early"] for kind in _EARLY)
        media = (
            counts.frames
            + counts.duplicates
            + counts.reordered
            + counts.empty_frames
            + counts.foreign_frames
        )
        _same("malformed messages", counts.malformed, seen.faults)
        _same("unknown messages", counts.unknown_messages, kinds["Unknown"])
        _same("early messages", counts.early_messages, early)
        _same("digits", counts.dtmf_digits, kinds["Dtmf"] + kinds["Dtmf, early"])
        _same("media messages", media, kinds["Media"])
        _same("frames", counts.frames, seen.frames)
        _same("caller audio", counts.payload_bytes, seen.frame_bytes)
        _same("audio told on", counts.payload_bytes + counts.filled_ms * 8, seen.caller_bytes)
        counted = media + early + counts.dtmf_digits - kinds["Dtmf, early"]
        counted += counts.unknown_messages + counts.malformed.total()
        plain = sum(kinds[kind] for kind in ("Connected", "Start", "Stop", "Mark"))
        _same("carrier messages", counted + plain, kinds.total())

    def _audit_model(self, summary: CallSummary, seen: Seen) -> None:
        counts, kinds = summary.conversation, seen.model
        _same("unknown events", counts.unknown_events, kinds["Unknown"])
        _same("malformed events", counts.malformed_events, kinds["Malformed"])
        _same("deltas", counts.audio_deltas, kinds["AudioDelta"])
        _same("model audio", counts.audio_bytes, seen.model_bytes)
        _same("errors", counts.errors.total(), kinds["ErrorReceived"])
        _same("tokens", counts.input_tokens + counts.output_tokens, seen.tokens)
        kept_back = seen.bridged_bytes - summary.session.appended_bytes
        assert kept_back >= summary.session.held_dropped_bytes


def _same(what: str, counted: object, seen: object) -> None:
    assert counted == seen, f"{what}: counted {counted}, seen {seen}"


def actor_of(ref: Ref) -> Any:  # noqa: ANN401 - each actor is of its own class
    """The actor behind a reference, on a stepper."""
    return ref.actor_inbox.actor  # type: ignore[attr-defined]
