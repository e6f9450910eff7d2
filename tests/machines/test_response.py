from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.machines.response import (
    CANCEL_DEADLINE_S,
    JAM_S,
    MAX_ATTEMPTS,
    MAX_FINISHED,
    MAX_WANTED,
    PROGRESS_S,
    REQUEST_DEADLINE_S,
    RETRY_DELAY_S,
    TRANSITIONS,
    AudioCame,
    CancelRefused,
    CancelWanted,
    Created,
    CreateFailed,
    CreateRefused,
    CreateWanted,
    Done,
    Finished,
    GaveUp,
    Outdated,
    Purpose,
    ResponseSlot,
    SendCancel,
    SendCreate,
    Settlement,
    State,
    Wanted,
)
from callengine.messages import (
    DeadlineReached,
    Owner,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.machines import response as slot

ANSWER = Wanted(Purpose.ANSWER)
TOOL_RESULT = Wanted(Purpose.TOOL_RESULT)
LAST_TRY = Wanted(Purpose.TOOL_RESULT, attempt=MAX_ATTEMPTS)


def sent(actions: list[slot.Action]) -> list[slot.Action]:
    """What goes to the model."""
    return [action for action in actions if isinstance(action, SendCreate | SendCancel)]


def reset(machine: ResponseSlot, version: int | None = None) -> ResetRequest:
    seen = machine.version if version is None else version
    return ResetRequest(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, seen)


def in_state(state: State, wanted: Wanted = TOOL_RESULT) -> ResponseSlot:
    """A slot in `state` at time 0; the response, if it has begun, is r1 and answers create-1."""
    machine = ResponseSlot()
    steps: dict[State, list[slot.Event]] = {
        State.IDLE: [],
        State.REQUESTED: [CreateWanted(wanted)],
        State.UNWANTED: [CreateWanted(wanted), CancelWanted()],
        State.GENERATING: [CreateWanted(wanted), Created("r1", "create-1")],
        State.CANCELLING: [CreateWanted(wanted), Created("r1", "create-1"), CancelWanted()],
    }
    for event in steps[state]:
        machine.handle(event, 0.0)
    assert machine.state is state
    return machine


def taken_by_the_server(purpose: Purpose = Purpose.TOOL_RESULT) -> ResponseSlot:
    """Our create is out, and a response of the server's own has taken the slot meanwhile."""
    machine = in_state(State.REQUESTED, Wanted(purpose))
    machine.handle(Created("auto"), 0.0)
    return machine


# ---- the table

EVENTS: dict[type, Callable[[ResponseSlot], slot.Event]] = {
    CreateWanted: lambda _: CreateWanted(ANSWER),
    Created: lambda _: Created("r2"),
    AudioCame: lambda _: AudioCame("r1"),
    Done: lambda _: Done("r1", failed=False),
    CancelWanted: lambda _: CancelWanted(),
    CancelRefused: lambda _: CancelRefused(None),
    CreateRefused: lambda _: CreateRefused(None),
    CreateFailed: lambda _: CreateFailed("create-1"),
    ResetRequest: reset,
    DeadlineReached: lambda _: DeadlineReached(),
}
PAIRS = [(state, kind) for state in State for kind in EVENTS]


def test_the_table_names_no_event_that_is_not_tested() -> None:
    assert {kind for _, kind in TRANSITIONS} <= set(EVENTS)


@pytest.mark.parametrize(("state", "kind"), [p for p in PAIRS if p in TRANSITIONS])
def test_listed_pair_moves_as_the_table_says(state: State, kind: type) -> None:
    machine = in_state(state, LAST_TRY)
    now = machine.next_deadline() or 0.0 if kind is DeadlineReached else 0.0
    machine.handle(EVENTS[kind](machine), now)
    assert machine.state is TRANSITIONS[state, kind]


@pytest.mark.parametrize(("state", "kind"), [p for p in PAIRS if p not in TRANSITIONS])
def test_unlisted_pair_leaves_the_state_alone(state: State, kind: type) -> None:
    machine = in_state(state, LAST_TRY)
    deadline = machine.next_deadline()
    now = deadline or 0.0 if kind is DeadlineReached else 0.0
    actions = machine.handle(EVENTS[kind](machine), now)
    assert machine.state is state
    assert machine.next_deadline() == deadline
    assert sent(actions) == []
    assert machine.accepts("r1") == (state is State.GENERATING)


def test_a_new_slot_is_free() -> None:
    machine = ResponseSlot()
    assert not machine.busy
    assert machine.purpose is None
    assert machine.next_deadline() is None


# ---- creating: L5


def test_l5_a_create_is_sent_at_once_when_the_slot_is_free() -> None:
    machine = ResponseSlot()
    actions = machine.handle(CreateWanted(ANSWER), 1.0)
    assert actions == [
        SendCreate("create-1", ANSWER),
        StateChanged(Owner.RESPONSE, "requested", 1),
    ]
    assert machine.purpose is Purpose.ANSWER
    assert machine.next_deadline() == 1.0 + REQUEST_DEADLINE_S


@pytest.mark.parametrize("state", [s for s in State if s is not State.IDLE])
def test_l5_a_create_waits_until_the_slot_is_free(state: State) -> None:
    machine = in_state(state)
    wanted = Wanted(Purpose.CONTINUATION, "go on")
    assert machine.handle(CreateWanted(wanted), 0.0) == []
    assert machine.wants(Purpose.CONTINUATION)
    actions = machine.handle(Done("r1", failed=False), 0.0)
    assert [a.wanted for a in actions if isinstance(a, SendCreate)] == [wanted]


def test_l5_equal_wishes_that_wait_are_asked_for_once() -> None:
    machine = in_state(State.GENERATING)
    for _ in range(3):
        machine.handle(CreateWanted(TOOL_RESULT), 0.0)
    assert len(sent(machine.handle(Done("r1", failed=False), 0.0))) == 1
    machine.handle(Created("r2", "create-2"), 0.0)
    assert sent(machine.handle(Done("r2", failed=False), 0.0)) == []
    assert not machine.busy


def test_l5_a_wish_equal_to_one_that_waits_to_be_repeated_is_asked_for_once() -> None:
    machine = in_state(State.REQUESTED)
    machine.handle(CreateRefused("create-1"), 0.0)
    assert machine.handle(CreateWanted(TOOL_RESULT), 0.1) == []
    assert len(sent(machine.handle(DeadlineReached(), RETRY_DELAY_S))) == 1
    machine.handle(Created("r2", "create-2"), 1.0)
    assert sent(machine.handle(Done("r2", failed=False), 1.0)) == []


def test_l5_a_wish_equal_to_one_that_waits_for_its_second_attempt_is_asked_for_once() -> None:
    machine = in_state(State.REQUESTED)
    machine.handle(CreateFailed("create-1"), 0.0)
    assert machine.handle(CreateWanted(TOOL_RESULT), 0.1) == []
    assert len(sent(machine.handle(DeadlineReached(), RETRY_DELAY_S))) == 1
    machine.handle(Created("r2", "create-2"), 1.0)
    assert sent(machine.handle(Done("r2", failed=False), 1.0)) == []


def test_l5_a_wish_that_comes_after_the_create_was_sent_is_another_one() -> None:
    machine = in_state(State.REQUESTED)
    machine.handle(CreateWanted(TOOL_RESULT), 0.0)
    machine.handle(Created("r1", "create-1"), 0.0)
    assert len(sent(machine.handle(Done("r1", failed=False), 0.0))) == 1


def test_waiting_wishes_are_bounded() -> None:
    machine = in_state(State.GENERATING)
    for number in range(MAX_WANTED + 3):
        machine.handle(CreateWanted(Wanted(Purpose.CONTINUATION, str(number))), 0.0)
    assert machine.counts.creates_overflowed == 3


def test_a_response_that_begins_answers_waiting_answers_but_not_tool_results() -> None:
    machine = in_state(State.CANCELLING)
    machine.handle(CreateWanted(ANSWER), 0.0)
    machine.handle(CreateWanted(TOOL_RESULT), 0.0)
    machine.handle(Created("auto"), 0.0)
    actions = machine.handle(Done("auto", failed=False), 0.0)
    assert [a.wanted for a in actions if isinstance(a, SendCreate)] == [TOOL_RESULT]
    machine.handle(Created("r3", "create-3"), 0.0)
    assert sent(machine.handle(Done("r3", failed=False), 0.0)) == []


def test_a_greeting_answers_nothing() -> None:
    machine = in_state(State.REQUESTED, Wanted(Purpose.GREETING))
    machine.handle(CreateWanted(ANSWER), 0.0)
    machine.handle(Created("r1", "create-1"), 0.0)
    actions = machine.handle(Done("r1", failed=False), 0.0)
    assert [a.wanted for a in actions if isinstance(a, SendCreate)] == [ANSWER]


def test_a_response_that_is_cancelled_as_it_begins_answers_nothing() -> None:
    machine = in_state(State.UNWANTED)
    machine.handle(CreateWanted(ANSWER), 0.0)
    machine.handle(Created("r1", "create-1"), 0.0)
    actions = machine.handle(Done("r1", failed=False), 0.0)
    assert [a.wanted for a in actions if isinstance(a, SendCreate)] == [ANSWER]


@pytest.mark.edge_case(41)
def test_l5_a_refused_create_waits_and_is_sent_again_without_end() -> None:
    """C-A 41: conversation_already_has_active_response re-queues."""
    machine = in_state(State.REQUESTED)
    now = 0.0
    for number in range(1, 10):
        assert sent(machine.handle(CreateRefused(f"create-{number}"), now)) == []
        assert machine.next_deadline() == now + RETRY_DELAY_S
        assert sent(machine.handle(DeadlineReached(), now + RETRY_DELAY_S / 2)) == []
        now += RETRY_DELAY_S
        assert sent(machine.handle(DeadlineReached(), now)) == [
            SendCreate(f"create-{number + 1}", TOOL_RESULT)
        ]
    assert machine.counts.creates_refused == 9
    assert machine.counts.retries == 0


@pytest.mark.edge_case(41, 42)
@pytest.mark.parametrize("caused_by", ["create-1", None])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_l5_a_create_refused_because_of_the_servers_own_response(
    purpose: Purpose, caused_by: str | None
) -> None:
    """C-A 42: what that response does not answer is asked for after it."""
    machine = taken_by_the_server(purpose)
    assert machine.handle(CreateRefused(caused_by), 0.0) == []
    assert machine.accepts("auto")
    assert machine.purpose is None
    actions = machine.handle(Done("auto", failed=False), 0.0)
    again = [Wanted(purpose)] if purpose in {Purpose.TOOL_RESULT, Purpose.CONTINUATION} else []
    assert [a.wanted for a in actions if isinstance(a, SendCreate)] == again


@pytest.mark.parametrize("purpose", list(Purpose))
def test_l5_a_create_that_fails_while_the_servers_own_response_runs(purpose: Purpose) -> None:
    machine = taken_by_the_server(purpose)
    machine.handle(CreateFailed("create-1"), 0.0)
    assert machine.accepts("auto")
    machine.handle(Done("auto", failed=False), 0.1)
    actions = machine.handle(DeadlineReached(), RETRY_DELAY_S)
    again = purpose in {Purpose.TOOL_RESULT, Purpose.CONTINUATION}
    assert [a.wanted.attempt for a in actions if isinstance(a, SendCreate)] == [2] * again


def test_an_error_about_a_create_that_was_answered_is_nobodys() -> None:
    machine = in_state(State.GENERATING)
    assert machine.handle(CreateRefused(None), 0.0) == []
    assert machine.handle(CreateFailed("create-1"), 0.0) == []
    assert machine.purpose is Purpose.TOOL_RESULT
    assert machine.counts.creates_refused == 0


def test_an_error_about_a_create_whose_response_came_second_is_nobodys() -> None:
    machine = taken_by_the_server()
    machine.handle(Created("r1", "create-1"), 0.0)
    assert machine.purpose is Purpose.TOOL_RESULT
    machine.handle(CreateRefused(None), 0.0)
    assert machine.purpose is Purpose.TOOL_RESULT


def test_an_error_after_the_server_superseded_a_cancelled_response_is_nobodys() -> None:
    machine = in_state(State.CANCELLING)
    machine.handle(Created("auto"), 0.0)
    machine.handle(CreateRefused(None), 0.0)
    assert machine.counts.creates_refused == 0


@pytest.mark.parametrize("state", [State.REQUESTED, State.UNWANTED])
def test_errors_that_name_something_else_are_not_about_our_create(state: State) -> None:
    machine = in_state(state)
    for event in (CreateRefused("create-9"), CreateFailed("truncate-1"), CreateFailed(None)):
        assert machine.handle(event, 0.0) == []
    assert machine.state is state


def test_a_failed_create_is_repeated_once_after_the_delay() -> None:
    machine = in_state(State.REQUESTED)
    machine.handle(CreateFailed("create-1"), 0.0)
    assert machine.next_deadline() == RETRY_DELAY_S
    assert len(sent(machine.handle(DeadlineReached(), RETRY_DELAY_S))) == 1
    machine.handle(CreateFailed("create-2"), 1.0)
    assert not machine.busy
    assert machine.counts.retries == 1


@pytest.mark.parametrize("error", [CreateRefused("create-1"), CreateFailed("create-1")])
def test_an_unwanted_create_that_is_refused_is_not_repeated(error: slot.Event) -> None:
    machine = in_state(State.UNWANTED)
    machine.handle(error, 0.0)
    assert not machine.busy


def test_l4_an_unwanted_create_that_only_seemed_to_be_refused_is_cancelled_when_it_begins() -> None:
    """An error that names nothing was about a create of the server's own."""
    machine = in_state(State.UNWANTED)
    machine.handle(CreateRefused(None), 0.0)
    (cancel,) = sent(machine.handle(Created("r1", "create-1"), 0.1))
    assert isinstance(cancel, SendCancel)
    assert cancel.response_id == "r1"
    assert not machine.cuts, "nothing of it was played"
    machine.handle(Done("r1", failed=False), 0.2)
    machine.handle(Created("r2", None), 0.3)
    assert machine.accepts("r2")


def test_a_create_nobody_answers_is_repeated_once_at_its_deadline() -> None:
    machine = in_state(State.REQUESTED)
    assert machine.handle(DeadlineReached(), REQUEST_DEADLINE_S - 0.1) == []
    actions = machine.handle(DeadlineReached(), REQUEST_DEADLINE_S)
    assert [a.event_id for a in actions if isinstance(a, SendCreate)] == ["create-2"]
    machine.handle(DeadlineReached(), 2 * REQUEST_DEADLINE_S)
    assert not machine.busy
    assert machine.counts.creates_timed_out == 2


def test_l5_a_late_answer_to_a_create_that_was_repeated_is_not_doubled() -> None:
    machine = in_state(State.REQUESTED)
    machine.handle(DeadlineReached(), REQUEST_DEADLINE_S)
    machine.handle(Created("r1", "create-1"), 6.0)
    machine.handle(CreateRefused("create-2"), 6.0)
    assert machine.purpose is Purpose.TOOL_RESULT
    assert sent(machine.handle(Done("r1", failed=False), 7.0)) == []
    assert not machine.busy


# ---- a server that echoes which create it answers: what does not answer ours is its own


def crossed(wanted: Wanted = TOOL_RESULT) -> ResponseSlot:
    """Our second create is out; a response of the server's own has taken the slot meanwhile."""
    machine = in_state(State.GENERATING, Wanted(Purpose.GREETING))
    machine.handle(Done("r1", failed=False), 0.0)
    machine.handle(CreateWanted(wanted), 0.0)
    machine.handle(Created("auto"), 0.0)
    return machine


def test_a_response_that_does_not_answer_our_create_is_the_servers_own() -> None:
    machine = crossed(Wanted(Purpose.GREETING))
    assert machine.accepts("auto")
    assert machine.purpose is None
    assert machine.wants(Purpose.GREETING)


@pytest.mark.parametrize("failed", [False, True])
def test_l5_a_create_that_is_still_out_is_neither_lost_nor_doubled(failed: bool) -> None:
    """C-A 42: the server's own response is over before it has read our create."""
    machine = crossed()
    assert machine.handle(Done("auto", failed), 3.0)[0] == Finished("auto")
    assert machine.state is State.REQUESTED
    assert machine.next_deadline() == 3.0 + REQUEST_DEADLINE_S
    machine.handle(Created("r2", "create-2"), 3.1)
    assert machine.purpose is Purpose.TOOL_RESULT
    assert sent(machine.handle(Done("r2", failed=False), 4.0)) == []
    assert not machine.busy


def test_l5_a_refused_create_covers_an_equal_wish_that_waits() -> None:
    machine = crossed()
    machine.handle(CreateWanted(TOOL_RESULT), 0.0)
    machine.handle(CreateRefused("create-2"), 0.0)
    assert len(sent(machine.handle(Done("auto", failed=False), 0.0))) == 1
    machine.handle(Created("r3", "create-3"), 0.0)
    assert sent(machine.handle(Done("r3", failed=False), 0.0)) == []


# ---- what comes of a response


def test_audio_counts_only_while_its_response_is_generated() -> None:
    machine = in_state(State.GENERATING)
    assert machine.accepts("r1")
    assert not machine.accepts("r2")
    machine.handle(CancelWanted(), 0.0)
    assert not machine.accepts("r1")
    assert machine.cancels("r1")
    assert not machine.cancels("r2")


def test_a_finished_response_lets_go_of_the_slot() -> None:
    machine = in_state(State.GENERATING)
    assert machine.handle(Done("r1", failed=False), 0.0) == [
        Finished("r1"),
        StateChanged(Owner.RESPONSE, "idle", machine.version),
    ]
    assert machine.counts.responses == 1
    assert not machine.busy


def test_a_fruitless_response_is_repeated_once_after_the_delay() -> None:
    """C-A 44 and 64: law L13."""
    machine = in_state(State.GENERATING)
    machine.handle(Done("r1", failed=True), 0.0)
    assert machine.busy
    assert sent(machine.handle(DeadlineReached(), RETRY_DELAY_S)) == [
        SendCreate("create-2", Wanted(Purpose.TOOL_RESULT, attempt=2, not_before=RETRY_DELAY_S))
    ]
    machine.handle(Created("r2", "create-2"), 1.0)
    machine.handle(Done("r2", failed=True), 1.0)
    assert not machine.busy


def test_a_fruitless_response_of_the_server_is_asked_for_by_us() -> None:
    machine = ResponseSlot()
    machine.handle(Created("auto"), 0.0)
    machine.handle(Done("auto", failed=True), 0.0)
    actions = machine.handle(DeadlineReached(), RETRY_DELAY_S)
    assert [(a.wanted.purpose, a.wanted.attempt) for a in actions if isinstance(a, SendCreate)] == [
        (Purpose.ANSWER, 2)
    ]


def test_what_waits_to_be_repeated_is_asked_for_when_its_time_has_come_whatever_wakes_us() -> None:
    machine = in_state(State.GENERATING)
    machine.handle(Done("r1", failed=True), 0.0)
    assert len(sent(machine.handle(CancelRefused(None), RETRY_DELAY_S))) == 1


@pytest.mark.edge_case(40)
@pytest.mark.parametrize("failed", [False, True])
def test_done_without_created_ends_the_request(failed: bool) -> None:
    """C-A 40: seen on interruptions."""
    machine = in_state(State.REQUESTED)
    actions = machine.handle(Done("r1", failed=failed), 0.0)
    assert actions[0] == Finished("r1")
    assert machine.state is State.IDLE
    assert machine.wants(Purpose.TOOL_RESULT) is failed
    assert machine.counts.unexpected_done == 1


def test_done_without_created_of_what_nobody_wants_is_not_repeated() -> None:
    machine = in_state(State.UNWANTED)
    machine.handle(Done("r1", failed=True), 0.0)
    assert not machine.busy


@pytest.mark.edge_case(40)
@pytest.mark.parametrize("state", [State.IDLE, State.REQUESTED, State.GENERATING])
def test_done_twice_is_counted_and_ignored(state: State) -> None:
    """C-A 40."""
    machine = in_state(State.GENERATING)
    machine.handle(Done("r1", failed=False), 0.0)
    if state is not State.IDLE:
        machine.handle(CreateWanted(ANSWER), 0.0)
    if state is State.GENERATING:
        machine.handle(Created("r2", "create-2"), 0.0)
    assert machine.handle(Done("r1", failed=True), 0.0) == []
    assert machine.state is state
    assert machine.counts.unexpected_done == 1


@pytest.mark.edge_case(40)
@pytest.mark.parametrize("finished", [False, True])
def test_created_twice_is_counted_and_ignored(finished: bool) -> None:
    """C-A 40."""
    machine = in_state(State.GENERATING)
    if finished:
        machine.handle(Done("r1", failed=False), 0.0)
    before = machine.state
    assert machine.handle(Created("r1"), 0.0) == []
    assert machine.state is before
    assert machine.counts.unexpected_created == 1
    assert machine.counts.responses == 1


def test_created_of_another_id_while_generating_ends_the_one_before() -> None:
    machine = in_state(State.GENERATING)
    actions = machine.handle(Created("r2"), 0.0)
    assert actions == [
        Finished("r1"),
        StateChanged(Owner.RESPONSE, "generating", machine.version),
    ]
    assert machine.accepts("r2")
    assert machine.purpose is None
    machine.handle(Done("r1", failed=True), 0.0)
    assert machine.accepts("r2")


def test_created_of_another_id_while_our_create_is_out_may_still_be_ours() -> None:
    machine = taken_by_the_server()
    machine.handle(Created("r2"), 0.0)
    assert machine.purpose is Purpose.TOOL_RESULT


def test_created_of_another_id_while_cancelling_ends_the_cancel() -> None:
    machine = in_state(State.CANCELLING)
    machine.handle(Created("r2"), 0.5)
    assert machine.accepts("r2")
    assert machine.purpose is None
    assert machine.next_deadline() is None
    assert machine.cancelled[-1].settlement is Settlement.SUPERSEDED
    assert machine.cancelled[-1].resolved_at == 0.5


def test_the_memory_of_finished_responses_is_bounded() -> None:
    machine = ResponseSlot()
    for number in range(MAX_FINISHED + 1):
        machine.handle(Created(f"r{number}"), 0.0)
        machine.handle(Done(f"r{number}", failed=False), 0.0)
    machine.handle(Created("r1"), 0.0)
    assert machine.state is State.IDLE
    machine.handle(Created("r0"), 0.0)  # forgotten
    assert machine.accepts("r0")


# ---- cancelling: L4


def test_l4_a_cancel_carries_the_id_and_is_the_lock() -> None:
    machine = in_state(State.GENERATING)
    actions = machine.handle(CancelWanted(), 3.0)
    assert sent(actions) == [SendCancel("cancel-2", "r1")]
    assert machine.next_deadline() == 3.0 + CANCEL_DEADLINE_S
    assert machine.counts.cancels_sent == 1
    assert machine.handle(CancelWanted(), 3.1) == []


@pytest.mark.parametrize("failed", [False, True])
def test_l4_done_of_that_id_releases_the_lock_whatever_its_status(failed: bool) -> None:
    machine = in_state(State.CANCELLING)
    assert Finished("r1") in machine.handle(Done("r1", failed=failed), 1.0)
    assert not machine.busy
    assert machine.cancelled[-1].settlement is Settlement.DONE
    assert machine.cancelled[-1].resolved_at == 1.0


@pytest.mark.edge_case(38)
@pytest.mark.parametrize("caused_by", ["cancel-2", None])
def test_l4_not_active_releases_the_lock(caused_by: str | None) -> None:
    """C-A 38."""
    machine = in_state(State.CANCELLING)
    assert Finished("r1") in machine.handle(CancelRefused(caused_by), 1.0)
    assert not machine.busy
    assert machine.cancelled[-1].settlement is Settlement.NOT_ACTIVE


def test_l4_the_deadline_releases_the_lock() -> None:
    machine = in_state(State.CANCELLING)
    assert machine.handle(DeadlineReached(), CANCEL_DEADLINE_S - 0.1) == []
    assert Finished("r1") in machine.handle(DeadlineReached(), CANCEL_DEADLINE_S)
    assert not machine.busy
    assert machine.next_deadline() is None
    assert machine.cancelled[-1].settlement is Settlement.DEADLINE
    assert machine.counts.cancels_timed_out == 1


def test_l4_a_stale_not_active_does_not_release_a_later_cancel() -> None:
    machine = in_state(State.CANCELLING)
    machine.handle(Done("r1", failed=False), 0.0)
    machine.handle(Created("r2"), 0.0)
    assert sent(machine.handle(CancelWanted(), 0.0)) == [SendCancel("cancel-3", "r2")]
    assert machine.handle(CancelRefused("cancel-2"), 0.0) == []
    assert machine.cancels("r2")
    machine.handle(CancelRefused("cancel-3"), 0.0)
    assert machine.state is State.IDLE


def test_l4_done_of_another_id_does_not_release_the_lock() -> None:
    machine = in_state(State.CANCELLING)
    assert machine.handle(Done("r7", failed=False), 0.0) == []
    assert machine.cancels("r1")
    assert machine.counts.unexpected_done == 1


@pytest.mark.edge_case(39)
def test_created_before_cancel_race() -> None:
    """C-A 39: no cancel without an id; by its id when it comes; never played."""
    machine = in_state(State.REQUESTED)
    assert sent(machine.handle(CancelWanted(), 0.0)) == []
    assert sent(machine.handle(Created("r1", "create-1"), 1.0)) == [SendCancel("cancel-2", "r1")]
    assert not machine.accepts("r1")
    assert machine.next_deadline() == 1.0 + CANCEL_DEADLINE_S
    machine.handle(Done("r1", failed=True), 1.0)
    assert not machine.busy


def test_an_unwanted_create_nobody_answers_is_given_up() -> None:
    machine = in_state(State.UNWANTED)
    machine.handle(DeadlineReached(), REQUEST_DEADLINE_S)
    assert not machine.busy
    assert machine.counts.creates_timed_out == 1


def test_what_an_interruption_makes_outdated_is_told() -> None:
    continuation = Wanted(Purpose.CONTINUATION, "go on")
    machine = in_state(State.REQUESTED)
    machine.handle(CreateWanted(continuation), 0.0)
    machine.handle(CreateWanted(ANSWER), 0.0)
    actions = machine.handle(CancelWanted(), 0.0)
    assert [a for a in actions if isinstance(a, Outdated)] == [
        Outdated(TOOL_RESULT),
        Outdated(continuation),
    ]
    assert not machine.wants(Purpose.CONTINUATION)
    assert machine.wants(Purpose.ANSWER)


@pytest.mark.parametrize("state", [State.IDLE, State.CANCELLING])
def test_an_interruption_ends_a_continuation_that_waits(state: State) -> None:
    continuation = Wanted(Purpose.CONTINUATION, "go on")
    machine = in_state(state)
    machine.handle(CreateWanted(continuation), 0.0)
    if state is State.IDLE:
        machine.handle(CreateRefused("create-1"), 0.0)
    assert machine.handle(CancelWanted(), 0.0) == [Outdated(continuation)]
    assert not machine.wants(Purpose.CONTINUATION)


def test_the_record_of_cancels_is_bounded() -> None:
    machine = ResponseSlot()
    for number in range(600):
        machine.handle(Created(f"r{number}"), 0.0)
        machine.handle(CancelWanted(), 0.0)
        machine.handle(Done(f"r{number}", failed=False), 0.0)
    assert len(machine.cancelled) == 500
    assert machine.cancelled[-1].response_id == "r599"
    assert machine.counts.cancels_sent == 600


# ---- watchdog: L10


def test_progress_is_reported_at_the_first_audio_and_then_at_most_every_second() -> None:
    machine = in_state(State.GENERATING)
    version = machine.version
    assert machine.handle(AudioCame("r1"), 0.1) == [
        StateChanged(Owner.RESPONSE, "speaking", version + 1)
    ]
    assert machine.handle(AudioCame("r1"), 0.1 + PROGRESS_S / 2) == []
    assert machine.handle(AudioCame("r1"), 0.1 + PROGRESS_S) == [
        StateChanged(Owner.RESPONSE, "speaking", version + 2)
    ]


def test_l10_every_create_is_a_step_with_a_version_of_its_own() -> None:
    machine = in_state(State.REQUESTED)
    seen = machine.version
    machine.handle(DeadlineReached(), REQUEST_DEADLINE_S)  # given up, and asked for again
    assert machine.version > seen
    refused = machine.handle(reset(machine, seen), 8.0)
    assert refused == [
        ResetRefused(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, Refusal.VERSION_MOVED)
    ]
    assert machine.state is State.REQUESTED


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (State.IDLE, Refusal.NOT_STUCK),
        (State.UNWANTED, Refusal.NOT_STUCK),
        (State.CANCELLING, Refusal.CANCEL_PENDING),
    ],
)
def test_l10_a_reset_is_refused(state: State, why: Refusal) -> None:
    machine = in_state(state)
    assert machine.handle(reset(machine), 0.0) == [
        ResetRefused(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, why)
    ]
    assert machine.state is state
    assert machine.counts.stuck_recoveries == 0


