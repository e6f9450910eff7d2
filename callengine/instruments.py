"""The one table of what is measured, and how it is read off a call's summary or an engine.

It knows neither Prometheus nor OpenTelemetry: how numbers leave the process is up to `adapters`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from callengine.machines.pacing import LATENESS_BUCKETS_MS
from callengine.messages import EndCause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from callengine.metrics import EngineView
    from callengine.summary import CallSummary


class Kind(Enum):
    """What is done with the readings."""

    COUNTER = auto()
    HISTOGRAM = auto()
    GAUGE = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """One thing that is measured.

    `name` is dotted and has no prefix; `unit` is "s" or, in braces, what is counted. `labels` gives
    all values each label may have; `bounds` the upper bounds of a histogram's buckets, in `unit`.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()


def _le(bound_ms: float) -> str:
    return "+Inf" if bound_ms == LATENESS_BUCKETS_MS[-1] else f"{bound_ms / 1000:g}"


CALLS_BEGAN: Final = Instrument(
    "calls.began", Kind.COUNTER, "{call}", "Calls whose stream started."
)
CALLS: Final = Instrument(
    "calls",
    Kind.COUNTER,
    "{call}",
    "Calls that are over, by why they ended.",
    labels={"end": tuple(EndCause)},
)
BARGEINS: Final = Instrument(
    "bargeins", Kind.COUNTER, "{interruption}", "Interruptions that were executed."
)
FALSE_BARGEINS: Final = Instrument(
    "false_bargeins",
    Kind.COUNTER,
    "{interruption}",
    "Interruptions that were taken back: it was not the caller speaking.",
)
BARGEIN_CLEAR: Final = Instrument(
    "bargein.clear",
    Kind.HISTOGRAM,
    "s",
    "From the onset of the caller's voice to the clear that silences the AI.",
    bounds=(0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0),
)
# A histogram in all but its type: client libraries observe one sample at a time, and a long call
# has 200,000 of them. It is cumulative, as `histogram_quantile` wants it.
FRAME_LATENESS: Final = Instrument(
    "frame.lateness.seconds.bucket",
    Kind.COUNTER,
    "{frame}",
    "Frames that left at most `le` seconds behind their slot.",
    labels={"le": tuple(map(_le, LATENESS_BUCKETS_MS))},
)
LATE_FRAMES: Final = Instrument(
    "late_frames", Kind.COUNTER, "{frame}", "Frames that left 20 to 200 ms behind their slot."
)
SCHEDULE_RESETS: Final = Instrument(
    "schedule_resets", Kind.COUNTER, "{reset}", "Frames 200 ms late or later: schedule given up."
)
DEAD_AIR: Final = Instrument(
    "dead_air",
    Kind.HISTOGRAM,
    "s",
    "A call's longest silence while the caller was owed an answer.",
    bounds=(0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 30.0),
)
MODEL_RECONNECTS: Final = Instrument(
    "model_reconnects", Kind.COUNTER, "{connection}", "Connections to the model that were renewed."
)
FALLBACKS: Final = Instrument(
    "fallbacks", Kind.COUNTER, "{reply}", "Fallback replies that were played in the model's place."
)
STUCK_RECOVERIES: Final = Instrument(
    "stuck_recoveries", Kind.COUNTER, "{recovery}", "Stuck states that the watchdog freed."
)
CONTEXT_ERRORS: Final = Instrument(
    "context_errors", Kind.COUNTER, "{error}", "Tools and callbacks of the host that failed."
)
ACTOR_RESTARTS: Final = Instrument(
    "actor_restarts", Kind.COUNTER, "{crash}", "Crashes of a call's actors that the call survived."
)
TOKENS: Final = Instrument(
    "tokens",
    Kind.COUNTER,
    "{token}",
    "Tokens that the model counted, each once.",
    labels={"direction": ("input", "output"), "kind": ("audio", "text")},
)
CACHED_TOKENS: Final = Instrument(
    "cached_tokens", Kind.COUNTER, "{token}", "The part of the input tokens that was cached."
)
COST_USD: Final = Instrument(
    "cost_usd", Kind.COUNTER, "{USD}", "What the tokens cost, if prices were set."
)
ACTIVE: Final = Instrument("calls.active", Kind.GAUGE, "{call}", "Calls in progress.")
SLOTS_FREE: Final = Instrument(
    "slots_free", Kind.GAUGE, "{call}", "Calls that would be admitted now."
)
DRAINING: Final = Instrument(
    "draining", Kind.GAUGE, "{engine}", "Engines that take no more calls and wait for theirs."
)
STRAINED: Final = Instrument(
    "strained", Kind.GAUGE, "{engine}", "Engines that run late, and take no new calls."
)
SHED_CALLS: Final = Instrument(
    "shed.calls", Kind.GAUGE, "{refusal}", "Callers who were turned away so far, full or strained."
)
SHED_DIAGNOSTICS: Final = Instrument(
    "shed.diagnostics",
    Kind.GAUGE,
    "{record}",
    "Events and lines of the log that were not written so far.",
)
SHED_RECORDINGS: Final = Instrument(
    "shed.recordings", Kind.GAUGE, "{turn}", "Turns of calls that were not written down so far."
)
MAILBOX_DEPTH: Final = Instrument(
    "mailbox_depth", Kind.GAUGE, "{message}", "Messages that wait for their actors."
)
JOURNAL_WAITING: Final = Instrument(
    "journal_waiting", Kind.GAUGE, "{record}", "Records that are not in the database yet."
)

