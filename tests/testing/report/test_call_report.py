from __future__ import annotations

import json
import struct
import wave
from typing import TYPE_CHECKING

import pytest

from callengine.audio import g711
from callengine.testing.report.call_report import (
    CallReport,
    Row,
    format_table,
    verdict,
    write_summary,
    write_wav,
)

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Row("late frames", "0", "at most 5", passed=True)
BAD = Row("audio cut, worst", "230 ms", "at most 200 ms", passed=False)


def tone(*samples: int) -> bytes:
    return g711.from_pcm16(struct.pack(f"={len(samples)}h", *samples))


def report(*rows: Row) -> CallReport:
    return CallReport("call", 0.0, b"", b"", lanes=(), moments=(), rows=rows, summary={})


def test_wav_is_stereo_16_bit_with_the_first_track_left(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    write_wav(path, left=tone(0, 1052, 8316), right=tone(-1052, 0, -8316))
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        assert (file.getframerate(), file.getnframes()) == (8000, 3)
        samples = struct.unpack("<6h", file.readframes(3))
    assert samples[0::2] == (0, 1052, 8316)
    assert samples[1::2] == (-1052, 0, -8316)


def test_wav_pads_the_shorter_track_with_silence_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    write_wav(path, left=tone(1052), right=tone(1052, 1052, 1052))
    with wave.open(str(path)) as file:
        assert struct.unpack("<6h", file.readframes(9)) == (1052, 1052, 0, 1052, 0, 1052)


def test_wav_of_two_empty_tracks_is_a_valid_empty_wav(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    write_wav(path, left=b"", right=b"")
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, 0)


def test_table_aligns_its_columns_and_shouts_only_failures() -> None:
    assert format_table([GOOD, BAD]).splitlines() == [
        "check             measured  required        result",
        "----------------  --------  --------------  ------",
        "late frames       0         at most 5       pass",
        "audio cut, worst  230 ms    at most 200 ms  FAIL",
    ]


def test_table_without_rows_is_its_header() -> None:
    assert format_table([]).splitlines() == [
        "check  measured  required  result",
        "-----  --------  --------  ------",
    ]


def test_table_lets_no_control_character_reach_the_terminal() -> None:
    table = format_table([Row("a\x1b[31mb\nc", "1\r2", "\u202e3", passed=True)])
    assert len(table.splitlines()) == 3
    assert table.replace("\n", "").isprintable()


def test_verdict_counts_the_failures() -> None:
    assert verdict([GOOD, GOOD]) == "2 of 2 checks passed"
    assert verdict([GOOD, BAD]) == "1 of 2 checks failed"
    assert verdict([]) == "nothing was checked"


def test_a_report_has_passed_only_if_there_were_checks_and_all_passed() -> None:
    assert report(GOOD, GOOD).passed
    assert not report(GOOD, BAD).passed
    assert not report().passed


def test_a_report_shows_no_audio_when_printed() -> None:
    printed = repr(CallReport("call", 1.0, b"AAAA", b"BBBB", (), (), (), {}))
    assert "AAAA" not in printed
    assert "BBBB" not in printed


def test_summary_is_sorted_indented_json(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_summary(path, {"turns": 2, "barge_ins": {"y": "é", "x": None}})
    assert path.read_text("utf-8") == (
        '{\n  "barge_ins": {\n    "x": null,\n    "y": "é"\n  },\n  "turns": 2\n}\n'
    )


def test_summary_survives_text_that_utf_8_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_summary(path, {"transcript": "\ud83d"})
    assert json.loads(path.read_text("utf-8")) == {"transcript": "\ud83d"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}])
def test_a_summary_that_is_not_json_is_refused_and_no_file_is_touched(
    tmp_path: Path, value: object
) -> None:
    path = tmp_path / "summary.json"
    with pytest.raises((TypeError, ValueError)):
        write_summary(path, {"value": value})
    assert not path.exists()
