from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callengine.audio.g711 import BYTES_PER_MS, FRAME_BYTES, FRAME_S, SILENCE_BYTE
from callengine.machines import playout as module
from callengine.machines.marks import MAX_MARKS, OVERDUE_S, SILENT_S
from callengine.machines.playout import FRAMES_PER_MARK, MAX_ITEMS, Playout
from callengine.messages import HeardItem

if TYPE_CHECKING:
    from callengine.machines.track import Track

SIZES = [1, 159, 160, 161, 1000, 4133, 65_536]


def sound(size: int, first: int = 0) -> bytes:
    """Bytes that tell where they are, none of them silence."""
    return bytes((n * 31 + n // 251) % 255 for n in range(first, first + size))


def queue(playout: Playout, audio: bytes, response: str = "r1", item: str = "i1") -> None:
    playout.queue(response, item, 0, audio, protected=False)


def playing(frames: int = 10, *, mark_every: int = 1000) -> Playout:
    """`frames` of one item are queued; nothing was sent yet."""
    playout = Playout(mark_every)
    queue(playout, sound(frames * FRAME_BYTES))
    return playout


def send(playout: Playout, frames: int, now: float = 0.0) -> list[str]:
    """Send that many, 20 ms apart from `now`; returns the marks."""
    marks = []
    for n in range(frames):
        frame = playout.next_frame(now + n * FRAME_S)
        assert frame is not None
        _, mark = frame
        if mark is not None:
            marks.append(mark)
    return marks


def drained(playout: Playout) -> bytes:
    audio = b""
    while (frame := playout.next_frame(0.0)) is not None:
        audio += frame[0]
    return audio


def balance(playout: Playout) -> int:
    """L11: what is received and not accounted for."""
    counts = playout.counts
    return counts.received_bytes - (
        counts.sent_bytes
        - counts.returned_bytes
        + playout.queued_bytes
        + counts.flushed_bytes
        + counts.stale_bytes
        + counts.overflow_bytes
    )


# ---- frames


@pytest.mark.parametrize("size", SIZES)
def test_l11_deltas_of_any_size_become_frames_of_160_bytes_without_a_seam(size: int) -> None:
    """C-A 46: what is less than a frame waits for the next delta; only the tail is padded."""
    playout = Playout(FRAMES_PER_MARK)
    audio = sound(max(10 * size, 1000) + 7)
    sent = []
    for at in range(0, len(audio), size):
        queue(playout, audio[at : at + size])
        while (frame := playout.next_frame(0.0)) is not None:
            sent.append(frame[0])
    assert b"".join(sent) == audio[: len(audio) // FRAME_BYTES * FRAME_BYTES], "no padding yet"
    playout.complete("r1")
    assert playout.frame_ready
    tail = playout.next_frame(0.0)
    assert tail is not None
    sent.append(tail[0])
    assert {len(payload) for payload in sent} == {FRAME_BYTES}
    assert b"".join(sent) == audio.ljust(len(sent) * FRAME_BYTES, SILENCE_BYTE)
    assert playout.counts.padding_bytes == -len(audio) % FRAME_BYTES
    assert playout.counts.sent_bytes == len(audio)
    assert not playout.frame_ready


def test_less_than_a_frame_waits_until_the_response_is_complete() -> None:
    playout = Playout(1)
    queue(playout, sound(159))
    assert not playout.frame_ready
    assert playout.next_frame(0.0) is None
    assert playout.speaking is not None
    playout.complete("another")
    assert not playout.frame_ready
    playout.complete("r1")
    assert drained(playout) == sound(159) + SILENCE_BYTE


def test_a_response_of_whole_frames_has_no_padding() -> None:
    playout = playing(3)
    playout.complete("r1")
    assert drained(playout) == sound(480)
    assert playout.counts.padding_bytes == 0


def test_the_next_response_begins_with_a_frame_of_its_own() -> None:
    playout = Playout(1)
    queue(playout, sound(100), "r1")
    queue(playout, sound(160, 500), "r2", "i2")  # one response at a time: the first is complete
    assert drained(playout) == sound(100).ljust(160, SILENCE_BYTE) + sound(160, 500)


def test_a_later_response_waits_for_the_one_before_it() -> None:
    playout = Playout(1)
    playout.queue("r1", "i1", 0, sound(100), protected=True)
    assert playout.speaking is not None
    assert playout.speaking.protected
    queue(playout, sound(320), "r2", "i2")
    playout.complete_all()
    assert drained(playout) == sound(100).ljust(160, SILENCE_BYTE) + sound(320)


def test_a_response_all_of_which_was_sent_does_not_hold_up_the_next() -> None:
    playout = playing(1)
    playout.complete("r1")
    send(playout, 1)
    queue(playout, sound(160, 9), "r2", "i2")
    assert playout.speaking is not None
    assert playout.speaking.response_id == "r1", "it is still being heard"
    assert drained(playout) == sound(160, 9)


@pytest.mark.edge_case(26)
def test_more_than_ten_minutes_is_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """C-T 26: Twilio would drop it without telling."""
    assert module.MAX_QUEUED_BYTES == 600 * 8000
    monkeypatch.setattr(module, "MAX_QUEUED_BYTES", 1000)
    playout = Playout(1)
    queue(playout, sound(1000))
    queue(playout, sound(1))
    assert (playout.queued_bytes, playout.counts.overflow_bytes) == (1000, 1)
    send(playout, 1)
    queue(playout, sound(160))
    assert (playout.queued_bytes, playout.counts.overflow_bytes) == (1000, 1)
    assert balance(playout) == 0


def test_what_an_interruption_cut_counts_towards_the_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that goes on behind its cancel cannot fill the memory."""
    monkeypatch.setattr(module, "MAX_QUEUED_BYTES", 1000)
    playout = Playout(1)
    queue(playout, sound(900))
    playout.flush(0.0)
    playout.queue_outdated("r1", "i1", 0, sound(100))
    playout.queue_outdated("r1", "i1", 0, sound(1))
    queue(playout, sound(1), "r2")
    assert (playout.counts.flushed_bytes, playout.counts.overflow_bytes) == (1000, 2)
    playout.resume()
    playout.queue_outdated("r1", "i1", 0, sound(1))
    assert (playout.queued_bytes, playout.counts.overflow_bytes) == (1000, 3)
    assert balance(playout) == 0


def test_items_without_number_are_refused_and_counted() -> None:
    """However short they are: each costs more memory than its audio."""
    playout = Playout(1)
    for n in range(MAX_ITEMS // 2):
        queue(playout, b"a", "r1", f"i{n % 2}")
        queue(playout, b"a", f"q{n}")
    assert playout.counts.overflow_bytes == 0
    queue(playout, b"a", "new", "i1")
    queue(playout, b"a", f"q{n}", "new")
    assert playout.counts.overflow_bytes == 2
    queue(playout, b"a", f"q{n}")  # more of the latest one costs nothing
    assert playout.queued_bytes == MAX_ITEMS + 1
    assert balance(playout) == 0


# ---- heard


def test_a_frame_is_heard_20_ms_after_it_began_to_play() -> None:
    playout = playing(3)
    assert playout.heard_at is None
    for _ in range(3):
        playout.next_frame(10.0)  # the carrier plays them back to back
    assert playout.heard_at == pytest.approx(10.06)
    assert heard_bytes(playout, 10.0199) == 0
    assert heard_bytes(playout, 10.0201) == 160
    assert heard_bytes(playout, 10.0601) == 480
    assert playout.heard_at is None


def heard_bytes(playout: Playout, now: float) -> int:
    playout.settle(now)
    assert playout.speaking is not None
    return playout.speaking.heard


def test_at_the_time_it_names_everything_was_heard() -> None:
    """Waking at `heard_at` must find it done: a sum that differs in its last bit is a busy loop."""
    for start in (0.1, 0.3, 1.1, 7.7, 12345.678):
        playout = playing(50)
        playout.complete("r1")
        send(playout, 50, start)
        at = playout.heard_at
        assert at is not None
        assert [track.response_id for track in playout.settle(at)] == ["r1"]
        assert playout.heard_at is None


def test_a_response_is_over_when_it_is_complete_and_heard() -> None:
    playout = playing(2)
    send(playout, 2)
    assert playout.settle(9.0) == []
    assert playout.speaking is not None, "the model may go on with it"
    playout.complete("r1")
    assert [track.response_id for track in playout.settle(9.0)] == ["r1"]
    assert playout.speaking is None


def test_several_responses_are_over_one_after_the_other() -> None:
    playout = Playout(1000)
    for n in (1, 2, 3):
        queue(playout, sound(160), f"r{n}", f"i{n}")
    playout.complete_all()
    send(playout, 3)
    assert [track.response_id for track in playout.settle(0.041)] == ["r1", "r2"]
    assert [track.response_id for track in playout.settle(0.061)] == ["r3"]


def test_an_underrun_moves_what_comes_after_it() -> None:
    playout = playing(2)
    send(playout, 1, 0.0)
    send(playout, 1, 5.0)
    playout.settle(5.0101)
    assert playout.flush(5.0101) == (HeardItem("i1", 0, 30),)


def test_flush_counts_the_part_of_the_frame_that_is_being_heard() -> None:
    playout = playing(5)
    send(playout, 5, 1.0)
    assert playout.flush(1.0 + 0.0505) == (HeardItem("i1", 0, 50),)
    assert playout.counts.returned_bytes == pytest.approx(5 * 160 - 404, abs=1)
    assert balance(playout) == 0


def test_flush_tells_every_item_that_was_begun_or_not() -> None:
    """L3: those not reached at 0; one heard to its end in full, or it would pass for unheard."""
    playout = Playout(1000)
    queue(playout, sound(800), "r1", "heard")
    queue(playout, sound(800), "r1", "being heard")
    playout.queue("r1", "being heard", 1, sound(80), protected=False)
    queue(playout, sound(800), "r2", "not reached")
    send(playout, 10)
    assert playout.flush(0.1501) == (
        HeardItem("heard", 0, 100),
        HeardItem("being heard", 0, 50),
        HeardItem("being heard", 1, 0),
        HeardItem("not reached", 0, 0),
    )


def test_flush_in_an_underrun_tells_that_all_that_came_was_heard() -> None:
    """The model is in the middle of the item: what it generates from here on was not heard."""
    playout = playing(5)
    send(playout, 5)
    assert playout.flush(3.0) == (HeardItem("i1", 0, 100),)


def test_flush_before_the_first_frame_plays() -> None:
    playout = playing(5)
    assert playout.flush(0.0) == (HeardItem("i1", 0, 0),)
    assert playout.counts.returned_bytes == 0
    assert playout.counts.flushed_bytes == 800


def test_padding_is_not_heard_as_audio() -> None:
    playout = Playout(1000)
    queue(playout, sound(200))
    playout.complete("r1")
    send(playout, 2)
    assert playout.flush(0.039) == (HeardItem("i1", 0, 25),)
    assert playout.counts.returned_bytes == 0


# ---- limbo


def test_resume_plays_from_the_byte_where_the_caller_stopped_hearing() -> None:
    """Design 3.1, 7."""
    playout = playing(10)
    send(playout, 10)
    playout.complete("r1")
    playout.flush(0.050)
    assert (playout.in_limbo, playout.frame_ready, playout.queued_bytes) == (True, False, 0)
    assert playout.speaking is None
    playout.resume()
    assert (playout.in_limbo, playout.frame_ready, playout.queued_bytes) == (False, True, 1200)
    rest = drained(playout)
    assert rest == sound(1600)[400:].ljust(len(rest), SILENCE_BYTE)
    assert balance(playout) == 0


def test_what_is_heard_after_resuming_adds_up() -> None:
    playout = playing(10)
    send(playout, 10)
    playout.flush(0.050)
    playout.resume()
    send(playout, 3, 1.0)
    assert playout.flush(1.0401) == (HeardItem("i1", 0, 90),)
    playout.resume()
    playout.complete("r1")
    rest = drained(playout)
    assert rest == sound(1600)[720:].ljust(len(rest), SILENCE_BYTE)
    assert [track.heard for track in playout.settle(99.0)] == [1600]


def test_discarded_audio_is_never_played() -> None:
    playout = playing(10)
    send(playout, 10)
    playout.flush(0.050)
    playout.discard_limbo()
    playout.resume()
    assert not playout.frame_ready
    assert playout.speaking is None
    assert playout.counts.flushed_bytes == 1200
    assert balance(playout) == 0


def test_audio_that_was_under_way_joins_its_response_in_limbo() -> None:
    playout = playing(10)
    send(playout, 1)
    playout.flush(0.0101)
    playout.queue_outdated("r1", "i1", 0, sound(320, 1600))
    playout.queue_outdated("unheard of", "i9", 0, sound(320))
    assert playout.counts.stale_bytes == 320
    assert balance(playout) == 0
    playout.resume()
    playout.complete("r1")
    rest = drained(playout)
    assert rest == sound(1920)[80:].ljust(len(rest), SILENCE_BYTE)
    assert balance(playout) == 0


def test_audio_that_was_under_way_is_stale_once_the_barge_in_is_confirmed() -> None:
    playout = playing(10)
    playout.flush(0.0)
    playout.discard_limbo()
    playout.queue_outdated("r1", "i1", 0, sound(320))
    assert playout.counts.stale_bytes == 320
    assert playout.speaking is None


def test_audio_that_was_under_way_longer_than_the_suspicion_lasted_is_not_missing() -> None:
    playout = playing(10)
    playout.flush(0.0)
    playout.resume()
    playout.queue_outdated("r1", "i1", 0, sound(320, 1600))
    assert playout.counts.stale_bytes == 0
    assert drained(playout) == sound(1920)
    assert balance(playout) == 0


def test_audio_that_was_under_way_never_joins_what_came_after_the_interruption() -> None:
    """L1. The same response may have begun again."""
    playout = playing(10)
    playout.flush(0.0)
    playout.discard_limbo()
    queue(playout, sound(160))
    playout.queue_outdated("r1", "i1", 0, sound(320))
    assert playout.counts.stale_bytes == 320
    assert drained(playout) == sound(160)


def test_a_response_is_completed_while_it_is_in_limbo() -> None:
    playout = Playout(1)
    queue(playout, sound(100))
    playout.flush(0.0)
    playout.complete("r1")
    playout.resume()
    assert drained(playout) == sound(100).ljust(160, SILENCE_BYTE)


def test_resumed_audio_goes_before_what_came_meanwhile() -> None:
    playout = playing(2)
    playout.flush(0.0)
    playout.complete("r1")
    queue(playout, sound(160, 7), "r2", "i2")
    playout.resume()
    assert drained(playout) == sound(320) + sound(160, 7)


def test_several_responses_resume_in_their_order() -> None:
    playout = Playout(1)
    for n in (1, 2, 3):
        queue(playout, sound(160, n), f"r{n}", f"i{n}")
    playout.complete_all()
    playout.flush(0.0)
    playout.resume()
    assert drained(playout) == sound(160, 1) + sound(160, 2) + sound(160, 3)


def test_after_a_clear_the_carrier_plays_from_the_next_frame_on() -> None:
    playout = playing(50)
    for _ in range(50):
        playout.next_frame(0.0)
    playout.flush(0.1)
    queue(playout, sound(160), "r2", "i2")
    playout.next_frame(0.2)
    assert playout.heard_at == pytest.approx(0.22)


def test_a_response_of_which_more_is_to_come_is_in_limbo_with_nothing_flushed() -> None:
    playout = playing(1)
    send(playout, 1)
    playout.flush(1.0)
    assert playout.in_limbo
    playout.resume()
    assert playout.speaking is not None, "the response goes on"


def test_a_response_that_was_heard_to_its_end_is_not_in_limbo() -> None:
    playout = playing(1)
    send(playout, 1)
    playout.flush(1.0)
    playout.complete("r1")
    assert not playout.in_limbo


# ---- marks


def test_marks_follow_the_first_frame_then_every_so_many_and_the_last() -> None:
    playout = playing(25, mark_every=10)
    playout.complete("r1")
    behind = []
    for n in range(25):
        frame = playout.next_frame(0.0)
        assert frame is not None
        _, mark = frame
        if mark is not None:
            behind.append((n + 1, mark))
    assert behind == [
        (1, "g0-r1-000020"),
        (11, "g0-r1-000220"),
        (21, "g0-r1-000420"),
        (25, "g0-r1-000500"),
    ]
    assert playout.counts.marks_sent == 4


def test_mark_names_carry_the_generation_and_are_unique() -> None:
    """L2. Resumed audio passes the same position again under a new generation."""
    playout = playing(10, mark_every=1)
    names = [playout.probe(0.0), *send(playout, 5)]
    playout.flush(0.0)
    playout.resume()
    names += send(playout, 5)
    assert [name[:3] for name in names] == ["g0-"] * 6 + ["g1-"] * 5
    assert len(set(names)) == len(names)
    again = [playout.probe(1.0), playout.probe(1.0), playout.probe(1.0)]
    assert again == ["g1-r0-000000", "g1-r0-000000+", "g1-r0-000000++"]


def test_an_echo_teaches_the_carriers_delay() -> None:
    """The lag of a mark, less the round trip of one that waited for no audio."""
    playout = playing(10, mark_every=1)
    playout.mark_echoed(playout.probe(0.0), 0.080)
    marks = send(playout, 10, 1.0)
    assert playout.heard_at == pytest.approx(1.2)
    playout.mark_echoed(marks[0], 1.02 + 0.080 + 0.150)
    assert playout.heard_at == pytest.approx(1.35)
    assert playout.flush(1.2001) == (HeardItem("i1", 0, 50),)


def test_without_a_round_trip_an_echo_teaches_no_delay() -> None:
    playout = playing(10, mark_every=1)
    marks = send(playout, 10)
    playout.mark_echoed(marks[0], 0.020 + 0.500)
    assert playout.heard_at == pytest.approx(0.2)


@pytest.mark.edge_case(21)
def test_the_smallest_lag_counts_even_if_it_is_none() -> None:
    """C-T 21: late by 500 ms."""
    playout = playing(10, mark_every=1)
    playout.mark_echoed(playout.probe(0.0), 0.0)
    marks = send(playout, 10)
    playout.mark_echoed(marks[0], 0.020 + 0.500)
    assert playout.heard_at == pytest.approx(0.7)
    playout.mark_echoed(marks[1], 0.040 + 0.100)
    assert playout.heard_at == pytest.approx(0.3)
    playout.mark_echoed(marks[2], 0.060)
    assert playout.heard_at == pytest.approx(0.2)
    playout.mark_echoed(marks[3], 0.080 + 0.500)
    assert playout.heard_at == pytest.approx(0.2)


def test_an_echo_before_its_time_is_no_negative_delay() -> None:
    playout = playing(10, mark_every=1)
    marks = send(playout, 10)
    playout.mark_echoed(marks[9], 0.001)
    assert playout.heard_at == pytest.approx(0.2)


@pytest.mark.edge_case(21)
def test_unknown_and_repeated_echoes_are_counted_and_teach_nothing() -> None:
    """C-T 21: unknown name, duplicate, empty name."""
    playout = playing(10, mark_every=1)
    marks = send(playout, 10)
    playout.mark_echoed(marks[0], 0.020)
    for name in (marks[0], "g0-r1-999999", ""):
        playout.mark_echoed(name, 5.0)
    assert (playout.counts.marks_heard, playout.counts.marks_unknown) == (1, 3)
    assert playout.heard_at == pytest.approx(0.2)


@pytest.mark.edge_case(22)
def test_l2_marks_that_a_clear_echoes_teach_nothing() -> None:
    """C-T 22: all of them in a burst."""
    playout = playing(10, mark_every=1)
    marks = send(playout, 10)
    heard = playout.flush(0.0301)
    for name in marks:
        playout.mark_echoed(name, 0.031)
    assert heard == (HeardItem("i1", 0, 30),)
    assert (playout.counts.marks_heard, playout.counts.marks_cleared) == (0, 10)
    playout.resume()
    send(playout, 1, 1.0)
    assert playout.heard_at == pytest.approx(1.02)


def test_a_mark_of_an_older_generation_that_no_clear_dropped_was_heard() -> None:
    """The caller speaks right after a response: the generation moves on and nothing is cleared."""
    playout = playing(1, mark_every=1)
    marks = send(playout, 1)
    playout.generation += 1
    playout.mark_echoed(marks[0], 0.3)
    assert (playout.counts.marks_heard, playout.counts.marks_cleared) == (1, 0)


@pytest.mark.edge_case(85)
def test_marks_that_never_come_back_are_bounded_and_counted() -> None:
    """C-X 85."""
    playout = playing(MAX_MARKS + 3, mark_every=1)
    marks = send(playout, MAX_MARKS + 3)
    assert len(marks) == MAX_MARKS + 3
    assert playout.counts.marks_lost == 3
    assert len(playout._marks) == MAX_MARKS
    for name in marks:
        playout.mark_echoed(name, 0.0)
    assert (playout.counts.marks_heard, playout.counts.marks_unknown) == (MAX_MARKS, 3)


# ---- properties


class Ledger(RuleBasedStateMachine):
    """L11 at every step, whatever is asked of it in whatever order."""

    @initialize()
    def begin(self) -> None:
        self.playout = Playout(3)
        self.now = 0.0
        self.received = 0
        self.marks: list[str] = []
        self.tracks: dict[int, Track] = {}
        self.heard: dict[int, int] = {}

    sizes = st.sampled_from([1, 37, 159, 160, 161, 1000])
    responses = st.integers(1, 3)

    @rule(response=responses, item=st.integers(1, 2), size=sizes)
    def audio(self, response: int, item: int, size: int) -> None:
        queue(self.playout, sound(size), f"r{response}", f"r{response}i{item}")
        self.received += size

    @rule(response=responses, item=st.integers(1, 2), size=sizes)
    def outdated_audio(self, response: int, item: int, size: int) -> None:
        self.playout.queue_outdated(f"r{response}", f"r{response}i{item}", 0, sound(size))
        self.received += size

    @rule(response=responses)
    def complete(self, response: int) -> None:
        self.playout.complete(f"r{response}")

    @rule()
    def complete_all(self) -> None:
        self.playout.complete_all()

    @rule(frames=st.integers(1, 6))
    def send(self, frames: int) -> None:
        for _ in range(frames):
            ready = self.playout.frame_ready
            frame = self.playout.next_frame(self.now)
            assert (frame is not None) == ready
            if frame is not None:
                payload, mark = frame
                assert len(payload) == FRAME_BYTES
                self.marks += [mark] if mark else []

    @rule(after_ms=st.integers(0, 70))
    def settle(self, after_ms: int) -> None:
        self.now += after_ms / 1000
        for track in self.playout.settle(self.now):
            assert track.complete
            assert track.heard == track.received

    @precondition(lambda self: self.marks)
    @rule(data=st.data(), after_ms=st.integers(0, 700))
    def echo(self, data: st.DataObject, after_ms: int) -> None:
        self.now += after_ms / 1000
        self.playout.mark_echoed(data.draw(st.sampled_from(self.marks)), self.now)

    @precondition(lambda self: not self.playout._limbo)
    @rule(after_ms=st.integers(0, 25))
    def flush(self, after_ms: int) -> None:
        self.now += after_ms / 1000
        for item in self.playout.flush(self.now):
            told = (t for t in self.playout._limbo if item in t.heard_items())
            assert any(item.heard_ms * BYTES_PER_MS <= track.heard for track in told)

    @rule()
    def resume(self) -> None:
        self.playout.resume()

    @rule()
    def discard(self) -> None:
        self.playout.discard_limbo()

    @invariant()
    def every_byte_is_accounted_for(self) -> None:
        assert self.playout.counts.received_bytes == self.received
        assert balance(self.playout) == 0
        assert min(counts_of(self.playout)) >= 0

    @invariant()
    def heard_grows_and_stays_within_what_was_sent(self) -> None:
        for track in (*self.playout._tracks, *self.playout._limbo):
            self.tracks[track.ordinal] = track
        for ordinal, track in self.tracks.items():
            sent = track.received - len(track.queued)
            assert self.heard.get(ordinal, 0) <= track.heard <= sent
            self.heard[ordinal] = track.heard
        heard = sum(self.heard.values())
        assert heard <= self.playout.counts.sent_bytes - self.playout.counts.returned_bytes

    @invariant()
    def marks_are_bounded(self) -> None:
        assert len(self.playout._marks) <= MAX_MARKS


def counts_of(playout: Playout) -> list[int]:
    return [getattr(playout.counts, name) for name in playout.counts.__slots__]


TestLedger = Ledger.TestCase


@dataclass
class Carrier:
    """Plays back to back, `delay_s` after audio came; everything takes a while on the way."""

    up_s: float
    down_s: float
    delay_s: float
    free_at: float = -math.inf
    plays: list[float] = field(default_factory=list)

    def media(self, sent_at: float) -> None:
        self.free_at = max(self.free_at, sent_at + self.up_s + self.delay_s)
        self.plays.append(self.free_at)
        self.free_at += FRAME_S

    def echo_at(self, sent_at: float) -> float:
        return max(self.free_at, sent_at + self.up_s) + self.down_s

    def samples_heard(self, clear_sent_at: float) -> float:
        """When the clear arrives."""
        at = clear_sent_at + self.up_s
        return sum(min(max((at - begin) * 8000, 0), FRAME_BYTES) for begin in self.plays)


PATHS_S = st.sampled_from([0.0, 0.015, 0.080])
DELAYS_S = st.sampled_from([0.0, 0.020, 0.053, 0.200])
CARRIERS = st.builds(Carrier, PATHS_S, PATHS_S, DELAYS_S)
GAPS_MS = st.lists(st.just(0) | st.just(20) | st.integers(0, 60), min_size=1, max_size=60)
ECHOES_LATE_MS = st.none() | st.just(0) | st.just(500)  # None: it never comes


def acquainted(carrier: Carrier) -> Playout:
    """A call in which the probe and the mark of a first short response came back."""
    playout = Playout(mark_every_frames=4)
    playout.mark_echoed(playout.probe(-9.0), carrier.echo_at(-9.0))
    queue(playout, sound(160), "r0", "i0")
    playout.complete("r0")
    (mark,) = send(playout, 1, -8.0)
    carrier.media(-8.0)
    playout.mark_echoed(mark, carrier.echo_at(-8.0))
    assert len(playout.settle(-1.0)) == 1
    carrier.plays.clear()
    return playout


@given(CARRIERS, GAPS_MS, st.integers(0, 1000), st.data())  # later, a missing mark is overdue
def test_heard_is_what_the_carrier_played_when_the_clear_came(
    carrier: Carrier, gaps_ms: list[int], flush_after_ms: int, data: st.DataObject
) -> None:
    """To the sample, through underruns and bursts, and marks that are late or never come."""
    playout = acquainted(carrier)
    queue(playout, sound(len(gaps_ms) * FRAME_BYTES))
    echoes: list[tuple[float, str]] = []
    flush_at = flush_after_ms / 1000
    now = heard = 0.0
    for gap_ms in gaps_ms:
        now += gap_ms / 1000
        if now >= flush_at:
            break
        frame = playout.next_frame(now)
        assert frame is not None
        carrier.media(now)
        _, mark = frame
        late_ms = data.draw(ECHOES_LATE_MS) if mark is not None else None
        if mark is not None and late_ms is not None:
            echoes.append((carrier.echo_at(now) + late_ms / 1000, mark))
        for at, name in [echo for echo in echoes if echo[0] <= now]:
            playout.mark_echoed(name, at)
            echoes.remove((at, name))
        playout.settle(now)
        assert playout.speaking is not None
        assert heard <= playout.speaking.heard
        heard = playout.speaking.heard
    items = playout.flush(flush_at)
    (track,) = playout._limbo
    assert abs(track.heard - carrier.samples_heard(flush_at)) <= 1.001
    assert items == (HeardItem("i1", 0, track.heard // BYTES_PER_MS),)


def test_heard_adds_up_behind_audio_that_came_while_the_carrier_still_played() -> None:
    """Its buffer holds 200 ms: 90 ms after our end it is not empty yet, and a second later it is.

    By the lag of that audio alone the next response would be heard 90 ms before it is.
    """
    playout = acquainted(Carrier(0.0, 0.0, 0.200))
    queue(playout, sound(160), "r1")
    playout.complete("r1")
    send(playout, 1, 0.0)
    queue(playout, sound(160), "r2")
    playout.complete("r2")
    (mark,) = send(playout, 1, 0.110)
    playout.mark_echoed(mark, 0.240)
    assert len(playout.settle(0.240)) == 2, "one behind the other"
    queue(playout, sound(1600), "r3")
    send(playout, 10, 2.0)
    playout.flush(2.250)
    (track,) = playout._limbo
    assert track.heard == 0.050 * 8000


@given(CARRIERS, GAPS_MS, st.integers(0, 1500))
def test_without_echoes_heard_is_the_most_it_can_be(
    carrier: Carrier, gaps_ms: list[int], flush_after_ms: int
) -> None:
    playout = playing(len(gaps_ms))
    now = 0.0
    for gap_ms in gaps_ms:
        now += gap_ms / 1000
        playout.next_frame(now)
        carrier.media(now)
    flush_at = now + flush_after_ms / 1000
    playout.flush(flush_at)
    (track,) = playout._limbo
    at_once = Carrier(carrier.up_s, carrier.down_s, 0.0)
    at_once.plays = [begin - carrier.delay_s for begin in carrier.plays]
    assert abs(track.heard - at_once.samples_heard(flush_at)) <= 1.001
    assert carrier.samples_heard(flush_at) - 1.001 <= track.heard <= playout.counts.sent_bytes


def test_l3_a_carrier_that_stands_still_has_played_nothing() -> None:
    """The socket is behind, or the line: by our clock alone three seconds would have been heard."""
    playout = playing(200, mark_every=10)
    playout.mark_echoed(playout.probe(0.0), 0.0)
    marks = send(playout, 150)
    playout.mark_echoed(marks[0], 0.020)
    playout.mark_echoed(marks[1], 0.200)
    assert playout.settle(3.0) == []
    heard_at = playout.heard_at
    assert heard_at is not None
    assert heard_at > 3.0, "it is looked at again, and not at once"
    (item,) = playout.flush(3.0)
    assert item.heard_ms <= 420


@pytest.mark.edge_case(21)
def test_an_echo_that_never_comes_is_forgiven_by_the_next_one() -> None:
    """C-T 21: never."""
    playout = playing(200, mark_every=10)
    playout.mark_echoed(playout.probe(0.0), 0.0)
    marks = send(playout, 150)
    playout.mark_echoed(marks[-1], 3.0)
    (item,) = playout.flush(3.0)
    assert item.heard_ms >= 2800


def silent_carrier() -> tuple[Playout, list[str]]:
    """It echoed the first mark of four seconds of audio, and none since."""
    playout = playing(200, mark_every=10)
    playout.mark_echoed(playout.probe(0.0), 0.0)
    marks = send(playout, 200)
    playout.complete("r1")
    playout.mark_echoed(marks[0], 0.020)
    return playout, marks


@pytest.mark.edge_case(21)
def test_echoes_that_never_come_again_are_not_waited_for_for_ever() -> None:
    """The greeting would stay protected until the end of the call."""
    playout, _ = silent_carrier()
    missed_at = 0.220 + OVERDUE_S
    assert playout.settle(missed_at + SILENT_S - 0.001) == []
    assert [track.response_id for track in playout.settle(missed_at + SILENT_S)] == ["r1"]
    queue(playout, sound(800), "r2", "i2")
    playout.complete("r2")
    send(playout, 5, 20.0)
    assert [track.response_id for track in playout.settle(20.1)] == ["r2"], "by the clock alone"


@pytest.mark.edge_case(21)
def test_a_carrier_that_echoes_again_is_believed_again() -> None:
    playout, marks = silent_carrier()
    playout.settle(20.0)
    playout.mark_echoed(marks[1], 20.0)
    queue(playout, sound(200 * FRAME_BYTES), "r2", "i2")
    send(playout, 200, 20.0)
    (item,) = playout.flush(24.0)
    assert item.heard_ms <= 20, "it stands still again"
