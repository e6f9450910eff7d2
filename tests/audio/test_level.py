from __future__ import annotations

import array
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.audio import g711
from callengine.audio.level import LevelDetector
from callengine.testing.speech import clip

THRESHOLD_RMS = 500
SILENT = g711.SILENCE_FRAME
ECHO_GAIN = 10 ** (-24 / 20)
ECHO_THRESHOLD_RMS = 200  # low enough for such an echo to exceed it


def frames_of(ulaw: bytes) -> list[bytes]:
    whole = len(ulaw) // g711.FRAME_BYTES * g711.FRAME_BYTES
    return [ulaw[at : at + g711.FRAME_BYTES] for at in range(0, whole, g711.FRAME_BYTES)]


def tone(level_rms: float) -> bytes:
    """A frame of a 400 Hz tone: it has the same level in every frame."""
    samples = [
        round(level_rms * math.sqrt(2) * math.sin(2 * math.pi * 400 * n / 8000)) for n in range(160)
    ]
    return g711.from_pcm16(array.array("h", samples).tobytes())


def noise(level_rms: float, frames: int, seed: int = 1) -> list[bytes]:
    source = random.Random(seed)
    return [
        g711.from_pcm16(
            array.array("h", [round(source.gauss(0, level_rms)) for _ in range(160)]).tobytes()
        )
        for _ in range(frames)
    ]


def scaled(ulaw: bytes, gain: float) -> bytes:
    linear = array.array("h", g711.to_pcm16(ulaw))
    return g711.from_pcm16(array.array("h", [round(s * gain) for s in linear]).tobytes())


def mixed(one: bytes, other: bytes) -> bytes:
    samples = zip(
        array.array("h", g711.to_pcm16(one)), array.array("h", g711.to_pcm16(other)), strict=True
    )
    sums = [max(-32768, min(32767, a + b)) for a, b in samples]
    return g711.from_pcm16(array.array("h", sums).tobytes())


def loud(
    detector: LevelDetector, caller: list[bytes], sent: list[bytes] | None = None
) -> list[bool]:
    sent = sent or [SILENT] * len(caller)
    return [detector.judge(c, s) > 0 for c, s in zip(caller, sent, strict=True)]


def longest_row(verdicts: list[bool]) -> int:
    longest = row = 0
    for verdict in verdicts:
        row = row + 1 if verdict else 0
        longest = max(longest, row)
    return longest


def test_loud_is_what_exceeds_the_threshold_on_a_quiet_line() -> None:
    detector = LevelDetector(THRESHOLD_RMS)
    below, above = tone(450), tone(550)
    assert not detector.judge(below, SILENT)
    assert detector.judge(above, SILENT) == g711.rms(above) == pytest.approx(550, rel=0.05)


def test_silence_is_never_loud() -> None:
    assert not any(loud(LevelDetector(1), [SILENT] * 50))


def test_speech_on_a_quiet_line_is_loud_and_the_line_is_not() -> None:
    detector = LevelDetector(THRESHOLD_RMS)
    line = noise(30, 100)
    assert not any(loud(detector, line))
    speech = [
        mixed(frame, hiss)
        for frame, hiss in zip(frames_of(clip("caller_question_1")), noise(30, 94), strict=False)
    ]
    verdicts = loud(detector, speech)
    assert longest_row(verdicts) >= 15
    assert sum(verdicts) > len(verdicts) / 3
    assert not any(loud(detector, line))


def test_steady_noise_does_not_stay_loud() -> None:
    """The floor rises 3.5 dB a second: noise at 400 is taken for speech for a while, then never."""
    detector = LevelDetector(threshold_rms=200)
    verdicts = loud(detector, noise(400, 1500))
    assert verdicts[0]
    assert not any(verdicts[750:])


def test_speech_well_above_steady_noise_is_still_loud() -> None:
    detector = LevelDetector(threshold_rms=200)
    loud(detector, noise(400, 1500))
    assert not detector.judge(tone(1000), SILENT)
    assert detector.judge(tone(1400), SILENT)


def test_noise_below_the_threshold_is_not_loud_from_the_first_frame() -> None:
    assert not any(loud(LevelDetector(THRESHOLD_RMS), noise(400, 500)))


