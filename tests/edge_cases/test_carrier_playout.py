"""Marks, clears and the carrier's buffer: what counts as heard, whatever comes back when."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest

from callengine import Agent, EndCause, Settings
from callengine.machines.marks import OVERDUE_S, SILENT_S
from callengine.machines.onsets import Outcome
from callengine.machines.playout import MAX_QUEUED_BYTES
from callengine.testing import (
    BargeIn,
    Behaviour,
    HangUp,
    Say,
    SendRaw,
    Wait,
    WaitUntilHeard,
    laws,
)
from callengine.testing.caller.faults import (
    DelayClearedEchoes,
    DelayEchoes,
    EchoFault,
    LoseEchoes,
    RenameEchoes,
    RepeatEchoes,
)
from callengine.testing.held import reply
from tests.edge_cases.carrier_calls import (
    ANSWERED,
    ASK,
    GREETED,
    QUESTION,
    STOP,
    call,
    check,
    stream,
)

if TYPE_CHECKING:
    from callengine.testing.caller.script import Step
    from callengine.testing.held import Held

AHEAD: Final = Settings(lead_ms=1_000)
"""The carrier holds a second of audio: a clear drops much, and brings back several marks."""

INTERRUPT: Final[list[Step]] = [GREETED, Say(QUESTION), BargeIn(STOP, 1.5), ANSWERED]
REPLIES: Final = [reply(1.2, 1), reply(4.0, 2), reply(1.0, 3), reply(1.0, 4)]
LATENCIES: Final = [0.0, 0.005, 0.06, 0.15]


def heard_never_goes_back(held: Held) -> None:
    """L3 in full: what the model is told was heard is at most what was sent."""
    for entry in held.summary.barge_ins:
        for item in entry.heard:
            response, _, begin = laws._item(held.model, item.item_id)
            sent = [f.end for f in held.frames if f.response_id == response.id]
            assert item.heard_ms * 8 <= max(sent, default=0) - begin


# ---- echoes


HARMLESS: Final[list[tuple[EchoFault, ...]]] = [
    (LoseEchoes(),),
    (LoseEchoes(every=2),),
    (LoseEchoes(after=1, every=2),),
    (LoseEchoes(every=1_000),),
    (DelayEchoes(0.5),),
    (DelayEchoes(0.5, every=2),),
    (DelayEchoes(0.5, after=1, every=2),),
    (RepeatEchoes(),),
    (RepeatEchoes(3, after=1, every=3),),
    (RenameEchoes("somebody else's"),),
    (RenameEchoes(""),),
    (RenameEchoes("", after=1, every=2),),
    (DelayClearedEchoes(0.3),),
    (DelayClearedEchoes(3.0),),
    (DelayClearedEchoes(0.3), RepeatEchoes(2)),
]
"""Echoes all of which are late from the first one on teach a longer way and no delay."""


@pytest.mark.edge_case(21)
@pytest.mark.parametrize("echoes", HARMLESS, ids=lambda echoes: " ".join(map(str, echoes)))
def test_whatever_becomes_of_echoes_the_model_is_told_what_was_heard(
    echoes: tuple[EchoFault, ...],
) -> None:
    held = call(INTERRUPT, replies=REPLIES, faults=echoes, settings=AHEAD)
    check(held)
    heard_never_goes_back(held)
    assert [entry.outcome for entry in held.interruptions] == [Outcome.ACTED]
    counts = held.summary.playout
    came_back = sum(mark.echoed_at is not None for mark in held.caller.marks)
    if not any(isinstance(fault, RenameEchoes | RepeatEchoes) for fault in echoes):
        assert counts.marks_heard + counts.marks_cleared == came_back
        assert counts.marks_unknown == 0
    else:
        assert counts.marks_unknown > 0


@pytest.mark.edge_case(21)
@pytest.mark.parametrize("number", range(0, 30, 3))
def test_any_single_echo_may_be_missing(number: int) -> None:
    lost = [LoseEchoes(after=number, every=1_000)]
    held = call(INTERRUPT, replies=REPLIES, faults=lost, settings=AHEAD)
    check(held)
    heard_never_goes_back(held)


@pytest.mark.edge_case(21)
@pytest.mark.parametrize("late_s", [0.2, 0.5, 0.9])
def test_echoes_that_become_late_never_make_more_of_what_was_heard(late_s: float) -> None:
    """Behind a probe that was not, it is the carrier that plays so much later."""
    late = [DelayEchoes(late_s, after=1)]
    held = call(INTERRUPT, replies=REPLIES, faults=late)
    check(held, laws.truncates_tell_what_was_heard)
    heard_never_goes_back(held)
    (truncate,) = held.model.truncates
    begun_s = held.caller.said[-1].onset_at - 1.5
    heard_s = held.caller.clears[0].at - begun_s
    assert truncate.audio_end_ms == pytest.approx((heard_s - late_s) * 1000, abs=60)


@pytest.mark.edge_case(21)
@pytest.mark.parametrize("heard_marks", [1, 2, 5])
def test_echoes_that_cease_do_not_keep_the_greeting_protected_for_ever(heard_marks: int) -> None:
    """For a while the carrier is taken to stand still; then the clock alone counts."""
    script: list[Step] = [
        GREETED,
        Wait(OVERDUE_S + SILENT_S),
        Say(QUESTION),
        BargeIn(STOP, 1.0),
        ANSWERED,
    ]
    replies = [reply(3.0, 1), reply(3.0, 2), reply(1.0, 3)]
    held = call(script, replies=replies, faults=[LoseEchoes(after=heard_marks)])
    check(held)
    heard_never_goes_back(held)
    assert [entry.outcome for entry in held.interruptions] == [Outcome.ACTED]
    assert len(held.caller.clears) == 1


@pytest.mark.edge_case(21)
def test_echoes_of_marks_that_nobody_sent_are_counted_and_teach_nothing() -> None:
    names = ["", "g9-r9-999999", "x" * 10_000, "g0-r1-000020"]
    stray: list[Step] = [SendRaw(stream().mark(name)) for name in names]
    script: list[Step] = [
        *stray,
        GREETED,
        Say(QUESTION),
        WaitUntilHeard(9.0),
        *stray,
        BargeIn(STOP, 1.0),
    ]
    held = call([*script, *stray, ANSWERED], replies=REPLIES)
    check(held)
    counts = held.summary.playout
    assert counts.marks_unknown == 3 * len(names)
    assert counts.marks_heard + counts.marks_cleared == len(held.caller.marks)


# ---- clears


@pytest.mark.edge_case(22)
@pytest.mark.parametrize("latency_s", LATENCIES)
def test_marks_that_a_clear_brings_back_are_not_heard(latency_s: float) -> None:
    held = call(INTERRUPT, replies=REPLIES, settings=AHEAD, latency_s=latency_s)
    check(held)
    brought_back = [mark for mark in held.caller.marks if mark.cleared]
    assert len(brought_back) >= 3
    counts = held.summary.playout
    assert counts.marks_cleared >= len(brought_back)
    assert counts.marks_heard + counts.marks_cleared == counts.marks_sent
    (truncate,) = held.model.truncates
    first_ms = int(brought_back[0].name.split("-")[2])
    assert truncate.audio_end_ms < first_ms, "what is behind a mark that was dropped is unheard"


@pytest.mark.edge_case(23)
@pytest.mark.parametrize("latency_s", [0.06, 0.15])
@pytest.mark.parametrize("after_s", [1.50, 1.54, 1.58, 1.62, 1.66])
def test_a_mark_that_was_heard_while_the_clear_was_under_way_counts_as_heard(
    after_s: float, latency_s: float
) -> None:
    """Its echo and our clear pass each other; the clock knows all the same."""
    script: list[Step] = [GREETED, Say(QUESTION), BargeIn(STOP, after_s), ANSWERED]
    held = call(script, replies=REPLIES, settings=AHEAD, latency_s=latency_s)
    check(held)
    (entry,), (clear,), (truncate,) = held.interruptions, held.caller.clears, held.model.truncates
    heard = [mark for mark in held.caller.marks if not mark.clears and not mark.cleared]
    last_ms = int(heard[-1].name.split("-")[2])
    assert clear.at - entry.decided_s == pytest.approx(latency_s, abs=0.001)
    assert truncate.audio_end_ms >= last_ms - 1


@pytest.mark.edge_case(24)
def test_a_clear_that_finds_nothing_does_no_harm() -> None:
    """The caller speaks into the last words; they are over when the clear is there."""
    found = set()
    for before_the_end_s, seed in itertools.product([0.17, 0.19, 0.23, 0.28], range(5)):
        script: list[Step] = [
            GREETED,
            Say(QUESTION),
            BargeIn(STOP, 3.0 - before_the_end_s),
            ANSWERED,
        ]
        held = call(script, latency_s=0.0, jitter_s=0.1, seed=seed)
        check(held)
        assert held.was_heard(held.model.responses[-1])
        found |= {clear.dropped_bytes for clear in held.caller.clears}
    assert 0 in found
    assert max(found) > 0


@pytest.mark.edge_case(24)
@pytest.mark.parametrize("latency_s", LATENCIES)
def test_a_caller_who_interrupts_twice_clears_twice_and_hears_the_third_answer(
    latency_s: float,
) -> None:
    script: list[Step] = [GREETED, Say(QUESTION), BargeIn(STOP, 0.5), BargeIn(STOP, 0.02), ANSWERED]
    held = call(script, replies=REPLIES, settings=AHEAD, latency_s=latency_s)
    check(held)
    assert len(held.caller.clears) == 2
    *_, answer = held.model.responses
    assert held.was_heard(answer)
    after = [frame for frame in held.frames if frame.clears == 2]
    assert {frame.response_id for frame in after} == {answer.id}
    assert [mark.name[:2] for mark in held.caller.marks if mark.clears == 2] != []


# ---- the carrier's buffer


@pytest.mark.edge_case(26)
def test_more_than_ten_minutes_are_never_given_to_the_carrier() -> None:
    """Twilio would drop what is beyond without telling; here it is counted."""
    long = reply(700.0, 2)
    held = call(
        [GREETED, Say(QUESTION), WaitUntilHeard(9.0), Wait(3.0), HangUp()],
        replies=[reply(1.0, 1), long],
        behaviour=Behaviour(pace=2_000.0, delta_bytes=(65_536,)),
    )
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert held.caller.violations == []
    audio = held.summary.audio
    assert audio.overflow_bytes > 0
    assert audio.queued_bytes + audio.overflow_bytes + audio.played_bytes == audio.received_bytes
    assert audio.received_bytes == 8_000 + len(long.audio)
    assert audio.queued_bytes + audio.played_bytes <= MAX_QUEUED_BYTES + 8_000 + 4 * 8_000
    assert held.caller.unheard_bytes <= 8 * (Settings().lead_ms + 40), "no more than the lead"


@pytest.mark.edge_case(25)
def test_what_the_carrier_is_sent_is_beyond_reproach_in_every_kind_of_call() -> None:
    """The simulated carrier notes each message that Twilio would refuse."""
    scripts: list[list[Step]] = [ASK, INTERRUPT, [Wait(0.5)], [WaitUntilHeard(5.0), HangUp()]]
    for script in scripts:
        held = call(script, agent=Agent(greeting_protected=False))
        assert held.caller.violations == []
        assert {frame.size_bytes for frame in held.caller.frames} <= {160}
