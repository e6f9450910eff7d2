from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.marks import MAX_MARKS, OVERDUE_S, SILENT_S, Marks
from callengine.machines.transmission_terms import PlayoutCounts

NEVER = float("inf")


def acquainted(round_trip_s: float = 0.1) -> Marks:
    """A probe came back; the line answers."""
    marks = Marks(PlayoutCounts())
    marks.echoed(marks.sent("probe", 0, 0.0), round_trip_s)
    return marks


def test_a_name_that_is_under_way_is_made_another() -> None:
    marks = Marks(PlayoutCounts())
    assert [marks.sent("m", 1, 0.0) for _ in range(3)] == ["m", "m+", "m++"]
    marks.echoed("m", 0.0)
    assert marks.sent("m", 1, 0.0) == "m"


def test_nothing_is_overdue_before_the_round_trip_is_known() -> None:
    marks = Marks(PlayoutCounts())
    marks.sent("m1", 1, 0.0)
    assert marks.stuck_at(100.0) == NEVER
    assert not marks.awaits_echo


def test_from_a_mark_that_is_overdue_on_nothing_was_heard() -> None:
    marks = acquainted(round_trip_s=0.1)
    marks.sent("m1", 1, 5.0)
    marks.sent("m2", 1, 6.0)
    assert marks.stuck_at(5.1 + OVERDUE_S - 0.001) == NEVER
    assert marks.stuck_at(5.1 + OVERDUE_S) == 5.0
    marks.echoed("m1", 6.5)
    assert marks.stuck_at(6.6) == NEVER, "it was late, so that it may be late again"
    assert marks.stuck_at(6.0 + 1.5 + OVERDUE_S) == 6.0


def test_a_clear_brings_all_back_and_nothing_is_waited_for() -> None:
    marks = acquainted()
    marks.sent("m1", 1, 5.0)
    marks.cleared()
    assert marks.stuck_at(8.0) == NEVER
    marks.echoed("m1", 9.0)
    assert marks.delay_s is None, "it teaches nothing"


def test_an_echo_that_may_have_waited_for_us_teaches_no_delay() -> None:
    marks = acquainted(round_trip_s=0.1)
    marks.sent("m1", 1, 5.0)
    marks.stood_still(6.5)
    marks.echoed("m1", 6.5)
    assert marks.delay_s is None
    marks.sent("m2", 1, 6.5)
    marks.echoed("m2", 6.8)
    assert marks.delay_s == pytest.approx(0.2)


def echo_of_audio(marks: Marks, name: str, *, plays_at: float, echoed_at: float) -> None:
    marks.echoed(marks.sent(name, 1, plays_at), echoed_at)


def test_audio_that_comes_while_the_carrier_plays_has_a_shorter_delay_of_its_own() -> None:
    """It holds 0.2 s: what comes 0.15 s after our end is played 0.05 s later."""
    marks = acquainted(round_trip_s=0.1)
    echo_of_audio(marks, "m1", plays_at=5.0, echoed_at=5.3)
    marks.audio_begins(0.15)
    assert marks.delay_s == pytest.approx(0.2), "until an echo tells"
    echo_of_audio(marks, "m2", plays_at=6.0, echoed_at=6.15)
    assert marks.delay_s == pytest.approx(0.05)
    marks.audio_begins(1.0)
    assert marks.delay_s == pytest.approx(0.2)
    echo_of_audio(marks, "m3", plays_at=8.0, echoed_at=8.28)
    assert marks.delay_s == pytest.approx(0.18)
    marks.audio_begins(0.5)
    assert marks.delay_s == pytest.approx(0.18), "the least of those after a silence"


def test_a_carrier_that_never_runs_dry_has_one_delay() -> None:
    """What is less than a frame late may be our own clock."""
    marks = acquainted(round_trip_s=0.1)
    echo_of_audio(marks, "m1", plays_at=5.0, echoed_at=5.3)
    marks.audio_begins(0.019)
    echo_of_audio(marks, "m2", plays_at=6.0, echoed_at=6.25)
    marks.audio_begins(0.019)
    assert marks.delay_s == pytest.approx(0.15)


