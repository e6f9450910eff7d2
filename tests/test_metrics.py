from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from callengine.instruments import (
    BARGEIN_CLEAR,
    CACHED_TOKENS,
    CALLS,
    CALLS_BEGAN,
    COST_USD,
    DEAD_AIR,
    DRAINING,
    FRAME_LATENESS,
    GAUGES,
    SLOTS_FREE,
    SUMMED,
    TOKENS,
    Instrument,
    Kind,
    Reading,
    gauge,
    readings,
)
from callengine.logs import CallLog, QuietLog
from callengine.machines.metering import Usage
from callengine.messages import EndCause
from callengine.metrics import EngineView, GuardedMetrics, Metrics, NoMetrics
from tests.adapters.ended import USAGE, View, ended_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.summary import CallSummary


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}|{extra}")
    logger.enable("callengine")
    yield lines
    logger.disable("callengine")
    logger.remove(sink)


def of(instrument: Instrument, summary: CallSummary) -> list[Reading]:
    return [each for each in readings(summary) if each.instrument is instrument]


def values(instrument: Instrument, summary: CallSummary) -> list[float]:
    return [each.value for each in of(instrument, summary)]


# ---- what is read off a summary


def test_a_call_is_read_off_its_summary() -> None:
    call = ended_call()
    told = {
        each.instrument.name: each.value for each in readings(call) if not each.instrument.labels
    }
    assert told == {
        "bargeins": 3,
        "false_bargeins": 1,
        "bargein.clear": pytest.approx(0.25),
        "late_frames": 3,
        "schedule_resets": 2,
        "dead_air": 2.2,
        "model_reconnects": 7,
        "fallbacks": 8,
        "stuck_recoveries": 4,
        "context_errors": 5,
        "actor_restarts": 6,
        "cached_tokens": 400,
        "cost_usd": 0.25,
    }
    assert of(CALLS, call) == [Reading(CALLS, 1, {"end": "caller_hung_up"})]


def test_every_instrument_is_fed_or_read() -> None:
    fed = {each.instrument for each in readings(ended_call())} | {CALLS_BEGAN}
    assert fed == set(SUMMED)
    assert {each.kind for each in SUMMED} == {Kind.COUNTER, Kind.HISTOGRAM}
    assert {each.kind for each in GAUGES} == {Kind.GAUGE}


def test_the_clear_is_measured_for_executed_interruptions_that_our_detector_heard() -> None:
    assert values(BARGEIN_CLEAR, ended_call()) == pytest.approx([0.07, 0.25])


def test_the_lateness_of_frames_is_cumulative_and_its_last_bucket_holds_them_all() -> None:
    told = {each.labels["le"]: each.value for each in of(FRAME_LATENESS, ended_call())}
    assert told == {
        "0.001": 90,
        "0.002": 90,
        "0.005": 95,
        "0.01": 95,
        "0.02": 95,
        "0.05": 98,
        "0.2": 98,
        "+Inf": 100,
    }


def test_tokens_are_counted_once_each() -> None:
    told = {
        (each.labels["direction"], each.labels["kind"]): each.value
        for each in of(TOKENS, ended_call())
    }
    assert told == {
        ("input", "audio"): 700,
        ("input", "text"): 300,
        ("output", "audio"): 250,
        ("output", "text"): 50,
    }


def test_a_call_without_prices_costs_nothing() -> None:
    call = ended_call(usage=replace(USAGE, cost_usd=None))
    assert values(COST_USD, call) == [0]
    assert values(CACHED_TOKENS, call) == [400]


def test_a_call_whose_stream_never_started_has_no_dead_air() -> None:
    """Else those that are refused would hide the silence of those that are held."""
    call = ended_call(stream_sid="", end_cause=EndCause.TICKET_REFUSED, dead_air_s=0.0)
    assert of(DEAD_AIR, call) == []
    assert of(CALLS, call) == [Reading(CALLS, 1, {"end": "ticket_refused"})]


TOKENS_TOLD = st.integers(0, 10**9)


@given(
    st.builds(Usage, *[TOKENS_TOLD] * 5, st.none() | st.floats(0, 100)), st.sampled_from(EndCause)
)
def test_readings_stay_within_the_table_whatever_the_model_told(
    usage: Usage, cause: EndCause
) -> None:
    """Counters refuse negative numbers, and labels that nobody knows are a memory leak."""
    for each in readings(ended_call(usage=usage, end_cause=cause)):
        assert each.value >= 0
        assert each.labels.keys() == each.instrument.labels.keys()
        assert all(text in each.instrument.labels[name] for name, text in each.labels.items())


def test_names_are_their_own() -> None:
    assert set(Counter(each.name for each in (*SUMMED, *GAUGES)).values()) == {1}


def test_a_gauge_is_the_sum_of_all_engines() -> None:
    views: list[EngineView] = [View(slots_free=3), View(slots_free=4, draining=True)]
    assert gauge(SLOTS_FREE, views) == 7
    assert gauge(DRAINING, views) == 1
    assert [gauge(each, []) for each in GAUGES] == [0] * len(GAUGES)


# ---- the protocol


class Told:
    """Metrics of a host."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[object] = []
        self._error = error

    def _take(self, what: object) -> None:
        self.told.append(what)
        if self._error is not None:
            raise self._error

    def call_began(self) -> None:
        self._take("began")

    def call_ended(self, summary: CallSummary) -> None:
        self._take(summary)

    def watch(self, view: EngineView) -> None:
        self._take(view)


def tell_all(metrics: Metrics) -> list[object]:
    view, call = View(), ended_call()
    metrics.watch(view)
    metrics.call_began()
    metrics.call_ended(call)
    return [view, "began", call]


def test_by_default_nothing_is_measured() -> None:
    tell_all(NoMetrics())


def test_guarded_metrics_are_told_everything() -> None:
    host = Told()
    assert tell_all(GuardedMetrics(host, QuietLog(CallLog().logger))) == host.told


def test_metrics_that_fail_are_logged_and_harm_nobody(logged: list[str]) -> None:
    host = Told(ValueError("the number +15550100"))
    assert tell_all(GuardedMetrics(host, QuietLog(CallLog().logger))) == host.told
    assert [line.split("|")[0] for line in logged] == ["metrics failed"] * 3
    assert all("ValueError" in line and "+15550100" not in line for line in logged)
