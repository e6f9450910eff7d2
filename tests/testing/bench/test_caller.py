from __future__ import annotations

import base64

import pytest

from callengine.testing.bench.caller import (
    INTERRUPTED_SHARE,
    INTERRUPTS_AFTER_S,
    PATIENCE_S,
    PAUSE_S,
    REPLY_S,
    Caller,
)
from callengine.testing.bench.codec import Inbox
from callengine.testing.bench.sounds import SPEECH
from callengine.wire import twilio

SLOT_S = 0.02


def read(message: bytes) -> twilio.Inbound:
    (_, text), *rest = Inbox(masked=True).take(message)
    assert not rest
    return twilio.decode(text.decode())


def onsets(caller: Caller, begin: float, seconds: float) -> list[float]:
    """When he begins to speak, slot by slot."""
    slots = [begin + n * SLOT_S for n in range(round(seconds / SLOT_S))]
    return [at for at in slots if caller.frame(at)[1]]


def test_the_stream_is_what_twilio_sends() -> None:
    caller = Caller(7, 1, None)
    assert read(caller.connected()) == twilio.Connected("Call", "1.0.0")
    start = read(caller.start())
    assert isinstance(start, twilio.Start)
    assert (start.stream_sid, start.call_sid) == (caller.stream_sid, caller.call_sid)
    assert (start.account_sid, start.sequence_number) == (caller.account_sid, 1)
    assert dict(start.custom_parameters) == {"call": "7"}
    told = [read(caller.frame(n * SLOT_S)[0]) for n in range(500)]
    media = [each for each in told if isinstance(each, twilio.Media)]
    assert len(media) == 500
    assert {len(each.payload) for each in media} == {160}
    assert [each.sequence_number for each in media] == list(range(2, 502))
    times = [each.timestamp_ms for each in media]
    assert times[0] is not None
    assert times[0] >= 100
    assert times[-1] - times[0] == pytest.approx(499 * 19.97, abs=1)
    assert read(caller.mark("g0-r1-000020")) == twilio.Mark(caller.stream_sid, 502, "g0-r1-000020")
    assert read(caller.stop()) == twilio.Stop(caller.stream_sid, 503, caller.call_sid)


def test_he_asks_within_the_given_time_and_all_of_his_question() -> None:
    caller = Caller(1, 1, 3.0)
    caller.begin(100.0)
    (asked,) = onsets(caller, 100.0, PATIENCE_S)
    assert 100.0 <= asked <= 103.0 + SLOT_S
    assert (caller.counts.questions, caller.counts.repeats) == (1, 0)


def test_his_question_is_said_frame_by_frame() -> None:
    caller = Caller(1, 1, 0.0)
    caller.begin(0.0)
    said = [read(caller.frame(n * SLOT_S)[0]) for n in range(len(SPEECH) + 1)]
    payloads = [each.payload for each in said if isinstance(each, twilio.Media)]
    question = [base64.b64decode(each) for each in SPEECH]
    assert payloads[:-1] == question
    assert payloads[-1] not in question


def test_a_silent_one_says_nothing() -> None:
    caller = Caller(1, 1, None)
    caller.begin(0.0)
    assert onsets(caller, 0.0, 60.0) == []


def test_a_hushed_one_ends_his_sentence_and_begins_no_other() -> None:
    caller = Caller(1, 1, 0.0)
    caller.begin(0.0)
    (asked,) = onsets(caller, 0.0, 0.1)
    caller.hush()
    said = [read(caller.frame(0.1 + n * SLOT_S)[0]) for n in range(len(SPEECH) - 5)]
    assert [each.payload for each in said if isinstance(each, twilio.Media)] == [
        base64.b64decode(each) for each in SPEECH[5:]
    ]
    for n in range(20):
        caller.reply_began(10.0 + n)
    assert onsets(caller, 10.0, REPLY_S + 2 * PATIENCE_S) == []
    assert asked == 0.0


def test_who_gets_no_answer_asks_again() -> None:
    caller = Caller(1, 1, 0.0)
    caller.begin(0.0)
    assert onsets(caller, 0.0, PATIENCE_S * 2.5) == pytest.approx(
        [0.0, PATIENCE_S, PATIENCE_S * 2], abs=2 * SLOT_S
    )
    assert caller.counts.repeats == 2


def test_three_replies_in_ten_are_interrupted_while_they_are_made() -> None:
    after = []
    for number in range(1000):
        caller = Caller(number, 5, 0.0)
        caller.begin(0.0)
        caller.frame(0.0)
        for n in range(1, len(SPEECH)):
            caller.frame(n * SLOT_S)
        caller.reply_began(10.0)
        after += [at - 10.0 for at in onsets(caller, 10.0, 4.0)]
    assert len(after) / 1000 == pytest.approx(INTERRUPTED_SHARE, abs=0.05)
    assert min(after) >= INTERRUPTS_AFTER_S[0]
    assert max(after) <= INTERRUPTS_AFTER_S[1] + SLOT_S


def test_who_heard_an_answer_out_thinks_and_asks_again() -> None:
    caller = Caller(1, 1, 0.0)
    caller.begin(0.0)
    onsets(caller, 0.0, 2.0)
    caller.reply_ended(20.0)
    (asked,) = onsets(caller, 19.0, 4.0)
    assert 20.0 + PAUSE_S[0] <= asked <= 20.0 + PAUSE_S[1] + SLOT_S


def test_who_never_hears_the_end_of_an_answer_asks_again() -> None:
    heard_out = next(each for each in (Caller(n, 5, 0.0) for n in range(50)) if _is_patient(each))
    (asked,) = onsets(heard_out, 14.0, 20.0)
    assert asked == pytest.approx(10.0 + REPLY_S + PATIENCE_S, abs=2 * SLOT_S)


def _is_patient(caller: Caller) -> bool:
    caller.begin(0.0)
    onsets(caller, 0.0, 2.0)
    caller.reply_began(10.0)
    return not onsets(caller, 10.0, 4.0)


def test_the_same_seed_gives_the_same_caller() -> None:
    one, same, other = Caller(3, 1, 2.0), Caller(3, 1, 2.0), Caller(3, 2, 2.0)
    for each in (one, same, other):
        each.begin(0.0)
    said = [[each.frame(n * SLOT_S) for n in range(300)] for each in (one, same, other)]
    assert said[0] == said[1] != said[2]
