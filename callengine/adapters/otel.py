"""Metrics for OpenTelemetry: through the API alone, so that the host chooses SDK and exporter."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from callengine.instruments import (
    CACHED_TOKENS,
    CALLS_BEGAN,
    COST_USD,
    GAUGES,
    SUMMED,
    TOKENS,
    Instrument,
    Kind,
    gauge,
    readings,
)

try:
    from opentelemetry.metrics import (
        CallbackOptions,
        Counter,
        Histogram,
        Meter,
        MeterProvider,
        Observation,
        get_meter,
    )
except ImportError as missing:
    raise ImportError(
        "OtelMetrics needs opentelemetry-api: pip install 'callengine[otel]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from callengine.metrics import EngineView
    from callengine.summary import CallSummary

METER: Final = "callengine"
"""Name of the meter, and prefix of all names that are ours."""

# The semantic conventions for generative AI, as of 2026. Of live speech they say nothing yet.
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_MODEL: Final = "gen_ai.request.model"
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - "input" or "output"

ATTRIBUTES: Final = {
    "end": f"{METER}.call.end",
    "le": "le",  # what a Prometheus behind the collector looks for
    "direction": GEN_AI_TOKEN_TYPE,
    "kind": f"{METER}.token.kind",
}
"""What the instruments' labels are called here."""

OF_THE_MODEL: Final = frozenset({TOKENS, CACHED_TOKENS, COST_USD})
"""Instruments whose readings name provider and model."""


class OtelMetrics:
    """Make one per meter provider; None is the global one. Engines may share it.

    `model` is the model's name, `settings.realtime_model`: what tokens cost depends on it.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        *,
        model: str = "",
        provider: str = "openai",
    ) -> None:
        self._meter = get_meter(METER, meter_provider=meter_provider)
        self._summed = {each: _summed(each, self._meter) for each in SUMMED}
        self._model = {GEN_AI_PROVIDER: provider, **({GEN_AI_MODEL: model} if model else {})}
        self._lock = threading.Lock()
        self._views: list[EngineView] = []

    def call_began(self) -> None:
        """See `Metrics`."""
        self._add(CALLS_BEGAN, 1, {})

    def call_ended(self, summary: CallSummary) -> None:
        """See `Metrics`."""
        for reading in readings(summary):
            self._add(reading.instrument, reading.value, reading.labels)

    def watch(self, view: EngineView) -> None:
        """See `Metrics`. Until then there are no gauges: an engine that rests is not full."""
        with self._lock:
            self._views.append(view)
            if len(self._views) == 1:
                for each in GAUGES:
                    self._meter.create_observable_gauge(
                        _name(each), [self._reader(each)], each.unit, each.description
                    )

    def _add(self, instrument: Instrument, value: float, labels: Mapping[str, str]) -> None:
        attributes = {ATTRIBUTES[label]: str(text) for label, text in labels.items()}
        if instrument in OF_THE_MODEL:
            attributes |= self._model
        series = self._summed[instrument]
        if isinstance(series, Histogram):
            series.record(value, attributes)
        else:
            series.add(value, attributes)

    def _reader(self, instrument: Instrument) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: [Observation(gauge(instrument, self._views))]


def _name(instrument: Instrument) -> str:
    return f"{METER}.{instrument.name}"


def _summed(instrument: Instrument, meter: Meter) -> Counter | Histogram:
    name, unit, text = _name(instrument), instrument.unit, instrument.description
    if instrument.kind is Kind.COUNTER:
        return meter.create_counter(name, unit, text)
    bounds = instrument.bounds
    return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=bounds)
