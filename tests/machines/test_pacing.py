from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callengine.audio.g711 import FRAME_S
from callengine.machines.pacing import (
    LATE_S,
    LATENESS_BUCKETS_MS,
    RASTER_S,
    RESET_S,
    Grid,
    Punctuality,
    lateness_bucket_ms,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

LEAD_S = 0.100
LEADS_S = [0.0, 0.020, 0.100, 0.300, 1.0]
START = 1234.5
TINY_S = 1e-6
"""Two sums of the same slots may differ in the last bits: a frame then leaves a moment later."""


@dataclass
class Sender:
    """Sends what is due whenever it wakes, to a carrier that plays back to back from arrival."""

    lead_s: float
    left_at: list[float] = field(default_factory=list)
    held_s: list[float] = field(default_factory=list)
    bursts: list[int] = field(default_factory=list)
    tally: dict[Punctuality, int] = field(default_factory=lambda: dict.fromkeys(Punctuality, 0))
    plays_until: float = -math.inf

    def __post_init__(self) -> None:
        self.grid = Grid(self.lead_s)

    def wake(self, now: float) -> None:
        burst = 0
        while self.grid.due_at <= now + TINY_S:
            self._send(now)
            burst += 1
        self.bursts.append(burst)

    def _send(self, now: float) -> None:
        self.left_at.append(now)
        self.held_s.append(max(self.plays_until - now, 0.0))
        self.plays_until = max(self.plays_until, now) + FRAME_S
        self.tally[self.grid.sent(now)] += 1

    def run(self, lateness_s: Iterable[float]) -> None:
        for late_s in lateness_s:
            self.wake(self.grid.due_at + late_s)


def opened(lead_s: float = LEAD_S) -> Sender:
    sender = Sender(lead_s)
    sender.grid.open(START)
    return sender


def counted(sender: Sender) -> tuple[int, int]:
    return sender.tally[Punctuality.LATE], sender.tally[Punctuality.RESET]


@pytest.mark.parametrize("lead_s", LEADS_S)
def test_at_first_the_lead_leaves_at_once_and_then_a_frame_every_20_ms(lead_s: float) -> None:
    sender = opened(lead_s)
    sender.run([0.0] * 50)
    at_once = round(lead_s / FRAME_S) + 1
    assert sender.bursts == [at_once] + [1] * 49
    assert sender.left_at[at_once:] == pytest.approx([START + n * FRAME_S for n in range(1, 50)])
    assert counted(sender) == (0, 0)


@pytest.mark.parametrize("lead_s", LEADS_S)
@given(begins_s=st.floats(0, 1e6))
def test_behind_the_lead_all_grids_share_one_raster(lead_s: float, begins_s: float) -> None:
    sender = Sender(lead_s)
    sender.grid.open(begins_s)
    sender.run([0.0] * 50)
    steady = sender.left_at[sender.bursts[0] :]
    for left_at in steady:
        assert left_at / RASTER_S == pytest.approx(round(left_at / RASTER_S), abs=1e-3)
    first_gap_s = steady[0] - begins_s
    assert FRAME_S - RASTER_S - TINY_S <= first_gap_s <= FRAME_S + TINY_S
    held_s = sender.held_s[sender.bursts[0] :]
    assert all(lead_s - TINY_S <= held <= lead_s + RASTER_S + TINY_S for held in held_s)


@given(st.integers(0, 10_000))
@example(1665)
def test_audio_that_comes_just_in_time_does_not_pile_up_on_the_raster(begins_cs: int) -> None:
    """Twice as fast as it plays, a frame at a time: each is the end of a pause at first."""
    sender = Sender(LEAD_S)
    for n in range(20):
        now = (begins_cs + n) / 100
        sender.grid.open(now)
        sender._send(max(now, sender.grid.due_at))
    assert max(sender.held_s) <= LEAD_S + RASTER_S + TINY_S


@pytest.mark.parametrize("lead_s", LEADS_S)
def test_the_grid_does_not_drift_over_10000_frames_under_jitter(lead_s: float) -> None:
    source = random.Random(7)
    sender = opened(lead_s)
    sender.run(source.uniform(0, 0.015) for _ in range(10_000))
    assert counted(sender) == (0, 0)
    for frame, left_at in enumerate(sender.left_at):
        due = max(START + frame * FRAME_S - lead_s, START)
        assert -TINY_S <= left_at - due <= 0.015 + TINY_S


@pytest.mark.parametrize(
    ("stall_s", "late", "resets", "at_once"),
    [
        (0.019, 0, 0, 1),
        (0.021, 1, 0, 2),
        (0.065, 3, 0, 4),  # 65, 45 and 25 ms late; the fourth by 5
        (0.099, 4, 0, 5),
        (0.119, 5, 0, 6),
        (0.150, 1, 0, 6),  # the ear had a gap: anew from here, with a full lead
        (0.199, 1, 0, 6),
        (0.201, 0, 1, 6),
        (0.250, 0, 1, 6),
        (30.0, 0, 1, 6),
    ],
)
def test_a_stall_is_late_or_a_reset_and_the_lead_is_restored(
    stall_s: float, late: int, resets: int, at_once: int
) -> None:
    """Late from 20 ms, reset from 200 ms, counted apart; never more than the lead at once."""
    sender = opened()
    sender.run([0.0] * 20)
    sender.run([stall_s])
    assert counted(sender) == (late, resets)
    assert sender.bursts[-1] == at_once
    sender.run([0.0] * 20)
    assert sender.bursts[-20:] == [1] * 20
    assert counted(sender) == (late, resets)


def test_after_a_hiccup_within_the_lead_the_old_grid_goes_on() -> None:
    sender = opened()
    sender.run([0.0] * 20)
    sender.run([0.065, 0.0])
    assert sender.left_at[-1] == pytest.approx(START + len(sender.left_at[:-1]) * FRAME_S - LEAD_S)


def test_after_a_gap_in_the_ear_the_grid_is_anchored_anew() -> None:
    sender = opened()
    sender.run([0.0] * 20)
    sender.run([0.240])  # from one point of the raster to another
    at = sender.left_at[-1]
    sender.run([0.0] * 3)
    assert sender.left_at[-3:] == pytest.approx([at + 0.02, at + 0.04, at + 0.06])


def test_a_reset_with_a_long_lead_does_not_pile_up_audio_at_the_carrier() -> None:
    """A lead of a second is not used up by a stall of 250 ms: only what is missing follows."""
    sender = opened(1.0)
    sender.run([0.0] * 20)
    for _ in range(10):
        sender.run([0.250] + [0.0] * 20)
    assert counted(sender) == (0, 10)
    assert max(sender.held_s) <= 1.0 + FRAME_S


def test_late_means_a_slot_and_reset_means_200_ms() -> None:
    assert LATE_S == FRAME_S
    assert RESET_S == 0.2


@pytest.mark.parametrize(
    ("lateness_ms", "bound_ms"),
    [(0.0, 1), (0.999, 1), (1.0, 1), (1.001, 2), (20.0, 20), (20.001, 50), (200.001, math.inf)],
)
def test_lateness_falls_into_the_bucket_that_holds_its_bound(
    lateness_ms: float, bound_ms: float
) -> None:
    assert lateness_bucket_ms(lateness_ms) == bound_ms


def test_the_buckets_tell_late_frames_and_resets_apart() -> None:
    assert {LATE_S * 1000, RESET_S * 1000} < set(LATENESS_BUCKETS_MS)
    assert list(LATENESS_BUCKETS_MS) == sorted(LATENESS_BUCKETS_MS)
    assert LATENESS_BUCKETS_MS[-1] == math.inf


def test_a_source_that_paused_is_neither_late_nor_a_reset() -> None:
    sender = opened()
    sender.run([0.0] * 20)
    sender.grid.open(START + 60.0)
    assert sender.grid.due_at == START + 60.0
    sender.run([0.0])
    assert sender.bursts[-1] == 6
    assert counted(sender) == (0, 0)


def test_a_pause_shorter_than_the_lead_keeps_the_grid() -> None:
    """What the carrier still holds counts: only what is missing of the lead follows at once."""
    sender = opened()
    sender.run([0.0] * 20)
    plays_next = sender.plays_until
    sender.grid.open(plays_next - 0.050)
    sender.run([0.0])
    assert sender.bursts[-1] == 3
    assert max(sender.held_s) <= LEAD_S + TINY_S
    assert sender.grid.due_at == pytest.approx(plays_next + 3 * FRAME_S - LEAD_S)
    assert counted(sender) == (0, 0)


def test_after_a_restart_the_carrier_holds_nothing() -> None:
    sender = opened()
    sender.run([0.0] * 20)
    at = sender.left_at[-1] + 0.001
    sender.grid.restart(at)
    sender.wake(at)
    assert sender.bursts[-1] == 6
    assert counted(sender) == (0, 0)


HICCUPS_MS = st.integers(0, 15) | st.integers(0, 1500)
PAUSES_MS = st.none() | st.integers(0, 300)


@given(
    st.sampled_from(LEADS_S),
    st.lists(st.tuples(HICCUPS_MS, PAUSES_MS), max_size=60),
)
def test_whatever_happens_a_burst_is_at_most_the_lead_and_only_refills_it(
    lead_s: float, happenings: list[tuple[int, int | None]]
) -> None:
    sender = opened(lead_s)
    now = START
    for hiccup_ms, pause_ms in happenings:
        if pause_ms is not None:
            now += pause_ms / 1000
            sender.grid.open(now)
        # Off the whole milliseconds: whether exactly 20 ms is late is up to the last bit.
        now = max(now, sender.grid.due_at) + hiccup_ms / 1000 + 0.0003
        sender.wake(now)
    # The raster may make the lead longer by a slot, and a burst by a frame.
    assert max(sender.bursts, default=0) <= round(lead_s / FRAME_S) + 2
    assert sum(sender.bursts) == sum(sender.tally.values()) == len(sender.left_at)
    # A hiccup that costs the ear less than a slot does not move the grid: hence one slot more.
    assert all(held <= lead_s + RASTER_S + FRAME_S for held in sender.held_s)
    for frame in range(1, len(sender.left_at)):
        if sender.left_at[frame] - sender.left_at[frame - 1] < 0.018:
            assert sender.held_s[frame] <= lead_s + RASTER_S + FRAME_S, (
                "close together only to refill the lead"
            )
