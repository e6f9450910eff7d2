from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from callengine.adapters.otel import OtelMetrics
from callengine.instruments import GAUGES, SUMMED
from tests.adapters.ended import View, ended_call

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-realtime"}


class Collector:
    """An SDK with a reader in memory."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def collect(self) -> dict[str, Any]:
        """Name without prefix -> metric."""
        told = self._reader.get_metrics_data()
        if told is None:
            return {}
        scopes = [scope for resource in told.resource_metrics for scope in resource.scope_metrics]
        assert [scope.scope.name for scope in scopes] == ["callengine"]
        return {each.name.removeprefix("callengine."): each for each in scopes[0].metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        points = self.collect()[name].data.data_points
        return [(dict(point.attributes), point) for point in points]

    def values(self, name: str) -> list[tuple[dict[str, Any], float]]:
        return [(attributes, point.value) for attributes, point in self.points(name)]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.provider.shutdown()


def test_a_call_is_counted(collector: Collector) -> None:
    metrics = OtelMetrics(collector.provider)
    metrics.call_began()
    metrics.call_ended(ended_call())
    metrics.call_ended(ended_call())
    assert collector.collect().keys() == {each.name for each in SUMMED}
    assert collector.values("calls.began") == [({}, 1)]
    assert collector.values("calls") == [({"callengine.call.end": "caller_hung_up"}, 2)]
    assert collector.values("late_frames") == [({}, 6)]
    told = collector.values("frame.lateness.seconds.bucket")
    lateness = {at["le"]: value for at, value in told}
    assert (lateness["0.02"], lateness["+Inf"]) == (190, 200)


def test_histograms_are_in_seconds_with_bounds_of_their_own(collector: Collector) -> None:
    OtelMetrics(collector.provider).call_ended(ended_call())
    told = collector.collect()
    assert told["dead_air"].unit == told["bargein.clear"].unit == "s"
    ((_, dead_air),) = collector.points("dead_air")
    assert (dead_air.count, dead_air.sum) == (1, 2.2)
    assert 3.0 in dead_air.explicit_bounds
    ((_, clear),) = collector.points("bargein.clear")
    assert (clear.count, clear.sum) == (2, pytest.approx(0.32))
    assert 0.08 in clear.explicit_bounds


def test_tokens_name_provider_and_model(collector: Collector) -> None:
    OtelMetrics(collector.provider, model="gpt-realtime").call_ended(ended_call())
    told = collector.values("tokens")
    assert all(attributes.items() >= MODEL.items() for attributes, _ in told)
    assert {
        (at["gen_ai.token.type"], at["callengine.token.kind"]): value for at, value in told
    } == {
        ("input", "audio"): 700,
        ("input", "text"): 300,
        ("output", "audio"): 250,
        ("output", "text"): 50,
    }
    assert collector.values("cached_tokens") == [(MODEL, 400)]
    assert collector.values("cost_usd") == [(MODEL, 0.25)]


def test_a_model_that_is_not_told_is_not_named(collector: Collector) -> None:
    OtelMetrics(collector.provider, provider="azure.ai.openai").call_ended(ended_call())
    assert collector.values("cost_usd") == [({"gen_ai.provider.name": "azure.ai.openai"}, 0.25)]


def test_gauges_are_read_when_they_are_collected(collector: Collector) -> None:
    metrics = OtelMetrics(collector.provider)
    assert collector.collect() == {}, "an engine that has not started is not full"
    view = View(active_calls=2, slots_free=18, mailbox_depth=5, journal_waiting=7)
    metrics.watch(view)
    metrics.watch(View(slots_free=4))
    assert collector.collect().keys() == {each.name for each in GAUGES}
    assert collector.values("calls.active") == [({}, 2)]
    assert collector.values("slots_free") == [({}, 22)]
    assert collector.values("journal_waiting") == [({}, 7)]
    view.draining = True
    assert collector.values("draining") == [({}, 1)]


def test_without_an_sdk_nothing_happens() -> None:
    metrics = OtelMetrics()
    metrics.watch(View())
    metrics.call_began()
    metrics.call_ended(ended_call())


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    monkeypatch.delitem(sys.modules, "callengine.adapters.otel")
    with pytest.raises(ImportError, match=r"pip install 'callengine\[otel\]'"):
        importlib.import_module("callengine.adapters.otel")
