from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.metering import Budget, Meter
from callengine.settings import Prices
from callengine.wire.realtime_events import Usage

PRICES = Prices(audio_in=32.0, audio_out=64.0, text_in=4.0, text_out=16.0, cached_in=0.4)


def usage(
    text_in: int = 0, audio_in: int = 0, text_out: int = 0, audio_out: int = 0, cached: int = 0
) -> Usage:
    taken, given_ = text_in + audio_in, text_out + audio_out
    return Usage(taken, given_, taken + given_, cached, audio_in, audio_out)


@pytest.mark.parametrize(
    ("spent", "usd"),
    [
        (usage(), 0.0),
        (usage(text_in=1_000_000), 4.0),
        (usage(audio_in=1_000_000), 32.0),
        (usage(text_out=1_000_000), 16.0),
        (usage(audio_out=1_000_000), 64.0),
        (usage(text_in=1_000_000, cached=1_000_000), 0.4),
        (usage(text_in=500_000, audio_in=500_000, cached=1_000_000), 0.4),
        (usage(text_in=500_000, audio_in=500_000, cached=500_000), 0.2 + 16.0),
    ],
)
def test_what_a_response_costs(spent: Usage, usd: float) -> None:
    meter = Meter(Budget(prices=PRICES))
    meter.add(spent)
    assert meter.usage.cost_usd == pytest.approx(usd)


def test_tokens_add_up_by_kind() -> None:
    meter = Meter(Budget())
    meter.add(usage(10, 20, 3, 4, 5))
    meter.add(usage(1, 2, 3, 4, 5))
    told = meter.usage
    assert (told.input_tokens, told.output_tokens, told.cached_tokens) == (33, 14, 10)
    assert (told.input_audio_tokens, told.output_audio_tokens) == (22, 8)
    assert told.cost_usd is None, "no price is known"
    assert meter.exceeded is None


def test_a_budget_of_tokens() -> None:
    meter = Meter(Budget(max_tokens=100))
    meter.add(usage(text_in=60, text_out=39))
    assert meter.exceeded is None
    meter.add(usage(text_in=1))
    assert meter.exceeded == "100 tokens of 100 are spent"


def test_a_budget_of_dollars() -> None:
    meter = Meter(Budget(max_usd=0.5, prices=PRICES))
    meter.add(usage(audio_out=7_000))
    assert meter.exceeded is None
    meter.add(usage(audio_out=1_000))
    assert meter.exceeded == "0.5120 of 0.5 dollars are spent"


@given(*[st.integers(0, 10**6)] * 5)
def test_nothing_costs_less_than_nothing(
    tokens_in: int, tokens_out: int, cached: int, audio_in: int, audio_out: int
) -> None:
    """Whatever a server says: its parts need not fit its totals."""
    meter = Meter(Budget(prices=PRICES))
    meter.add(Usage(tokens_in, tokens_out, 0, cached, audio_in, audio_out))
    assert meter.usage.cost_usd is not None
    assert meter.usage.cost_usd >= 0.0
