"""What two ends of a line counted of the same thing: the engine in its summary, and a simulator.

It names the figures and refuses to judge them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.held import Held


@dataclass(frozen=True, slots=True)
class Figure:
    """So many were `sent` and so many `arrived`, by what either end counted."""

    name: str
    sent: int
    arrived: int

    def __str__(self) -> str:
        return f"{self.name}: {self.sent} were sent, {self.arrived} arrived"


def with_the_carrier(held: Held) -> Iterator[Figure]:
    """Between us and the caller."""
    summary, caller = held.summary, held.caller
    yield Figure("frames out", summary.tx_frames, len(caller.frames))
    yield Figure("clears", summary.transmission.clears, len(caller.clears))
    yield Figure("barge-ins", summary.barge_in_events, len(caller.clears))
    yield Figure("marks", summary.playout.marks_sent, len(caller.marks))
    yield Figure("fallbacks", summary.fallbacks, len(held.fallbacks_at))
    yield Figure("frames in", caller.inbound_frames_sent, summary.inbound.frames)
    yield Figure("digits", len(caller.digits), summary.inbound.dtmf_digits)


def with_the_model(held: Held) -> Iterator[Figure]:
    """Between us and the model, in all sessions together."""
    summary, models = held.summary, held.models
    errors = sum(event.type == "error" for model in models for event in model.sent)
    audio_bytes = sum(model.audio_bytes_sent for model in models)
    deltas = sum(model.deltas_sent for model in models)
    yield Figure("model audio", audio_bytes, summary.conversation.audio_bytes)
    yield Figure("deltas", deltas, summary.conversation.audio_deltas)
    yield Figure("errors", errors, summary.conversation.errors.total())
    counts, response = summary.conversation, summary.response
    yield Figure("cancels", response.cancels_sent, sum(len(m.cancels) for m in models))
    yield Figure("creates", response.creates_sent, sum(len(m.creates) for m in models))
    yield Figure("truncates", counts.truncates_sent, sum(len(m.truncates) for m in models))
    appended = sum(len(model.appended) for model in models)
    yield Figure("caller audio", summary.session.appended_bytes, appended)
    yield Figure("sessions", 1 + summary.model_reconnects, len(models))
