"""Supervisor: ends and deaths in; closed sockets, a summary and stopped actors out."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from callengine.actors import supervisor as supervisor_module
from callengine.actors.shell import Peers, Report
from callengine.actors.supervisor import Supervisor, Terms
from callengine.actors.vad_detector import VADDetector
from callengine.agent import Agent
from callengine.audio.level import LevelDetector
from callengine.machines.inbound import InboundCounts
from callengine.machines.lifecycle import (
    CALLER_STAYS,
    CLOSE_CODES,
    DEADLINE_S,
    HOST_REPORT_S,
    MAX_RESTARTS,
    Lifecycle,
    State,
)
from callengine.machines.stall import StallCounts
from callengine.machines.transmission_terms import TransmissionCounts
from callengine.messages import (
    ActorCrashed,
    BeginAnew,
    CallEnding,
    CloseSocket,
    Drained,
    DrainRequest,
    EndCause,
    ReportRequest,
    StatesWanted,
    StreamStarted,
)
from callengine.reports import BridgeReport, HostCounts, PacerReport
from callengine.summary import CallFacts, CallSummary, summarise
from tests.actors.rig import CALL_SID, CarrierTape, ModelTape, Rig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callengine.actors.shell import Ref

FAREWELL = b"\x55" * 8_000
STARTED = StreamStarted("MZ1", "CA1", {})
OTHERS = [each.name for each in fields(Peers) if each.name != "supervisor"]
REPORTS = [
    Report("TwilioIngress", InboundCounts(frames=3)),
    Report("VADDetector", None),
    Report("TxPacer", PacerReport(transmission=TransmissionCounts(frames=7))),
    Report("RealtimeBridge", BridgeReport()),
    Report("Watchdog", StallCounts(resets_asked=1)),
    Report("HostCalls", HostCounts(context_errors=2)),
]


class Office:
    """A supervisor with everything around it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.carrier, self.model = CarrierTape(), ModelTape()
        self.concluded: list[CallSummary] = []
        self.ref: Ref = Supervisor.start(
            rig.stepper,
            rig.log,
            (self.carrier, self.model),
            self.concluded.append,
            Terms(Agent(farewell=FAREWELL)),
        )
        rig.place("supervisor", self.ref)

    def end(self, cause: EndCause, detail: str = "") -> None:
        self.rig.tell(CallEnding(cause, detail))

    def all_report(self) -> CallSummary:
        self.rig.tell(*REPORTS)
        (summary,) = self.concluded
        return summary


@pytest.fixture
def office(rig: Rig) -> Office:
    return Office(rig)


def closing(code: int, cause: EndCause) -> dict[str, list[Any]]:
    """What everybody is told when the sockets are closed."""
    return {
        "ingress": [ReportRequest()],
        "detector": [ReportRequest()],
        # The pacer is asked when the bridge has told it all there was.
        "pacer": [CloseSocket(code, cause)],
        "bridge": [CloseSocket(1000, ""), ReportRequest()],
        "watchdog": [ReportRequest()],
        "host_calls": [ReportRequest()],
    }


@pytest.mark.parametrize("cause", [cause for cause in EndCause if cause not in CALLER_STAYS])
def test_an_end_that_takes_the_caller_away_closes_both_sockets_and_collects(
    rig: Rig, office: Office, cause: EndCause
) -> None:
    office.end(cause)
    assert rig.told_to_all() == closing(CLOSE_CODES.get(cause, 1000), cause)
    assert office.all_report().end_cause is cause


@pytest.mark.parametrize("cause", sorted(CALLER_STAYS))
def test_an_end_that_leaves_the_caller_lets_him_hear_the_rest_and_the_farewell(
    rig: Rig, office: Office, cause: EndCause
) -> None:
    office.end(cause, "told")
    assert rig.told_to_all() == {
        "bridge": [CloseSocket(1000, "")],
        "pacer": [DrainRequest(FAREWELL)],
    }
    rig.tell(Drained())
    assert rig.told_to_all() == closing(1000, cause)
    summary = office.all_report()
    assert (summary.end_cause, summary.end_detail) == (cause, "told")


def test_a_drain_that_never_ends_is_ended(rig: Rig, office: Office) -> None:
    office.end(EndCause.MODEL_LOST)
    rig.told_to_all()
    rig.run(until=DEADLINE_S[State.DRAINING] - 0.01)
    assert rig.told_to_all() == {}
    rig.run(until=DEADLINE_S[State.DRAINING] + 0.01)
    assert rig.told_to_all() == closing(1000, EndCause.MODEL_LOST)
    office.all_report()


