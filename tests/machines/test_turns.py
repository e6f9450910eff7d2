from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.turns import HEARD_OUT_MS, MAX_OPEN, OpenTurn, Turns, words_heard
from callengine.messages import TurnSettled

TEXT = "We are open from nine to five."


@pytest.mark.parametrize(
    ("heard_ms", "words"),
    [
        (0, ""),
        (1, ""),
        (300, "We are"[:2]),
        (1500, "We are open"),
        (2900, "We are open from nine to"),
        (3000 - HEARD_OUT_MS, TEXT),
        (3000, TEXT),
        (9000, TEXT),
    ],
)
def test_the_words_that_were_heard_whole(heard_ms: int, words: str) -> None:
    assert words_heard(TEXT, heard_ms, 3000) == words


@given(st.text(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_what_was_heard_is_the_beginning_of_what_was_said(
    text: str, heard_ms: int, audio_ms: int
) -> None:
    assert text.startswith(words_heard(text, heard_ms, audio_ms))


@pytest.mark.parametrize("words_first", [True, False])
def test_a_turn_is_settled_when_both_its_words_and_its_fate_are_known(words_first: bool) -> None:
    turns = Turns()
    if words_first:
        assert turns.said("i1", TEXT) == []
        settled = turns.heard("i1", 1500, 3000)
    else:
        assert turns.heard("i1", 1500, 3000) == []
        settled = turns.said("i1", TEXT)
    assert settled == [TurnSettled("i1", TEXT, "We are open", 1500, 3000)]
    assert turns.unsettled == ()


def test_what_is_left_is_told_as_far_as_it_is_known() -> None:
    turns = Turns()
    turns.said("i1", TEXT)
    turns.heard("i2", 100, 200)
    left = [turn.settled() for turn in turns.unsettled]
    assert left == [TurnSettled("i1", TEXT, "", 0, 0), TurnSettled("i2", "", "", 100, 200)]
    assert OpenTurn("i1", TEXT, 1500, 3000).settled().heard_text == "We are open"


def test_items_that_are_never_settled_do_not_pile_up() -> None:
    turns = Turns()
    told = [each for n in range(1000) for each in turns.said(f"i{n}", "Hm.")]
    assert len(turns.unsettled) == MAX_OPEN
    assert [each.item_id for each in told] == [f"i{n}" for n in range(1000 - MAX_OPEN)]
