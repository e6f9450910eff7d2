from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callengine.machines.slots import Slots

PROMISE_S = 30.0


@pytest.fixture
def slots() -> Slots:
    return Slots(2, PROMISE_S)


def test_a_promise_is_taken_by_the_call_that_it_was_given_to(slots: Slots) -> None:
    assert slots.reserve("CA1", 0.0)
    assert (slots.free(1.0), slots.promised(1.0), slots.taken) == (1, 1, 0)
    assert slots.knock(1.0)
    assert slots.take("CA1", 1.0)
    assert (slots.free(1.0), slots.promised(1.0), slots.taken) == (1, 0, 1)
    slots.give_back()
    assert (slots.free(1.0), slots.taken) == (2, 0)


def test_no_more_is_promised_than_there_is(slots: Slots) -> None:
    assert [slots.reserve(call, 0.0) for call in ("CA1", "CA2", "CA3")] == [True, True, False]
    assert slots.free(0.0) == 0


def test_whoever_is_asked_for_twice_has_one_slot_and_has_it_for_longer(slots: Slots) -> None:
    assert slots.reserve("CA1", 0.0)
    assert slots.reserve("CA2", 10.0)
    assert slots.reserve("CA1", 20.0), "there is no other slot, and none is needed"
    assert slots.promised(20.0) == 2
    assert slots.promised(10.0 + PROMISE_S) == 1, "the one that was not asked for again"
    assert slots.promised(20.0 + PROMISE_S) == 0


def test_a_promise_that_nobody_comes_for_expires(slots: Slots) -> None:
    slots.reserve("CA1", 0.0)
    slots.reserve("CA2", 0.0)
    assert slots.free(PROMISE_S - 0.001) == 0
    assert slots.free(PROMISE_S) == 2


def test_who_comes_too_late_takes_a_free_slot_or_none(slots: Slots) -> None:
    slots.reserve("CA1", 0.0)
    for _ in range(3):
        assert slots.knock(29.0)
    assert not slots.reserve("CA4", 31.0), "they are at the door, and one of them has a promise"
    assert [slots.take(call, 31.0) for call in ("CA1", "CA2", "CA3")] == [True, True, False]


def test_a_stranger_takes_no_slot_that_was_promised(slots: Slots) -> None:
    slots.reserve("CA1", 0.0)
    slots.reserve("CA2", 0.0)
    for _ in range(3):
        assert slots.knock(0.0), "any of them may be the one who is expected"
    assert not slots.take("CA9", 0.0)
    assert not slots.take(None, 0.0)
    assert slots.take("CA1", 0.0)
    assert slots.take("CA2", 0.0)
    slots.go()
    assert (slots.free(0.0), slots.taken) == (0, 2)


def test_who_is_expected_is_counted_once_while_he_is_at_the_door(slots: Slots) -> None:
    slots.reserve("CA1", 0.0)
    slots.knock(0.0)
    assert slots.free(0.0) == 1
    assert slots.reserve("CA2", 0.0)
    assert slots.knock(0.0)
    assert slots.free(0.0) == 0


def test_without_promises_whoever_is_at_the_door_holds_a_slot(slots: Slots) -> None:
    assert [slots.knock(0.0) for _ in range(3)] == [True, True, False]
    assert not slots.reserve("CA1", 0.0)
    slots.go()
    assert slots.reserve("CA1", 0.0)


CALLS = st.sampled_from([f"CA{n}" for n in range(6)])
LIMIT = 3


class Rush(RuleBasedStateMachine):
    """Webhooks and sockets in any order; the model remembers who was promised what."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(LIMIT, PROMISE_S)
        self.now = 0.0
        self.promised: dict[str, float] = {}
        self.door = self.taken = 0

    def forget(self) -> None:
        self.promised = {call: until for call, until in self.promised.items() if until > self.now}

    @rule(seconds=st.sampled_from([0.1, 7.0, 29.9, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.forget()

    @rule(call=CALLS)
    def webhook(self, call: str) -> None:
        room = self.slots.free(self.now) > 0
        answer = self.slots.reserve(call, self.now)
        assert answer is (call in self.promised or room)
        if answer:
            self.promised[call] = self.now + PROMISE_S

    @rule()
    def socket(self) -> None:
        room = self.slots.free(self.now) > 0
        welcome = self.slots.knock(self.now)
        assert welcome is (room or bool(self.promised)), "who is expected is never refused"
        self.door += welcome

    @precondition(lambda self: self.door)
    @rule(call=st.none() | CALLS)
    def start(self, call: str | None) -> None:
        expected = call in self.promised
        spare = self.taken + len(self.promised) < LIMIT
        taken = self.slots.take(call, self.now)
        assert taken is (expected or spare), "what was promised is kept, from everybody else too"
        if taken:
            self.promised.pop(call or "", None)
            self.door -= 1
            self.taken += 1

    @precondition(lambda self: self.door)
    @rule()
    def socket_without_a_start_is_gone(self) -> None:
        self.slots.go()
        self.door -= 1

    @precondition(lambda self: self.taken)
    @rule()
    def call_ends(self) -> None:
        self.slots.give_back()
        self.taken -= 1

    @invariant()
    def every_slot_is_counted_once(self) -> None:
        assert self.slots.taken == self.taken
        assert self.slots.promised(self.now) == len(self.promised)
        assert self.taken + len(self.promised) <= LIMIT
        held = self.taken + max(len(self.promised), self.door)
        assert self.slots.free(self.now) == max(LIMIT - held, 0)

    def teardown(self) -> None:
        """In the end all is free again."""
        for _ in range(self.door):
            self.slots.go()
        for _ in range(self.taken):
            self.slots.give_back()
        assert self.slots.free(self.now + PROMISE_S) == LIMIT


TestRush = Rush.TestCase