@pytest.mark.parametrize("state", [s for s in State if s is not State.CANCELLING])
def test_l10_a_reset_of_a_state_that_has_moved_is_refused(state: State) -> None:
    machine = in_state(state)
    assert machine.handle(reset(machine, machine.version - 1), 0.0) == [
        ResetRefused(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, Refusal.VERSION_MOVED)
    ]
    assert machine.state is state


def test_l10_while_cancelling_even_an_outdated_reset_is_refused_for_the_cancel() -> None:
    machine = in_state(State.CANCELLING)
    assert machine.handle(reset(machine, 0), 0.0) == [
        ResetRefused(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, Refusal.CANCEL_PENDING)
    ]


def test_a_granted_reset_of_a_silent_response_cancels_it_and_asks_again() -> None:
    machine = in_state(State.GENERATING)
    actions = machine.handle(reset(machine), 9.0)
    assert actions[:2] == [
        SendCancel("cancel-2", "r1"),
        ResetGranted(Owner.RESPONSE, ResetReason.STUCK_RESPONSE),
    ]
    assert machine.counts.stuck_recoveries == 1
    actions = machine.handle(Done("r1", failed=False), 9.1)
    assert [a.wanted.attempt for a in actions if isinstance(a, SendCreate)] == [2]


def test_a_granted_reset_of_a_silent_response_of_the_server_asks_for_an_answer() -> None:
    machine = ResponseSlot()
    machine.handle(Created("auto"), 0.0)
    machine.handle(reset(machine), 9.0)
    actions = machine.handle(Done("auto", failed=False), 9.1)
    assert [a.wanted.purpose for a in actions if isinstance(a, SendCreate)] == [Purpose.ANSWER]


