"""What must hold in every point, however many calls there are: laws that were broken, in words.

Both ends count on their own and are compared; that the figures say anything at all is checked too.
Being late is no broken law.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from callengine.machines.onsets import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from callengine.summary import CallSummary
    from callengine.testing.bench.call import CarrierEnd
    from callengine.testing.bench.measured import Measured

MAX_LOAD_LATENESS_P99_MS: Final = 10.0
MAX_LOAD_LATENESS_MS: Final = 100.0
"""A load that is later than that itself says nothing about the engine."""


def faults(measured: Measured) -> Iterator[str]:
    """The laws that were broken."""
    summaries = measured.summaries
    yield from _ends(measured, summaries)
    yield from _audio(measured, summaries)
    yield from _unreconciled_calls(measured, summaries)
    yield from _unreconciled_models(measured, summaries)
    yield from _left(measured)


def invalid(p99_ms: float, most_ms: float) -> Iterator[str]:
    """Why the figures say nothing about the engine, by how late the load was itself."""
    if p99_ms > MAX_LOAD_LATENESS_P99_MS:
        yield f"the load was late itself: p99 {p99_ms:.0f} ms"
    if most_ms > MAX_LOAD_LATENESS_MS:
        yield f"the load was late itself: {most_ms:.0f} ms once"


def _ends(measured: Measured, summaries: Mapping[str, CallSummary]) -> Iterator[str]:
    """Everybody came in, and hung up himself."""
    loaded = measured.loaded
    yield from _some("calls without a summary", measured.plan.calls - len(summaries))
    told = Counter(each.fault for each in loaded.carriers if each.fault)
    told.update(each.fault for each in loaded.models if each.fault)
    yield from (f"{count} sockets: {fault}" for fault, count in told.items())
    causes = Counter(f"{each.end_cause} {each.end_detail}".strip() for each in summaries.values())
    for cause, count in causes.items():
        if cause != "caller_hung_up":
            yield f"{count} calls ended with {cause}"


def _audio(measured: Measured, summaries: Mapping[str, CallSummary]) -> Iterator[str]:
    """What reached the ear is what the model said, in order, and nothing of it after a clear."""
    carriers = measured.loaded.carriers
    ears = [each.ear.counts for each in carriers]
    stale = sum(_stale(each, summaries) for each in carriers)
    yield from _some("stale frames after a clear", stale)
    yield from _some("frames of no response", sum(each.strange for each in ears))
    yield from _some("frames out of place", sum(each.misplaced for each in ears))
    yield from _some("frames not of 160 bytes", sum(each.odd_sizes for each in ears))


def _stale(carrier: CarrierEnd, summaries: Mapping[str, CallSummary]) -> int:
    """Frames after a clear that was not taken back: an interruption in error is resumed."""
    summary = summaries.get(carrier.caller.call_sid)
    entries = summary.barge_ins if summary is not None else ()
    resumed = {each.barge_in for each in entries if each.outcome is Outcome.RESUMED}
    return sum(frames for clear, frames in carrier.ear.counts.stale.items() if clear not in resumed)


def _unreconciled_calls(measured: Measured, summaries: Mapping[str, CallSummary]) -> Iterator[str]:
    wrong: Counter[str] = Counter()
    for carrier in measured.loaded.carriers:
        summary, ear = summaries.get(carrier.caller.call_sid), carrier.ear.counts
        if summary is None:
            continue
        wrong["frames out"] += summary.tx_frames != ear.frames
        wrong["frames in"] += summary.inbound.frames != carrier.caller.counts.frames
        wrong["barge-ins and clears"] += summary.barge_in_events != len(ear.clears_at)
        wrong["marks"] += summary.playout.marks_sent != ear.marks
        wrong["bytes of the model"] += summary.audio.balance_bytes != 0
    for name, calls in wrong.items():
        if calls:
            yield f"{name} do not reconcile in {calls} calls"


def _unreconciled_models(measured: Measured, summaries: Mapping[str, CallSummary]) -> Iterator[str]:
    models = [each.model.counts for each in measured.loaded.models]
    told = summaries.values()
    yield from _some("messages the model could not read", sum(each.unreadable for each in models))
    yield from _differ(
        "bytes of callers",
        sum(each.session.appended_bytes for each in told),
        sum(each.appended_bytes for each in models),
    )
    yield from _differ(
        "bytes of models",
        sum(each.sent_bytes for each in models),
        sum(each.conversation.audio_bytes for each in told),
    )


def _left(measured: Measured) -> Iterator[str]:
    """Nothing is open once everybody has hung up."""
    yield from _some("sockets left open", measured.loaded.left_open)
    yield from _some("calls left in the engine", measured.outcome.active_calls)
    yield from _some("actors left in the engine", measured.outcome.actors)
    yield from _some("sockets left in the engine", max(measured.sockets_left, 0))


def _some(what: str, count: int) -> Iterator[str]:
    if count:
        yield f"{count} {what}"


def _differ(what: str, sent: int, arrived: int) -> Iterator[str]:
    if sent != arrived:
        yield f"{what}: {sent} were sent, {arrived} arrived"
