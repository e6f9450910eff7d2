"""The last resorts: alarms that do not ring, owners that do not answer, requests gone stale."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from callengine import Agent, EndCause
from callengine.actors.realtime_bridge import RealtimeBridge
from callengine.actors.twilio_ingress import TwilioIngress
from callengine.actors.tx_pacer import TxPacer
from callengine.machines.lifecycle import DEADLINE_S as LIFE_DEADLINE_S
from callengine.machines.lifecycle import State as Life
from callengine.machines.pacing import Grid
from callengine.machines.stall import ANSWER_S, LIMITS
from callengine.messages import (
    Owner,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
)
from callengine.testing import (
    BargeIn,
    Behaviour,
    Say,
    Simulation,
    Wait,
    WaitUntilQuiet,
    laws,
)
from callengine.testing.held import reply
from callengine.testing.realtime import faults
from callengine.testing.realtime.faults import AtResponse
from tests.stuck.course import (
    DEAF_TO_HUM,
    FAREWELL,
    HUM_MS,
    QUESTION,
    SLACK_S,
    STOP,
    after_the_greeting,
    assert_farewell,
    course,
    lose_alarms,
    tell,
)

# ---- the fuse: a deadline of its own that passes without an alarm


def test_a_create_whose_alarm_was_lost_is_found_by_the_watchdog() -> None:
    seen = course(
        [Wait(20.0)], faults.IgnoreCreate(1), sabotage=lose_alarms(RealtimeBridge, 0.0, 1.0)
    )
    ((asked_at, ask),) = seen.asked(Owner.RESPONSE)
    assert asked_at == pytest.approx(LIMITS[Owner.RESPONSE, "requested"].seconds, abs=SLACK_S)
    assert seen.answers(Owner.RESPONSE) == [ResetGranted(Owner.RESPONSE, ask.reason)]
    assert seen.held.model.responses[0].created_at == pytest.approx(asked_at, abs=SLACK_S)
    laws.whole_replies_are_heard(seen.held)
    assert seen.held.caller.heard


def test_an_overtaken_create_whose_alarm_was_lost_is_found_by_the_watchdog() -> None:
    """The owner refuses, for its deadline is its own affair; being asked, it looks at its clock."""
    agent = Agent(greeting_protected=False, vad=DEAF_TO_HUM)
    seen = course(
        [Wait(0.1), Say(HUM_MS * 600), Wait(20.0)],
        faults.IgnoreCreate(1),
        agent=agent,
        sabotage=lose_alarms(RealtimeBridge, 0.0, 2.0),
    )
    (unwanted_at,) = seen.entered(Owner.RESPONSE, "unwanted")
    ((asked_at, ask),) = seen.asked(Owner.RESPONSE)
    assert asked_at == pytest.approx(
        unwanted_at + LIMITS[Owner.RESPONSE, "unwanted"].seconds, abs=SLACK_S
    )
    refused = ResetRefused(Owner.RESPONSE, ask.reason, Refusal.NOT_STUCK)
    assert seen.answers(Owner.RESPONSE) == [refused]
    left_at = min(at for at in seen.entered(Owner.RESPONSE, "requested") if at >= asked_at)
    assert left_at <= asked_at + SLACK_S
    assert seen.held.was_heard(seen.held.model.responses[-1]), "what was owed is asked for"


def test_a_cancel_whose_alarm_was_lost_is_found_by_the_watchdog() -> None:
    """L10: it is refused while a cancel is pending; L4: and the cancel is over all the same."""
    seen = course(
        [BargeIn(STOP, 0.5), Wait(30.0)],
        faults.Unstoppable(1),
        faults.GoSilent(AtResponse(1, 1_500)),
        replies=[reply(9.0, 1), reply(2.0, 2)],
        agent=Agent(greeting_protected=False, farewell=FAREWELL),
        behaviour=Behaviour(pace=1.5),
        sabotage=lose_alarms(RealtimeBridge, 0.0, 3.0),
    )
    (cancelled_at,) = seen.entered(Owner.RESPONSE, "cancelling")
    asked_at, ask = seen.asked(Owner.RESPONSE)[0]
    assert asked_at == pytest.approx(
        cancelled_at + LIMITS[Owner.RESPONSE, "cancelling"].seconds, abs=SLACK_S
    )
    refused = ResetRefused(Owner.RESPONSE, ask.reason, Refusal.CANCEL_PENDING)
    assert seen.answers(Owner.RESPONSE)[0] == refused
    assert seen.left(Owner.RESPONSE, cancelled_at) <= asked_at + SLACK_S
    assert seen.held.summary.response.cancels_timed_out == 1


def test_playout_whose_alarm_was_lost_is_found_and_goes_on_to_the_sample() -> None:
    seen = course([Wait(20.0)], sabotage=lose_alarms(TxPacer, 1.0, 1.03))
    stopped_at = seen.held.caller.heard[0].until
    asked_at, ask = seen.asked(Owner.PLAYOUT)[0]
    limit_s = LIMITS[Owner.PLAYOUT, "playing"].seconds
    assert limit_s - 1.0 - SLACK_S <= asked_at - stopped_at <= limit_s + SLACK_S
    assert seen.answers(Owner.PLAYOUT) == [ResetGranted(Owner.PLAYOUT, ask.reason)]
    assert seen.held.caller.heard[1].at <= asked_at + SLACK_S
    laws.whole_replies_are_heard(seen.held)
    laws.nothing_is_heard_twice_or_left_out(seen.held)
    assert seen.held.summary.stuck_recoveries == 1


def test_a_schedule_that_has_gone_mad_is_found_and_goes_on_to_the_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The grid believes that the next frame is due in an hour, until it is told to begin anew."""
    sent, count = Grid.sent, itertools.count()

    def mad(grid: Grid, now: float) -> Any:  # noqa: ANN401
        punctuality = sent(grid, now)
        if next(count) == 50:
            grid._anchor += 3_600.0
            grid._plan()
        return punctuality

    monkeypatch.setattr(Grid, "sent", mad)
    seen = course([Wait(20.0)])
    ((asked_at, ask),) = seen.asked(Owner.PLAYOUT)
    assert seen.answers(Owner.PLAYOUT) == [ResetGranted(Owner.PLAYOUT, ask.reason)]
    limit_s = LIMITS[Owner.PLAYOUT, "playing"].seconds
    stopped_at = seen.held.caller.heard[0].until
    assert asked_at <= stopped_at + limit_s + SLACK_S
    assert seen.held.caller.heard[1].at <= asked_at + SLACK_S
    laws.whole_replies_are_heard(seen.held)