def test_l5_a_granted_reset_of_a_create_asks_again_whatever_was_audible_before() -> None:
    machine = in_state(State.GENERATING)
    machine.handle(AudioCame("r1"), 0.0)
    machine.handle(Done("r1", failed=False), 0.0)
    machine.handle(CreateWanted(ANSWER), 0.0)
    actions = machine.handle(reset(machine), 4.0)
    assert [a.wanted.purpose for a in actions if isinstance(a, SendCreate)] == [Purpose.ANSWER]
    assert machine.version  # and it is a step of its own
    machine.handle(reset(machine), 4.1)
    assert not machine.busy  # asked twice is enough


# ---- whatever comes: any order of any events, lost and late ones included

IDS = st.sampled_from(["r1", "r2", "r3"])
CAUSES = st.sampled_from([None, "create-1", "create-2", "cancel-2", "cancel-3", "other"])
WISHES = st.builds(Wanted, st.sampled_from(list(Purpose)))
ANYTHING = st.one_of(
    st.builds(CreateWanted, WISHES),
    st.builds(Created, IDS, CAUSES),
    st.builds(AudioCame, IDS),
    st.builds(Done, IDS, st.booleans()),
    st.just(CancelWanted()),
    st.builds(CancelRefused, CAUSES),
    st.builds(CreateRefused, CAUSES),
    st.builds(CreateFailed, CAUSES),
    st.builds(
        ResetRequest,
        st.just(Owner.RESPONSE),
        st.just(ResetReason.STUCK_RESPONSE),
        st.integers(0, 6),
    ),
)


