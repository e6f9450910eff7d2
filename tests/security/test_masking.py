from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.security.masking import MAX_TEXT_CHARS, masked, scrubbed


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+15551234567", "+1555***67"),
        ("+442071838750", "+4420***50"),
        ("+1234567", "+1***67"),
        ("+123456789012345", "+1234***45"),
        ("5551234567", "5551***67"),
        ("sip:ann@example.com", "sip:a***om"),
        ("anonymous", "ano***us"),
        ("123456", "***"),
        ("911", "***"),
        ("", "***"),
    ],
)
def test_of_a_number_at_least_four_characters_are_hidden(number: str, shown: str) -> None:
    assert masked(number) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call from +15551234567 to +442071838750", "call from +1555***67 to +4420***50"),
        ("sip:+15551234567@example.com", "sip:+1555***67@example.com"),
        ("From=%2B15551234567&To=x", "From=%2B15***67&To=x"),
        ("+1 (555) 123-4567", "+1 (5***67"),
        ("+1-555-123-4567.", "+1-55***67."),
        ("+49.30.1234567", "+49.3***67"),
        ("(+15551234567)", "(+1555***67)"),
        ("++15551234567", "++1555***67"),
        ("+123456789012345678901", "+1234***01"),
    ],
)
def test_a_number_is_found_wherever_it_is(text: str, shown: str) -> None:
    assert scrubbed(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MZ11111111111111111111111111111111",
        "2026-03-01T10:00:00+00:00",
        "0.1 + 0.2",
        "x+123456",
        "took 1234567890 ns",
        "resp_12345678901234567890",
        "Zoë ☎ 東京",
        "C:\\new\\table",
    ],
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nERROR forged", "a\\nERROR forged"),
        ("a\r\nb\tc\x00", "a\\r\\nb\\tc\\x00"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m\x7f\x85", "\\x9b31m\\x7f\\x85"),
        ("\u2028\u2029\u202e\u2066", "\\u2028\\u2029\\u202e\\u2066"),
        ("\ud800", "\\ud800"),
        ("+1555\n1234567", "+1555\\n1234567"),
    ],
)
def test_what_could_begin_a_line_or_steer_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert scrubbed(text) == shown


ANY_TEXT = st.text(st.characters(), max_size=200) | st.text("+0123456789 ()-.%2B\n\x1bab")


@given(ANY_TEXT | ANY_TEXT.map(lambda text: text * 200))
def test_whatever_it_was_it_is_one_short_line_without_a_number(text: str) -> None:
    shown = scrubbed(text)
    assert len(shown) <= MAX_TEXT_CHARS
    assert shown.isascii() or len(shown.splitlines()) <= 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", shown)
    assert not re.search(r"\+[0-9]{7}", shown)
    shown.encode()
    assert scrubbed(shown) == shown


def test_what_is_too_long_is_cut() -> None:
    assert scrubbed("x" * MAX_TEXT_CHARS) == "x" * MAX_TEXT_CHARS
    assert scrubbed("x" * (MAX_TEXT_CHARS + 1)) == "x" * (MAX_TEXT_CHARS - 3) + "..."
    assert len(scrubbed("\ud800" * MAX_TEXT_CHARS)) == MAX_TEXT_CHARS