def test_a_caller_who_hangs_up_during_the_farewell_ends_the_drain_not_the_cause(
    rig: Rig, office: Office
) -> None:
    office.end(EndCause.MODEL_LOST)
    office.end(EndCause.CALLER_HUNG_UP)
    assert office.all_report().end_cause is EndCause.MODEL_LOST
    assert rig.stepper.now() == 0.0


def test_the_first_cause_is_the_cause(rig: Rig, office: Office) -> None:
    office.end(EndCause.CALLER_HUNG_UP)
    office.end(EndCause.CARRIER_LOST)
    rig.tell(ActorCrashed("TxPacer", "ValueError"))
    assert office.all_report().end_cause is EndCause.CALLER_HUNG_UP


OWNERS_ASKED = {name: [StatesWanted()] for name in ("ingress", "pacer", "bridge")}
CRASHED = {
    "TwilioIngress": {"ingress": [BeginAnew((STARTED,))]},
    "VADDetector": {"detector": [BeginAnew()]},
    "Watchdog": {"watchdog": [BeginAnew()], **OWNERS_ASKED},
    "HostCalls": {"host_calls": [BeginAnew()]},
    "TxPacer": {
        "pacer": [BeginAnew((STARTED,)), DrainRequest(FAREWELL)],
        "bridge": [CloseSocket(1000, "")],
    },
    "RealtimeBridge": {"pacer": [DrainRequest(FAREWELL)], "bridge": [CloseSocket(1000, "")]},
}


@pytest.mark.parametrize("name", CRASHED)
def test_who_may_begin_anew_is_told_what_is_known_of_the_call(
    rig: Rig, office: Office, name: str
) -> None:
    rig.tell(STARTED, ActorCrashed(name, "ValueError"))
    assert rig.told_to_all() == CRASHED[name]
    rig.tell(CallEnding(EndCause.SHUTDOWN))
    office.all_report()


@pytest.mark.parametrize("name", ["TwilioIngress", "TxPacer"])
def test_before_the_stream_there_is_nothing_to_be_told(rig: Rig, office: Office, name: str) -> None:
    rig.tell(ActorCrashed(name, "ValueError"))
    told = rig.told_to_all()
    assert BeginAnew() in told[{"TwilioIngress": "ingress", "TxPacer": "pacer"}[name]]
    rig.tell(CallEnding(EndCause.SHUTDOWN))
    office.all_report()


@pytest.mark.parametrize("name", ["TxPacer", "RealtimeBridge"])
def test_a_crash_without_which_nothing_goes_on_ends_the_call_after_the_farewell(
    rig: Rig, office: Office, name: str
) -> None:
    rig.tell(STARTED, ActorCrashed(name, "ValueError"))
    rig.told_to_all()
    rig.tell(Drained())
    assert rig.told_to_all() == closing(1011, EndCause.CRASHED)
    summary = office.all_report()
    assert (summary.end_cause, summary.end_detail) == (EndCause.CRASHED, f"{name}: ValueError")


def test_the_crash_after_the_last_restart_ends_the_call(rig: Rig, office: Office) -> None:
    for _ in range(MAX_RESTARTS):
        rig.tell(ActorCrashed("VADDetector", "ValueError"))
    assert rig.told_to_all() == {"detector": [BeginAnew()] * MAX_RESTARTS}
    rig.tell(ActorCrashed("Watchdog", "MemoryError"))
    assert rig.told_to_all() == closing(1011, EndCause.CRASHED)
    summary = office.all_report()
    assert (summary.end_cause, summary.end_detail) == (EndCause.CRASHED, "Watchdog: MemoryError")


