"""Caller audio whose numbers, times and pace are odd: what of it reaches the model, and when."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from callengine.testing import (
    BargeIn,
    CountFrom,
    HoldBack,
    LoseFrames,
    RepeatFrame,
    Say,
    SkipTime,
    StopFrames,
    SwapFrames,
    Wait,
    laws,
)
from callengine.testing.caller.faults import NumberStyle, WriteNumbers
from tests.edge_cases.carrier_calls import (
    ANSWERED,
    ASK,
    GREETED,
    QUESTION,
    STOP,
    asked_and_answered,
    call,
    check,
    closed,
)

if TYPE_CHECKING:
    from callengine.testing.caller.script import Step
    from callengine.testing.held import Held

HALF = 3_200
"""Bytes of the question before the trouble: whole frames, and in the middle of a word."""


def in_the_middle_of_the_question(*trouble: Step) -> Held:
    return call([GREETED, Say(QUESTION[:HALF]), *trouble, Say(QUESTION[HALF:]), ANSWERED])


def silence_within_the_question(held: Held, lost_bytes: int = 0, late_bytes: int = 0) -> float:
    """Milliseconds of silence that the model got instead of `lost_bytes` in its middle.

    Of the bytes just before those, `late_bytes` came late, behind silence of their own.
    """
    late, rest = HALF + late_bytes, HALF + late_bytes + lost_bytes
    pieces = [QUESTION[:HALF], QUESTION[HALF:late], QUESTION[rest:]]
    pattern = b"(\xff*)".join(map(re.escape, pieces))
    found = re.search(pattern, bytes(held.model.appended), re.DOTALL)
    assert found, "all the rest of the question, and nothing between but silence"
    return sum(map(len, found.groups())) / 8


# ---- numbers


@pytest.mark.edge_case(7)
@pytest.mark.parametrize("times", [1, 5])
def test_a_repeated_frame_is_heard_once(times: int) -> None:
    held = in_the_middle_of_the_question(RepeatFrame(times))
    check(held, laws.counters_agree)
    asked_and_answered(held)
    assert silence_within_the_question(held) == 0
    inbound = held.summary.inbound
    assert inbound.duplicates == times
    assert inbound.frames == held.caller.inbound_frames_sent - times


@pytest.mark.edge_case(7)
def test_a_frame_that_was_overtaken_is_silence_and_the_one_before_it_is_heard() -> None:
    held = in_the_middle_of_the_question(SwapFrames())
    check(held, laws.counters_agree)
    assert silence_within_the_question(held, lost_bytes=160) == pytest.approx(20, abs=1)
    assert held.summary.inbound.reordered == 1
    assert held.summary.inbound.frames == held.caller.inbound_frames_sent - 1
    assert held.was_heard(held.model.responses[1])


@pytest.mark.edge_case(7, 8)
@pytest.mark.parametrize("frames", [1, 5, 30])
def test_frames_that_never_come_are_silence_of_their_length(frames: int) -> None:
    held = in_the_middle_of_the_question(LoseFrames(frames))
    check(held)
    lost_bytes = 160 * frames
    silence_ms = silence_within_the_question(held, lost_bytes)
    assert silence_ms == pytest.approx(20 * frames, abs=2)
    assert held.summary.inbound.filled_ms == silence_ms


@pytest.mark.edge_case(7)
@pytest.mark.parametrize("sequence", [0, 1, 2, 200, 10**6, 10**14])
def test_a_sequence_that_jumps_costs_nothing(sequence: int) -> None:
    held = in_the_middle_of_the_question(CountFrom(sequence))
    check(held)
    asked_and_answered(held)
    assert held.summary.inbound.clock_restarts == (sequence < 100)


@pytest.mark.edge_case(7)
@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.3, 1.0])
def test_a_sequence_may_begin_anew_at_the_beginning_of_the_call(after_s: float) -> None:
    held = call([Wait(after_s), CountFrom(1), Say(QUESTION), ANSWERED])
    check(held)
    assert QUESTION in bytes(held.model.appended)


@pytest.mark.edge_case(7, 8)
@pytest.mark.parametrize("style", NumberStyle)
def test_numbers_may_be_of_any_kind_or_none(style: NumberStyle) -> None:
    held = call(faults=[WriteNumbers(style)])
    check(held)
    asked_and_answered(held)
    assert held.summary.inbound.filled_ms == 0


# ---- times


@pytest.mark.edge_case(8)
@pytest.mark.parametrize("seed", range(3))
def test_the_carriers_own_clock_is_no_hole(seed: int) -> None:
    """It begins at 102 to 171 ms and goes by 19.97 ms, in whole milliseconds."""
    held = call([*ASK, Wait(40.0)], seed=seed)
    check(held)
    inbound = held.summary.inbound
    assert (inbound.filled_ms, inbound.skipped_ms, inbound.clock_restarts) == (0, 0, 0)
    assert len(held.model.appended) == 160 * held.caller.inbound_frames_sent


@pytest.mark.edge_case(8)
@pytest.mark.parametrize(
    ("jump_ms", "filled_ms"),
    [(9, 0), (200, 200), (5_000, 5_000), (10_000, 10_000), (3_600_000, 10_000), (-2_000, 0)],
)
def test_a_jump_of_the_clock_is_filled_up_to_a_cap(jump_ms: int, filled_ms: int) -> None:
    held = in_the_middle_of_the_question(SkipTime(jump_ms))
    laws.counters_agree(held)
    inbound = held.summary.inbound
    assert silence_within_the_question(held) == inbound.filled_ms
    assert inbound.filled_ms == pytest.approx(filled_ms, abs=2)
    assert inbound.skipped_ms == pytest.approx(max(jump_ms, 0) - filled_ms, abs=10)
    assert inbound.clock_restarts == (jump_ms < 0)
    laws.every_turn_is_answered(held)


# ---- pace


@pytest.mark.edge_case(9)
@pytest.mark.parametrize("stopped_s", [3.0, 20.0])
def test_a_caller_who_falls_silent_in_the_middle_of_a_word_is_answered(stopped_s: float) -> None:
    """The model's clock is the audio it gets: without any it would wait for ever."""
    held = call([GREETED, Say(QUESTION[:HALF]), StopFrames(stopped_s), ANSWERED])
    stopped_at = held.caller.said[0].end_at
    assert held.summary.inbound.stalls == 1
    assert held.summary.inbound.filled_ms == pytest.approx(min(stopped_s, 10.0) * 1000, abs=200)
    assert held.model.speech_stopped[0].at < stopped_at + 1.5
    answer = held.model.responses[1]
    assert answer.first_audio_at is not None
    assert answer.first_audio_at < stopped_at + 3.0, "long before frames came again"
    check(held)


