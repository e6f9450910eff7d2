"""VADDetector: audio of any length in, onsets and ends of speech out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from callengine.actors.vad_detector import MAX_SENT_FRAMES, VADDetector
from callengine.audio.g711 import FRAME_BYTES, FRAME_S, SILENCE_FRAME
from callengine.messages import (
    BeginAnew,
    CallerFrame,
    FrameSent,
    OnsetDebounced,
    SpeechConfirmed,
    SpeechEnded,
    SpeechOnset,
)

if TYPE_CHECKING:
    from tests.actors.rig import Rig

LOUD = b"\x10" * FRAME_BYTES
LEVEL = 4_000


class Listening:
    """A detector that notes what it is given; only `LOUD` is loud to it."""

    def __init__(self) -> None:
        self.judged: list[tuple[bytes, bytes]] = []

    def judge(self, caller_frame: bytes, sent_frame: bytes) -> int:
        self.judged.append((caller_frame, sent_frame))
        return LEVEL if caller_frame == LOUD else 0


@pytest.fixture
def detector(rig: Rig) -> Listening:
    listening = Listening()
    actor = VADDetector.start(rig.stepper, rig.log, listening, onset_frames=5)
    rig.place("detector", actor)
    return listening


@pytest.mark.parametrize("size", [1, 7, 159, 160, 161, 320, 1000, 3200])
def test_audio_of_any_size_is_judged_in_whole_frames(
    rig: Rig, detector: Listening, size: int
) -> None:
    audio = bytes(n % 251 for n in range(3200))
    for at in range(0, len(audio), size):
        rig.tell(CallerFrame(audio[at : at + size]))
    frames = [frame for frame, _ in detector.judged]
    assert b"".join(frames) == audio
    assert {len(frame) for frame in frames} == {FRAME_BYTES}


def test_the_rest_of_a_frame_waits_for_the_next_audio(rig: Rig, detector: Listening) -> None:
    rig.tell(CallerFrame(LOUD[:100]))
    assert detector.judged == []
    rig.tell(CallerFrame(LOUD[:100]))
    assert detector.judged == [(LOUD, SILENCE_FRAME)]
    rig.tell(CallerFrame(b""), CallerFrame(LOUD[:120]))
    assert detector.judged == [(LOUD, SILENCE_FRAME)] * 2


def test_a_whole_frame_goes_behind_the_rest_of_the_one_before(
    rig: Rig, detector: Listening
) -> None:
    audio = bytes(range(230))
    rig.tell(CallerFrame(audio[:70]), CallerFrame(audio[70:230]))
    assert detector.judged == [(audio[:FRAME_BYTES], SILENCE_FRAME)]


def test_each_frame_is_judged_against_one_that_was_sent_in_order(
    rig: Rig, detector: Listening
) -> None:
    first, second = b"\x01" * FRAME_BYTES, b"\x02" * FRAME_BYTES
    rig.tell(FrameSent(first), CallerFrame(LOUD), FrameSent(second), CallerFrame(LOUD * 2))
    assert [sent for _, sent in detector.judged] == [first, second, SILENCE_FRAME]


def test_of_too_many_sent_frames_the_oldest_go(rig: Rig, detector: Listening) -> None:
    sent = [bytes([n]) * FRAME_BYTES for n in range(MAX_SENT_FRAMES + 3)]
    rig.tell(*map(FrameSent, sent))
    rig.tell(CallerFrame(LOUD * (MAX_SENT_FRAMES + 1)))
    assert [judged for _, judged in detector.judged] == [*sent[3:], SILENCE_FRAME]


@pytest.mark.usefixtures("detector")
def test_the_onset_is_told_to_the_pacer_and_to_nobody_else(rig: Rig) -> None:
    for n in range(1, 6):
        rig.run(until=n * FRAME_S)
        rig.tell(CallerFrame(LOUD))
    onset_at: Any = pytest.approx(0.0)
    assert rig.told_to_all() == {"pacer": [SpeechOnset(onset_at, LEVEL)]}


@pytest.mark.usefixtures("detector")
def test_frames_that_come_at_once_are_dated_as_if_they_had_come_in_time(rig: Rig) -> None:
    rig.run(until=3.0)
    rig.tell(CallerFrame(LOUD * 15 + SILENCE_FRAME * 10))
    onset_at: Any = pytest.approx(3.0 - 25 * FRAME_S)
    assert rig.told("pacer") == [
        SpeechOnset(onset_at, LEVEL),
        SpeechConfirmed(onset_at),
        SpeechEnded(onset_at),
    ]


@pytest.mark.usefixtures("detector")
def test_too_few_loud_frames_are_told_as_debounced(rig: Rig) -> None:
    rig.tell(CallerFrame(LOUD * 4 + SILENCE_FRAME))
    (debounced,) = rig.told("pacer")
    assert isinstance(debounced, OnsetDebounced)
    assert debounced.level_rms == LEVEL


def test_one_that_begins_anew_begins_in_silence_with_what_it_has_learned_of_the_line(
    rig: Rig, detector: Listening
) -> None:
    def onsets() -> list[Any]:
        return [told for told in rig.told("pacer") if isinstance(told, SpeechOnset)]

    rig.tell(*[CallerFrame(LOUD)] * 6, FrameSent(LOUD), CallerFrame(LOUD[:100]))
    assert len(onsets()) == 1
    rig.tell("nothing it can take", BeginAnew(), *[CallerFrame(LOUD)] * 4)
    assert onsets() == []
    rig.tell(CallerFrame(LOUD))
    assert len(onsets()) == 1
    assert len(detector.judged) == 11, "the same one, from a whole frame on"
    assert detector.judged[-1] == (LOUD, SILENCE_FRAME)
