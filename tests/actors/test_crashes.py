"""Actors that crash in whole calls: of four calls on one clock, three have an actor that dies.

Their callers notice nothing, or hear the farewell; the fourth call is the same to the last byte as
if nothing had happened.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from callengine import EndCause
from callengine.machines.lifecycle import MAX_RESTARTS
from callengine.messages import ActorCrashed, PlayAudio
from callengine.testing import Say, Simulation, Wait, WaitUntilQuiet, laws
from callengine.testing.realtime.faults import AtResponse, CloseSocket
from tests.actors.doomed import (
    ERRORS,
    FAREWELL,
    FATAL,
    MOMENTS,
    QUESTION,
    SECRET,
    UNNOTICED,
    Doomed,
    at_the_first_message,
    check_other,
    is_event,
    keep_host_calls_busy,
    killing,
    simulated,
    start_up,
    together,
    undisturbed,
    while_draining,
    while_the_ai_speaks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loguru import Message

    from callengine.testing.caller.script import Step
    from callengine.testing.held import Held
    from tests.actors.doomed import Meddle, Moment

# ---- what is told of a crash


@pytest.fixture
def records() -> Iterator[list[Message]]:
    records: list[Message] = []
    logger.enable("callengine")
    sink = logger.add(records.append, level="ERROR")
    yield records
    logger.remove(sink)
    logger.disable("callengine")


def check_told(
    records: list[Message], held: Held, crash: tuple[str, str, bool], *, call_sid: str | None = None
) -> None:
    """The summary names it, and one line of the log, with the call's id and without secrets."""
    (told,) = held.summary.crashes
    assert (told.actor, told.error, told.restarted) == crash
    assert held.summary.restarts == told.restarted
    sid = held.caller.call_sid if call_sid is None else call_sid
    (line,) = [
        record
        for record in records
        if (record.record["extra"]["call_sid"], record.record["extra"]["error"]) == (sid, crash[1])
    ]
    assert line.record["message"] == "actor crashed"
    assert line.record["extra"]["actor"] == crash[0]
    assert "raise error" in line.record["extra"]["stack"]
    assert SECRET not in str(line) + str(line.record)


# ---- crashes that the caller does not notice


def check_unnoticed(held: Held, expected: Held, *but: object) -> None:
    """The laws hold, nothing has a gap, later turns are taken as they are without the crash."""
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert held.summary.tx_late_frames == held.summary.tx_schedule_resets == 0
    assert held.summary.lost_messages == {}
    for law in laws.ALWAYS:
        if law not in {laws.nothing_crashes, *but}:
            law(held)
    laws.replies_have_no_gaps(held)
    assert held.summary.barge_in_events == expected.summary.barge_in_events
    assert len(held.model.responses) == len(expected.model.responses)
    assert held.caller.missed == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", UNNOTICED)
def test_l14_a_crash_that_no_caller_notices(
    monkeypatch: pytest.MonkeyPatch, records: list[Message], name: str, moment: Moment
) -> None:
    meddles = [killing(name, error, moment) for error in ERRORS]
    calls, other = together(monkeypatch, simulated, *meddles)
    check_other(other)
    for call, error, expected in zip(calls, ERRORS, undisturbed()[0], strict=True):
        held = call.held
        unnamed = (name, moment) == ("TwilioIngress", at_the_first_message)
        crash = (name, error.__name__, True)
        check_told(records, held, crash, call_sid="-" if unnamed else None)
        # The counters know nothing of the frame that it died of.
        check_unnoticed(held, expected, laws.counters_agree if name == "TwilioIngress" else None)
        lost_frames = is_event(call.killed_by, "media")
        assert held.summary.inbound.frames == held.caller.inbound_frames_sent - lost_frames
        if name in {"Watchdog", "HostCalls"}:
            assert held.caller == expected.caller
            assert held.model == expected.model