SUMMED: Final = (
    CALLS_BEGAN,
    CALLS,
    BARGEINS,
    FALSE_BARGEINS,
    BARGEIN_CLEAR,
    FRAME_LATENESS,
    LATE_FRAMES,
    SCHEDULE_RESETS,
    DEAD_AIR,
    MODEL_RECONNECTS,
    FALLBACKS,
    STUCK_RECOVERIES,
    CONTEXT_ERRORS,
    ACTOR_RESTARTS,
    TOKENS,
    CACHED_TOKENS,
    COST_USD,
)
"""Counters and histograms: fed by `readings`, but for CALLS_BEGAN."""

GAUGES: Final[Mapping[Instrument, Callable[[EngineView], int]]] = {
    ACTIVE: lambda view: view.active_calls,
    SLOTS_FREE: lambda view: view.slots_free,
    DRAINING: lambda view: view.draining,
    STRAINED: lambda view: view.strained,
    SHED_CALLS: lambda view: view.shed["calls"],
    SHED_DIAGNOSTICS: lambda view: view.shed["diagnostics"],
    SHED_RECORDINGS: lambda view: view.shed["recordings"],
    MAILBOX_DEPTH: lambda view: view.mailbox_depth,
    JOURNAL_WAITING: lambda view: view.journal_waiting,
}
"""How each gauge is read."""


def gauge(instrument: Instrument, views: Iterable[EngineView]) -> int:
    """A gauge of several engines is the sum of theirs."""
    return sum(map(GAUGES[instrument], views))


# ---- the readings


@dataclass(frozen=True, slots=True)
class Reading:
    """Add `value` to a counter, or one observation of it to a histogram."""

    instrument: Instrument
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def readings(summary: CallSummary) -> Iterator[Reading]:
    """What a call that is over adds; nothing in it is below 0."""
    yield Reading(CALLS, 1, {"end": summary.end_cause})
    yield Reading(BARGEINS, summary.barge_in_events)
    yield Reading(FALSE_BARGEINS, summary.transmission.false_triggers)
    yield Reading(LATE_FRAMES, summary.tx_late_frames)
    yield Reading(SCHEDULE_RESETS, summary.tx_schedule_resets)
    yield Reading(MODEL_RECONNECTS, summary.model_reconnects)
    yield Reading(FALLBACKS, summary.fallbacks)
    yield Reading(STUCK_RECOVERIES, summary.stuck_recoveries)
    yield Reading(CONTEXT_ERRORS, summary.context_errors)
    yield Reading(ACTOR_RESTARTS, summary.restarts)
    if summary.stream_sid:  # a call that never began owes nobody an answer
        yield Reading(DEAD_AIR, summary.dead_air_s)
    yield from _clears(summary)
    yield from _lateness(summary)
    yield from _usage(summary)


def _clears(summary: CallSummary) -> Iterator[Reading]:
    for entry in summary.barge_ins:
        # What only the model heard has the decision for its onset: that would measure nothing.
        if entry.barge_in is not None and entry.decided_s > entry.onset_s:
            yield Reading(BARGEIN_CLEAR, entry.decided_s - entry.onset_s)


def _lateness(summary: CallSummary) -> Iterator[Reading]:
    frames = 0
    for bound_ms in LATENESS_BUCKETS_MS:
        frames += summary.transmission.lateness[bound_ms]
        yield Reading(FRAME_LATENESS, frames, {"le": _le(bound_ms)})


def _usage(summary: CallSummary) -> Iterator[Reading]:
    usage = summary.usage
    for direction, total, audio in (
        ("input", usage.input_tokens, usage.input_audio_tokens),
        ("output", usage.output_tokens, usage.output_audio_tokens),
    ):
        text = max(total - audio, 0)  # the model told both, and may have told nonsense
        yield Reading(TOKENS, audio, {"direction": direction, "kind": "audio"})
        yield Reading(TOKENS, text, {"direction": direction, "kind": "text"})
    yield Reading(CACHED_TOKENS, usage.cached_tokens)
    yield Reading(COST_USD, usage.cost_usd or 0)