def test_an_echo_of_an_earlier_stretch_tells_of_that_one() -> None:
    marks = acquainted(round_trip_s=0.1)
    marks.audio_begins(5.0)
    name = marks.sent("m1", 1, 5.0)
    marks.audio_begins(0.1)
    marks.echoed(name, 5.3)
    assert marks.delay_s == pytest.approx(0.2)
    echo_of_audio(marks, "m2", plays_at=6.0, echoed_at=6.2)
    marks.audio_begins(9.0)
    assert marks.delay_s == pytest.approx(0.1), "whether it was one after a silence nobody knew"


def test_who_stood_still_begins_to_wait_for_an_echo_when_he_looks_again() -> None:
    marks = acquainted(round_trip_s=0.1)
    marks.sent("m1", 1, 5.0)
    marks.stood_still(8.0)
    assert marks.stuck_at(8.1 + OVERDUE_S - 0.001) == NEVER
    assert marks.stuck_at(8.1 + OVERDUE_S) == 5.0


def test_marks_are_given_up_until_one_comes() -> None:
    marks = acquainted()
    marks.sent("m1", 1, 5.0)
    marks.sent("m2", 1, 6.0)
    given_up_at = 5.1 + OVERDUE_S + SILENT_S
    assert marks.stuck_at(given_up_at - 0.001) == 5.0
    assert marks.awaits_echo
    assert marks.stuck_at(given_up_at) == NEVER
    assert not marks.awaits_echo
    marks.sent("m3", 1, given_up_at + 1.0)
    marks.sent("m4", 1, given_up_at + 2.0)
    assert marks.stuck_at(given_up_at + 5.0) == NEVER
    marks.echoed("m3", given_up_at + 1.1)
    assert marks.stuck_at(given_up_at + 5.0) == given_up_at + 2.0, "it is believed again"


@pytest.mark.parametrize("echoed", ["m1", "m2"])
def test_the_last_mark_is_awaited_until_it_or_a_later_one_comes(echoed: str) -> None:
    marks = acquainted()
    marks.sent("m1", 1, 5.0)
    marks.sent("m2", 1, 6.0)
    assert marks.awaits_echo
    marks.echoed(echoed, 6.0)
    assert marks.awaits_echo == (echoed == "m1")


def test_the_oldest_is_forgotten_when_too_many_are_under_way() -> None:
    counts = PlayoutCounts()
    marks = Marks(counts)
    for n in range(MAX_MARKS + 2):
        marks.sent(f"m{n}", 1, float(n))
    assert (len(marks), counts.marks_lost) == (MAX_MARKS, 2)
    marks.echoed("m1", 0.0)
    assert counts.marks_unknown == 1


# ---- looking ahead changes nothing


@dataclass
class Plain:
    """What `Marks.stuck_at` tells, by looking through all marks whenever it is asked."""

    marks: Marks

    def stuck_at(self, now: float) -> float:
        marks = self.marks
        if marks._round_trip_s is None or not marks._echoes:
            return NEVER
        overdue_s = marks._round_trip_s + (marks.delay_s or 0.0) + OVERDUE_S
        for mark in marks._under_way.values():
            if mark.clears != marks._clears or mark.plays_at <= marks._echoed_to:
                continue
            is_late = mark.plays_at + overdue_s <= now < mark.plays_at + overdue_s + SILENT_S
            return mark.plays_at if is_late else NEVER
        return NEVER


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "probe", "echo", "clear", "ask"]),
        st.sampled_from([0.0, 0.02, 0.2, 0.9, 4.0, 11.0]),
        st.integers(0, 40),
    ),
    max_size=60,
)


@given(STEPS)
def test_to_look_ahead_tells_the_same_as_to_look_through_all_marks(
    steps: list[tuple[str, float, int]],
) -> None:
    marks, now, names = Marks(PlayoutCounts()), 0.0, ["nobody's"]
    plain = Plain(marks)
    for step, after_s, which in steps:
        now += after_s
        match step:
            case "send":
                names.append(marks.sent("m", 1, now + which / 10))
            case "probe":
                names.append(marks.sent("p", 0, now))
            case "echo":
                marks.echoed(names[-1 - which % len(names)], now)
            case "clear":
                marks.cleared()
        told = plain.stuck_at(now)
        assert marks.stuck_at(now) == told