@pytest.mark.edge_case(34)
@pytest.mark.parametrize(("held_s", "stalls"), [(0.5, 0), (2.0, 1)])
def test_a_burst_after_a_stall_of_the_network_is_heard_whole_and_in_order(
    held_s: float, stalls: int
) -> None:
    held = call([GREETED, HoldBack(held_s), Say(QUESTION), ANSWERED])
    check(held)
    asked_and_answered(held)
    assert held.summary.inbound.stalls == stalls
    assert held.summary.inbound.frames == held.caller.inbound_frames_sent
    assert held.summary.inbound.skipped_ms == 0
    assert held.caller.violations == []


@pytest.mark.edge_case(34)
def test_a_caller_interrupts_from_within_a_burst() -> None:
    held = call([GREETED, Say(QUESTION), BargeIn(b"", 0.2), HoldBack(0.6), Say(STOP), ANSWERED])
    (interruption,) = held.interruptions
    assert STOP in bytes(held.model.appended)
    said = held.caller.said[-1]
    assert interruption.decided_s == pytest.approx(said.onset_at + 0.6, abs=0.06)
    laws.nothing_of_an_interrupted_response_is_played_on(held)
    laws.every_turn_is_answered(held)


@pytest.mark.edge_case(28)
@pytest.mark.parametrize("room_frames", [0, 10, 40])
def test_what_twilio_drops_because_we_read_too_slowly_is_silence_to_the_model(
    room_frames: int,
) -> None:
    held = in_the_middle_of_the_question(HoldBack(1.0, room_frames=room_frames))
    check(held, laws.the_carrier_had_nothing_to_complain_about)
    (violation,) = held.caller.violations
    assert violation.code == 31930
    dropped = int(violation.detail.split()[0])
    assert dropped == pytest.approx(50 - room_frames, abs=1)
    inbound = held.summary.inbound
    assert inbound.frames == held.caller.inbound_frames_sent
    silence_ms = silence_within_the_question(held, 160 * dropped, late_bytes=160 * room_frames)
    assert inbound.filled_ms == silence_ms
    assert silence_ms >= 20 * dropped - 2, "so that the model's clock goes on"
    assert closed(held) == (1000, "caller")
