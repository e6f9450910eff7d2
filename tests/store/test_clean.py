from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.store.clean import clean_json, clean_number, clean_text

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(text=ANY_TEXT, limit=st.none() | st.integers(0, 20))
def test_clean_text_is_text_of_the_same_length(text: str, limit: int | None) -> None:
    clean = clean_text(text, limit)
    assert "\x00" not in clean
    clean.encode("utf-8")
    assert len(clean) == min(len(text), len(text) if limit is None else limit)
    assert clean_text(clean, limit) == clean


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_good_text_stays_as_it_is(text: str) -> None:
    assert clean_text(text) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
        lambda each: st.lists(each) | st.dictionaries(ANY_TEXT, each) | st.tuples(each),
        max_leaves=8,
    )
)
def test_clean_json_is_json(value: object) -> None:
    told = json.dumps(clean_json(value), allow_nan=False, ensure_ascii=False)
    told.encode("utf-8")
    assert "\\u0000" not in told


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("+15550100", "+15550100"),
        (" +1 (555) 01-00\t", "+15550100"),
        ("+49.89.123", "+4989123"),
        ("12345", "12345"),
        ("", ""),
        ("anonymous", "anonymous"),
        (" sip:front-desk@example.com ", "sip:front-desk@example.com"),
        ("client:al ice", "client:al ice"),
        ("+", "+"),
    ],
)
def test_numbers_are_spelled_one_way(told: str, kept: str) -> None:
    assert clean_number(told) == kept
