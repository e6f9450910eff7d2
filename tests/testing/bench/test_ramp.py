from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.testing.bench.ramp import PRECISION, Ramp


def search(ramp: Ramp, knee: int) -> list[int]:
    tried = []
    while ramp.next is not None:
        tried.append(ramp.next)
        ramp.tried(ramp.next, held=ramp.next <= knee)
    return tried


def test_it_doubles_and_then_looks_in_between() -> None:
    ramp = Ramp(1000, 25)
    assert search(ramp, 230) == [25, 50, 100, 200, 400, 300, 250, 225, 237, 231]
    assert ramp.knee == 225


def test_it_ends_at_the_most() -> None:
    ramp = Ramp(120, 50)
    assert search(ramp, 1000) == [50, 100, 120]
    assert ramp.knee == 120


def test_it_looks_below_the_first() -> None:
    ramp = Ramp(1000, 64)
    assert search(ramp, 0)[:3] == [64, 32, 16]
    assert ramp.knee == 0


@given(
    knee=st.integers(min_value=0, max_value=1200),
    first=st.integers(min_value=1, max_value=1200),
    most=st.integers(min_value=1, max_value=1000),
)
def test_the_knee_is_found_to_a_twentieth(knee: int, first: int, most: int) -> None:
    ramp = Ramp(most, first)
    tried = search(ramp, knee)
    assert len(tried) == len(set(tried)) <= 25
    assert max(tried) <= most
    truth = min(knee, most)
    assert ramp.knee <= truth
    assert truth - ramp.knee <= max(ramp.knee * PRECISION, 1)


@pytest.mark.parametrize("most", [1, 2])
def test_it_can_be_told_to_try_almost_nothing(most: int) -> None:
    ramp = Ramp(most, 25)
    assert search(ramp, 5)[0] == most
