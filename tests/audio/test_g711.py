from __future__ import annotations

import array
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.audio import g711


def pcm(*samples: int) -> bytes:
    return array.array("h", samples).tobytes()


def test_a_frame_is_20_ms_of_160_bytes() -> None:
    assert g711.FRAME_BYTES == 160
    assert g711.FRAME_S * 1000 == g711.FRAME_MS == 20
    assert g711.SAMPLE_RATE_HZ == 1000 * g711.BYTES_PER_MS


def test_silence_is_positive_zero_and_has_no_level() -> None:
    assert g711.silence(3) == b"\xff" * 24
    assert g711.silence(0) == b""
    assert g711.silence(20) == g711.SILENCE_FRAME
    assert g711.to_pcm16(g711.SILENCE_BYTE) == pcm(0)
    assert g711.rms(g711.SILENCE_FRAME) == g711.rms(b"\x7f" * 160) == 0


@pytest.mark.parametrize(
    ("size_bytes", "whole_ms"), [(0, 0), (7, 0), (8, 1), (159, 19), (160, 20), (65_536, 8192)]
)
def test_duration_counts_whole_milliseconds(size_bytes: int, whole_ms: int) -> None:
    assert g711.duration_ms(size_bytes) == whole_ms


def test_every_code_survives_the_way_to_linear_and_back() -> None:
    codes = bytes(code for code in range(256) if code != 0x7F)  # the other zero becomes 0xFF
    assert g711.from_pcm16(g711.to_pcm16(codes)) == codes
    assert g711.from_pcm16(g711.to_pcm16(b"\x7f")) == b"\xff"


def test_linear_samples_are_the_mu_law_ones() -> None:
    """G.711: code 0x80 is the largest positive value, 0x00 the largest negative."""
    assert g711.to_pcm16(b"\x80\x00\xff") == pcm(32124, -32124, 0)
    assert g711.from_pcm16(pcm(32767, -32768, 0)) == b"\x80\x00\xff"


def test_level_is_the_root_mean_square_of_the_samples() -> None:
    assert g711.rms(b"") == 0
    assert g711.rms(b"\x80" * 160) == 32124
    assert g711.rms(b"\x80\xff" * 80) == int(32124 / math.sqrt(2))


@given(st.lists(st.integers(-32768, 32767), max_size=400))
def test_coding_keeps_every_sample_within_a_step(samples: list[int]) -> None:
    coded = g711.from_pcm16(pcm(*samples))
    back = array.array("h", g711.to_pcm16(coded))
    assert len(coded) == len(samples)
    for before, after in zip(samples, back, strict=True):
        assert abs(before - after) <= (abs(before) + 132) // 32 + 4 or abs(before) > 32124
