from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.deadlines import earliest


def test_without_a_deadline_there_is_none() -> None:
    assert earliest() is None
    assert earliest(None, None) is None


@given(st.lists(st.none() | st.sampled_from([float("-inf"), 0.0, 1.5, 7.0]), max_size=5))
def test_the_first_of_those_that_are_set_comes_first(deadlines: list[float | None]) -> None:
    expected = min((at for at in deadlines if at is not None), default=None)
    assert earliest(*deadlines) == expected