def test_the_summary_names_the_crashes_and_adds_up_what_each_life_counted(
    rig: Rig, office: Office
) -> None:
    rig.run(until=1.5)
    rig.tell(ActorCrashed("TwilioIngress", "ValueError", InboundCounts(frames=20)))
    rig.run(until=2.5)
    rig.tell(ActorCrashed("Watchdog", "KeyError", None))
    office.end(EndCause.CALLER_HUNG_UP)
    rig.tell(ActorCrashed("HostCalls", "SystemExit", HostCounts(context_errors=1)))
    rig.tell(*REPORTS[:-1], Report("HostCalls", None, lost_messages=4))
    (summary,) = office.concluded
    assert [dataclasses.astuple(each) for each in summary.crashes] == [
        ("TwilioIngress", "ValueError", 1.5, True),
        ("Watchdog", "KeyError", 2.5, True),
        ("HostCalls", "SystemExit", 2.5, False),
    ]
    assert summary.restarts == 2
    assert summary.lost_messages == {"HostCalls": 4}
    assert summary.inbound.frames == 23
    assert summary.watchdog.resets_asked == 1
    assert summary.context_errors == 1


def test_a_bridge_that_is_dead_is_not_waited_for_before_the_pacer_is_asked(
    rig: Rig, office: Office
) -> None:
    rig.tell(ActorCrashed("RealtimeBridge", "ValueError", BridgeReport()), Drained())
    rig.told_to_all()
    rig.tell(Report("RealtimeBridge", None, 3))
    assert rig.told_to_all() == {"pacer": [ReportRequest()]}
    assert office.all_report().lost_messages == {"RealtimeBridge": 3}


def test_a_crash_during_the_farewell_keeps_the_cause(rig: Rig, office: Office) -> None:
    office.end(EndCause.MODEL_SILENT)
    rig.tell(ActorCrashed("TxPacer", "ValueError"))
    assert office.all_report().end_cause is EndCause.MODEL_SILENT


def test_the_summary_says_what_was_reported_and_who_called(rig: Rig, office: Office) -> None:
    rig.run(until=1.0)
    rig.tell(StreamStarted("MZ1", "CA1", {}))
    rig.run(until=61.5)
    office.end(EndCause.CALLER_HUNG_UP)
    summary = office.all_report()
    assert (summary.call_sid, summary.stream_sid) == ("CA1", "MZ1")
    assert summary.duration_s == 61.5
    assert summary.inbound.frames == 3
    assert summary.tx_frames == 7
    assert summary.watchdog.resets_asked == 1
    assert summary.context_errors == 2


def test_a_tool_that_still_runs_is_waited_for_a_second(rig: Rig, office: Office) -> None:
    office.end(EndCause.CALLER_HUNG_UP)
    rig.tell(*(report for report in REPORTS if report.actor != "HostCalls"))
    rig.run(until=HOST_REPORT_S - 0.01)
    assert office.concluded == []
    rig.run(until=HOST_REPORT_S + 0.01)
    (summary,) = office.concluded
    assert summary.tx_frames == 7


def test_those_who_report_nothing_are_waited_for_but_not_for_long(rig: Rig, office: Office) -> None:
    office.end(EndCause.CALLER_HUNG_UP)
    rig.tell(*REPORTS[:4])
    rig.run(until=DEADLINE_S[State.REPORTING] - 0.01)
    assert office.concluded == []
    rig.run(until=DEADLINE_S[State.REPORTING] + 0.01)
    (summary,) = office.concluded
    assert (summary.inbound.frames, summary.watchdog.resets_asked) == (3, 0)


def test_the_end_stops_everybody_and_closes_the_sockets_himself(rig: Rig, office: Office) -> None:
    office.end(EndCause.SHUTDOWN)
    office.all_report()
    assert pykka.ActorRegistry.get_all() == []
    # In case those whose sockets they are were dead already.
    assert office.carrier.tape == [("close", 1001, EndCause.SHUTDOWN)]
    assert office.model.tape == [("close",)]


def test_the_call_is_concluded_exactly_once(rig: Rig, office: Office) -> None:
    office.end(EndCause.CALLER_HUNG_UP)
    for message in [*REPORTS, *REPORTS, Drained(), CallEnding(EndCause.SHUTDOWN)]:
        office.ref.tell(message)
    rig.run(until=60.0)
    assert len(office.concluded) == 1
    assert pykka.ActorRegistry.get_all() == []


def test_a_supervisor_that_crashes_when_all_is_over_does_not_conclude_again(
    rig: Rig, office: Office
) -> None:
    office.end(EndCause.CALLER_HUNG_UP)
    for message in [*REPORTS, Report([], None)]:  # type: ignore[arg-type] # it cannot be noted
        office.ref.tell(message)
    rig.run(until=60.0)
    assert len(office.concluded) == 1
    assert pykka.ActorRegistry.get_all() == []
    assert len(office.model.tape) == len(office.carrier.tape) == 1


