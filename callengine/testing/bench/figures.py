"""The figures of one point: so many calls, what they cost and how punctual they were.

What each of them means is told in docs/bench.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callengine.audio.g711 import FRAME_S
from callengine.machines.onsets import Outcome
from callengine.machines.pacing import LATENESS_BUCKETS_MS
from callengine.testing.bench import checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from callengine.summary import CallSummary
    from callengine.testing.bench.call import CarrierEnd
    from callengine.testing.bench.load import Loaded
    from callengine.testing.bench.measured import Measured

MAX_SILENCE_MS: Final = 250.0
"""A caller who speaks over the AI hears it no longer than that."""

KNEE_LATENESS_MS: Final = 10.0
KNEE_UNDERRUN_SHARE: Final = 0.001

MAX_OTHERS_SHARE: Final = 0.1

_TAKEN_BACK: Final = frozenset({Outcome.FALSE, Outcome.RESUMED})


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of so many values; None where there are none."""

    count: int
    p50: float | None
    p99: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the engine's process and all that it started, in the window. Shares are of one core."""

    cpu_ms_per_call_s: float
    core_share: float
    others_share: float
    rss_mb_per_call: float
    rss_mb: float
    threads_before: int
    threads_peak: int


@dataclass(frozen=True, slots=True)
class Pacing:
    """By the engine's summaries, over whole calls. Percentiles are bounds of its buckets."""

    frames: int
    lateness_p50_ms: float
    lateness_p99_ms: float
    lateness_max_ms: float
    late_frames: int
    resets: int
    dead_air_s: float


@dataclass(frozen=True, slots=True)
class Hearing:
    """By the callers' ears, over whole calls."""

    frames: int
    speaking_share: float
    jitter_ms: Percentiles
    first_frame_ms: Percentiles
    underruns: int
    underrun_s: float
    underrun_share: float


@dataclass(frozen=True, slots=True)
class Interruptions:
    """Callers who spoke over the AI."""

    clears: int
    taken_back: int
    onset_to_silence_ms: Percentiles
    stop_failures: int
    decision_to_clear_ms: Percentiles