@settings(deadline=None)
@given(st.lists(st.tuples(ANYTHING, st.sampled_from([0.0, 0.1, 0.5, 2.0, 5.0])), max_size=40))
def test_l4_l5_l10_hold_whatever_comes(script: list[tuple[slot.Event, float]]) -> None:
    machine = ResponseSlot()
    now = 0.0
    versions = 0
    for event, pause_s in script:
        now += pause_s
        due = machine.next_deadline()
        events = [DeadlineReached(), event] if due is not None and due <= now else [event]
        for each in events:
            lock = machine.state is State.CANCELLING
            version = machine.version
            actions = machine.handle(each, now)
            for action in actions:
                if isinstance(action, SendCancel):
                    assert machine.cancels(action.response_id)
                    assert machine.next_deadline() == now + CANCEL_DEADLINE_S
                if isinstance(action, SendCreate):
                    assert machine.state is State.REQUESTED
                    assert not lock or Finished in map(type, actions)
                if isinstance(action, ResetGranted):
                    assert isinstance(each, ResetRequest)
                    assert each.if_version == version
                    assert not lock
                if isinstance(action, StateChanged):
                    assert action.version == versions + 1
                    versions = action.version
            if isinstance(each, DeadlineReached):
                due = machine.next_deadline()
                assert due is None or due > now, "a busy loop"
            unresolved = [c for c in machine.cancelled if c.settlement is None]
            assert len(unresolved) == (machine.state is State.CANCELLING)
            assert all(now <= c.sent_at + CANCEL_DEADLINE_S for c in unresolved)


