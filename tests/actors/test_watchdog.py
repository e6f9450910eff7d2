"""Watchdog: states in, requests to their owners out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine.actors.shell import Report
from callengine.actors.watchdog import OWNERS, Watchdog
from callengine.machines.stall import ANSWER_S, LIMITS, StallCounts
from callengine.messages import (
    CallEnding,
    EndCause,
    Owner,
    Refusal,
    ReportRequest,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
)

if TYPE_CHECKING:
    from tests.actors.rig import Rig


@pytest.fixture(autouse=True)
def _watchdog(rig: Rig) -> None:
    rig.place("watchdog", Watchdog.start(rig.stepper, rig.log))


def counts(rig: Rig) -> StallCounts:
    rig.tell(ReportRequest())
    (report,) = rig.told("supervisor")
    assert report == Report("Watchdog", report.counts)
    assert isinstance(report.counts, StallCounts)
    return report.counts


@pytest.mark.parametrize("watched", LIMITS, ids="-".join)
def test_the_owner_of_a_state_that_lasts_too_long_is_asked(
    rig: Rig, watched: tuple[Owner, str]
) -> None:
    owner, state = watched
    seconds, reason = LIMITS[watched].seconds, LIMITS[watched].reason
    rig.tell(StateChanged(owner, state, 3))
    rig.run(until=seconds - 0.01)
    assert rig.told_to_all() == {}
    rig.run(until=seconds + 0.01)
    assert rig.told_to_all() == {OWNERS[owner]: [ResetRequest(owner, reason, if_version=3)]}
    assert rig.logged()[-1][:2] == ("WARNING", "stuck")


def test_everyone_who_is_watched_can_be_asked() -> None:
    assert {owner for owner, _ in LIMITS} == OWNERS.keys()


def test_progress_in_time_is_no_reason_to_ask(rig: Rig) -> None:
    for n in range(20):
        rig.run(until=2.0 * n)
        rig.tell(StateChanged(Owner.PLAYOUT, "playing", n))
    rig.tell(StateChanged(Owner.PLAYOUT, "idle", 21))
    rig.run(until=1_000.0)
    assert rig.told_to_all() == {}


def test_each_owner_has_a_deadline_of_his_own(rig: Rig) -> None:
    rig.tell(StateChanged(Owner.RESPONSE, "generating", 1), StateChanged(Owner.MODEL, "open", 7))
    rig.run(until=5.0)
    rig.tell(StateChanged(Owner.PLAYOUT, "playing", 2))
    rig.run(until=9.0)
    assert rig.told("pacer") == [ResetRequest(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED, 2)]
    rig.run(until=10.5)
    assert rig.told("bridge") == [ResetRequest(Owner.RESPONSE, ResetReason.SILENT_RESPONSE, 1)]


def test_an_owner_who_does_not_move_is_asked_again(rig: Rig) -> None:
    reason = ResetReason.SILENT_RESPONSE
    rig.tell(StateChanged(Owner.RESPONSE, "generating", 1))
    rig.run(until=10.5)
    rig.tell(ResetRefused(Owner.RESPONSE, reason, Refusal.NOT_STUCK))
    rig.run(until=19.5)
    assert rig.told("bridge") == [ResetRequest(Owner.RESPONSE, reason, 1)]
    rig.run(until=20.5)
    assert rig.told("bridge") == [ResetRequest(Owner.RESPONSE, reason, 1)]


@pytest.mark.parametrize(
    ("owner", "state", "cause"),
    [
        (Owner.CARRIER, "streaming", EndCause.CRASHED),
        (Owner.PLAYOUT, "playing", EndCause.CRASHED),
        (Owner.RESPONSE, "cancelling", EndCause.MODEL_SILENT),
        (Owner.MODEL, "open", EndCause.MODEL_SILENT),
    ],
)
def test_an_owner_who_never_answers_ends_the_call(
    rig: Rig, owner: Owner, state: str, cause: EndCause
) -> None:
    limit = LIMITS[owner, state]
    rig.tell(StateChanged(owner, state, 1))
    rig.run(until=limit.seconds + 2 * ANSWER_S + 0.01)
    assert rig.told(OWNERS[owner]) == [ResetRequest(owner, limit.reason, 1)] * 2
    (ending,) = rig.told("supervisor")
    assert ending == CallEnding(cause, f"nobody answers the watchdog for the {owner}")
    rig.run(until=500.0)
    assert rig.told_to_all() == {}


def test_answers_are_counted_and_logged(rig: Rig) -> None:
    rig.tell(
        ResetGranted(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED),
        ResetRefused(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, Refusal.CANCEL_PENDING),
    )
    assert counts(rig) == StallCounts(resets_granted=1, resets_refused=1)
    assert [text for _, text, _ in rig.logged()] == ["watchdog answered"] * 2
    assert "CANCEL_PENDING" in str(rig.logged()[-1][2])


def test_asking_the_dead_is_harmless(rig: Rig) -> None:
    rig.kill("bridge")
    rig.tell(StateChanged(Owner.MODEL, "open", 1))
    rig.run(until=50.0)
    told = counts(rig)
    assert (told.resets_asked, told.resets_unanswered) == (2, 1)
