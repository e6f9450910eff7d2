from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.machines.lifecycle import (
    CALLER_STAYS,
    CLOSE_CODES,
    DEADLINE_S,
    HOST_REPORT_S,
    MAX_RESTARTS,
    REMEDIES,
    TRANSITIONS,
    CloseSockets,
    CollectReports,
    Conclude,
    Drain,
    HandOver,
    Lifecycle,
    MediaReported,
    Reported,
    Restart,
    State,
)
from callengine.messages import (
    ActorCrashed,
    CallEnding,
    DeadlineReached,
    Drained,
    EndCause,
    Transferred,
)

if TYPE_CHECKING:
    from callengine.machines.lifecycle import Event

LOST = CallEnding(EndCause.MODEL_LOST, "1006")
HUNG_UP = CallEnding(EndCause.CALLER_HUNG_UP, "stop")
CRASHED = ActorCrashed("Supervisor", "ValueError")
ACTORS = sorted({actor for _, actor in REMEDIES} | {"Supervisor"})
EVENTS: list[Event] = [
    HUNG_UP,
    CRASHED,
    Drained(),
    Transferred(),
    MediaReported(),
    Reported(),
    DeadlineReached(),
]
ENDS_AT = 60.0
CALLER_GOES = [cause for cause in EndCause if cause not in CALLER_STAYS]


