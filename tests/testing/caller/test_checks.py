from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.testing.caller.checks import ClearIn, MarkIn, MediaIn, Refused, check
from callengine.testing.caller.script import Wait
from tests.testing.caller.rig import OPENED_AT, Call, speech

SID = "MZ" + "0" * 32


def media(payload: object, **extra: object) -> dict[str, Any]:
    return {"event": "media", "streamSid": SID, "media": {"payload": payload}, **extra}


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (media("AQID"), MediaIn(b"\x01\x02\x03")),
        (media("AQ=="), MediaIn(b"\x01")),
        (media(""), MediaIn(b"")),
        ({"event": "mark", "streamSid": SID, "mark": {"name": "é 1"}}, MarkIn("é 1")),
        ({"event": "clear", "streamSid": SID}, ClearIn()),
    ],
)
def test_the_exact_shapes_are_accepted(message: dict[str, Any], content: object) -> None:
    assert check(json.dumps(message), SID) == content


@pytest.mark.edge_case(25)
@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ("", "not JSON"),
        ('{"event":"clear"', "not JSON"),
        ('{"event":"clear","streamSid":NaN}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ({}, "unknown event None"),
        ({"event": "stop", "streamSid": SID}, "unknown event 'stop'"),
        ({"event": ["media"], "streamSid": SID}, "unknown event"),
        ({"event": "Clear", "streamSid": SID}, "unknown event"),
        ({"event": "clear"}, "message lacks streamSid"),
        ({"event": "clear", "stream_sid": SID}, "message lacks streamSid"),
        ({"event": "clear", "streamSid": "MZother"}, "streamSid is not"),
        ({"event": "clear", "streamSid": None}, "streamSid is not"),
        ({"event": "clear", "streamSid": SID, "clear": {}}, "message has extra clear"),
        ({"event": "media", "streamSid": SID}, "message lacks media"),
        ({"event": "media", "streamSid": SID, "media": "AQID"}, "media is not an object"),
        ({"event": "media", "streamSid": SID, "media": {}}, "media lacks payload"),
        (media("AQID", sequenceNumber="1"), "message has extra sequenceNumber"),
        (media("AQID", media={"payload": "AQID", "track": "x"}), "media has extra track"),
        (media(None), "payload is not a string"),
        (media(7), "payload is not a string"),
        (media("AQI"), "payload is not base64"),
        (media("AQ=\n="), "payload is not base64"),
        (media("AQ ID"), "payload is not base64"),
        (media("_w=="), "payload is not base64"),
        (media("%%%not-base64%%%"), "payload is not base64"),
        (media("é"), "payload is not base64"),
        (media("UklGRiQAAABXQVZFZm10IA=="), "payload begins with a WAV header"),
        ({"event": "mark", "streamSid": SID, "mark": {"name": 1}}, "mark name is not a string"),
        ({"event": "mark", "streamSid": SID, "mark": {}}, "mark lacks name"),
        ({"event": "mark", "streamSid": SID, "mark": "x"}, "mark is not an object"),
    ],
)
def test_anything_else_is_invalid_content(message: object, detail: str) -> None:
    text = message if isinstance(message, str) else json.dumps(message)
    refused = check(text, SID)
    assert isinstance(refused, Refused)
    assert refused.code == 31951
    assert refused.detail.startswith(detail)


@pytest.mark.edge_case(25)
def test_a_binary_message_is_malformed() -> None:
    assert check(b'{"event":"clear"}', SID) == Refused(31950, "binary message of 17 bytes")


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary()))
def test_nothing_makes_it_raise(message: str | bytes) -> None:
    assert isinstance(check(message, SID), Refused)


@pytest.mark.edge_case(25)
def test_every_violation_is_recorded_and_the_rest_goes_on() -> None:
    call = Call(Wait(10)).run_to(1)
    call.media(speech(20))
    call.receive("nonsense")
    call.receive(b"\x00")
    call.receive(media("AQID"))
    call.receive("nonsense")
    call.media(speech(20))
    call.run_to(2)
    assert [v.code for v in call.record.violations] == [31951, 31950, 31951, 31951]
    assert {v.at_s for v in call.record.violations} == {OPENED_AT + 1}
    assert call.heard() == [(1.0, speech(20) * 2)]
    assert {message["event"] for message in call.messages()} == {"connected", "start", "media"}