def test_made_up_silence_says_nothing_about_the_noise() -> None:
    detector = LevelDetector(threshold_rms=200)
    loud(detector, noise(400, 1500))
    detector.judge(SILENT, SILENT)
    assert not any(loud(detector, noise(400, 100)))


def test_the_floor_falls_at_once() -> None:
    detector = LevelDetector(threshold_rms=200)
    loud(detector, noise(400, 1500))
    assert not detector.judge(tone(600), SILENT)
    detector.judge(tone(50), SILENT)
    assert detector.judge(tone(600), SILENT)


def test_the_floor_does_not_fall_to_where_it_would_take_long_to_matter_again() -> None:
    fresh, quiet = LevelDetector(threshold_rms=200), LevelDetector(threshold_rms=200)
    loud(quiet, [tone(10)] * 10)
    steady = noise(400, 500)
    assert loud(quiet, steady) == loud(fresh, steady)


@pytest.mark.parametrize("delay_frames", [0, 5, 24])
def test_echo_of_what_was_sent_is_not_loud_and_a_talker_over_it_is(delay_frames: int) -> None:
    sent = frames_of(clip("agent_reply_1"))[:300]
    echo = [SILENT] * delay_frames + [scaled(frame, ECHO_GAIN) for frame in sent]
    echo = echo[: len(sent)]
    assert max(g711.rms(frame) for frame in echo) > 2 * ECHO_THRESHOLD_RMS
    assert not any(loud(LevelDetector(ECHO_THRESHOLD_RMS), echo, sent))

    talker = (frames_of(clip("caller_question_1")) * 4)[: len(sent)]
    both = [mixed(a, b) for a, b in zip(echo, talker, strict=True)]
    assert longest_row(loud(LevelDetector(ECHO_THRESHOLD_RMS), both, sent)) >= 10


def test_echo_is_expected_for_half_a_second_and_not_longer() -> None:
    detector = LevelDetector(ECHO_THRESHOLD_RMS)
    detector.judge(SILENT, tone(8000))
    assert loud(detector, [tone(500)] * 25) == [False] * 24 + [True]


@pytest.mark.parametrize("quiet_frames", [0, 1, 23, 24, 60])
def test_echo_is_expected_as_long_if_the_caller_was_quiet_meanwhile(quiet_frames: int) -> None:
    detector = LevelDetector(ECHO_THRESHOLD_RMS)
    detector.judge(SILENT, tone(8000))
    assert not any(loud(detector, [SILENT] * quiet_frames))
    assert len(detector._sent) <= LevelDetector.ECHO_FRAMES
    assert (detector.judge(tone(500), SILENT) > 0) == (quiet_frames >= 24)


def test_what_is_louder_than_the_echo_can_be_is_heard_over_it() -> None:
    detector = LevelDetector(ECHO_THRESHOLD_RMS)
    assert not detector.judge(tone(500), tone(8000))
    assert detector.judge(tone(800), tone(8000))


def test_without_the_sent_audio_its_echo_would_be_loud() -> None:
    echo = [scaled(frame, ECHO_GAIN) for frame in frames_of(clip("agent_reply_1"))[:300]]
    assert longest_row(loud(LevelDetector(ECHO_THRESHOLD_RMS), echo)) >= 5


LEVELS = [SILENT, *map(tone, (30, 150, 250, 600, 900, 2000, 8000))]


@given(st.lists(st.tuples(st.sampled_from(LEVELS), st.sampled_from(LEVELS)), max_size=80))
def test_loud_is_what_the_three_levels_of_the_rule_say(frames: list[tuple[bytes, bytes]]) -> None:
    detector, sent = LevelDetector(ECHO_THRESHOLD_RMS), [0] * LevelDetector.ECHO_FRAMES
    least = floor = ECHO_THRESHOLD_RMS / LevelDetector.ABOVE_NOISE
    for caller, ours in frames:
        level = g711.rms(caller)
        sent = [*sent[1:], g711.rms(ours)]
        above = (
            ECHO_THRESHOLD_RMS,
            LevelDetector.ABOVE_NOISE * floor,
            LevelDetector.ECHO_GAIN * max(sent),
        )
        assert detector.judge(caller, ours) == (level if level > max(above) else 0)
        if level:
            floor = max(min(level, floor * LevelDetector.FLOOR_RISE), least)
