from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.stall import ANSWER_S, GIVEN_UP, LIMITS, Limit, Stall
from callengine.messages import (
    CallEnding,
    Owner,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
)

PLAYING = StateChanged(Owner.PLAYOUT, "playing", 7)
PLAYING_S = LIMITS[Owner.PLAYOUT, "playing"].seconds
STALLED = ResetReason.PLAYOUT_STALLED


@pytest.mark.parametrize(("watched", "limit"), list(LIMITS.items()), ids=str)
def test_a_state_is_suspected_at_its_limit_and_not_before(
    watched: tuple[Owner, str], limit: Limit
) -> None:
    owner, state = watched
    stall = Stall()
    stall.changed(StateChanged(owner, state, 3), now=100.0)
    due = stall.next_deadline()
    assert due == 100.0 + limit.seconds
    assert stall.expire(due - 0.001) == []
    assert stall.expire(due) == [ResetRequest(owner, limit.reason, if_version=3)]


@pytest.mark.parametrize(
    "change",
    [
        StateChanged(Owner.RESPONSE, "idle", 2),
        StateChanged(Owner.PLAYOUT, "idle", 2),
        StateChanged(Owner.MODEL, "speaking", 2),  # a limit of another owner's state
        StateChanged(Owner.CARRIER, "anything else", 2),
    ],
)
def test_states_without_a_limit_are_not_watched(change: StateChanged) -> None:
    stall = Stall()
    stall.changed(change, now=0.0)
    assert stall.next_deadline() is None
    assert stall.expire(1e9) == []


def test_an_owner_that_becomes_idle_is_not_watched_any_more() -> None:
    stall = Stall()
    stall.changed(PLAYING, now=0.0)
    stall.changed(StateChanged(Owner.PLAYOUT, "idle", 8), now=1.0)
    assert stall.next_deadline() is None
    assert stall.expire(1e9) == []


def test_progress_moves_the_deadline_and_the_version() -> None:
    stall = Stall()
    stall.changed(PLAYING, now=0.0)
    stall.changed(StateChanged(Owner.PLAYOUT, "playing", 8), now=2.0)
    assert stall.expire(PLAYING_S) == []
    assert stall.expire(2.0 + PLAYING_S) == [ResetRequest(Owner.PLAYOUT, STALLED, if_version=8)]


def test_a_state_that_goes_on_is_asked_about_again_a_limit_later() -> None:
    stall = Stall()
    stall.changed(PLAYING, now=0.0)
    assert len(stall.expire(PLAYING_S)) == 1
    assert stall.expire(PLAYING_S) == [], "not at once"
    stall.answered(ResetRefused(Owner.PLAYOUT, STALLED, Refusal.NOT_STUCK))
    assert stall.next_deadline() == 2 * PLAYING_S
    assert stall.expire(2 * PLAYING_S) == [ResetRequest(Owner.PLAYOUT, STALLED, if_version=7)]


def test_owners_are_watched_apart() -> None:
    stall = Stall()
    stall.changed(PLAYING, now=0.0)
    stall.changed(StateChanged(Owner.RESPONSE, "cancelling", 4), now=0.0)
    stall.changed(StateChanged(Owner.MODEL, "open", 5), now=0.0)
    assert stall.next_deadline() == 3.0
    assert stall.expire(4.0) == [
        ResetRequest(Owner.PLAYOUT, STALLED, if_version=7),
        ResetRequest(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, if_version=4),
    ]
    assert stall.expire(4.0) == []


def test_requests_and_answers_are_counted() -> None:
    stall = Stall()
    stall.changed(PLAYING, now=0.0)
    stall.expire(PLAYING_S)
    stall.expire(2 * PLAYING_S)
    stall.answered(ResetGranted(Owner.PLAYOUT, STALLED))
    stall.answered(ResetRefused(Owner.PLAYOUT, STALLED, Refusal.VERSION_MOVED))
    stall.answered(ResetRefused(Owner.RESPONSE, STALLED, Refusal.CANCEL_PENDING))
    counts = stall.counts
    assert (counts.resets_asked, counts.resets_granted, counts.resets_refused) == (2, 1, 2)
    assert counts.resets_unanswered == 1


