"""From one session to the next, and from the last one to somebody else: nothing of it lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from callengine import Agent, EndCause, Settings
from callengine.actors.host_calls import HostCalls
from callengine.machines.dialogue import AGENT_DEADLINE_S, RETRY_DEADLINE_S, RETRY_PAUSE_S
from callengine.machines.lifecycle import DEADLINE_S as LIFE_DEADLINE_S
from callengine.machines.lifecycle import State as Life
from callengine.messages import AgentSettled, StreamStarted, TransferWanted
from callengine.testing import (
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    Wait,
    WaitUntilHeard,
)
from callengine.testing.held import reply
from callengine.testing.realtime import faults
from tests.stuck.course import (
    FAREWELL,
    SLACK_S,
    after_the_greeting,
    assert_farewell,
    course,
)

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN = Settings(model_retries=1)
LOST_AT_S = 3.0
LOST = faults.CloseSocket(faults.After(LOST_AT_S))


def deaf_to(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """The host's thread takes this, and nothing ever comes of it."""
    handle = HostCalls.handle

    def stuck(actor: HostCalls, message: Any, now: float) -> Any:  # noqa: ANN401
        return [] if isinstance(message, kind) else handle(actor, message, now)

    monkeypatch.setattr(HostCalls, "handle", stuck)


def test_a_choice_that_is_never_made_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf_to(monkeypatch, StreamStarted)
    told: list[tuple[float, object]] = []
    simulation = Simulation(
        SimulatedCaller([WaitUntilHeard(5.0), Wait(1.0)]),
        SimulatedRealtime([reply(2.0, 1)]),
        lambda _: Agent(),
        stand_in=lambda _: Agent(instructions="You stand in."),
        watch=lambda at, _, what: told.append((at, what)),
    )
    summary = simulation.run()
    settled = [(at, what) for at, what in told if isinstance(what, AgentSettled)]
    assert [at for at, _ in settled] == [pytest.approx(AGENT_DEADLINE_S, abs=SLACK_S)] * 2
    assert settled[0][1].agent.instructions == "You stand in."
    assert summary.dialogue.stand_ins == 1
    assert summary.end_cause is EndCause.CALLER_HUNG_UP


def sessions(*broken: faults.Fault) -> tuple[list[SimulatedRealtime], Callable[[], Any]]:
    """The models that take the place of the first one, and how they are made."""
    made: list[SimulatedRealtime] = []

    def make() -> SimulatedRealtime:
        made.append(SimulatedRealtime([reply(2.0, 91 + len(made))], faults=broken))
        return made[-1]

    return made, make


def test_a_model_that_is_lost_is_connected_to_again_presently() -> None:
    made, make = sessions()
    seen = course(after_the_greeting(Wait(5.0)), LOST, settings=AGAIN, next_model=make)
    (again,) = made
    assert again.record.opened_at == pytest.approx(LOST_AT_S + RETRY_PAUSE_S, abs=SLACK_S)
    assert seen.held.summary.model_reconnects == 1
    assert seen.held.summary.end_cause is EndCause.CALLER_HUNG_UP


def test_a_session_that_takes_the_place_of_another_is_live_soon_or_has_failed() -> None:
    made, make = sessions(faults.DelaySessionUpdated(None))
    seen = course([Wait(60.0)], LOST, settings=AGAIN, next_model=make)
    assert len(made) == 1
    assert seen.held.summary.end_cause is EndCause.MODEL_LOST, "the outage is the cause"
    ended_at = LOST_AT_S + RETRY_PAUSE_S + RETRY_DEADLINE_S + len(FAREWELL) / 8_000
    assert seen.closed_at == pytest.approx(ended_at, abs=1.0)
    assert_farewell(seen)


def test_a_call_that_goes_on_and_on_ends_with_the_farewell() -> None:
    seen = course([Wait(60.0)], settings=Settings(max_call_s=7))
    assert seen.held.summary.end_cause is EndCause.CALL_TOO_LONG
    assert seen.held.caller.heard[-1].at == pytest.approx(7.0, abs=SLACK_S)
    assert_farewell(seen)


def test_a_carrier_that_never_says_whether_it_takes_the_call_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deaf_to(monkeypatch, TransferWanted)
    seen = course(
        [Wait(60.0)],
        LOST,
        agent=Agent(farewell=FAREWELL, fallback=b"", transfer_number="+15550100"),
        redirect=lambda *_: None,
    )
    ((asked_at, _),) = seen.all_of(TransferWanted)
    assert seen.closed_at == pytest.approx(
        asked_at + LIFE_DEADLINE_S[Life.HANDING_OVER], abs=SLACK_S
    )
    assert seen.held.summary.end_cause is EndCause.MODEL_LOST
    assert not seen.held.summary.transferred


def test_an_agent_that_is_known_is_not_waited_for() -> None:
    seen = course([WaitUntilHeard(5.0)])
    assert seen.all_of(AgentSettled) == []
    assert seen.held.summary.dialogue.stand_ins == 0