def test_an_unwanted_create_does_not_cost_the_servers_own_answer() -> None:
    """C-A 42: a server that names our creates says nothing of its own response's origin."""
    machine = in_state(State.GENERATING)
    machine.handle(Done("r1", failed=False), 0.0)
    machine.handle(CreateWanted(TOOL_RESULT), 0.0)
    machine.handle(CancelWanted(), 0.0)
    assert sent(machine.handle(Created("auto"), 0.0)) == []
    assert machine.accepts("auto")
    machine.handle(CreateRefused("create-2"), 0.0)
    machine.handle(Done("auto", failed=False), 0.0)
    assert machine.state is State.IDLE


def test_l13_a_model_that_refuses_for_a_response_that_never_ends_is_given_up() -> None:
    machine = in_state(State.CANCELLING)
    machine.handle(CreateWanted(ANSWER), 0.0)
    machine.handle(DeadlineReached(), CANCEL_DEADLINE_S)
    now = CANCEL_DEADLINE_S
    for _ in range(100):
        gave_up = machine.handle(CreateRefused(None), now)
        if any(isinstance(action, GaveUp) for action in gave_up):
            break
        now += RETRY_DELAY_S
        machine.handle(DeadlineReached(), now)
    assert CANCEL_DEADLINE_S + JAM_S <= now <= CANCEL_DEADLINE_S + JAM_S + RETRY_DELAY_S
    assert machine.state is State.IDLE
    assert machine.next_deadline() is None


