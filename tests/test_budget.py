"""No change makes calls dearer unnoticed; and what a change saves is kept."""

from __future__ import annotations

import pytest

from tests import budget

DEARER, CHEAPER = 1.02, 0.9


@pytest.mark.skipif(budget.VERSION not in budget.budget(), reason="no budget for this Python")
def test_a_second_of_a_call_costs_what_it_may() -> None:
    cost = budget.measure()
    for what, allowed in budget.budget()[budget.VERSION].items():
        told = f"{cost.per_second()[what]} {what} per call-second, of {allowed}"
        spent = cost.per_second()[what] / allowed
        assert spent <= DEARER, f"{told}; where they come from: python -m tests.budget"
        assert spent >= CHEAPER, f"{told}; keep the gain: python -m tests.budget --write"
