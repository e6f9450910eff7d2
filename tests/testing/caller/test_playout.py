from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.testing.caller.playout import LIMIT_BYTES
from callengine.testing.caller.script import StopFrames, StopPlaying, Wait
from tests.testing.caller.rig import OPENED_AT, Call, speech


def listening(**options: float) -> Call:
    """A caller without inbound frames, which would only take time here."""
    return Call(StopFrames(10_000), **options)


@pytest.mark.edge_case(26)
def test_audio_plays_from_its_arrival_at_8000_bytes_per_second() -> None:
    call = listening().run_to(0.5)
    call.media(speech(100))
    call.run_to(0.55)
    assert call.heard() == [(0.5, speech(100)[:400])]
    call.run_to(2)
    assert call.heard() == [(0.5, speech(100))]
    assert call.record.unheard_bytes == 0


def test_fragments_of_any_size_play_back_to_back() -> None:
    call = listening().run_to(1)
    audio = speech(50)
    for begin, end in ((0, 1), (1, 38), (38, 198), (198, 400)):
        call.media(audio[begin:end])
    call.media(b"")
    assert call.run_to(2).heard() == [(1.0, audio)]
    assert [frame.size_bytes for frame in call.record.frames] == [1, 37, 160, 202, 0]


def test_after_an_underrun_audio_resumes_at_its_arrival() -> None:
    call = listening().run_to(1)
    call.media(speech(20))
    call.run_to(1.0301)
    call.media(speech(20, first=50))
    assert call.run_to(2).heard() == [(1.0, speech(20)), (1.0301, speech(20, first=50))]


def test_audio_arriving_just_in_time_continues_the_span() -> None:
    call = listening().run_to(1)
    call.media(speech(20))
    call.run_to(1.02)
    call.media(speech(20))
    assert call.run_to(2).heard() == [(1.0, speech(20) * 2)]


def test_a_mark_is_echoed_when_exactly_what_was_before_it_was_heard() -> None:
    call = listening().run_to(1)
    call.media(speech(20)[:101])
    call.mark("a")
    call.media(speech(20))
    call.mark("b")
    call.mark("b")
    call.run_to(2)
    played = [round(1 + 101 / 8000, 6), round(1 + 261 / 8000, 6)]
    assert call.echoes() == [(played[0], "a"), (played[1], "b"), (played[1], "b")]
    assert [mark.cleared for mark in call.record.marks] == [False] * 3
    assert call.record.marks[0].received_at == pytest.approx(OPENED_AT + 1)
    assert call.record.marks[0].echoed_at == pytest.approx(OPENED_AT + played[0])


def test_a_mark_is_echoed_at_once_when_nothing_is_queued() -> None:
    call = listening()
    call.mark("never a byte")
    call.run_to(1)
    call.media(speech(20))
    call.run_to(1.5)
    call.mark("idle again")
    assert call.echoes() == [(0.0, "never a byte"), (1.5, "idle again")]


def test_echoes_can_be_late_and_keep_their_order() -> None:
    call = listening(mark_echo_delay_s=0.5).run_to(1)
    call.media(speech(20))
    call.mark("a")
    call.run_to(1.1)
    call.mark("b")
    call.run_to(3)
    assert call.echoes() == [(1.52, "a"), (1.6, "b")]


def test_clear_plays_up_to_now_drops_the_rest_and_echoes_all_marks_at_once() -> None:
    call = listening().run_to(1)
    for name in "abc":
        call.media(speech(100))
        call.mark(name)
    call.run_to(1.15)
    call.clear()
    call.run_to(3)
    assert call.echoes() == [(1.1, "a"), (1.15, "b"), (1.15, "c")]
    assert [mark.cleared for mark in call.record.marks] == [False, True, True]
    assert call.heard() == [(1.0, (speech(100) * 2)[: 150 * 8])]
    assert call.record.clears[0].dropped_bytes == 150 * 8
    assert call.record.clears[0].at == pytest.approx(OPENED_AT + 1.15)


def test_clear_brings_forth_a_delayed_echo_without_calling_it_cleared() -> None:
    call = listening(mark_echo_delay_s=0.5).run_to(1)
    call.media(speech(100))
    call.mark("heard")
    call.media(speech(100))
    call.mark("cut")
    call.run_to(1.15)
    call.clear()
    call.run_to(3)
    assert call.echoes() == [(1.15, "heard"), (1.15, "cut")]
    assert [mark.cleared for mark in call.record.marks] == [False, True]


def test_a_mark_heard_before_a_clear_was_not_cleared_even_if_nobody_woke_the_caller() -> None:
    call = listening().run_to(1)
    call.media(speech(20))
    call.mark("heard")
    call.let_pass(1.5).clear()
    assert call.echoes() == [(1.5, "heard")]
    assert [mark.cleared for mark in call.record.marks] == [False]