def test_a_model_that_is_seen_to_respond_is_not_given_up_for_its_refusals() -> None:
    """The server is always first with an answer of its own, and the caller interrupts it."""
    machine = in_state(State.REQUESTED)
    for turn in range(5):
        now = turn * JAM_S / 2
        refused = machine.handle(CreateRefused(None), now)
        assert not any(isinstance(action, GaveUp) for action in refused)
        machine.handle(Created(f"auto-{turn}"), now)
        machine.handle(Done(f"auto-{turn}", failed=False), now + 1.0)
        machine.handle(DeadlineReached(), now + 1.0)
        assert machine.state is State.REQUESTED


def test_a_reply_that_stalls_in_the_middle_is_continued_after_the_reset() -> None:
    machine = in_state(State.GENERATING)
    machine.handle(AudioCame("r1"), 0.0)
    machine.handle(reset(machine), 10.0)
    (create,) = sent(machine.handle(Done("r1", failed=False), 10.1))
    assert isinstance(create, SendCreate)
    assert create.wanted.purpose is Purpose.CONTINUATION


# ---- a create that is still out when another response is interrupted


def test_a_create_that_crossed_an_interrupted_response_is_unwanted_until_it_is_answered() -> None:
    machine = crossed()
    outdated = machine.handle(CancelWanted(), 1.0)
    assert [a for a in outdated if isinstance(a, Outdated)] == [Outdated(TOOL_RESULT)]
    machine.handle(Done("auto", failed=False), 1.1)
    assert machine.state is State.UNWANTED
    assert machine.next_deadline() == 1.1 + REQUEST_DEADLINE_S
    assert sent(machine.handle(CreateWanted(ANSWER), 1.2)) == [], "L5: not while one is out"
    actions = machine.handle(Created("r2", "create-2"), 1.3)
    assert [a.response_id for a in sent(actions) if isinstance(a, SendCancel)] == ["r2"]
    assert not machine.accepts("r2")
    assert not machine.cuts
    answer = sent(machine.handle(Done("r2", failed=False), 1.4))
    assert [a.wanted for a in answer if isinstance(a, SendCreate)] == [ANSWER]


