from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.speech import CONFIRM_FRAMES, HANGOVER_FRAMES, Speech, SpeechEvent, State
from callengine.messages import OnsetDebounced, SpeechConfirmed, SpeechEnded, SpeechOnset

ONSET_FRAMES = 5
ROWS = st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=12)


class Talk:
    """Frames that end 20 ms apart, the first at 10.02."""

    def __init__(self, onset_frames: int = ONSET_FRAMES) -> None:
        self.speech = Speech(onset_frames)
        self.frames = 0

    def frame(self, loud: bool, level_rms: int = 1000) -> list[SpeechEvent]:
        self.frames += 1
        return self.speech.frame(level_rms if loud else 0, 10 + 0.02 * self.frames)

    def loud(self, frames: int) -> list[SpeechEvent]:
        return [event for _ in range(frames) for event in self.frame(loud=True)]

    def quiet(self, frames: int) -> list[SpeechEvent]:
        return [event for _ in range(frames) for event in self.frame(loud=False)]


def about(at: float) -> Any:  # noqa: ANN401 - it compares like a float
    return pytest.approx(at)


def onset(at: float, level_rms: int = 1000) -> SpeechOnset:
    return SpeechOnset(about(at), level_rms)


@pytest.mark.parametrize("onset_frames", [1, 2, 5, 12])
def test_an_onset_is_exactly_as_many_consecutive_loud_frames_as_debounced(
    onset_frames: int,
) -> None:
    talk = Talk(onset_frames)
    assert talk.loud(onset_frames - 1) == []
    assert talk.loud(1) == [onset(10.0)]
    assert talk.speech.state is State.SPEAKING


def test_the_onset_is_where_the_first_loud_frame_began_with_the_highest_level() -> None:
    talk = Talk()
    talk.quiet(100)
    levels = [600, 900, 2500, 800, 700]
    events = [event for level in levels for event in talk.frame(loud=True, level_rms=level)]
    assert events == [onset(12.0, 2500)]


def test_one_quiet_frame_restarts_the_count() -> None:
    talk = Talk()
    talk.frame(loud=True, level_rms=3000)
    talk.loud(3)
    assert talk.quiet(1) == [OnsetDebounced(about(10.0), 3000)]
    assert talk.speech.state is State.QUIET
    assert talk.loud(4) == []
    assert talk.loud(1) == [onset(10.1)], "neither the count nor the peak of the first row is kept"


def test_speech_is_confirmed_once_by_300_ms_of_loud_frames() -> None:
    talk = Talk()
    assert talk.loud(CONFIRM_FRAMES - 1) == [onset(10.0)]
    assert talk.loud(1) == [SpeechConfirmed(about(10.0))]
    assert talk.speech.state is State.CONFIRMED
    assert talk.loud(500) == []


def test_a_debounce_longer_than_the_confirmation_tells_both_at_once() -> None:
    talk = Talk(onset_frames=50)
    assert talk.loud(49) == []
    assert talk.loud(1) == [onset(10.0), SpeechConfirmed(about(10.0))]


def test_stops_inside_a_word_neither_end_speech_nor_count_against_it() -> None:
    talk = Talk()
    talk.loud(14)
    assert talk.quiet(HANGOVER_FRAMES - 1) == []
    assert talk.loud(1) == [SpeechConfirmed(about(10.0))]
    assert talk.quiet(HANGOVER_FRAMES - 1) == []
    assert talk.loud(1) == []
    assert talk.quiet(HANGOVER_FRAMES - 1) == [], "the hangover starts anew"


@pytest.mark.parametrize("loud_frames", [5, 14, 15, 40])
def test_speech_ends_after_the_hangover_confirmed_or_not(loud_frames: int) -> None:
    talk = Talk()
    talk.loud(loud_frames)
    assert talk.quiet(HANGOVER_FRAMES - 1) == []
    assert talk.quiet(1) == [SpeechEnded(about(10.0))]
    assert talk.speech.state is State.QUIET
    assert talk.quiet(100) == []


def test_after_the_end_speech_begins_anew() -> None:
    talk = Talk()
    talk.loud(20)
    talk.quiet(HANGOVER_FRAMES)
    assert talk.loud(4) == []
    assert talk.loud(11) == [onset(10.6), SpeechConfirmed(about(10.6))]


@given(ROWS, st.integers(1, 20))
def test_every_onset_has_one_end_and_confirmation_lies_between(
    rows: list[tuple[bool, int]], onset_frames: int
) -> None:
    talk = Talk(onset_frames)
    events = [
        event for loud, frames in rows for event in (talk.loud if loud else talk.quiet)(frames)
    ]
    events += talk.quiet(HANGOVER_FRAMES)
    told = [type(event) for event in events if not isinstance(event, OnsetDebounced)]
    for before, after in pairwise([SpeechEnded, *told]):
        assert (before, after) in {
            (SpeechEnded, SpeechOnset),
            (SpeechOnset, SpeechConfirmed),
            (SpeechOnset, SpeechEnded),
            (SpeechConfirmed, SpeechEnded),
        }
    assert not told or told[-1] is SpeechEnded
    assert talk.speech.state is State.QUIET


@given(ROWS, st.integers(1, 20))
def test_an_onset_follows_exactly_that_many_loud_frames(
    rows: list[tuple[bool, int]], onset_frames: int
) -> None:
    talk = Talk(onset_frames)
    row = 0
    for loud, frames in rows:
        for _ in range(frames):
            row = row + 1 if loud else 0
            was_open = talk.speech.state in {State.SPEAKING, State.CONFIRMED}
            events = talk.frame(loud)
            begun = [event for event in events if isinstance(event, SpeechOnset)]
            assert bool(begun) == (not was_open and row >= onset_frames)
