from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.wire.call_update import put_through, say_goodbye

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda text: not any(ord(each) in {0xFFFE, 0xFFFF} for each in text)
)


def verbs(twiml: str) -> list[tuple[str, str | None, dict[str, str]]]:
    return [(verb.tag, verb.text, verb.attrib) for verb in ElementTree.fromstring(twiml)]


@pytest.mark.parametrize("text", [None, ""])
def test_a_caller_is_put_through(text: str | None) -> None:
    assert verbs(put_through("+15550100", text, None)) == [("Dial", "+15550100", {})]


def test_something_may_be_said_before() -> None:
    assert verbs(put_through("+15550100", "One moment.", "en-GB")) == [
        ("Say", "One moment.", {"language": "en-GB"}),
        ("Dial", "+15550100", {}),
    ]


def test_the_last_word() -> None:
    assert verbs(say_goodbye("Goodbye.", None)) == [("Say", "Goodbye.", {}), ("Hangup", None, {})]


@given(TEXTS, TEXTS)
def test_a_text_is_never_markup(text: str, language: str) -> None:
    (say, _) = verbs(say_goodbye(text, language))
    assert say == ("Say", text, {"language": language})
