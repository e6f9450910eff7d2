from __future__ import annotations

import pytest

from callengine.testing.caller.record import (
    CallRecord,
    ClosedBy,
    HeardSpan,
    ReceivedFrame,
    Said,
)
from callengine.testing.caller.script import Say, Wait
from tests.testing.caller.rig import OPENED_AT, Call, speech


def record(*spans: tuple[float, int], closed_at: float | None = None) -> CallRecord:
    """Opened at 10; spans are (begin, milliseconds)."""
    heard = [HeardSpan(at, speech(duration_ms)) for at, duration_ms in spans]
    closed = None if closed_at is None else ClosedBy(1000, "", "caller", closed_at)
    return CallRecord("AC", "CA", "MZ", opened_at=10.0, heard=heard, closed=closed)


def test_the_heard_track_has_each_byte_at_its_sample() -> None:
    track = record((10.5, 100), (11.0, 50), closed_at=12.0).heard_track()
    assert len(track) == 16_000
    assert track[4000:4800] == speech(100)
    assert track[8000:8400] == speech(50)
    assert track[:4000] + track[4800:8000] + track[8400:] == b"\xff" * 14_800


def test_the_heard_track_can_stop_early_or_late() -> None:
    one = record((10.5, 100), closed_at=12.0)
    assert one.heard_track(10.55) == b"\xff" * 4000 + speech(50)
    assert len(one.heard_track(14.0)) == 32_000


def test_spans_that_collide_by_rounding_lose_nothing() -> None:
    one = record((10.00002, 20), (10.02001, 20))
    assert one.heard_track(11.0).rstrip(b"\xff") == speech(20) * 2


def test_without_an_end_the_tracks_last_as_long_as_the_audio() -> None:
    one = record((10.5, 100))
    one.said.append(Said("x", 11.0, 11.5, "say", speech(500)))
    assert len(one.heard_track()) == len(one.said_track()) == 12_000
    assert one.said_track() == b"\xff" * 8000 + speech(500)
    assert record().heard_track() == b""


def test_both_tracks_of_a_call_align() -> None:
    call = Call(Wait(0.49), Say(speech(200)), Wait(0.3)).run_to(0.6)
    call.media(speech(100))
    call.run_to(5)
    heard, said = call.record.heard_track(), call.record.said_track()
    assert call.record.closed is not None
    length = round((call.record.closed.at - OPENED_AT) * 8000)
    assert len(heard) == len(said) == length
    assert heard[4800:5600] == speech(100)
    assert said.rstrip(b"\xff") == b"\xff" * 4000 + speech(200)


@pytest.mark.parametrize(
    ("at", "silence_s"),
    [
        (10.4, 0.0),  # before anything
        (10.5, 0.6),  # at the first byte; a gap of 99 ms is bridged
        (10.9, 0.2),
        (11.05, 0.05),
        (11.1, 0.0),  # just over
        (11.2, 0.2),  # a gap of 100 ms ended the stretch before
    ],
)
def test_silence_after_is_the_end_of_the_stretch_then_sounding(at: float, silence_s: float) -> None:
    one = record((10.5, 301), (10.9, 200), (11.2, 200))
    assert one.silence_after(at) == pytest.approx(silence_s)


def test_silence_never_came_if_audio_was_still_queued_at_the_end() -> None:
    one = record((10.5, 100), (11.0, 100), closed_at=11.1)
    one.unheard_bytes = 1
    assert one.silence_after(10.55) == pytest.approx(0.05)
    assert one.silence_after(11.05) is None
    assert one.silence_after(11.1) is None


def test_frame_gaps_are_measured_between_media_messages() -> None:
    one = record()
    one.frames += [ReceivedFrame(at, b"") for at in (1.0, 1.02, 1.025, 3.0)]
    assert one.frame_gaps_ms() == pytest.approx([20.0, 5.0, 1975.0])
    assert record().frame_gaps_ms() == []


def test_a_record_can_be_read_during_the_call() -> None:
    call = Call(Wait(10)).run_to(1)
    call.media(speech(100))
    call.run_to(1.04)
    assert call.heard() == [(1.0, speech(40))]
    assert call.record.unheard_bytes == 60 * 8
    assert call.record.silence_after(OPENED_AT + 1.01) is None
    call.run_to(2)
    assert call.record.silence_after(OPENED_AT + 1.01) == pytest.approx(0.09)