@pytest.mark.parametrize("name", UNNOTICED)
def test_l14_a_crash_when_the_actors_are_introduced(
    monkeypatch: pytest.MonkeyPatch, records: list[Message], name: str
) -> None:
    calls, other = together(monkeypatch, simulated, *[start_up(name, error) for error in ERRORS])
    check_other(other)
    for call, error, expected in zip(calls, ERRORS, undisturbed()[0], strict=True):
        check_told(records, call.held, (name, error.__name__, True), call_sid="-")
        check_unnoticed(call.held, expected)
        assert call.held.caller == expected.caller


@pytest.mark.parametrize("seed", range(12))
def test_l14_whenever_it_is_and_in_whatever_order(seed: int) -> None:
    """Two actors die, of any message; actors have their turns in any order."""
    rng = Random(seed)
    doomed = Doomed.of(lambda: simulated(seed + 20))
    keep_host_calls_busy(doomed)
    clock = doomed.simulation.stepper
    names = rng.sample(UNNOTICED, MAX_RESTARTS)
    for name in names:
        at = rng.uniform(0.0, 8.0)
        doomed.kill(name, rng.choice(ERRORS)(), lambda _, at=at: clock.now() > at)  # type: ignore[misc]
    doomed.simulation.run()
    held = doomed.held
    assert sorted(crash.actor for crash in held.summary.crashes) == sorted(names)
    check_unnoticed(held, undisturbed()[1], laws.counters_agree)


# ---- crashes after which nothing goes on