@pytest.mark.parametrize("during", ["serving", "draining", "reporting"])
def test_a_supervisor_that_crashes_ends_the_call_itself(
    rig: Rig, office: Office, during: str
) -> None:
    cause = {
        "serving": EndCause.CRASHED,
        "draining": EndCause.MODEL_LOST,
        "reporting": EndCause.CALLER_HUNG_UP,
    }[during]
    if cause is not EndCause.CRASHED:
        office.end(cause)
    rig.tell(Report([], None))  # type: ignore[arg-type] # no such name: it cannot be noted
    rig.run(until=60.0)
    (summary,) = office.concluded
    assert summary.end_cause is cause
    assert pykka.ActorRegistry.get_all() == []
    assert office.model.tape == [("close",)]
    assert len(office.carrier.tape) == 1


def test_a_summary_that_cannot_be_made_of_the_reports_is_made_without_them(
    rig: Rig, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fussy(facts: CallFacts, reports: Mapping[str, object]) -> CallSummary:
        if reports:
            raise ValueError("what a strange report")
        return summarise(facts, reports)

    monkeypatch.setattr(supervisor_module, "summarise", fussy)
    office.end(EndCause.CALLER_HUNG_UP)
    summary = office.all_report()
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.inbound.frames == 0
    assert pykka.ActorRegistry.get_all() == []


ERRORS = [ValueError(), SystemExit(), MemoryError(), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("what", ["carrier", "model", "conclude", "total"])
def test_whatever_fails_at_the_end_the_rest_of_it_is_done_and_the_process_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: BaseException, what: str
) -> None:
    office, bystander = (
        Office(rig),
        VADDetector.start(rig.stepper, rig.log, LevelDetector(500), onset_frames=5),
    )

    def fail(*_: object) -> None:
        raise error

    if what == "total":
        monkeypatch.setattr(supervisor_module, "total", fail)
    elif what == "conclude":
        office.ref.actor_inbox.actor._conclude = fail  # type: ignore[attr-defined]
    else:
        getattr(office, what).close = fail
    office.end(EndCause.CALLER_HUNG_UP)
    rig.tell(*REPORTS)
    assert office.carrier.tape == ([] if what == "carrier" else [("close", 1000, "caller_hung_up")])
    assert office.model.tape == ([] if what == "model" else [("close",)])
    assert len(office.concluded) == (what != "conclude")
    assert [ref for ref in pykka.ActorRegistry.get_all() if ref != bystander] == []
    assert bystander.is_alive()
    bystander.stop()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_log_that_cannot_be_written_costs_the_call_nothing(
    rig: Rig, office: Office, error: BaseException
) -> None:
    def fail(_: object) -> None:
        raise error

    sink = rig.log.add(fail, catch=False)
    rig.tell(STARTED, ActorCrashed("VADDetector", "ValueError"))
    office.end(EndCause.CALLER_HUNG_UP)
    summary = office.all_report()
    rig.log.remove(sink)
    assert (summary.end_cause, summary.restarts) == (EndCause.CALLER_HUNG_UP, 1)
    assert summary.inbound.frames == 3


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_supervisor_that_cannot_even_decide_ends_the_call_all_the_same(
    rig: Rig, office: Office, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Lifecycle, "handle", fail)
    office.end(EndCause.CALLER_HUNG_UP)
    (summary,) = office.concluded
    assert summary.end_cause is EndCause.CRASHED
    assert [each.actor for each in summary.crashes] == ["Supervisor"]
    assert pykka.ActorRegistry.get_all() == []
    assert office.carrier.tape == [("close", 1011, EndCause.CRASHED)]


def test_the_log_tells_the_beginning_and_the_end_without_names_or_numbers(
    rig: Rig, office: Office
) -> None:
    rig.tell(StreamStarted("MZ1", "CA1", {"caller": "+15550100"}))
    office.end(EndCause.MODEL_LOST, "the model's socket broke")
    rig.tell(Drained())
    office.all_report()
    assert [text for _, text, _ in rig.logged()] == ["call started", "call ending", "call ended"]
    assert "+15550100" not in str(rig.logged())
    ended = rig.logged()[-1][2]
    assert ended["call_sid"] == CALL_SID
    assert ended["end_cause"] == "model_lost"
