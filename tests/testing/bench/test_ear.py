from __future__ import annotations

import base64

import pytest

from callengine.audio.g711 import FRAME_BYTES, FRAME_S
from callengine.testing.bench.ear import SETTLED_FRAMES, Ear, Heard, Stop
from callengine.testing.bench.sounds import REPLY_FRAMES, VOICES, reply


def frame(number: int, place: int) -> bytes:
    return base64.b64encode(reply(number)[place * FRAME_BYTES : (place + 1) * FRAME_BYTES])


def play(ear: Ear, number: int, places: range, at: float) -> float:
    """Frames every 20 ms; returns when the last came."""
    for place in places:
        ear.media(frame(number, place), at + (place - places.start) * FRAME_S)
    return at + (len(places) - 1) * FRAME_S


def test_a_reply_has_a_first_frame_a_last_and_others() -> None:
    ear = Ear()
    ear.expect(1, 9.5)
    heard = [ear.media(frame(1, place), 10.0 + place * FRAME_S) for place in range(REPLY_FRAMES)]
    assert heard == [Heard.FIRST, *[Heard.MORE] * (REPLY_FRAMES - 2), Heard.LAST]
    assert ear.plays_until == pytest.approx(22.0)
    counts = ear.counts
    assert (counts.frames, counts.misplaced, counts.underruns, counts.strange) == (600, 0, 0, 0)
    assert counts.first_frame_s == [0.5]


def test_frames_play_back_to_back_from_their_arrival() -> None:
    ear = Ear()
    for place in range(5):
        ear.media(frame(1, place), 1.0)
    assert ear.plays_until == pytest.approx(1.1)
    assert ear.audible(1.099)
    assert not ear.audible(1.101)
    ear.media(frame(1, 5), 1.15)
    assert ear.plays_until == pytest.approx(1.17)
    assert (ear.counts.underruns, ear.counts.underrun_s) == (1, pytest.approx(0.05))


def test_silence_between_replies_is_no_underrun() -> None:
    ear = Ear()
    play(ear, 1, range(3), 1.0)
    ear.expect(2, 4.9)
    play(ear, 2, range(3), 5.0)
    assert (ear.counts.underruns, ear.counts.misplaced) == (0, 0)


def test_a_frame_that_is_lost_or_comes_twice_is_out_of_place() -> None:
    ear = Ear()
    for place in (0, 1, 3, 3, 4):
        ear.media(frame(1, place), 1.0)
    assert ear.counts.misplaced == 2
    ear.media(frame(2, 1), 1.0)  # the first of it is missing
    assert ear.counts.misplaced == 3


def test_the_end_of_a_reply_that_was_cut_is_in_its_place() -> None:
    ear = Ear()
    play(ear, 1, range(4), 1.0)
    padded = reply(1)[4 * FRAME_BYTES : 4 * FRAME_BYTES + 80].ljust(FRAME_BYTES, b"\xff")
    ear.media(base64.b64encode(padded), 1.08)
    assert (ear.counts.misplaced, ear.counts.strange, ear.counts.odd_sizes) == (0, 0, 0)


def test_jitter_is_measured_behind_the_lead() -> None:
    ear = Ear()
    for place in range(SETTLED_FRAMES + 1):
        ear.media(frame(1, place), 1.0)
    ear.media(frame(1, SETTLED_FRAMES + 1), 1.023)
    ear.media(frame(1, SETTLED_FRAMES + 2), 1.040)
    assert ear.counts.jitter_s == pytest.approx([0.003, 0.003])


def test_what_comes_of_a_response_after_its_clear_is_stale() -> None:
    ear = Ear()
    at = play(ear, 1, range(10), 1.0)
    ear.clear(at)
    assert not ear.audible(at)
    ear.media(frame(1, 10), at)
    ear.expect(2, at)
    play(ear, 2, range(2), at + 1.0)
    ear.media(frame(1, 11), at + 2.0)
    assert ear.counts.stale == {1: 2}
    assert ear.counts.clears_at == [at]


def test_a_later_response_with_the_same_voice_is_not_stale() -> None:
    ear = Ear()
    ear.clear(play(ear, 1, range(3), 1.0))
    ear.expect(1 + VOICES, 5.0)
    play(ear, 1 + VOICES, range(3), 5.0)
    assert not ear.counts.stale


def test_a_clear_while_nothing_plays_adds_no_silence() -> None:
    ear = Ear()
    play(ear, 1, range(1), 1.0)
    ear.clear(9.0)
    assert ear.plays_until == pytest.approx(1.02)


def test_the_caller_who_speaks_over_the_ai_is_timed_to_its_silence() -> None:
    ear = Ear()
    for place in range(20):
        ear.media(frame(1, place), 1.0)
    ear.onset(1.1)
    ear.clear(1.19)
    assert ear.counts.stops == [Stop(1.1, 1.19)]


def test_an_ai_that_is_not_cleared_is_timed_to_the_end_of_what_it_says() -> None:
    ear = Ear()
    for place in range(20):
        ear.media(frame(1, place), 1.0)
    ear.onset(1.1)
    ear.close()
    assert ear.counts.stops == [Stop(1.1, pytest.approx(1.4))]


def test_a_caller_who_speaks_into_silence_interrupts_nobody() -> None:
    ear = Ear()
    play(ear, 1, range(2), 1.0)
    ear.onset(3.0)
    ear.close()
    assert not ear.counts.stops


def test_marks_come_back_when_all_before_them_has_played() -> None:
    ear = Ear()
    assert ear.mark("at once", 0.5) == 0.5
    assert ear.played(0.5) == ["at once"]
    for place in range(10):
        ear.media(frame(1, place), 1.0)
    assert ear.mark("a", 1.0) == pytest.approx(1.2)
    assert ear.played(1.19) == []
    assert ear.played(1.21) == ["a"]
    assert ear.played(1.3) == []


def test_a_clear_brings_all_marks_back_at_once() -> None:
    ear = Ear()
    for place in range(10):
        ear.media(frame(1, place), 1.0)
        ear.mark(str(place), 1.0)
    assert ear.played(1.05) == ["0", "1"]
    assert ear.clear(1.06) == [str(place) for place in range(2, 10)]
    assert ear.played(9.0) == []
    assert (ear.counts.marks, ear.counts.echoed) == (10, 10)


@pytest.mark.parametrize("text", [b"!", b"", base64.b64encode(b"\x80" * 159)])
def test_frames_of_another_size_are_counted(text: bytes) -> None:
    ear = Ear()
    ear.media(text, 1.0)
    assert ear.counts.odd_sizes == 1


def test_audio_of_nobody_is_counted() -> None:
    ear = Ear()
    ear.media(base64.b64encode(b"\xff" * FRAME_BYTES), 1.0)
    assert (ear.counts.strange, ear.counts.odd_sizes) == (1, 0)