def in_state(state: State) -> Lifecycle:
    life = Lifecycle(ends_at=ENDS_AT)
    life.hands_over = True
    steps: dict[State, list[Event]] = {
        State.SERVING: [],
        State.DRAINING: [LOST],
        State.HANDING_OVER: [LOST, Drained()],
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


def test_the_longest_a_call_may_take() -> None:
    life = Lifecycle(ends_at=ENDS_AT)
    assert life.next_deadline() == ENDS_AT
    assert life.handle(DeadlineReached(), ENDS_AT - 0.1) == []
    assert life.handle(DeadlineReached(), ENDS_AT) == [Drain()]
    assert life.cause is EndCause.CALL_TOO_LONG


@pytest.mark.parametrize("heard_out", [Drained(), DeadlineReached()])
def test_a_caller_who_can_be_handed_over_is_when_he_has_heard_all(heard_out: Event) -> None:
    life = in_state(State.DRAINING)
    assert life.handle(heard_out, DEADLINE_S[State.DRAINING]) == [HandOver()]
    assert life.next_deadline() == DEADLINE_S[State.DRAINING] + DEADLINE_S[State.HANDING_OVER]


@pytest.mark.parametrize("end", [Transferred(), Transferred("HTTP 500"), HUNG_UP])
def test_handed_over_or_not_the_call_is_over(end: Event) -> None:
    life = in_state(State.HANDING_OVER)
    assert life.handle(end, 1.0) == [CloseSockets(1000, "model_lost"), CollectReports()]
    assert life.cause is EndCause.MODEL_LOST


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
    life.hands_over = False
    assert life.handle(DeadlineReached(), DEADLINE_S[State.DRAINING] - 0.1) == []
    assert life.handle(DeadlineReached(), DEADLINE_S[State.DRAINING]) == [
        CloseSockets(1000, "model_lost"),
        CollectReports(),
    ]


def crash(actor: str) -> ActorCrashed:
    return ActorCrashed(actor, "ValueError")


CRASH_ENDS = [CloseSockets(1011, "crashed"), CollectReports()]
CRASH_IN = {
    (State.SERVING, "HostCalls"): [Restart("HostCalls")],
    (State.SERVING, "RealtimeBridge"): [Drain()],
    (State.SERVING, "Supervisor"): CRASH_ENDS,
    (State.SERVING, "TwilioIngress"): [Restart("TwilioIngress")],
    (State.SERVING, "TxPacer"): [Restart("TxPacer"), Drain()],
    (State.SERVING, "VADDetector"): [Restart("VADDetector")],
    (State.SERVING, "Watchdog"): [Restart("Watchdog")],
    (State.DRAINING, "HostCalls"): [Restart("HostCalls")],
    (State.DRAINING, "RealtimeBridge"): [],
    (State.DRAINING, "Supervisor"): [CloseSockets(1000, "model_lost"), CollectReports()],
    (State.DRAINING, "TwilioIngress"): [Restart("TwilioIngress")],
    (State.DRAINING, "TxPacer"): [CloseSockets(1000, "model_lost"), CollectReports()],
    (State.DRAINING, "VADDetector"): [Restart("VADDetector")],
    (State.DRAINING, "Watchdog"): [Restart("Watchdog")],
    **{
        (State.HANDING_OVER, actor): [CloseSockets(1000, "model_lost"), CollectReports()]
        for actor in ACTORS
    },
}


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("state", State)
def test_l14_what_becomes_of_the_crash_of_each_actor(state: State, actor: str) -> None:
    life = in_state(state)
    assert life.handle(crash(actor), 3.0) == CRASH_IN.get((state, actor), [])


@pytest.mark.parametrize("actor", ["TwilioIngress", "VADDetector", "Watchdog", "HostCalls"])
def test_l14_a_crash_that_nobody_notices_is_no_cause_and_no_end(actor: str) -> None:
    life = Lifecycle()
    life.handle(crash(actor), 3.0)
    assert (life.state, life.cause, life.next_deadline()) == (State.SERVING, None, None)
    life.handle(HUNG_UP, 4.0)
    assert life.cause is EndCause.CALLER_HUNG_UP


@pytest.mark.parametrize("actor", ["TxPacer", "RealtimeBridge"])
def test_l14_a_crash_that_lets_nothing_go_on_is_the_cause_after_a_farewell(actor: str) -> None:
    life = Lifecycle()
    life.handle(crash(actor), 3.0)
    assert (life.cause, life.detail) == (EndCause.CRASHED, f"{actor}: ValueError")
    assert life.next_deadline() == 3.0 + DEADLINE_S[State.DRAINING]
    assert life.handle(Drained(), 4.0) == CRASH_ENDS


@pytest.mark.parametrize("actor", ["TwilioIngress", "TxPacer"])
def test_l14_the_crash_after_the_last_restart_ends_the_call_at_once(actor: str) -> None:
    life = Lifecycle()
    for _ in range(MAX_RESTARTS):
        assert life.handle(crash("VADDetector"), 0.0) == [Restart("VADDetector")]
    assert life.handle(crash(actor), 0.0) == CRASH_ENDS
    assert (life.cause, life.detail) == (EndCause.CRASHED, f"{actor}: ValueError")


def test_l14_a_model_that_is_lost_after_the_last_restart_is_no_restart() -> None:
    life = Lifecycle()
    for _ in range(MAX_RESTARTS):
        life.handle(crash("VADDetector"), 0.0)
    assert life.handle(crash("RealtimeBridge"), 0.0) == [Drain()]


def test_l12_a_report_that_never_comes_is_not_waited_for() -> None:
    life = in_state(State.REPORTING)
    assert life.handle(DeadlineReached(), DEADLINE_S[State.REPORTING] - 0.1) == []
    assert life.handle(DeadlineReached(), DEADLINE_S[State.REPORTING]) == [Conclude()]


def test_a_tool_that_still_runs_is_not_waited_for_as_long_as_busy_workers_are() -> None:
    life = in_state(State.REPORTING)
    assert life.handle(MediaReported(), 0.5) == []
    assert life.next_deadline() == HOST_REPORT_S
    assert life.handle(DeadlineReached(), HOST_REPORT_S) == [Conclude()]
    assert life.next_deadline() is None


def test_the_call_is_over_when_all_have_reported() -> None:
    life = in_state(State.REPORTING)
    assert life.handle(Reported(), 0.1) == [Conclude()]
    assert life.handle(Reported(), 0.2) == []


ANYTHING = st.one_of(
    st.builds(CallEnding, st.sampled_from(EndCause)),
    st.sampled_from([Drained(), Reported()]),
    st.builds(crash, st.sampled_from(ACTORS)),
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
    assert len([a for a in actions if isinstance(a, Restart)]) == life.restarts <= MAX_RESTARTS
    assert len([a for a in actions if isinstance(a, Drain)]) <= 1
