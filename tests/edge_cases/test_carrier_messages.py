"""Messages of the carrier that are odd, broken, foreign or new, in the middle of a call."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from callengine import Agent, EndCause
from callengine.agent import DtmfPressed
from callengine.testing import BargeIn, Dial, Say, SendRaw, Wait, WaitUntilHeard
from callengine.testing.caller.faults import FrameSizes
from callengine.wire import twilio as wire
from callengine.wire.fault import Fault
from tests.edge_cases.carrier_calls import (
    ANSWERED,
    ASK,
    GREETED,
    INVENTED,
    QUESTION,
    STOP,
    asked_and_answered,
    call,
    check,
    closed,
    model_hung_up_on_s,
    stream,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callengine.testing.caller.script import Step
    from callengine.testing.held import Held

LOUD = b"\x20" * 160
"""Nothing of what is refused may reach the model; in ordinary calls this does not occur."""


def amid_the_question(messages: Iterable[str | bytes]) -> Held:
    """All messages come in the middle of a word of the caller, and again while the AI speaks."""
    trouble: list[Step] = [SendRaw(message) for message in messages]
    half = 3_200
    asking = [Say(QUESTION[:half]), *trouble, Say(QUESTION[half:])]
    return call([GREETED, *asking, WaitUntilHeard(9.0), Wait(0.5), *trouble, ANSWERED])


def media(payload: object, **fields: object) -> str:
    body = {"track": "inbound", "payload": payload, **fields}
    return json.dumps({"event": "media", "streamSid": stream().stream_sid, "media": body})


# ---- frames


@pytest.mark.edge_case(10)
@pytest.mark.parametrize(
    "sizes", [(80,), (320,), (1, 319), (0, 160), (37,), (160, 0, 1, 37, 4_000), (40_000,)], ids=str
)
def test_frames_of_any_size_reach_the_model_to_the_byte(sizes: tuple[int, ...]) -> None:
    replies = call().model.responses  # what is said does not depend on the frames
    held = call([*ASK, Wait(4.0)], faults=[FrameSizes(sizes)])
    check(held, *INVENTED)
    assert QUESTION in bytes(held.model.appended)
    assert [response.audio for response in held.model.responses] == [r.audio for r in replies]
    inbound = held.summary.inbound
    assert inbound.frames + inbound.empty_frames == held.caller.inbound_frames_sent
    assert inbound.payload_bytes + inbound.filled_ms * 8 == len(held.model.appended)
    assert inbound.duplicates == inbound.reordered == 0


@pytest.mark.edge_case(10)
@pytest.mark.parametrize("sizes", [(37,), (320,), (0, 1, 400)], ids=str)
def test_a_caller_interrupts_with_frames_of_any_size(sizes: tuple[int, ...]) -> None:
    held = call([GREETED, Say(QUESTION), BargeIn(STOP, 1.0), ANSWERED], faults=[FrameSizes(sizes)])
    check(held, *INVENTED)
    (interruption,) = held.interruptions
    assert interruption.decided_s - held.caller.said[-1].onset_at < 0.2


@pytest.mark.edge_case(10, 14)
@pytest.mark.parametrize("size_bytes", [64 * 1024, 2 * 1024 * 1024])
def test_an_oversized_frame_ends_the_call_and_is_not_heard(size_bytes: int) -> None:
    huge = media(b64encode(LOUD * (size_bytes // 160)).decode())
    held = call([GREETED, SendRaw(huge), Wait(1_000.0)])
    assert held.summary.end_cause is EndCause.OVERSIZE_MESSAGE
    assert closed(held) == (1009, "engine")
    assert model_hung_up_on_s(held) < 0.05
    assert LOUD not in held.model.appended
    check(held, *INVENTED)


# ---- messages


BAD_PAYLOADS: list[tuple[object, Fault]] = [
    ("no base64!", Fault.BAD_BASE64),
    ("//8", Fault.BAD_BASE64),
    ("//8==", Fault.BAD_BASE64),
    ("ICAg====", Fault.BAD_BASE64),
    ("__8=", Fault.BAD_BASE64),
    ("IC Ag", Fault.BAD_BASE64),
    ("ICAg\n", Fault.BAD_BASE64),
    ("é+xx", Fault.BAD_BASE64),
    (None, Fault.WRONG_TYPE),
    (7, Fault.WRONG_TYPE),
    (["ICAg"], Fault.WRONG_TYPE),
    ({"data": "ICAg"}, Fault.WRONG_TYPE),
]
SID = stream().stream_sid
BAD_MESSAGES: list[tuple[str | bytes, Fault]] = [
    (json.dumps({"event": "media", "streamSid": SID}), Fault.MISSING_FIELD),
    (json.dumps({"event": "media", "streamSid": SID, "media": {}}), Fault.MISSING_FIELD),
    (json.dumps({"event": "media", "media": {"payload": "ICAg"}}), Fault.MISSING_FIELD),
    (json.dumps({"event": "media", "streamSid": SID, "media": "ICAg"}), Fault.WRONG_TYPE),
    (json.dumps({"event": "media", "streamSid": SID, "media": [{}]}), Fault.WRONG_TYPE),
    (json.dumps({"event": None}), Fault.WRONG_TYPE),
    ("{}", Fault.MISSING_FIELD),
    ("[]", Fault.NOT_AN_OBJECT),
    ('"media"', Fault.NOT_AN_OBJECT),
    ("7", Fault.NOT_AN_OBJECT),
    ("null", Fault.NOT_AN_OBJECT),
    ("", Fault.NOT_JSON),
    ('{"event":"media","media":{"payl', Fault.NOT_JSON),
    ('{"event":NaN}', Fault.NOT_JSON),
    ('{"event":"stop","x":Infinity}', Fault.NOT_JSON),
    ("[" * 30_000, Fault.NOT_JSON),
    ('{"a":' * 10_000 + "1" + "}" * 10_000, Fault.NOT_JSON),
    ("\ud800", Fault.NOT_JSON),
    (b'{"event":"stop"}', Fault.BINARY),
    (LOUD, Fault.BINARY),
]


@pytest.mark.edge_case(11, 12, 13)
@pytest.mark.parametrize(
    "bad",
    [[(media(payload), fault) for payload, fault in BAD_PAYLOADS], BAD_MESSAGES],
    ids=["payloads", "messages"],
)
def test_what_cannot_be_read_costs_itself_only(bad: list[tuple[str | bytes, Fault]]) -> None:
    held = amid_the_question(message for message, _ in bad)
    check(held)
    asked_and_answered(held)
    assert held.summary.inbound.malformed == {
        fault: 2 * count for fault, count in Counter(fault for _, fault in bad).items()
    }


@pytest.mark.edge_case(12)
def test_of_a_duplicated_key_the_last_one_counts() -> None:
    doubled = media(b64encode(LOUD).decode()).replace('"media": {', '"media": 7, "media": {')
    held = call([*ASK, SendRaw(doubled), Wait(0.1)])
    check(held, *INVENTED)
    assert LOUD in held.model.appended
    assert held.summary.inbound.malformed == {}


@pytest.mark.edge_case(15)
def test_what_is_new_is_ignored_and_counted() -> None:
    sid = {"streamSid": SID, "sequenceNumber": "9"}
    news: list[str] = [json.dumps({"event": event, **sid}) for event in ("dance", "MEDIA", "")]
    extra = json.loads(stream().connected()) | {"region": "us1", "features": {"hd": [1, 2]}}
    held = amid_the_question([*news, json.dumps(extra)])
    check(held)
    asked_and_answered(held)
    assert held.summary.inbound.unknown_messages == 2 * len(news)
    assert held.summary.inbound.malformed == {}


@pytest.mark.edge_case(15)
def test_media_with_fields_that_are_new_is_media() -> None:
    frame = json.loads(media(b64encode(LOUD).decode(), energy=0.5, codec={"name": "x"}))
    held = call([*ASK, SendRaw(json.dumps(frame | {"region": "us1"})), Wait(0.1)])
    check(held, *INVENTED)
    assert LOUD in held.model.appended


@pytest.mark.edge_case(16)
def test_the_other_track_is_not_fed_to_the_model() -> None:
    ours = [media(b64encode(LOUD).decode(), track="outbound", timestamp=str(n)) for n in range(20)]
    held = amid_the_question(ours)
    check(held)
    asked_and_answered(held)
    assert held.summary.inbound.foreign_frames == 40
    assert LOUD not in held.model.appended


# ---- keys


@pytest.mark.edge_case(20)
@pytest.mark.parametrize(
    ("keys", "interval_s"), [("411111111111", 0.025), ("#*", 0.1), ("1A☎x", 0.0)]
)
def test_keys_reach_the_host_in_order_and_interrupt_nobody(keys: str, interval_s: float) -> None:
    events: list[object] = []
    dial: list[Step] = [WaitUntilHeard(9.0), Wait(0.5), Dial(keys, interval_s)]
    held = call([GREETED, Say(QUESTION), *dial, ANSWERED], agent=Agent(on_event=events.append))
    check(held)
    asked_and_answered(held)
    pressed = [event.digit for event in events if isinstance(event, DtmfPressed)]
    assert pressed == list(keys)
    assert held.summary.inbound.dtmf_digits == len(keys)
    assert held.caller.clears == [], "the AI spoke on"


@pytest.mark.edge_case(20)
def test_a_key_that_has_no_name_is_no_key() -> None:
    events: list[object] = []
    held = call(
        [*ASK, Dial("", 0.0), SendRaw(stream().dtmf("")), Wait(0.1)],
        agent=Agent(on_event=events.append),
    )
    check(held)
    assert held.summary.inbound.malformed == {Fault.MISSING_FIELD: 1}
    assert not [event for event in events if isinstance(event, DtmfPressed)]


@pytest.mark.edge_case(20)
def test_keys_stay_out_of_the_log() -> None:
    """Also when the host fails over one: a card number is in its arguments then."""
    keys = "493827165"
    lines: list[str] = []

    def on_event(event: object) -> None:
        if not isinstance(event, DtmfPressed):
            return
        told = f"cannot take {event.digit} of {keys}"
        raise LookupError(told)

    sink = logger.add(lines.append, level=0, format="{message} {extra} {exception}", diagnose=True)
    logger.enable("callengine")
    try:
        held = call([GREETED, Dial(keys)], agent=Agent(on_event=on_event))
    finally:
        logger.disable("callengine")
        logger.remove(sink)
    assert held.summary.context_errors == len(keys)
    text = "".join(lines)
    assert "host code failed" in text
    assert keys not in text
    assert "cannot take 4" not in text


@pytest.mark.edge_case(12)
def test_the_codec_gives_the_same_verdicts() -> None:
    for message, fault in BAD_MESSAGES:
        decoded = wire.decode(message)
        assert isinstance(decoded, wire.Malformed)
        assert decoded.fault is fault