@pytest.mark.parametrize(
    "error", [CreateRefused("create-2"), CreateRefused(None), CreateFailed("create-2")]
)
def test_a_create_that_crossed_an_interrupted_response_and_was_refused(error: slot.Event) -> None:
    machine = crossed()
    machine.handle(CancelWanted(), 1.0)
    assert machine.handle(error, 1.1) == [], "it was told to be outdated"
    assert machine.cancels("auto")
    machine.handle(Done("auto", failed=False), 1.2)
    assert machine.state is State.IDLE
    assert not machine.busy


def test_a_create_that_crossed_two_responses_of_the_servers_own() -> None:
    machine = crossed()
    machine.handle(CancelWanted(), 1.0)
    machine.handle(Created("next"), 1.1)
    assert machine.accepts("next")
    assert sent(machine.handle(Done("next", failed=False), 1.2)) == []
    assert machine.state is State.UNWANTED
    machine.handle(DeadlineReached(), 1.2 + REQUEST_DEADLINE_S)
    assert not machine.busy


def test_an_interruption_tells_that_a_create_was_not_answered_as_soon_as_that_is_known() -> None:
    """A server that echoes nothing: the response that was interrupted seemed to be ours."""
    machine = taken_by_the_server()
    assert [a for a in machine.handle(CancelWanted(), 0.0) if isinstance(a, Outdated)] == []
    assert machine.handle(CreateRefused(None), 0.1) == [Outdated(TOOL_RESULT)]
    assert machine.handle(CreateRefused(None), 0.2) == []
    machine.handle(Done("auto", failed=False), 0.3)
    assert not machine.busy


