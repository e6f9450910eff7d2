from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.barge_in import TRANSITIONS, BargeIn, Evidence, Floor, State, Verdict
from callengine.messages import (
    DeadlineReached,
    ModelHeardSpeech,
    SpeechConfirmed,
    SpeechEnded,
    SpeechOnset,
)

WAIT_S = 0.5
ONSET = SpeechOnset(0.9, 2000)
CONFIRMED = SpeechConfirmed(0.9)
ENDED = SpeechEnded(0.9)
MODEL = ModelHeardSpeech()
DUE = DeadlineReached()
EVIDENCE: tuple[Evidence, ...] = (ONSET, CONFIRMED, ENDED, MODEL, DUE)

REACH: dict[State, tuple[Evidence, ...]] = {
    State.LISTENING: (),
    State.SUSPECTED: (ONSET,),
    State.FADING: (ONSET, ENDED),
}

LISTENING_RULES = {
    (ONSET, Floor.TAKEN): (Verdict.INTERRUPT, State.SUSPECTED),
    (ONSET, Floor.PROTECTED): (Verdict.GUARD, State.LISTENING),
    (ONSET, Floor.FREE): (Verdict.PASS, State.LISTENING),
    (CONFIRMED, Floor.TAKEN): (Verdict.INTERRUPT_AND_CONFIRM, State.LISTENING),
    (CONFIRMED, Floor.FREE): (Verdict.PASS_CONFIRMED, State.LISTENING),
    (CONFIRMED, Floor.PROTECTED): (Verdict.PASS_CONFIRMED, State.LISTENING),
    (MODEL, Floor.TAKEN): (Verdict.INTERRUPT_AND_CONFIRM, State.LISTENING),
}
OPEN_RULES = {
    (State.SUSPECTED, CONFIRMED): (Verdict.CONFIRM, State.LISTENING),
    (State.SUSPECTED, ENDED): (Verdict.NOTHING, State.FADING),
    (State.SUSPECTED, MODEL): (Verdict.CONFIRM, State.LISTENING),
    (State.SUSPECTED, DUE): (Verdict.CONFIRM, State.LISTENING),
    (State.FADING, ONSET): (Verdict.CONTINUE, State.SUSPECTED),
    (State.FADING, MODEL): (Verdict.CONFIRM, State.LISTENING),
    (State.FADING, DUE): (Verdict.DISMISS, State.LISTENING),
}


def in_state(state: State) -> BargeIn:
    machine = BargeIn(WAIT_S)
    for evidence in REACH[state]:
        machine.handle(evidence, Floor.TAKEN, 1.0)
    assert machine.state is state
    return machine


@pytest.mark.parametrize(
    ("state", "evidence", "floor"),
    list(itertools.product(State, EVIDENCE, Floor)),
    ids=lambda x: getattr(x, "name", type(x).__name__),
)
def test_every_evidence_in_every_state(state: State, evidence: Evidence, floor: Floor) -> None:
    """Design 3.1, 2 and 7. Whatever is not in these two tables changes nothing."""
    machine = in_state(state)
    if state is State.LISTENING:
        expected = LISTENING_RULES.get((evidence, floor), (Verdict.NOTHING, state))
    else:
        expected = OPEN_RULES.get((state, evidence), (Verdict.NOTHING, state))
    verdict = machine.handle(evidence, floor, 1.0 + WAIT_S)
    assert (verdict, machine.state) == expected


def test_the_table_says_what_the_machine_does() -> None:
    for (state, kind), entered in TRANSITIONS.items():
        machine = in_state(state)
        evidence = next(e for e in EVIDENCE if type(e) is kind)
        machine.handle(evidence, Floor.TAKEN, 1.0 + WAIT_S)
        assert machine.state is entered
    assert len(TRANSITIONS) == len(OPEN_RULES) + 1


@pytest.mark.parametrize("state", [State.SUSPECTED, State.FADING])
def test_before_its_time_a_deadline_is_no_evidence(state: State) -> None:
    machine = in_state(state)
    assert machine.next_deadline() == 1.0 + WAIT_S
    assert machine.handle(DUE, Floor.FREE, 1.499) is Verdict.NOTHING
    assert machine.state is state
    assert machine.handle(DUE, Floor.FREE, 1.5) is not Verdict.NOTHING
    assert machine.next_deadline() is None


def test_going_loud_and_quiet_again_does_not_put_the_decision_off() -> None:
    machine = in_state(State.FADING)
    machine.handle(ONSET, Floor.FREE, 1.3)
    machine.handle(ENDED, Floor.FREE, 1.4)
    assert machine.next_deadline() == 1.5
    assert machine.handle(DUE, Floor.FREE, 1.5) is Verdict.DISMISS


def test_a_deadline_is_not_inherited_by_the_next_barge_in() -> None:
    machine = in_state(State.SUSPECTED)
    machine.handle(CONFIRMED, Floor.FREE, 1.2)
    assert machine.next_deadline() is None
    assert machine.handle(DUE, Floor.TAKEN, 9.0) is Verdict.NOTHING
    machine.handle(ONSET, Floor.TAKEN, 9.0)
    assert machine.next_deadline() == 9.5


@given(
    st.lists(
        st.tuples(st.sampled_from(EVIDENCE), st.sampled_from(Floor), st.floats(0, 0.4)),
        max_size=40,
    )
)
def test_every_interruption_gets_exactly_one_verdict_within_its_time(
    told: list[tuple[Evidence, Floor, float]],
) -> None:
    machine = BargeIn(WAIT_S)
    now, opened_at = 0.0, None
    for evidence, floor, wait_s in told:
        now += wait_s
        due = machine.next_deadline()
        if due is not None and due <= now:
            assert machine.handle(DUE, floor, now) in {Verdict.CONFIRM, Verdict.DISMISS}
            opened_at = None
        verdict = machine.handle(evidence, floor, now)
        if verdict is Verdict.INTERRUPT:
            assert opened_at is None
            opened_at = now
        elif verdict in {Verdict.CONFIRM, Verdict.DISMISS}:
            assert opened_at is not None
            assert now - opened_at < WAIT_S
            opened_at = None
        assert (machine.state is State.LISTENING) == (opened_at is None)
