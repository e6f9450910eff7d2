from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from callengine.audio import g711
from callengine.testing import speech

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(speech.__file__).parent / "clips"
MAX_TOTAL_BYTES = 600_000
PEAK_MINUS_3_DBFS = 23_198
LENGTHS_MS = {
    "agent_greeting": (3_500, 4_500),
    **{f"agent_reply_{n}": (6_000, 12_000) for n in range(1, 7)},
    "caller_hello": (800, 1_600),
    **{f"caller_question_{n}": (1_500, 3_000) for n in range(1, 5)},
    **{f"caller_barge_in_{n}": (800, 1_600) for n in range(1, 4)},
    "caller_yes": (280, 420),
    "cough": (160, 220),
}


def catalogue() -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = json.loads((FOLDER / "clips.json").read_text())
    return entries


def frame_levels(audio: bytes) -> list[int]:
    return [g711.rms(audio[at : at + 160]) for at in range(0, len(audio), 160)]


def test_the_promised_clips_exist_and_no_other() -> None:
    assert set(speech.names()) == set(LENGTHS_MS)
    assert {path.stem for path in FOLDER.glob("*.ulaw")} == set(LENGTHS_MS)


@pytest.mark.parametrize("name", LENGTHS_MS)
def test_a_clip_is_the_file_that_was_made(name: str) -> None:
    entry = catalogue()[name]
    audio = speech.clip(name)
    assert hashlib.sha256(audio).hexdigest() == entry["sha256"]
    assert g711.duration_ms(len(audio)) == entry["milliseconds"]
    assert speech.text(name) == entry["text"]


@pytest.mark.parametrize(("name", "limits"), LENGTHS_MS.items())
def test_a_clip_is_as_long_as_its_role_needs(name: str, limits: tuple[int, int]) -> None:
    shortest, longest = limits
    assert shortest <= g711.duration_ms(len(speech.clip(name))) <= longest


def test_all_clips_together_are_small_enough_to_ship() -> None:
    assert sum(len(speech.clip(name)) for name in speech.names()) < MAX_TOTAL_BYTES


@pytest.mark.parametrize("name", LENGTHS_MS)
def test_a_clip_is_loud_at_once_and_never_clipped(name: str) -> None:
    audio = speech.clip(name)
    peak = max(abs(sample) for sample in memoryview(g711.to_pcm16(audio)).cast("h"))
    assert max(frame_levels(audio)[:2]) > 500
    assert 0.9 * PEAK_MINUS_3_DBFS < peak < 1.05 * PEAK_MINUS_3_DBFS


@pytest.mark.parametrize("name", [n for n in LENGTHS_MS if n.startswith("caller_barge_in")])
def test_a_barge_in_has_five_loud_frames_in_its_first_120_ms(name: str) -> None:
    loud = [level > 500 for level in frame_levels(speech.clip(name))[:6]]
    assert all(loud[:5]) or all(loud[1:6])


def test_agent_and_caller_do_not_share_a_voice() -> None:
    voices = {name: entry["voice"] for name, entry in catalogue().items()}
    agent = {voice for name, voice in voices.items() if name.startswith("agent_")}
    caller = {voice for name, voice in voices.items() if name.startswith("caller_")}
    assert len(agent) == len(caller) == 1
    assert agent != caller


@pytest.mark.parametrize("read", [speech.clip, speech.text])
def test_an_unknown_name_is_refused_with_the_names_there_are(
    read: Callable[[str], object],
) -> None:
    with pytest.raises(KeyError) as caught:
        read("agent_song")
    assert "agent_song" in str(caught.value)
    assert "caller_hello" in str(caught.value)
