from __future__ import annotations

import json

import pytest

from callengine.audio import g711
from callengine.testing import speech
from callengine.testing.realtime.audio import PCM, PCMA, PCMU, format_of
from callengine.testing.realtime.session import TURN_DETECTION_DEFAULTS
from callengine.testing.realtime.vad import ServerVad, SpeechStarted, SpeechStopped

SETTINGS = {**TURN_DETECTION_DEFAULTS["server_vad"], "silence_duration_ms": 500}
LOUD = speech.clip("caller_barge_in_1")[:1_600]


def vad(**settings: object) -> ServerVad:
    made = ServerVad()
    made.configure({**SETTINGS, **settings})
    return made


def test_speech_starts_after_60_ms_of_voice_and_counts_its_padding() -> None:
    heard = vad()
    assert heard.hear(g711.silence(1_000) + LOUD[:320], PCMU) == []
    assert heard.hear(LOUD[320:480], PCMU) == [SpeechStarted(1_000 - 300)]


def test_the_padding_never_reaches_before_the_beginning_or_the_last_turn() -> None:
    heard = vad(silence_duration_ms=100)
    assert heard.hear(LOUD[:480], PCMU) == [SpeechStarted(0)]
    assert heard.hear(g711.silence(100), PCMU) == [SpeechStopped(160)]
    assert heard.hear(g711.silence(40) + LOUD[:480], PCMU) == [SpeechStarted(160)]


def test_a_click_is_no_speech() -> None:
    heard = vad()
    for _ in range(20):
        assert heard.hear(LOUD[:320] + g711.silence(20), PCMU) == []


def test_speech_stops_when_the_silence_is_long_enough_and_not_before() -> None:
    heard = vad()
    heard.hear(LOUD, PCMU)
    assert heard.hear(g711.silence(480), PCMU) == []
    assert heard.hear(LOUD[:160] + g711.silence(480), PCMU) == []
    assert heard.hear(g711.silence(20), PCMU) == [SpeechStopped(200 + 480 + 20 + 500)]


@pytest.mark.edge_case(58)
def test_only_audio_makes_it_advance_in_whatever_pieces_it_comes() -> None:
    audio = g711.silence(100) + speech.clip("caller_question_1") + g711.silence(600)
    at_once = vad().hear(audio, PCMU)
    bytewise = vad()
    in_pieces = [
        e for at in range(0, len(audio), 37) for e in bytewise.hear(audio[at : at + 37], PCMU)
    ]
    assert [type(event) for event in at_once] == [SpeechStarted, SpeechStopped]
    assert in_pieces == at_once


@pytest.mark.parametrize(("threshold", "starts"), [(0.0, True), (0.5, True), (1.0, False)])
def test_the_threshold_is_a_level(threshold: float, starts: bool) -> None:
    samples = memoryview(bytearray(2 * 800)).cast("h")
    for at in range(len(samples)):
        samples[at] = 700 if at % 2 else -700
    murmur = g711.from_pcm16(bytes(samples))
    assert bool(vad(threshold=threshold).hear(murmur, PCMU)) is starts


@pytest.mark.parametrize("audio_format", [PCMU, PCMA, PCM], ids=lambda known: known.name)
def test_every_format_is_heard_alike(audio_format: object) -> None:
    assert audio_format in (PCMU, PCMA, PCM)
    chosen = next(known for known in (PCMU, PCMA, PCM) if known is audio_format)
    spoken = chosen.speak(g711.silence(100) + LOUD + g711.silence(600))
    started, stopped = vad().hear(spoken, chosen)
    assert started == SpeechStarted(0)
    assert isinstance(stopped, SpeechStopped)
    assert stopped.audio_end_ms == pytest.approx(800, abs=20)
    assert format_of(chosen.to_wire()) is chosen
    json.dumps(chosen.to_wire())


def test_without_turn_detection_it_only_counts() -> None:
    heard = ServerVad()
    assert heard.hear(LOUD * 3, PCMU) == []
    assert heard.position_ms == 600


def test_switching_it_off_in_mid_speech_forgets_the_speech() -> None:
    heard = vad()
    heard.hear(LOUD, PCMU)
    heard.configure(None)
    heard.configure(SETTINGS)
    assert heard.hear(g711.silence(2_000), PCMU) == []


def test_semantic_turn_detection_waits_500_ms() -> None:
    heard = ServerVad()
    heard.configure(TURN_DETECTION_DEFAULTS["semantic_vad"])
    heard.hear(LOUD, PCMU)
    assert heard.hear(g711.silence(480), PCMU) == []
    assert heard.hear(g711.silence(20), PCMU) == [SpeechStopped(700)]


def test_a_new_format_drops_the_piece_of_a_frame_in_the_old_one() -> None:
    heard = vad()
    heard.hear(LOUD[:150], PCMU)
    heard.format_changed()
    heard.hear(LOUD[:150], PCMU)
    assert heard.position_ms == 0