def test_the_servers_own_answer_leaves_an_unwanted_create_unwanted() -> None:
    machine = in_state(State.GENERATING)
    machine.handle(Done("r1", failed=False), 0.0)
    machine.handle(CreateWanted(TOOL_RESULT), 0.0)
    machine.handle(CancelWanted(), 0.0)
    machine.handle(Created("auto"), 0.0)
    machine.handle(Done("auto", failed=False), 0.0)
    actions = machine.handle(Created("r2", "create-2"), 0.1)
    assert [a.response_id for a in sent(actions) if isinstance(a, SendCancel)] == ["r2"]


def test_l5_the_second_answer_to_a_create_that_was_repeated_is_cancelled() -> None:
    machine = in_state(State.REQUESTED)
    machine.handle(DeadlineReached(), REQUEST_DEADLINE_S)
    machine.handle(Created("r1", "create-1"), 6.0)
    assert machine.purpose is Purpose.TOOL_RESULT
    machine.handle(Done("r1", failed=False), 7.0)
    actions = machine.handle(Created("r2", "create-2"), 7.1)
    assert [a.response_id for a in sent(actions) if isinstance(a, SendCancel)] == ["r2"]
    assert sent(machine.handle(Done("r2", failed=False), 8.0)) == []
    assert not machine.busy