# ---- nobody answers


def hang(monkeypatch: pytest.MonkeyPatch, actor: type, since: float) -> None:
    """From then on the actor takes nothing of what it is told, as if its thread were stuck."""
    receive = actor.on_receive  # type: ignore[attr-defined]

    def stuck(self: Any, message: object) -> None:  # noqa: ANN401
        if self.dispatcher.now() < since:
            receive(self, message)

    monkeypatch.setattr(actor, "on_receive", stuck)


@pytest.mark.parametrize(
    ("actor", "owner", "state"),
    [(TxPacer, Owner.PLAYOUT, "playing"), (TwilioIngress, Owner.CARRIER, "streaming")],
)
def test_an_actor_that_hangs_ends_the_call(
    monkeypatch: pytest.MonkeyPatch, actor: type, owner: Owner, state: str
) -> None:
    hang(monkeypatch, actor, 1.0)
    seen = course([Wait(90.0)])
    assert len(seen.asked(owner)) == 2
    assert seen.held.summary.watchdog.resets_unanswered == 2
    assert seen.held.summary.end_cause is EndCause.CRASHED
    assert owner in seen.held.summary.end_detail
    most_s = LIMITS[owner, state].seconds + 2 * ANSWER_S
    assert seen.closed_at <= 1.0 + most_s + LIFE_DEADLINE_S[Life.REPORTING] + SLACK_S


def test_a_bridge_that_hangs_ends_the_call_with_a_farewell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hang(monkeypatch, RealtimeBridge, 3.0)
    seen = course(after_the_greeting(Wait(90.0)))
    assert seen.held.summary.end_cause is EndCause.MODEL_SILENT
    most_s = LIMITS[Owner.MODEL, "open"].seconds + 2 * ANSWER_S
    assert seen.held.caller.heard[-1].at <= 3.0 + most_s + SLACK_S
    assert_farewell(seen)


# ---- whoever is asked for the wrong version refuses

STRAY = [
    (Owner.CARRIER, ResetReason.CARRIER_SILENT, "ingress"),
    (Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED, "pacer"),
    (Owner.RESPONSE, ResetReason.STUCK_RESPONSE, "bridge"),
    (Owner.MODEL, ResetReason.MODEL_SILENT, "bridge"),
]


@pytest.mark.parametrize(("owner", "reason", "actor"), STRAY)
def test_l10_outdated_requests_are_refused_and_harm_no_call(
    owner: Owner, reason: ResetReason, actor: str
) -> None:
    def stray(simulation: Simulation) -> None:
        request = ResetRequest(owner, reason, if_version=0)
        for tenths in range(5, 120):
            simulation.stepper.call_at(tenths / 10, lambda: tell(simulation, actor, request))

    script = after_the_greeting(BargeIn(STOP, 1.0), WaitUntilQuiet(1.0, 9.0), Wait(2.0))
    seen = course(script, replies=[reply(4.0, n) for n in range(4)], sabotage=stray)
    answers = seen.answers(owner)
    assert len(answers) == 115
    allowed = {Refusal.VERSION_MOVED}
    if owner is Owner.RESPONSE:
        allowed.add(Refusal.CANCEL_PENDING)
    assert {a.why for a in answers if isinstance(a, ResetRefused)} <= allowed
    assert seen.held.summary.watchdog.resets_granted == 0
    assert seen.held.summary.stuck_recoveries == 0
    assert seen.held.summary.end_cause is EndCause.CALLER_HUNG_UP
    for law in laws.ALWAYS:
        law(seen.held)


@pytest.mark.parametrize("for_s", [4.0, 10.0, 20.0])
def test_l10_after_the_whole_process_stood_still_nobody_is_taken_for_stuck(for_s: float) -> None:
    """The watchdog wakes to a state that seems to have lasted; its owner has moved on meanwhile."""

    def stand_still(simulation: Simulation) -> None:
        simulation.stepper.call_at(1.0, lambda: simulation.stepper.freeze(for_s))

    seen = course(
        [WaitUntilQuiet(0.5, 90.0), Say(QUESTION), WaitUntilQuiet(3.0, 30.0)], sabotage=stand_still
    )
    (asked,) = {ask.reason for _, ask in seen.asked(Owner.PLAYOUT)}
    assert seen.answers(Owner.PLAYOUT) == [
        ResetRefused(Owner.PLAYOUT, asked, Refusal.VERSION_MOVED)
    ]
    counts = seen.held.summary.watchdog
    assert (counts.resets_granted, counts.resets_unanswered) == (0, 0)
    assert seen.held.summary.end_cause is EndCause.CALLER_HUNG_UP
    laws.every_turn_is_answered(seen.held)