def check_farewell(held: Held, cause: EndCause, code: int) -> None:
    """What was heard last is the farewell, whole, and then the engine closed."""
    spans = b"".join(span.payload for span in held.caller.heard)
    assert spans.endswith(FAREWELL.ljust(-(-len(FAREWELL) // 160) * 160, b"\xff"))
    assert held.caller.unheard_bytes == 0
    assert held.summary.end_cause is cause
    assert held.caller.closed is not None
    assert (held.caller.closed.by, held.caller.closed.code) == ("engine", code)
    assert held.caller.violations == []
    assert {frame.size_bytes for frame in held.caller.frames} == {160}
    assert (held.model.closed is None) == (held.model.opened_at is None)
    laws.marks_carry_the_generation(held)
    laws.nothing_is_left(held)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", FATAL)
def test_l14_a_crash_that_costs_the_conversation_lets_the_caller_hear_the_farewell(
    monkeypatch: pytest.MonkeyPatch, records: list[Message], name: str, moment: Moment
) -> None:
    meddles = [killing(name, error, moment) for error in ERRORS]
    calls, other = together(monkeypatch, simulated, *meddles)
    check_other(other)
    for call, error in zip(calls, ERRORS, strict=True):
        held = call.held
        check_told(records, held, (name, error.__name__, name == "TxPacer"))
        check_farewell(held, EndCause.CRASHED, 1011)
        assert held.summary.end_detail == f"{name}: {error.__name__}"
        assert held.summary.tx_frames == len(held.caller.frames)
        assert held.summary.transmission.clears == len(held.caller.clears)
        assert held.summary.playout.marks_sent == len(held.caller.marks)
        lost = call.killed_by
        lost_bytes = len(lost.audio) if isinstance(lost, PlayAudio) else 0
        assert held.summary.audio.balance_bytes == lost_bytes
        if name == "RealtimeBridge":
            crashed_at = held.summary.crashes[0].at_s
            assert held.model.closed is None or held.model.closed[2] < crashed_at + 0.1
            laws.nothing_is_heard_twice_or_left_out(held)
            laws.audio_is_conserved(held)


@pytest.mark.parametrize("name", FATAL)
def test_l14_a_crash_at_the_introduction_that_costs_the_conversation(
    monkeypatch: pytest.MonkeyPatch, records: list[Message], name: str
) -> None:
    calls, other = together(monkeypatch, simulated, *[start_up(name, error) for error in ERRORS])
    check_other(other)
    for call, error in zip(calls, ERRORS, strict=True):
        check_told(records, call.held, (name, error.__name__, name == "TxPacer"), call_sid="-")
        check_farewell(call.held, EndCause.CRASHED, 1011)
        assert len(call.held.caller.frames) * 160 == len(FAREWELL), "and nothing else"


def test_what_was_queued_when_the_model_was_lost_is_heard_before_the_farewell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meddle = killing("RealtimeBridge", ValueError, while_the_ai_speaks)
    (call,), _ = together(monkeypatch, simulated, meddle)
    answer = call.held.model.responses[1]
    heard = sum(len(stretch) for stretch in call.held.heard[answer.id])
    assert heard == call.held.summary.playout.sent_bytes - 8_000 - len(FAREWELL)
    assert heard > 8_000, "a second more than had been heard by then"


def test_the_one_who_says_the_farewell_is_told_nothing_by_marks_of_the_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their echoes are still to come; no two marks of the call have the same name."""
    (call,), _ = together(
        monkeypatch, simulated, killing("TxPacer", ValueError, while_the_ai_speaks)
    )
    names = [mark.name for mark in call.held.caller.marks]
    assert len(set(names)) == len(names)
    assert call.held.summary.playout.marks_unknown > 0
    generations = [int(name.split("-")[0].removeprefix("g")) for name in names]
    assert generations == sorted(generations)
    assert generations[-1] > call.held.summary.barge_in_events, "it is not one of the dead's"


# ---- crashes while the farewell is heard

LOST = CloseSocket(AtResponse(2, 700), 1011)
WAITS: list[Step] = [WaitUntilQuiet(0.3, 10.0), Say(QUESTION), Wait(40.0)]


def losing_the_model(seed: int) -> Simulation:
    return simulated(seed, WAITS, [LOST])


@pytest.mark.parametrize("name", [*UNNOTICED, "RealtimeBridge"])
def test_l14_the_farewell_is_heard_whoever_crashes_in_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    meddles = [killing(name, error, while_draining) for error in ERRORS]
    calls, other = together(monkeypatch, losing_the_model, *meddles)
    check_other(other)
    for call in calls:
        assert call.crashes == 1
        check_farewell(call.held, EndCause.MODEL_LOST, 1000)
        assert call.held.summary.audio.balance_bytes == 0


@pytest.mark.parametrize("name", ["TxPacer", "Supervisor"])
def test_l14_without_playout_or_supervisor_even_the_farewell_ends(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    meddles = [killing(name, error, while_draining) for error in ERRORS]
    calls, other = together(monkeypatch, losing_the_model, *meddles)
    check_other(other)
    for call, error in zip(calls, ERRORS, strict=True):
        summary, closed = call.held.summary, call.held.caller.closed
        assert summary.end_cause is EndCause.MODEL_LOST
        assert [(c.actor, c.error) for c in summary.crashes] == [(name, error.__name__)]
        assert closed is not None
        assert (closed.by, closed.code) == ("engine", 1000)
        assert summary.duration_s < 10.0


@pytest.mark.parametrize("moment", MOMENTS)
def test_l14_nobody_supervises_the_supervisor(
    monkeypatch: pytest.MonkeyPatch, records: list[Message], moment: Moment
) -> None:
    """It dies of what it is told most rarely: that somebody has died."""

    def meddle_with(error: type[BaseException]) -> Meddle:
        def meddle(doomed: Doomed) -> None:
            doomed.kill("VADDetector", KeyError(), lambda _: moment(doomed))
            doomed.kill("Supervisor", error(SECRET), lambda m: isinstance(m, ActorCrashed))

        return meddle

    calls, other = together(monkeypatch, simulated, *[meddle_with(error) for error in ERRORS])
    check_other(other)
    for call, error in zip(calls, ERRORS, strict=True):
        held = call.held
        check_told(records, held, ("Supervisor", error.__name__, False))
        assert held.summary.end_cause is EndCause.CRASHED
        assert held.summary.end_detail == f"Supervisor: {error.__name__}"
        assert held.caller.closed is not None
        assert held.caller.closed.code == 1011
