from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import pytest

from callengine.machines.onsets import Outcome
from callengine.summary import BargeInEntry
from callengine.testing.bench.ear import Stop
from callengine.testing.bench.figures import Percentiles, Point, point
from tests.testing.bench.made import Run


def test_what_a_call_costs() -> None:
    cost = point(Run().measured).cost
    assert cost.cpu_ms_per_call_s == 10.0  # 0.2 s for 2 calls and 10 s
    assert cost.core_share == 0.02
    assert cost.others_share == 0.08  # the core was busy for 1 s
    assert cost.rss_mb_per_call == 2.0
    assert cost.rss_mb == 62.0
    assert (cost.threads_before, cost.threads_peak) == (5, 9)


def test_how_late_frames_left() -> None:
    run = Run()
    pacing = point(run.measured).pacing
    assert (pacing.frames, pacing.resets, pacing.late_frames) == (1000, 0, 0)
    assert (pacing.lateness_p50_ms, pacing.lateness_p99_ms) == (1.0, 1.0)
    assert pacing.lateness_max_ms == 4.5
    slower = replace(run.summaries[0].transmission, lateness=Counter({1.0: 480, math.inf: 20}))
    run.summaries[0] = replace(run.summaries[0], transmission=slower)
    slow = point(run.measured)
    assert slow.pacing.lateness_p99_ms == math.inf
    assert json.loads(json.dumps(slow.to_dict()))["pacing"]["lateness_p99_ms"] is None


def test_what_the_callers_heard() -> None:
    run = Run()
    ear = run.carriers[0].ear.counts
    ear.jitter_s += [n / 1000 for n in range(1, 101)]
    ear.first_frame_s.append(0.012)
    ear.underruns, ear.underrun_s = 1, 0.05
    hearing = point(run.measured).hearing
    assert (hearing.frames, hearing.speaking_share) == (1000, 0.5)
    assert hearing.jitter_ms == Percentiles(100, 50.0, 99.0, 100.0)
    assert hearing.first_frame_ms == Percentiles(1, 12.0, 12.0, 12.0)
    assert hearing.underrun_share == 0.0025


def test_how_soon_it_was_silent() -> None:
    run = Run()
    ear = run.carriers[0].ear.counts
    ear.stops += [Stop(1.0, 1.09), Stop(5.0, 5.26)]
    ear.clears_at += [1001.093, 1005.26]
    entries = (
        BargeInEntry(Outcome.UNOPPOSED, 0.5, 0.6, 9, None, None, (), 0, None, None, None, None),
        BargeInEntry(Outcome.ACTED, 1.0, 1.09, 9, 1, "r", (), 0, None, None, None, None),
        BargeInEntry(Outcome.RESUMED, 5.0, 5.25, 9, 2, "r", (), 0, None, None, None, None),
    )
    run.summaries[0] = replace(run.summaries[0], barge_in_events=2, barge_ins=entries)
    found = point(run.measured).interruptions
    assert (found.clears, found.taken_back, found.stop_failures) == (2, 1, 1)
    assert found.onset_to_silence_ms == Percentiles(2, 90.0, 260.0, 260.0)
    assert found.decision_to_clear_ms == Percentiles(2, 3.0, 10.0, 10.0)


def test_what_the_load_did() -> None:
    run = Run(lateness_ms=Counter({0: 98, 3: 1, 7: 1}))
    run.models[0].model.counts.errors["response_cancel_not_active"] = 2
    load = point(run.measured).load
    assert (load.lateness_p99_ms, load.lateness_max_ms, load.busy) == (4.0, 8.0, 0.25)
    assert (load.questions, load.replies, load.repeats) == (4, 4, 0)
    assert load.model_errors == {"response_cancel_not_active": 2}


def _changed(part: str, **figures: object) -> Point:
    made = point(Run().measured)
    return replace(made, **{part: replace(getattr(made, part), **figures)})


def test_a_run_that_went_well_is_within_the_knee() -> None:
    made = point(Run().measured)
    assert made.within_knee
    assert not made.disturbed
    assert made.to_dict()["within_knee"] is True


@pytest.mark.parametrize(
    ("part", "figures"),
    [
        ("pacing", {"resets": 1}),
        ("pacing", {"lateness_p99_ms": 20.0}),
        ("hearing", {"underrun_share": 0.001}),
        ("interruptions", {"stop_failures": 1}),
    ],
)
def test_what_a_caller_could_notice_is_past_the_knee(part: str, figures: dict[str, object]) -> None:
    assert not _changed(part, **figures).within_knee


def test_a_broken_law_is_past_the_knee() -> None:
    assert not replace(point(Run().measured), faults=("something",)).within_knee


def test_others_on_the_core_are_told() -> None:
    assert _changed("cost", others_share=0.11).disturbed
