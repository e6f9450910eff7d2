"""The drawn calls and their judge, on the virtual clock as far as no network is in trouble."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from callengine import EndCause
from callengine.testing import Simulation, laws
from callengine.testing.crowd.mishaps import (
    AGENT,
    NONE,
    NOTICED_S,
    Drawn,
    Mishap,
    breaches,
    by_mishap,
    draw,
    draw_call,
    strangers,
)
from callengine.testing.figures import Figure
from callengine.testing.network.proxy import Swallow

if TYPE_CHECKING:
    from callengine import CallSummary

SHORT_S = 8.0


def hold(drawn: Drawn) -> CallSummary:
    return Simulation(drawn.call.caller, drawn.call.model, agent=AGENT).run()


def healthy(number: int) -> tuple[Drawn, CallSummary]:
    drawn = draw_call(number, seed=3, seconds=SHORT_S, healthy=True)
    return drawn, hold(drawn)


@pytest.fixture(scope="module")
def two_calls() -> list[tuple[Drawn, CallSummary]]:
    return [healthy(1), healthy(2)]


def test_a_healthy_call_has_nothing_to_find_fault_with(
    two_calls: list[tuple[Drawn, CallSummary]],
) -> None:
    for drawn, summary in two_calls:
        assert drawn.mishap is NONE
        assert list(breaches(drawn, summary)) == []
        assert summary.duration_s >= SHORT_S
        assert summary.barge_ins
    assert list(strangers(drawn for drawn, _ in two_calls)) == []


def test_audio_of_another_call_is_found(two_calls: list[tuple[Drawn, CallSummary]]) -> None:
    (one, summary), (other, _) = two_calls
    mixed = replace(one, call=replace(one.call, model=other.call.model))
    found = list(breaches(mixed, summary))
    assert any("no response's" in each for each in found)
    assert "the model did not hear its caller" in found
    assert list(strangers([mixed, replace(other, call=one.call)])) == [
        "model 1 heard caller 2",
        "model 2 heard caller 1",
    ]


def test_a_call_that_ended_otherwise_than_it_may_is_found(
    two_calls: list[tuple[Drawn, CallSummary]],
) -> None:
    drawn, summary = two_calls[0]
    lost = replace(summary, end_cause=EndCause.MODEL_LOST, end_detail="closed with 1011")
    assert list(breaches(drawn, lost)) == ["it ended with model_lost: closed with 1011"]
    assert list(breaches(drawn, None)) == ["there is no summary"]
    failed = replace(drawn, call=replace(drawn.call, failure=TimeoutError("cut")))
    assert list(breaches(failed, summary)) == [
        "the caller could not hold the call: TimeoutError('cut')"
    ]


def test_what_arrived_without_having_been_sent_is_found(
    two_calls: list[tuple[Drawn, CallSummary]],
) -> None:
    drawn, summary = two_calls[0]
    broken = replace(drawn, mishap=Mishap("of some kind"))
    assert list(breaches(broken, summary)) == []
    fewer = replace(summary, tx_frames=summary.tx_frames - 1)
    figure = Figure("frames out", fewer.tx_frames, summary.tx_frames)
    law = laws.counters_invent_nothing.__name__
    assert list(breaches(broken, fewer)) == [f"{law}: {figure}"]


def test_the_same_seed_draws_the_same_call() -> None:
    one, again = (draw_call(5, seed=1, seconds=60.0, healthy=False) for _ in range(2))
    other = draw_call(6, seed=1, seconds=60.0, healthy=False)
    assert (one.mishap, one.voice) == (again.mishap, again.voice)
    assert one.call.caller.record.stream_sid == again.call.caller.record.stream_sid
    assert one.voice != other.voice


def test_everything_goes_wrong_some_time_and_dead_carriers_in_long_calls_only() -> None:
    long = {draw(Random(seed), 60.0).name for seed in range(400)}
    short = {draw(Random(seed), NOTICED_S).name for seed in range(400)}
    assert len(long) == 21
    assert long - short == {"carrier dead"}
    [dead] = [each for n in range(99) if (each := draw(Random(n), 60.0)).name == "carrier dead"][:1]
    assert isinstance(dead.on_carrier[0], Swallow)


def test_calls_are_sorted_by_what_went_wrong() -> None:
    calls = [draw_call(n, seed=2, seconds=9.0, healthy=n < 3) for n in range(9)]
    groups = by_mishap(calls)
    assert groups["none"] == calls[:3]
    assert sorted(each.number for group in groups.values() for each in group) == list(range(9))


IN_TROUBLE = [draw_call(n, 8, SHORT_S, healthy=False, silent_for_s=0.5) for n in range(24)]
WITHOUT_A_NETWORK = [
    drawn
    for drawn in IN_TROUBLE
    if not (drawn.mishap.refuse_with or drawn.mishap.on_carrier or drawn.mishap.on_model)
]


@pytest.mark.parametrize("drawn", WITHOUT_A_NETWORK, ids=lambda drawn: drawn.mishap.name)
def test_calls_in_trouble_end_as_they_may(drawn: Drawn) -> None:
    assert list(breaches(drawn, hold(drawn))) == []
