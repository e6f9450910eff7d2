"""Little dies with an actor: what it counted, what waits for it and for what it owes live on."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from callengine import EndCause, Tool
from callengine.machines.lifecycle import MAX_RESTARTS
from callengine.messages import CarrierClosed, DtmfPressed, ToolCalled
from callengine.testing import (
    Dial,
    DropSocket,
    HangUp,
    Say,
    Simulation,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.realtime.faults import StallAudio
from tests.actors.doomed import (
    ERRORS,
    FATAL,
    QUESTION,
    SCRIPT,
    SECRET,
    UNNOTICED,
    check_other,
    is_event,
    raising,
    simulated,
    together,
    while_the_ai_speaks,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.testing.caller.script import Step
    from tests.actors.doomed import Doomed

# ---- more crashes than one


def test_l12_a_poisoned_actor_ends_the_call_after_the_last_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meddle(doomed: Doomed) -> None:
        doomed.kill("VADDetector", ValueError(), lambda _: while_the_ai_speaks(doomed), times=99)

    (call,), other = together(monkeypatch, simulated, meddle)
    check_other(other)
    summary, closed = call.held.summary, call.held.caller.closed
    assert (summary.end_cause, summary.end_detail) == (EndCause.CRASHED, "VADDetector: ValueError")
    assert [crash.restarted for crash in summary.crashes] == [True] * MAX_RESTARTS + [False]
    assert closed is not None
    assert (closed.by, closed.code) == ("engine", 1011)
    assert closed.at < 8.0, "at once"


@pytest.mark.parametrize("error", ERRORS)
def test_l12_who_cannot_begin_anew_ends_the_call(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def meddle(doomed: Doomed) -> None:
        doomed.kill("TwilioIngress", ValueError(), lambda _: while_the_ai_speaks(doomed))
        doomed.actors["TwilioIngress"].renew = raising(error())

    (call,), other = together(monkeypatch, simulated, meddle)
    check_other(other)
    summary = call.held.summary
    assert summary.end_detail == f"TwilioIngress: {error.__name__}"
    assert len(summary.crashes) == 1 + MAX_RESTARTS
    assert summary.inbound.frames > 100, "what it had counted is not lost, nor counted twice"
    assert summary.inbound.frames < call.held.caller.inbound_frames_sent
    assert summary.lost_messages == {}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", [*UNNOTICED, *FATAL])
def test_l15_an_actor_that_cannot_tell_what_it_counted_costs_its_own_counts_only(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> None:
    def meddle(doomed: Doomed) -> None:
        doomed.actors[name].report = raising(error(SECRET))

    (call,), other = together(monkeypatch, functools.partial(simulated, script=SCRIPT[:2]), meddle)
    check_other(other)
    held = call.held
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert [(c.actor, c.error, c.restarted) for c in held.summary.crashes] == [
        (name, error.__name__, False)
    ]
    counts = {
        "TwilioIngress": held.summary.inbound.frames,
        "TxPacer": held.summary.tx_frames,
        "RealtimeBridge": held.summary.session.appended_bytes,
    }
    assert {each for each, count in counts.items() if not count} == {name} & counts.keys()


# ---- what must not be lost with the one who dies


@pytest.mark.parametrize(
    ("last", "kills", "cause"),
    [
        (DropSocket(), lambda m: isinstance(m, CarrierClosed), EndCause.CARRIER_LOST),
        (HangUp(), lambda m: is_event(m, "stop"), EndCause.CALLER_HUNG_UP),
    ],
    ids=["socket", "stop"],
)
def test_l12_a_caller_who_goes_is_not_missed_by_the_one_who_dies_of_it(
    monkeypatch: pytest.MonkeyPatch, last: Step, kills: Callable[[object], bool], cause: EndCause
) -> None:
    def meddle(doomed: Doomed) -> None:
        doomed.kill("TwilioIngress", ValueError(), kills)

    make = functools.partial(simulated, script=[WaitUntilHeard(9.0), Wait(0.5), last])
    (call,), _ = together(monkeypatch, make, meddle)
    assert call.crashes == 1
    held = call.held
    assert held.summary.end_cause is cause
    assert held.caller.closed is not None
    assert held.summary.duration_s < held.caller.closed.at + 0.1


DIGIT = '{"event":"dtmf","streamSid":"MZ","dtmf":{"track":"inbound_track","digit":"7"}}'


def test_l12_a_caller_who_went_while_nobody_was_there_to_hear_it_is_heard_of_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that came between the death and the new beginning is taken in order."""

    def meddle(doomed: Doomed) -> None:
        def die_and_go(message: object) -> bool:
            if doomed.crashes or not while_the_ai_speaks(doomed):
                return False
            doomed.simulation.call.received(DIGIT)
            doomed.simulation.call.carrier_closed(1006, "")
            return True

        doomed.kill("TwilioIngress", ValueError(), die_and_go)

    (call,), _ = together(monkeypatch, simulated, meddle)
    assert call.held.summary.end_cause is EndCause.CARRIER_LOST
    assert call.held.summary.inbound.dtmf_digits == 1


