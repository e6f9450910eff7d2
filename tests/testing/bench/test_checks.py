from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from callengine.machines.onsets import Outcome
from callengine.messages import EndCause
from callengine.summary import BargeInEntry
from callengine.testing.bench import checks
from tests.testing.bench.made import Run

if TYPE_CHECKING:
    from collections.abc import Callable


def interrupted(run: Run, outcome: Outcome) -> None:
    """One clear in the first call, and a frame of that response after it."""
    entry = BargeInEntry(outcome, 2.0, 2.1, 900, 1, "r1", (), 0, None, None, None, None)
    run.summaries[0] = replace(run.summaries[0], barge_in_events=1, barge_ins=(entry,))
    run.carriers[0].ear.counts.clears_at.append(1002.1)
    run.carriers[0].ear.counts.stale[1] += 1


def test_a_run_that_went_well_breaks_no_law() -> None:
    assert list(checks.faults(Run().measured)) == []


def _no_summary(run: Run) -> None:
    del run.summaries[0]


def _cut(run: Run) -> None:
    run.carriers[1].fault = "the engine cut the line"


def _bad_model_socket(run: Run) -> None:
    run.models[1].fault = "a frame that begins with 0x81 0x05"


def _ended_otherwise(run: Run) -> None:
    run.summaries[1] = replace(run.summaries[1], end_cause=EndCause.MODEL_LOST)


def _stale(run: Run) -> None:
    interrupted(run, Outcome.ACTED)


def _strange(run: Run) -> None:
    run.carriers[0].ear.counts.strange += 1


def _misplaced(run: Run) -> None:
    run.carriers[0].ear.counts.misplaced += 1


def _odd(run: Run) -> None:
    run.carriers[0].ear.counts.odd_sizes += 1


def _frame_lost(run: Run) -> None:
    run.carriers[0].ear.counts.frames -= 1


def _caller_frame_lost(run: Run) -> None:
    run.carriers[0].caller.counts.frames += 1


def _clear_lost(run: Run) -> None:
    run.summaries[0] = replace(run.summaries[0], barge_in_events=1)


def _mark_lost(run: Run) -> None:
    run.carriers[0].ear.counts.marks += 1


def _bytes_lost(run: Run) -> None:
    run.summaries[0] = replace(
        run.summaries[0], audio=replace(run.summaries[0].audio, received_bytes=160)
    )


def _append_lost(run: Run) -> None:
    run.models[0].model.counts.appended_bytes += 160


def _delta_lost(run: Run) -> None:
    run.models[0].model.counts.sent_bytes += 160


def _unreadable(run: Run) -> None:
    run.models[0].model.counts.unreadable += 1


def _open(run: Run) -> None:
    run.left_open = 1


def _call_left(run: Run) -> None:
    run.active_calls = 1


def _actor_left(run: Run) -> None:
    run.actors = 6


def _socket_left(run: Run) -> None:
    run.sockets_left = 2


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (_no_summary, "1 calls without a summary"),
        (_cut, "1 sockets: the engine cut the line"),
        (_bad_model_socket, "1 sockets: a frame that begins with 0x81 0x05"),
        (_ended_otherwise, "1 calls ended with model_lost"),
        (_stale, "1 stale frames after a clear"),
        (_strange, "1 frames of no response"),
        (_misplaced, "1 frames out of place"),
        (_odd, "1 frames not of 160 bytes"),
        (_frame_lost, "frames out do not reconcile in 1 calls"),
        (_caller_frame_lost, "frames in do not reconcile in 1 calls"),
        (_clear_lost, "barge-ins and clears do not reconcile in 1 calls"),
        (_mark_lost, "marks do not reconcile in 1 calls"),
        (_bytes_lost, "bytes of the model do not reconcile in 1 calls"),
        (_append_lost, "bytes of callers: 0 were sent, 160 arrived"),
        (_delta_lost, "bytes of models: 160 were sent, 0 arrived"),
        (_unreadable, "1 messages the model could not read"),
        (_open, "1 sockets left open"),
        (_call_left, "1 calls left in the engine"),
        (_actor_left, "6 actors left in the engine"),
        (_socket_left, "2 sockets left in the engine"),
    ],
)
def test_each_law_can_be_broken(break_it: Callable[[Run], None], told: str) -> None:
    run = Run()
    break_it(run)
    assert list(checks.faults(run.measured)) == [told]


def test_what_is_resumed_after_an_error_is_not_stale() -> None:
    run = Run()
    interrupted(run, Outcome.RESUMED)
    assert list(checks.faults(run.measured)) == []


def test_a_load_that_is_late_itself_says_nothing() -> None:
    assert list(checks.invalid(10.0, 100.0)) == []
    assert list(checks.invalid(11.0, 50.0)) == ["the load was late itself: p99 11 ms"]
    assert list(checks.invalid(1.0, 101.0)) == ["the load was late itself: 101 ms once"]


def test_calls_of_another_run_are_left_out() -> None:
    run = Run()
    run.summaries.append(replace(run.summaries[0], call_sid="CAother", tx_frames=3))
    assert list(checks.faults(run.measured)) == []
    assert sorted(run.measured.summaries) == ["CA0", "CA1"]
