from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.machines.lifecycle import (
    CALLER_STAYS,
    CLOSE_CODES,
    DEADLINE_S,
    TRANSITIONS,
    CloseSockets,
    CollectReports,
    Conclude,
    Drain,
    Lifecycle,
    Reported,
    State,
)
from callengine.messages import ActorCrashed, CallEnding, DeadlineReached, Drained, EndCause

if TYPE_CHECKING:
    from callengine.machines.lifecycle import Event

LOST = CallEnding(EndCause.MODEL_LOST, "1006")
HUNG_UP = CallEnding(EndCause.CALLER_HUNG_UP, "stop")
CRASHED = ActorCrashed("TxPacer", "ValueError")
EVENTS: list[Event] = [HUNG_UP, CRASHED, Drained(), Reported(), DeadlineReached()]
CALLER_GOES = [cause for cause in EndCause if cause not in CALLER_STAYS]


def in_state(state: State) -> Lifecycle:
    life = Lifecycle()
    steps: dict[State, list[Event]] = {
        State.SERVING: [],
        State.DRAINING: [LOST],
        State.REPORTING: [HUNG_UP],
        State.OVER: [HUNG_UP, Reported()],
    }
    for event in steps[state]:
        life.handle(event, 0.0)
    assert life.state is state
    return life


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State)
def test_every_pair_moves_as_the_table_says_or_not_at_all(state: State, event: Event) -> None:
    life = in_state(state)
    actions = life.handle(event, life.next_deadline() or 0.0)
    expected = TRANSITIONS.get((state, type(event)), state)
    assert life.state is expected
    if expected is state:
        assert actions == []


def test_the_table_names_no_event_that_is_not_tested() -> None:
    assert {kind for _, kind in TRANSITIONS} <= {type(event) for event in EVENTS}


@pytest.mark.parametrize("cause", CALLER_GOES)
def test_an_end_without_a_caller_closes_at_once(cause: EndCause) -> None:
    life = Lifecycle()
    assert life.handle(CallEnding(cause, "why"), 1.0) == [
        CloseSockets(CLOSE_CODES.get(cause, 1000), str(cause)),
        CollectReports(),
    ]
    assert (life.cause, life.detail) == (cause, "why")
    assert life.next_deadline() == 1.0 + DEADLINE_S[State.REPORTING]


@pytest.mark.parametrize("cause", sorted(CALLER_STAYS))
def test_l13_an_end_that_leaves_the_caller_lets_him_hear_what_is_queued_first(
    cause: EndCause,
) -> None:
    life = Lifecycle()
    assert life.handle(CallEnding(cause, "why"), 1.0) == [Drain()]
    assert (life.cause, life.detail) == (cause, "why")
    assert life.next_deadline() == 1.0 + DEADLINE_S[State.DRAINING]
    assert life.handle(Drained(), 2.0) == [CloseSockets(1000, str(cause)), CollectReports()]


def test_the_close_codes_are_about_causes_that_close_at_once() -> None:
    assert set(CLOSE_CODES) <= set(CALLER_GOES)
    assert CLOSE_CODES[EndCause.CRASHED] == 1011
    assert CLOSE_CODES[EndCause.SHUTDOWN] == 1001


@pytest.mark.parametrize("later", [HUNG_UP, CRASHED, CallEnding(EndCause.SHUTDOWN)])
def test_the_first_cause_is_the_cause(later: Event) -> None:
    life = in_state(State.DRAINING)
    assert life.handle(later, 1.0) == [CloseSockets(1000, "model_lost"), CollectReports()]
    assert (life.cause, life.detail) == (EndCause.MODEL_LOST, "1006")


def test_while_draining_the_model_can_end_no_more() -> None:
    life = in_state(State.DRAINING)
    deadline = life.next_deadline()
    assert life.handle(CallEnding(EndCause.MODEL_SILENT), 5.0) == []
    assert life.state is State.DRAINING
    assert life.next_deadline() == deadline


def test_l12_draining_has_an_end() -> None:
    life = in_state(State.DRAINING)
    assert life.handle(DeadlineReached(), DEADLINE_S[State.DRAINING] - 0.1) == []
    assert life.handle(DeadlineReached(), DEADLINE_S[State.DRAINING]) == [
        CloseSockets(1000, "model_lost"),
        CollectReports(),
    ]


def test_l14_a_crash_ends_the_call_and_names_the_actor() -> None:
    life = Lifecycle()
    assert life.handle(CRASHED, 0.0) == [CloseSockets(1011, "crashed"), CollectReports()]
    assert (life.cause, life.detail) == (EndCause.CRASHED, "TxPacer: ValueError")


def test_l12_a_report_that_never_comes_is_not_waited_for() -> None:
    life = in_state(State.REPORTING)
    assert life.handle(DeadlineReached(), DEADLINE_S[State.REPORTING] - 0.1) == []
    assert life.handle(DeadlineReached(), DEADLINE_S[State.REPORTING]) == [Conclude()]
    assert life.next_deadline() is None


def test_the_call_is_over_when_all_have_reported() -> None:
    life = in_state(State.REPORTING)
    assert life.handle(Reported(), 0.1) == [Conclude()]
    assert life.handle(Reported(), 0.2) == []


ANYTHING = st.one_of(
    st.builds(CallEnding, st.sampled_from(EndCause)),
    st.sampled_from([CRASHED, Drained(), Reported()]),
)


@settings(deadline=None)
@given(st.lists(ANYTHING, max_size=8))
def test_l12_every_call_that_begins_to_end_is_over_in_time_and_once(events: list[Event]) -> None:
    life, now = Lifecycle(), 0.0
    actions = [action for event in events for action in life.handle(event, now)]
    ending = life.state is not State.SERVING
    while (due := life.next_deadline()) is not None:
        now = due
        actions += life.handle(DeadlineReached(), now)
    assert now <= sum(DEADLINE_S.values())
    assert [a for a in actions if isinstance(a, Conclude)] == [Conclude()] * ending
    assert len([a for a in actions if isinstance(a, CloseSockets)]) == ending
    assert (life.cause is not None) is ending