@pytest.mark.edge_case(24)
def test_audio_right_after_a_clear_is_played() -> None:
    call = listening().run_to(1)
    call.clear()
    call.media(speech(100))
    call.run_to(1.05)
    call.clear()
    call.clear()
    call.media(speech(20, first=7))
    call.run_to(2)
    assert b"".join(payload for _, payload in call.heard()) == speech(50) + speech(20, first=7)
    assert [clear.dropped_bytes for clear in call.record.clears] == [0, 50 * 8, 0]


def stopped(**options: float) -> Call:
    """Nothing is heard from 1.02 to 4.02 on."""
    return Call(Wait(1.02), StopPlaying(3), StopFrames(10_000), **options).run_to(1)


def test_what_waits_while_nothing_is_played_is_heard_afterwards_and_its_marks_reached() -> None:
    call = stopped()
    call.media(speech(40))
    call.mark("a")
    call.run_to(2)
    call.media(speech(20, first=90))
    call.mark("b")
    assert call.record.unheard_bytes == 320
    call.run_to(9)
    assert call.heard() == [
        (1.0, speech(40)[:160]),
        (4.02, speech(40)[160:] + speech(20, first=90)),
    ]
    assert call.echoes() == [(4.04, "a"), (4.06, "b")]


def test_what_comes_while_nothing_is_played_waits_too() -> None:
    call = stopped().run_to(2)
    call.mark("a")
    call.media(speech(20))
    call.run_to(9)
    assert call.heard() == [(4.02, speech(20))]
    assert call.echoes() == [(4.02, "a")]


def test_a_clear_while_nothing_is_played_drops_what_waits() -> None:
    call = stopped()
    call.media(speech(40))
    call.mark("a")
    call.run_to(2)
    call.clear()
    assert call.echoes() == [(2.0, "a")]
    call.media(speech(20))
    assert call.run_to(9).heard() == [(1.0, speech(40)[:160]), (4.02, speech(20))]


@pytest.mark.edge_case(26)
def test_more_than_ten_minutes_queued_is_dropped_and_recorded() -> None:
    call = listening().run_to(1)
    call.media(b"\x01" * (LIMIT_BYTES - 10))
    call.media(b"\x02" * 30)
    call.mark("end")
    assert [violation.code for violation in call.record.violations] == [31931]
    assert [frame.dropped_bytes for frame in call.record.frames] == [0, 20]
    assert call.record.unheard_bytes == LIMIT_BYTES
    call.run_to(602)
    assert call.record.heard[0].payload[-20:] == b"\x01" * 10 + b"\x02" * 10
    assert call.echoes() == [(601.0, "end")]


ACTIONS = st.lists(
    st.tuples(
        st.floats(0, 0.3),
        st.one_of(st.binary(max_size=2000), st.just("mark"), st.just("clear")),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(ACTIONS)
def test_no_byte_is_lost_doubled_or_heard_ahead_of_time(
    actions: list[tuple[float, bytes | str]],
) -> None:
    call = listening()
    now = 0.0
    for pause_s, action in actions:
        now += pause_s
        call.run_to(now)
        if isinstance(action, bytes):
            call.media(action)
        elif action == "mark":
            call.mark(str(len(call.record.marks)))
        else:
            call.clear()
        record = call.record
        heard_bytes = sum(len(span.payload) for span in record.heard)
        cleared_bytes = sum(clear.dropped_bytes for clear in record.clears)
        received_bytes = sum(frame.size_bytes for frame in record.frames)
        assert heard_bytes + cleared_bytes + record.unheard_bytes == received_bytes
        if record.frames:
            assert heard_bytes <= (OPENED_AT + now - record.frames[0].at) * 8000 + 0.1
    call.run_to(now + 10)
    names = [name for _, name in call.echoes()]
    assert names == [str(n) for n in range(len(names))]
    assert len(names) == len(call.record.marks)
    spans = call.record.heard
    assert all(a.until <= b.at for a, b in pairwise(spans))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.2), st.binary(max_size=999)), max_size=20))
def test_without_clear_the_caller_hears_exactly_what_was_sent(
    arrivals: list[tuple[float, bytes]],
) -> None:
    call = listening()
    now = 0.0
    for pause_s, payload in arrivals:
        now += pause_s
        call.run_to(now)
        call.media(payload)
    call.run_to(now + 10)
    sent = b"".join(payload for _, payload in arrivals)
    assert b"".join(payload for _, payload in call.heard()) == sent


def test_after_a_silence_audio_waits_for_the_delay_and_within_it_not_again() -> None:
    call = listening(playout_delay_s=0.06).run_to(1)
    call.media(speech(20))
    call.run_to(1.03)
    call.media(speech(20))
    call.run_to(2)
    call.media(speech(20))
    assert call.run_to(3).heard() == [(1.06, speech(20) * 2), (2.06, speech(20))]
