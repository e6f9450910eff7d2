from __future__ import annotations

import base64
import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.wire.fault import Fault
from callengine.wire.json_object import (
    BadField,
    JsonObject,
    as_integer,
    clipped,
    parse_object,
    well_formed,
)

RFC_4648 = re.compile(
    r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", flags=re.ASCII
)


def accepted(text: str) -> bool:
    try:
        JsonObject({"a": text}).audio("a")
    except BadField:
        return False
    return True


def test_base64_is_strict_about_every_arrangement_of_padding() -> None:
    texts = ["".join(text) for n in range(13) for text in itertools.product("A=", repeat=n)]
    assert [text for text in texts if accepted(text) != bool(RFC_4648.fullmatch(text))] == []


@given(st.text(st.sampled_from("Az9+/=-_ \n\x00é"), max_size=12))
def test_base64_is_strict_about_the_alphabet(text: str) -> None:
    assert accepted(text) == bool(RFC_4648.fullmatch(text))


@given(st.binary())
def test_base64_gives_the_bytes_back(audio: bytes) -> None:
    assert JsonObject({"a": base64.b64encode(audio).decode()}).audio("a") == audio


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (-7, -7),
        (12.0, 12),
        (2**53 - 1, 2**53 - 1),
        (2**53, None),
        (-(2**53), None),
        (1e300, None),
        (12.5, None),
        (float("inf"), None),
        (float("nan"), None),
        (True, None),
        ("7", None),
        (None, None),
    ],
)
def test_an_integer_is_a_whole_number_of_sane_size(value: object, expected: int | None) -> None:
    assert as_integer(value) == expected


@given(st.text(st.characters()))
def test_well_formed_text_can_be_encoded_and_only_lone_surrogates_change(text: str) -> None:
    replaced = "".join("?" if "\ud800" <= char <= "\udfff" else char for char in text)
    assert well_formed(text) == replaced
    assert len(clipped(text * 20).encode().decode()) <= 80


def test_a_bad_field_is_named_by_its_path() -> None:
    outer = JsonObject({"a": {"b": {"c": 1}}})
    with pytest.raises(BadField) as wrong:
        outer.child("a").child("b").text("c")
    with pytest.raises(BadField) as missing:
        outer.child("a").child_or_empty("x").text("c")
    assert (wrong.value.fault, wrong.value.path) == (Fault.WRONG_TYPE, "a.b.c")
    assert (missing.value.fault, missing.value.path) == (Fault.MISSING_FIELD, "a.x.c")


def test_children_passes_over_what_is_no_object() -> None:
    holder = JsonObject({"items": [{"id": "a"}, None, 3, [], {"id": "b"}], "text": "x"})
    assert [child.text("id") for child in holder.children("items")] == ["a", "b"]
    assert holder.children("text") == holder.children("absent") == []


@given(st.text(st.sampled_from('{}[]"a:1, \n'), max_size=12))
def test_an_object_is_what_the_standard_library_takes_for_one(text: str) -> None:
    assert parsed(text) == by_the_library(text)


@pytest.mark.parametrize("text", ['{"a":1}', ' {"a":1}', '{"a":1}\n', '\t{"a":1} '])
def test_white_space_around_an_object_is_nothing(text: str) -> None:
    assert parsed(text) == {"a": 1}


@pytest.mark.parametrize("text", ['{"a":1}}', '{"a":1}{}', '{{"a":1}', '{"a":1} {}', 'x{"a":1}'])
def test_anything_else_around_an_object_is_wrong(text: str) -> None:
    assert parsed(text) is Fault.NOT_JSON


def parsed(text: str) -> dict[str, object] | Fault:
    try:
        return parse_object(text).members
    except BadField as bad:
        return bad.fault


def by_the_library(text: str) -> dict[str, object] | Fault:
    try:
        value = json.loads(text)
    except ValueError:
        return Fault.NOT_JSON
    return value if isinstance(value, dict) else Fault.NOT_AN_OBJECT
