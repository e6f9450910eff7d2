"""Metrics for Prometheus, in one process or, with PROMETHEUS_MULTIPROC_DIR, in several.

The metrics are prometheus_client's own: a custom collector would not work in several processes.
There gauges cannot be asked for either, and each process writes down its own from time to time.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Final

from callengine.instruments import (
    CALLS_BEGAN,
    GAUGES,
    SUMMED,
    Instrument,
    Kind,
    gauge,
    readings,
)

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as missing:
    raise ImportError(
        "PrometheusMetrics needs prometheus_client: pip install 'callengine[prometheus]'"
    ) from missing

if TYPE_CHECKING:
    from callengine.metrics import EngineView
    from callengine.summary import CallSummary

SAMPLE_S: Final = 5.0
"""How often each of several processes writes down its gauges; scrapes are rarely closer."""


class PrometheusMetrics:
    """Make one per registry, before or after forking; engines may share it."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._summed = {each: _summed(each, registry) for each in SUMMED}
        self._lock = threading.Lock()
        self._gauges: dict[Instrument, Gauge] = {}
        self._views: list[EngineView] = []

    def call_began(self) -> None:
        """See `Metrics`."""
        self._add(CALLS_BEGAN, 1)

    def call_ended(self, summary: CallSummary) -> None:
        """See `Metrics`."""
        for reading in readings(summary):
            self._add(reading.instrument, reading.value, **reading.labels)

    def watch(self, view: EngineView) -> None:
        """See `Metrics`. Until then there are no gauges: an engine that rests is not full."""
        with self._lock:
            self._views.append(view)
            if not self._gauges:
                self._gauges = {each: _gauge(each, self._registry) for each in GAUGES}
                if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
                    threading.Thread(target=self._sample, name="metrics", daemon=True).start()
                else:
                    for each, series in self._gauges.items():
                        series.set_function(partial(gauge, each, self._views))

    def _add(self, instrument: Instrument, value: float, **labels: str) -> None:
        series = self._summed[instrument]
        if labels:
            series = series.labels(**labels)
        if isinstance(series, Histogram):
            series.observe(value)
        else:
            series.inc(value)

    def _sample(self) -> None:
        while True:
            for each, series in self._gauges.items():
                series.set(gauge(each, self._views))
            time.sleep(SAMPLE_S)


def _name(instrument: Instrument) -> str:
    unit = "_seconds" if instrument.unit == "s" else ""
    return f"callengine_{instrument.name.replace('.', '_')}{unit}"


def _summed(instrument: Instrument, registry: CollectorRegistry) -> Counter | Histogram:
    name, text, labels = _name(instrument), instrument.description, tuple(instrument.labels)
    if instrument.kind is Kind.HISTOGRAM:
        return Histogram(name, text, labels, buckets=instrument.bounds, registry=registry)
    counter = Counter(name, text, labels, registry=registry)
    for values in product(*instrument.labels.values()) if labels else ():
        counter.labels(*values)  # from 0 on: the first of its kind is an increase, too
    return counter


def _gauge(instrument: Instrument, registry: CollectorRegistry) -> Gauge:
    text = instrument.description
    return Gauge(_name(instrument), text, registry=registry, multiprocess_mode="livesum")