def test_l13_a_lost_start_ends_the_call_before_the_caller_wonders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meddle(doomed: Doomed) -> None:
        doomed.kill("TwilioIngress", ValueError(), lambda m: is_event(m, "start"))

    (call,), other = together(monkeypatch, simulated, meddle)
    check_other(other)
    held = call.held
    assert (held.summary.end_cause, held.summary.duration_s < 0.1) == (EndCause.CRASHED, True)
    assert held.caller.closed is not None
    assert held.caller.closed.code == 1011


def test_l13_a_lost_tool_is_answered_for_at_once_and_the_model_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[str] = []
    tools = [Tool(name, "", {"type": "object"}, lambda: ran.append("ran")) for name in ("a", "b")]

    def make(seed: int) -> Simulation:
        script = [WaitUntilQuiet(0.3, 10.0), Say(QUESTION), WaitUntilQuiet(2.0, 20.0)]
        return simulated(seed, script, (), *tools)

    def meddle(doomed: Doomed) -> None:
        doomed.kill("HostCalls", MemoryError(), lambda m: isinstance(m, ToolCalled))

    (call,), _ = together(monkeypatch, make, meddle)
    held = call.held
    lost, done = [output.output for output in held.model.function_outputs]
    assert "lost" in lost
    assert (done, ran) == ("null", ["ran"]), "the one that waited was run"
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert held.summary.context_errors == 0
    assert held.was_heard(held.model.responses[2]), "what the model made of it"
    assert held.model.function_outputs[0].at - held.model.responses[1].done_at < 1.0  # type: ignore[operator]


def test_l12_a_watchdog_that_began_anew_knows_what_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The response falls silent, the watchdog dies, and the caller is answered all the same."""

    def make(seed: int) -> Simulation:
        script = [WaitUntilQuiet(0.3, 10.0), Say(QUESTION), Wait(30.0)]
        return simulated(seed, script, [StallAudio(2, 500, 60.0)])

    def meddle(doomed: Doomed) -> None:
        watchdog = doomed.actors["Watchdog"]

        def die() -> None:
            doomed.kill("Watchdog", ValueError(), lambda _: True)
            watchdog.actor_ref.tell(DtmfPressed("any message will do"))

        doomed.simulation.stepper.call_at(8.0, die)

    (call,), _ = together(monkeypatch, make, meddle)
    assert [crash.actor for crash in call.held.summary.crashes] == ["Watchdog"]
    assert call.held.summary.stuck_recoveries == 1
    assert call.held.summary.watchdog.resets_granted == 1


def test_l15_the_counts_of_two_lives_are_one_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    def meddle(doomed: Doomed) -> None:
        def kills(message: object) -> bool:
            return is_event(message, "media") and while_the_ai_speaks(doomed)

        doomed.kill("TwilioIngress", ValueError(), kills)

    script = [WaitUntilHeard(9.0), Dial("12"), *SCRIPT, Dial("34"), Wait(0.5)]
    (call,), _ = together(monkeypatch, functools.partial(simulated, script=script), meddle)
    held = call.held
    assert held.summary.inbound.frames == held.caller.inbound_frames_sent - 1
    assert held.summary.inbound.payload_bytes == 160 * held.summary.inbound.frames
    assert held.summary.inbound.dtmf_digits == len(held.caller.digits) == 4
    assert held.summary.session.appended_bytes == held.summary.inbound.payload_bytes