@dataclass(frozen=True, slots=True)
class OfTheLoad:
    """What the load did, and how punctual it was itself."""

    questions: int
    repeats: int
    replies: int
    model_errors: Mapping[str, int]
    lateness_p99_ms: float
    lateness_max_ms: float
    busy: float
    load_average_before: float


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured with so many calls.

    `faults` are laws that were broken, `invalid` why the figures say nothing about the engine.
    """

    calls: int
    seconds: float
    cost: Cost
    pacing: Pacing
    hearing: Hearing
    interruptions: Interruptions
    load: OfTheLoad
    faults: tuple[str, ...]
    invalid: tuple[str, ...]

    @property
    def disturbed(self) -> bool:
        """Something else needed the engine's core: its lateness may be the machine's."""
        return self.cost.others_share > MAX_OTHERS_SHARE

    @property
    def within_knee(self) -> bool:
        """No caller could notice that he is not the only one."""
        return (
            self.pacing.resets == 0
            and self.pacing.lateness_p99_ms <= KNEE_LATENESS_MS
            and self.hearing.underrun_share < KNEE_UNDERRUN_SHARE
            and self.interruptions.stop_failures == 0
            and not self.faults
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        plain = {name: _without_infinity(each) for name, each in dataclasses.asdict(self).items()}
        return {**plain, "disturbed": self.disturbed, "within_knee": self.within_knee}


def point(measured: Measured) -> Point:
    """Put it together."""
    loaded, summaries = measured.loaded, measured.summaries
    load = _of_the_load(loaded, measured.load_average_before)
    return Point(
        measured.plan.calls,
        round(loaded.window_s, 2),
        _cost(measured),
        _pacing(summaries.values()),
        _hearing(loaded.carriers),
        _interruptions(loaded.carriers, summaries),
        load,
        tuple(checks.faults(measured)),
        tuple(checks.invalid(load.lateness_p99_ms, load.lateness_max_ms)),
    )


def _cost(measured: Measured) -> Cost:
    loaded, calls = measured.loaded, measured.plan.calls
    first, last = loaded.samples[0], loaded.samples[-1]
    cpu_s = last.cpu_s - first.cpu_s
    busy_s = last.core_busy_s - first.core_busy_s
    rss_bytes = max(each.rss_bytes for each in loaded.samples)
    return Cost(
        cpu_ms_per_call_s=round(cpu_s * 1000 / (calls * loaded.window_s), 2),
        core_share=round(cpu_s / loaded.window_s, 3),
        others_share=round(max(busy_s - cpu_s, 0.0) / loaded.window_s, 3),
        rss_mb_per_call=round((rss_bytes - measured.before.rss_bytes) / 1e6 / calls, 3),
        rss_mb=round(rss_bytes / 1e6, 1),
        threads_before=measured.before.threads,
        threads_peak=max(each.threads for each in loaded.samples),
    )


def _pacing(summaries: Iterable[CallSummary]) -> Pacing:
    told = [each.transmission for each in summaries]
    lateness: Counter[float] = Counter()
    for each in told:
        lateness.update(each.lateness)
    return Pacing(
        frames=sum(each.frames for each in told),
        lateness_p50_ms=_bound(lateness, 0.50),
        lateness_p99_ms=_bound(lateness, 0.99),
        lateness_max_ms=round(max((each.max_lateness_ms for each in told), default=0.0), 1),
        late_frames=sum(each.late_frames for each in told),
        resets=sum(each.schedule_resets for each in told),
        dead_air_s=round(max((each.dead_air_s for each in told), default=0.0), 2),
    )


def _hearing(carriers: Sequence[CarrierEnd]) -> Hearing:
    ears = [each.ear.counts for each in carriers]
    frames = sum(each.frames for each in ears)
    played_s = max(frames, 1) * FRAME_S
    slots = sum(each.caller.counts.frames for each in carriers)
    underrun_s = sum(each.underrun_s for each in ears)
    return Hearing(
        frames=frames,
        speaking_share=round(frames / max(slots, 1), 3),
        jitter_ms=_percentiles(s * 1000 for ear in ears for s in ear.jitter_s),
        first_frame_ms=_percentiles(s * 1000 for ear in ears for s in ear.first_frame_s),
        underruns=sum(each.underruns for each in ears),
        underrun_s=round(underrun_s, 3),
        underrun_share=round(underrun_s / played_s, 6),
    )


def _interruptions(
    carriers: Sequence[CarrierEnd], summaries: Mapping[str, CallSummary]
) -> Interruptions:
    ears = [each.ear.counts for each in carriers]
    stops_ms = [(stop.silent_at - stop.onset_at) * 1000 for ear in ears for stop in ear.stops]
    entries = [entry for each in summaries.values() for entry in each.barge_ins]
    return Interruptions(
        clears=sum(len(each.clears_at) for each in ears),
        taken_back=sum(each.outcome in _TAKEN_BACK for each in entries),
        onset_to_silence_ms=_percentiles(stops_ms),
        stop_failures=sum(each > MAX_SILENCE_MS for each in stops_ms),
        decision_to_clear_ms=_percentiles(_to_clear_ms(carriers, summaries)),
    )


def _to_clear_ms(
    carriers: Sequence[CarrierEnd], summaries: Mapping[str, CallSummary]
) -> Iterator[float]:
    """From each decision of the engine to the arrival of its clear, by one and the same clock."""
    for carrier in carriers:
        clears_at = carrier.ear.counts.clears_at
        summary = summaries.get(carrier.caller.call_sid)
        if summary is None:
            continue
        for entry in summary.barge_ins:
            if entry.barge_in is not None and entry.barge_in <= len(clears_at):
                decided_at = summary.began_monotonic_s + entry.decided_s
                yield (clears_at[entry.barge_in - 1] - decided_at) * 1000


def _of_the_load(loaded: Loaded, load_average_before: float) -> OfTheLoad:
    callers = [each.caller.counts for each in loaded.carriers]
    models = [each.model.counts for each in loaded.models]
    errors: Counter[str] = Counter()
    for each in models:
        errors.update(each.errors)
    return OfTheLoad(
        questions=sum(each.questions for each in callers),
        repeats=sum(each.repeats for each in callers),
        replies=sum(each.responses for each in models),
        model_errors=dict(errors),
        lateness_p99_ms=_above(loaded.lateness_ms, 0.99),
        lateness_max_ms=_above(loaded.lateness_ms, 1.0),
        busy=round(loaded.busy, 3),
        load_average_before=load_average_before,
    )


# ---- numbers


def _bound(histogram: Mapping[float, int], share: float) -> float:
    """The bound of the bucket up to which that share of all is."""
    wanted, seen = share * sum(histogram.values()), 0
    for bound in LATENESS_BUCKETS_MS:
        seen += histogram.get(bound, 0)
        if seen >= wanted:
            return bound
    return math.inf


def _above(by_ms: Mapping[int, int], share: float) -> float:
    """The whole ms below which that share of all is; 0 if there are none."""
    wanted, seen = share * sum(by_ms.values()), 0
    for whole_ms in sorted(by_ms):
        seen += by_ms[whole_ms]
        if seen >= wanted:
            return whole_ms + 1.0
    return 0.0


def _percentiles(values: Iterable[float]) -> Percentiles:
    ordered = sorted(values)
    if not ordered:
        return Percentiles(0, None, None, None)

    def at(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 2)

    return Percentiles(len(ordered), at(0.50), at(0.99), at(1.0))


def _without_infinity(value: object) -> object:
    """JSON has none: a bucket without an upper bound is null."""
    if isinstance(value, dict):
        return {key: _without_infinity(each) for key, each in value.items()}
    if isinstance(value, float) and math.isinf(value):
        return None
    return value
