from __future__ import annotations

import base64

from callengine.audio.g711 import FRAME_BYTES, SILENCE_FRAME
from callengine.audio.level import LevelDetector
from callengine.settings import Settings
from callengine.testing.bench.sounds import (
    FACES,
    LOUD,
    NOISE,
    REPLY_FRAMES,
    SPEECH,
    STRANGE,
    VOICES,
    Face,
    face_of,
    reply,
)


def test_the_engine_takes_the_voice_for_loud_over_a_reply_and_the_line_for_quiet() -> None:
    detector = LevelDetector(Settings().onset_rms)
    answer = reply(3)
    sent = [answer[at : at + FRAME_BYTES] for at in range(0, 60 * FRAME_BYTES, FRAME_BYTES)]
    quiet = [base64.b64decode(NOISE[n % len(NOISE)]) for n in range(60)]
    assert not any(detector.judge(*each) for each in zip(quiet, sent, strict=True))
    loud = map(base64.b64decode, SPEECH)
    assert all(detector.judge(*each) for each in zip(loud, sent, strict=True))


def test_the_first_byte_tells_loud_from_quiet() -> None:
    assert {each[0] for each in SPEECH} <= LOUD
    assert not {each[0] for each in NOISE} & LOUD
    assert base64.b64encode(SILENCE_FRAME)[0] not in LOUD


def test_each_frame_of_a_reply_tells_whose_it_is_and_which() -> None:
    assert len(FACES) == VOICES * REPLY_FRAMES
    answer = reply(VOICES + 5)
    for place in (0, 1, 16, 255, 256, REPLY_FRAMES - 1):
        frame = answer[place * FRAME_BYTES : (place + 1) * FRAME_BYTES]
        assert FACES[base64.b64encode(frame)] == Face(5, place)


def test_a_frame_cut_elsewhere_tells_whose_it_is() -> None:
    answer = reply(7)
    assert face_of(answer[3 : 3 + FRAME_BYTES]) == Face(7, -1)
    assert face_of(answer[-6:] + SILENCE_FRAME[6:]) == Face(7, -1)
    assert face_of(SILENCE_FRAME) == STRANGE
    assert face_of(reply(1)[:80] + reply(2)[:80]) == STRANGE