# ---- answers that do not come


def test_everyone_who_is_watched_can_be_given_up() -> None:
    assert {owner for owner, _ in LIMITS} == GIVEN_UP.keys()


@pytest.mark.parametrize("watched", LIMITS, ids="-".join)
def test_an_owner_who_does_not_answer_is_asked_once_more_and_then_the_call_ends(
    watched: tuple[Owner, str],
) -> None:
    owner, state = watched
    seconds, reason = LIMITS[watched].seconds, LIMITS[watched].reason
    stall = Stall()
    stall.changed(StateChanged(owner, state, 3), now=0.0)
    request = ResetRequest(owner, reason, if_version=3)
    assert stall.expire(seconds) == [request]
    assert stall.expire(seconds + ANSWER_S - 0.001) == []
    assert stall.expire(seconds + ANSWER_S) == [request]
    assert stall.expire(seconds + 2 * ANSWER_S - 0.001) == []
    (ending,) = stall.expire(seconds + 2 * ANSWER_S)
    assert isinstance(ending, CallEnding)
    assert ending.cause is GIVEN_UP[owner]
    assert owner in ending.detail
    assert stall.next_deadline() is None, "that is all that can be done"
    assert (stall.counts.resets_asked, stall.counts.resets_unanswered) == (2, 2)


@pytest.mark.parametrize(
    "answer",
    [
        ResetGranted(Owner.PLAYOUT, STALLED),
        *(ResetRefused(Owner.PLAYOUT, STALLED, why) for why in Refusal),
    ],
    ids=str,
)
@pytest.mark.parametrize("late_s", [0.0, ANSWER_S + 0.1])
def test_any_answer_will_do_also_to_the_second_question(
    answer: ResetGranted | ResetRefused, late_s: float
) -> None:
    stall = Stall()
    stall.changed(PLAYING, now=0.0)
    stall.expire(PLAYING_S)
    if late_s:
        stall.expire(PLAYING_S + ANSWER_S)
    stall.answered(answer)
    stall.changed(StateChanged(Owner.PLAYOUT, "idle", 8), PLAYING_S + late_s)
    assert stall.expire(1e9) == []


def test_while_an_answer_is_due_nothing_else_is_asked_of_that_owner() -> None:
    stall = Stall()
    stall.changed(PLAYING, now=0.0)
    assert len(stall.expire(PLAYING_S)) == 1
    stall.changed(StateChanged(Owner.PLAYOUT, "playing", 8), now=PLAYING_S - 1.0)
    stall.changed(StateChanged(Owner.RESPONSE, "cancelling", 4), now=0.0)
    (asked,) = stall.expire(2 * PLAYING_S - 0.5)
    assert isinstance(asked, ResetRequest)
    assert asked.owner is Owner.RESPONSE, "the others are watched as before"


CHANGES = st.tuples(
    st.builds(
        StateChanged,
        st.sampled_from(Owner),
        st.sampled_from([*(state for _, state in LIMITS), "idle"]),
        st.integers(0, 1000),
    ),
    st.floats(0, 12),
)


@given(st.lists(CHANGES, max_size=30))
def test_only_the_version_reported_last_is_asked_about_and_time_always_moves_on(
    changes: list[tuple[StateChanged, float]],
) -> None:
    """L10: what is asked names the version that was seen."""
    stall = Stall()
    last: dict[Owner, StateChanged] = {}
    now = 0.0
    for change, wait_s in changes:
        stall.changed(change, now)
        last[change.owner] = change
        now += wait_s
        for request in stall.expire(now):
            assert isinstance(request, ResetRequest)
            told = last[request.owner]
            assert request.if_version == told.version
            assert request.reason is LIMITS[told.owner, told.state].reason
            stall.answered(ResetRefused(request.owner, request.reason, Refusal.NOT_STUCK))
        due = stall.next_deadline()
        assert due is None or due > now
    watched = [owner for owner, told in last.items() if (owner, told.state) in LIMITS]
    assert (stall.next_deadline() is None) == (not watched)
