"""Waits that are long by design, on the virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine import CallSummary, EndCause
from callengine.testing import (
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    StopFrames,
    Wait,
    WaitUntilHeard,
    simulation,
)
from callengine.testing.held import reply
from callengine.testing.realtime.faults import (
    After,
    AtResponse,
    AtResponseDone,
    GoSilent,
)
from tests.socket_faults.rig import AGENT

if TYPE_CHECKING:
    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.faults import Fault


def simulated(*script: Step, faults: tuple[Fault, ...] = ()) -> CallSummary:
    model = SimulatedRealtime([reply(4.0, n) for n in range(4)], faults=faults)
    return Simulation(SimulatedCaller(script), model, agent=AGENT).run()


@pytest.mark.edge_case(68)
def test_a_dead_model_is_noticed_within_fifty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """45 s without a sign of life, which is noted every 5 s; nobody had anything to say."""
    monkeypatch.setattr(simulation, "PING_S", 1e9)  # and never a pong
    summary = simulated(Wait(300.0), faults=(GoSilent(AtResponseDone(1)),))
    assert summary.end_cause is EndCause.MODEL_SILENT
    assert 45.0 < summary.duration_s < 52.0


@pytest.mark.parametrize("ping_s", [15.0, 1e9], ids=["answers pings", "dead"])
def test_a_model_that_falls_silent_in_a_word_is_given_up_sooner(
    monkeypatch: pytest.MonkeyPatch, ping_s: float
) -> None:
    monkeypatch.setattr(simulation, "PING_S", ping_s)
    summary = simulated(Wait(300.0), faults=(GoSilent(AtResponse(1, 1_000)),))
    assert summary.end_cause is EndCause.MODEL_SILENT
    assert summary.duration_s < 30.0


def test_a_silent_model_of_which_nothing_is_expected_is_not_given_up() -> None:
    summary = simulated(Wait(300.0), faults=(GoSilent(AtResponseDone(1)),))
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert 299.0 < summary.duration_s < 301.0


@pytest.mark.edge_case(67)
def test_a_model_that_never_confirms_is_given_up_after_ten_seconds() -> None:
    summary = simulated(Wait(300.0), faults=(GoSilent(After(0)),))
    assert summary.end_cause is EndCause.SESSION_REFUSED
    assert 10.0 <= summary.duration_s < 11.0


def test_a_carrier_without_frames_is_noticed_within_thirty_seconds() -> None:
    summary = simulated(WaitUntilHeard(5.0), StopFrames(300.0))
    assert summary.end_cause is EndCause.CARRIER_SILENT
    assert 29.0 < summary.duration_s < 32.0
    assert summary.inbound.filled_ms == 10_000


def test_a_carrier_without_frames_for_a_while_is_waited_for() -> None:
    summary = simulated(WaitUntilHeard(5.0), StopFrames(28.0), Wait(5.0))
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.inbound.stalls == 1
