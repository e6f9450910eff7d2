from __future__ import annotations

import pytest

from callengine.testing.caller.script import (
    BargeIn,
    Dial,
    DropSocket,
    HangUp,
    Say,
    SendRaw,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.peer import Close
from tests.testing.caller.rig import OPENED_AT, Call, speech

CLIP = speech(200)


def onsets(call: Call) -> list[float]:
    return [round(said.onset_at - OPENED_AT, 6) for said in call.record.said]


def missed(call: Call) -> list[tuple[object, float]]:
    return [(missed.step, round(missed.at - OPENED_AT, 6)) for missed in call.record.missed]


def test_a_barge_in_comes_after_the_ai_was_heard_long_enough() -> None:
    call = Call(BargeIn(CLIP, 0.5, "stop!"), Wait(5)).run_to(1.003)
    call.media(speech(2000))
    call.run_to(4)
    said = call.record.said[0]
    assert onsets(call) == [1.52]  # the frame boundary after 1.503
    assert (said.kind, said.label, said.clip) == ("barge_in", "stop!", CLIP)
    assert call.record.silence_after(said.onset_at) == pytest.approx(2.003 + 1 - 1.52)


def test_a_barge_in_waits_for_a_stretch_that_is_long_enough() -> None:
    call = Call(BargeIn(CLIP, 0.5), Wait(5)).run_to(1)
    call.media(speech(400))
    call.run_to(1.51)  # 110 ms of silence: a new stretch
    call.media(speech(300))
    call.run_to(1.9)  # 90 ms: the same one
    call.media(speech(400))
    call.run_to(4)
    assert onsets(call) == [2.02]


def test_a_barge_in_never_falls_into_a_gap() -> None:
    call = Call(BargeIn(CLIP, 0.5), Wait(5)).run_to(1)
    call.media(speech(480))
    call.run_to(1.55)  # the half second was over in the gap
    call.media(speech(100))
    call.run_to(4)
    assert onsets(call) == [1.56]


def test_a_barge_in_into_a_stretch_that_lasts_already_comes_at_once() -> None:
    call = Call(Wait(2), BargeIn(CLIP, 0.5), Wait(5)).run_to(1)
    call.media(speech(3000))
    call.run_to(4)
    assert onsets(call) == [2.0]


def test_a_barge_in_without_a_chance_is_missed_and_the_script_goes_on() -> None:
    step = BargeIn(CLIP, 0.5, timeout_s=2.0)
    call = Call(step, Say(CLIP, "next"), Wait(5)).run_to(1)
    call.media(speech(490))
    call.run_to(4)
    assert missed(call) == [(step, 2.0)]
    assert [said.label for said in call.record.said] == ["next"]
    assert onsets(call) == [2.0]


def test_audio_heard_before_the_step_does_not_count_as_being_heard() -> None:
    step = WaitUntilHeard(1.0)
    call = Call(Wait(2), BargeIn(CLIP, 0.1, timeout_s=1.0), step, Wait(5)).run_to(0.5)
    call.media(speech(1000))
    call.run_to(6)
    assert [at for _, at in missed(call)] == [3.0, 4.0]


def test_waiting_until_heard_ends_with_the_first_byte() -> None:
    call = Call(WaitUntilHeard(5), Dial("1"), WaitUntilHeard(5), Dial("2"), Wait(5)).run_to(1.234)
    call.media(speech(1000))
    call.run_to(3)
    assert call.times("dtmf") == [1.234, 1.334]
    assert call.record.missed == []


def test_waiting_from_within_a_gap_ends_when_the_audio_is_back() -> None:
    call = Call(Wait(1.5), WaitUntilHeard(5), Dial("12"), Wait(5)).run_to(1)
    call.media(speech(480))
    call.run_to(1.55)
    call.media(speech(100))
    call.run_to(3)
    assert call.times("dtmf") == [1.55, 1.65]


def test_waiting_until_heard_gives_up() -> None:
    call = Call(WaitUntilHeard(0.5), Wait(5)).run_to(2)
    assert missed(call) == [(WaitUntilHeard(0.5), 0.5)]


def test_waiting_until_quiet_needs_speech_and_then_silence() -> None:
    call = Call(WaitUntilQuiet(0.3, 9), Dial("1"), Wait(5)).run_to(1)
    call.media(speech(200))
    call.run_to(1.45)  # 250 ms of silence are not enough
    call.media(speech(100))
    call.run_to(4)
    assert call.times("dtmf") == [1.85]


def test_waiting_until_quiet_counts_only_what_was_heard_since_the_caller_spoke() -> None:
    step = WaitUntilQuiet(0.3, 2.0)
    call = Call(Wait(1), Say(CLIP), step, Dial("1"), Wait(5)).run_to(0.9)
    call.media(speech(200))
    call.run_to(2)
    assert call.times("dtmf") == []
    call.media(speech(100))
    call.run_to(5)
    assert call.times("dtmf") == [2.4]


def test_waiting_until_quiet_is_over_at_once_if_it_has_been_quiet_long_enough() -> None:
    call = Call(Wait(3), WaitUntilQuiet(0.3, 9), Dial("12"), Wait(5)).run_to(1)
    call.media(speech(200))
    call.run_to(5)
    assert call.times("dtmf") == [3.0, 3.1]


def test_waiting_until_quiet_gives_up_while_the_ai_talks_on() -> None:
    call = Call(WaitUntilQuiet(0.3, 2), Wait(5)).run_to(1)
    call.media(speech(9000))
    call.run_to(4)
    assert missed(call) == [(WaitUntilQuiet(0.3, 2), 2.0)]


def test_a_clear_makes_it_quiet() -> None:
    call = Call(WaitUntilQuiet(0.3, 9), Dial("1"), Wait(5)).run_to(1)
    call.media(speech(9000))
    call.run_to(1.5)
    call.clear()
    call.run_to(4)
    assert call.times("dtmf") == [1.8]


def test_keys_are_sent_in_order_at_their_interval() -> None:
    call = Call(Wait(0.5), Dial("1#*x"), Dial("9", 0.5), Wait(0.1)).run_to(3)
    bodies = [message["dtmf"] for message in call.messages("dtmf")]
    assert bodies == [{"track": "inbound_track", "digit": digit} for digit in "1#*x9"]
    assert call.times("dtmf") == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert [key.digit for key in call.record.digits] == [*"1#*x9"]
    assert call.record.digits[1].at == pytest.approx(OPENED_AT + 0.6)
    assert call.times("stop") == [1.5]


def test_raw_messages_leave_as_they_are_and_move_no_counter() -> None:
    call = Call(Wait(0.03), SendRaw('{"event":'), SendRaw(b"\x00"), HangUp()).run_to(1)
    raw = [message for at, message in call.sent if at == 0.03]
    assert raw[:2] == ['{"event":', b"\x00"]
    assert '"sequenceNumber":"3"' in str(raw[2])
    assert raw[3] == Close(1000)


def test_nothing_of_the_script_happens_after_hanging_up() -> None:
    call = Call(HangUp(), SendRaw("late"), Say(CLIP)).run_to(1)
    assert [message["event"] for message in call.messages()] == ["connected", "start", "stop"]
    assert [sent for _, sent in call.sent][-1] == Close(1000)
    assert call.record.said == []


@pytest.mark.parametrize(
    ("step", "close"),
    [
        (DropSocket(), Close(1006, abrupt=True)),
        (DropSocket(abrupt=False), Close(1000)),
        (DropSocket(abrupt=False, code=1005), Close(1005)),
    ],
)
def test_a_dropped_socket_sends_no_stop(step: DropSocket, close: Close) -> None:
    call = Call(Wait(0.1), step, SendRaw("late")).run_to(1)
    assert call.messages("stop") == []
    assert call.closes() == [close]
    assert call.sent[-1] == (0.1, close)
    assert call.record.closed is not None
    assert (call.record.closed.code, call.record.closed.by) == (close.code, "caller")
    assert call.caller.next_deadline() is None
