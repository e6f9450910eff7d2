from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.strain import (
    CALM_S,
    JUDGE_EVERY_S,
    SPAN_S,
    Ballast,
    Level,
    Strain,
)

RATE = 2_500
"""Alarms a second of a hundred calls of which every second one is spoken to."""


class Engine:
    """Its alarms, or its looks at the sockets, on a clock of its own."""

    def __init__(self, which: str = "alarms") -> None:
        self.strain = Strain()
        self.which = which
        self.now = 100.0

    def note(self, late_s: float) -> None:
        getattr(self.strain, self.which).note(self.now, late_s)

    @property
    def level(self) -> Level:
        return self.strain.level(self.now)

    def run(self, seconds: float, *, rate: int = RATE, share: float = 0.0, late_s: float) -> None:
        """`share` of the alarms ring `late_s` late, evenly spread; the others on time."""
        owed = 0.0
        for _ in range(round(seconds * rate)):
            self.now += 1 / rate
            owed += share
            late = owed >= 1 - 1e-9
            owed -= late
            self.note(late_s if late else 0.0)

    def stall(self, seconds: float, *, rate: int = RATE) -> None:
        """Nothing rings, and then all that was due."""
        began, alarms = self.now, round(seconds * rate)
        self.now += seconds
        for n in range(alarms):
            self.note(self.now - (began + n / rate))


@pytest.fixture(params=["alarms", "looks"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(request.param)


def test_an_engine_that_has_not_been_told_anything_is_calm(engine: Engine) -> None:
    assert engine.level is Level.CALM


def test_at_the_knee_it_is_calm_and_beyond_it_is_not(engine: Engine) -> None:
    engine.run(60, share=0.05, late_s=0.030)
    assert engine.level is Level.CALM
    engine.run(SPAN_S, share=0.06, late_s=0.030)
    assert engine.level is Level.STRAINED


def test_lateness_of_less_than_a_frame_is_none(engine: Engine) -> None:
    engine.run(10, share=1.0, late_s=0.019)
    assert engine.level is Level.CALM


def test_it_is_overloaded_when_callers_are_about_to_hear_it(engine: Engine) -> None:
    engine.run(2 * SPAN_S, share=1.0, late_s=0.059)
    assert engine.level is Level.STRAINED, "late, but with a lead"
    engine.run(2 * SPAN_S, share=0.06, late_s=0.060)
    assert engine.level is Level.OVERLOADED


def test_it_goes_up_at_once(engine: Engine) -> None:
    engine.run(60, late_s=0.0)
    engine.run(2 * JUDGE_EVERY_S, share=1.0, late_s=0.030)
    assert engine.level is Level.STRAINED


def test_it_goes_down_level_by_level_when_it_has_been_quiet(engine: Engine) -> None:
    engine.run(SPAN_S, share=0.5, late_s=0.070)
    assert engine.level is Level.OVERLOADED
    engine.run(SPAN_S + CALM_S - 1.0, share=0.06, late_s=0.030)
    assert engine.level is Level.OVERLOADED, "a part of the last seconds was"
    engine.run(2.0, share=0.06, late_s=0.030)
    assert engine.level is Level.STRAINED
    engine.run(SPAN_S + CALM_S - 1.0, late_s=0.0)
    engine.run(1.5, late_s=0.0)
    assert engine.level is Level.CALM


def test_it_calms_down_when_nothing_rings_any_more(engine: Engine) -> None:
    engine.run(SPAN_S, share=1.0, late_s=0.070)
    engine.now += CALM_S - 2 * JUDGE_EVERY_S
    assert engine.level is Level.OVERLOADED
    engine.now += 2 * JUDGE_EVERY_S
    assert engine.level is Level.CALM, "all calls are over"


def test_alarms_that_ring_no_more_are_not_judged_again_with_each_look() -> None:
    engine = Engine()
    engine.run(SPAN_S, share=1.0, late_s=0.070)
    engine.which = "looks"
    engine.run(CALM_S, rate=50, late_s=0.0)
    assert engine.level is Level.CALM, "all calls are over"


def test_what_is_long_ago_is_not_judged_again(engine: Engine) -> None:
    engine.run(SPAN_S, share=1.0, late_s=0.030)
    engine.now += 60
    engine.run(1, late_s=0.0)
    assert engine.level is Level.CALM


@pytest.mark.parametrize(
    ("stall_s", "level"), [(0.25, Level.CALM), (0.30, Level.STRAINED), (0.5, Level.OVERLOADED)]
)
def test_one_stall_of_the_process(engine: Engine, stall_s: float, level: Level) -> None:
    engine.run(60, late_s=0.0)
    engine.stall(stall_s)
    engine.run(1, late_s=0.0)
    assert engine.level is level


def test_hiccups_of_a_few_calls_say_nothing(engine: Engine) -> None:
    engine.run(60, rate=50, share=9 / 50, late_s=0.030)
    assert engine.level is Level.CALM
    engine.run(SPAN_S, rate=50, share=0.3, late_s=0.070)
    assert engine.level is Level.OVERLOADED, "this is more than hiccups"


def test_frames_on_time_do_not_hide_callers_who_wait() -> None:
    engine = Engine()
    for _ in range(20):
        engine.run(SPAN_S / 20, late_s=0.0)
        engine.which = "looks"
        engine.run(SPAN_S / 20, rate=30, share=1.0, late_s=0.025)
        engine.which = "alarms"
    assert engine.level is Level.STRAINED


def test_ballast_goes_in_order_and_is_counted(engine: Engine) -> None:
    def sheds() -> list[Ballast]:
        return [each for each in Ballast if engine.strain.sheds(each, engine.now)]

    assert sheds() == []
    engine.run(SPAN_S, share=0.1, late_s=0.025)
    assert sheds() == [Ballast.DIAGNOSTICS]
    engine.run(SPAN_S, share=0.5, late_s=0.065)
    assert sheds() == [Ballast.DIAGNOSTICS, Ballast.RECORDINGS]
    assert engine.strain.shed == {Ballast.DIAGNOSTICS: 2, Ballast.RECORDINGS: 1}


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.sampled_from([0.0, 0.019, 0.02, 0.06, 0.5]), st.just(60))
        | st.tuples(st.floats(0, 0.01), st.sampled_from([0.0, 0.02, 0.06]), st.integers(1, 300)),
        max_size=40,
    )
)
def test_the_level_is_that_of_the_last_seconds_whatever_rings(
    bursts: list[tuple[float, float, int]],
) -> None:
    """Worked out anew from all that was told, each time that something is."""
    engine, judged = Engine(), list[tuple[float, Level]]()
    spans: list[tuple[float, list[float]]] = [(float("-inf"), [])]
    for pause_s, late_s, alarms in bursts:
        engine.now += pause_s
        for _ in range(alarms):
            if engine.now >= spans[-1][0]:
                judged.append((engine.now, judgement(spans, engine.now)))
                spans.append((engine.now + JUDGE_EVERY_S, []))
            spans[-1][1].append(late_s)
            engine.note(late_s)
        recent = [level for at, level in judged if engine.now < at + CALM_S]
        assert engine.level is max(recent, default=Level.CALM)


def judgement(spans: list[tuple[float, list[float]]], now: float) -> Level:
    lates = [late for at, span in spans if at > now - SPAN_S for late in span]
    late = sum(late >= 0.020 for late in lates)
    if late < 50 or late <= 0.05 * len(lates):
        return Level.CALM
    almost_heard = sum(late >= 0.060 for late in lates)
    return Level.OVERLOADED if almost_heard > 0.05 * len(lates) else Level.STRAINED
