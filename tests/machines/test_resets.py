"""L10: what every owner answers to a request; one that is refused changes nothing."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.conversation import Conversation
from callengine.machines.inbound import Inbound
from callengine.machines.response import State
from callengine.machines.transmission import Transmission
from callengine.messages import (
    AudioComplete,
    CallerSpoke,
    CarrierClosed,
    DeadlineReached,
    Interrupted,
    Owner,
    PlayAudio,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
    StreamStarted,
)
from callengine.wire import twilio
from tests.machines.conversation_rig import GREETING, Rig, created, delta

if TYPE_CHECKING:
    from collections.abc import Callable

PHONE = twilio.MediaFormat("audio/x-mulaw", 8000, 1)
START = twilio.Start("MZ1", "CA1", "AC1", ("inbound",), PHONE, {}, 1)

Machine = Inbound | Transmission | Conversation
Stuck = tuple[Machine, float, int]
"""A machine, the time, and the version it reported last; 0 if it reported nothing."""


def stuck_in(machine: Machine, owner: Owner, told: list[tuple[Any, float]]) -> Stuck:
    version, now = 0, 0.0
    for event, now in told:
        for action in machine.handle(event, now):
            if isinstance(action, StateChanged) and action.owner is owner:
                version = action.version
    return machine, now, version


def carrier(*more: Any) -> Stuck:  # noqa: ANN401
    told = [(START, 0.0), *((event, 2.0) for event in more)]
    return stuck_in(Inbound(0.0), Owner.CARRIER, told)


def playout(*more: Any) -> Stuck:  # noqa: ANN401
    machine = Transmission(lead_s=0.1, mark_every_frames=10, false_trigger_s=0.5)
    started = StreamStarted("MZ1", "CA1", {})
    told = [(started, 0.0), *((event, 1.0) for event in more)]
    return stuck_in(machine, Owner.PLAYOUT, told)


def bridge(owner: Owner, *more: Any, greeting: str | None = None) -> Stuck:  # noqa: ANN401
    rig = Rig(greeting, protected=False)
    rig.live()
    stuck = stuck_in(rig.machine, owner, [(event, rig.now) for event in more])
    version = rig.machine.slot.version if owner is Owner.RESPONSE else rig.machine.presence.version
    return stuck[0], rig.now, version


def asked() -> Stuck:
    rig = Rig()
    rig.live()
    rig(CallerSpoke(1))
    rig.after(2.5)
    return rig.machine, rig.now, rig.machine.presence.version


AUDIO = PlayAudio("r1", "i1", 0, b"\x10" * 8_000, 0)
SHORT = PlayAudio("r1", "i1", 0, b"\x10" * 160, 0)

CASES: dict[str, tuple[Owner, Callable[[], Stuck]]] = {
    "carrier streaming": (Owner.CARRIER, carrier),
    "carrier ended": (Owner.CARRIER, lambda: carrier(CarrierClosed(1006, ""))),
    "playout idle": (Owner.PLAYOUT, playout),
    "playout playing": (Owner.PLAYOUT, lambda: playout(AUDIO)),
    "playout incomplete": (Owner.PLAYOUT, lambda: playout(SHORT)),
    "playout all sent": (Owner.PLAYOUT, lambda: playout(SHORT, AudioComplete("r1"))),
    "slot idle": (Owner.RESPONSE, lambda: bridge(Owner.RESPONSE)),
    "slot requested": (Owner.RESPONSE, lambda: bridge(Owner.RESPONSE, greeting=GREETING)),
    "slot unwanted": (
        Owner.RESPONSE,
        lambda: bridge(Owner.RESPONSE, CallerSpoke(1), greeting=GREETING),
    ),
    "slot generating": (Owner.RESPONSE, lambda: bridge(Owner.RESPONSE, created("r1"))),
    "slot speaking": (Owner.RESPONSE, lambda: bridge(Owner.RESPONSE, created("r1"), delta("r1"))),
    "slot cancelling": (
        Owner.RESPONSE,
        lambda: bridge(Owner.RESPONSE, created("r1"), delta("r1"), Interrupted(1, 1, "r1")),
    ),
    "model open": (Owner.MODEL, lambda: bridge(Owner.MODEL)),
    "model doubted": (Owner.MODEL, lambda: bridge(Owner.MODEL, CallerSpoke(1))),
    "model asked": (Owner.MODEL, asked),
}
SUSPICIONS = {
    Owner.CARRIER: {ResetReason.CARRIER_SILENT},
    Owner.PLAYOUT: {ResetReason.PLAYOUT_STALLED},
    Owner.RESPONSE: {ResetReason.STUCK_RESPONSE, ResetReason.SILENT_RESPONSE},
    Owner.MODEL: {ResetReason.MODEL_SILENT},
}


@pytest.mark.parametrize("case", CASES)
@given(versions_off=st.integers(-100, 100).filter(bool), reason=st.sampled_from(ResetReason))
def test_a_request_for_another_version_is_refused_and_changes_nothing(
    case: str, versions_off: int, reason: ResetReason
) -> None:
    owner, make = CASES[case]
    machine, now, version = make()
    before = pickle.dumps(machine)
    (refused,) = machine.handle(ResetRequest(owner, reason, version + versions_off), now)
    why = Refusal.VERSION_MOVED
    if case == "slot cancelling":
        why = Refusal.CANCEL_PENDING
    elif case == "carrier ended":
        why = Refusal.NOT_STUCK
    assert refused == ResetRefused(owner, reason, why)
    assert pickle.dumps(machine) == before


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reason", ResetReason)
def test_a_suspicion_that_is_not_about_this_owner_is_refused_and_changes_nothing(
    case: str, reason: ResetReason
) -> None:
    owner, make = CASES[case]
    if reason in SUSPICIONS[owner] or owner is Owner.RESPONSE:
        return
    machine, now, version = make()
    before = pickle.dumps(machine)
    (refused,) = machine.handle(ResetRequest(owner, reason, version), now)
    assert refused == ResetRefused(owner, reason, Refusal.NOT_STUCK)
    assert pickle.dumps(machine) == before


GRANTED = {
    "carrier streaming",
    "playout playing",
    "slot requested",
    "slot generating",
    "slot speaking",
    "model open",
    "model doubted",
    "model asked",
}


@pytest.mark.parametrize("case", CASES)
def test_a_request_for_the_version_that_is_stuck_is_granted_or_changes_nothing(case: str) -> None:
    owner, make = CASES[case]
    machine, now, version = make()
    before = pickle.dumps(machine)
    for reason in sorted(SUSPICIONS[owner]):
        machine, now, version = make()
        answers = [
            action
            for action in machine.handle(ResetRequest(owner, reason, version), now)
            if isinstance(action, ResetGranted | ResetRefused)
        ]
        if case in GRANTED:
            assert answers == [ResetGranted(owner, reason)]
            assert owner is Owner.MODEL or pickle.dumps(machine) != before
            continue
        why = Refusal.CANCEL_PENDING if case == "slot cancelling" else Refusal.NOT_STUCK
        assert answers == [ResetRefused(owner, reason, why)]
        assert pickle.dumps(machine) == before


@pytest.mark.parametrize("owner", [Owner.RESPONSE, Owner.MODEL])
def test_a_conversation_that_is_over_answers_all_the_same(owner: Owner) -> None:
    machine, now, version = bridge(owner, created("r1"), delta("r1"))
    assert isinstance(machine, Conversation)
    machine.close()
    reason = min(SUSPICIONS[owner])
    refused = ResetRefused(owner, reason, Refusal.NOT_STUCK)
    assert machine.handle(ResetRequest(owner, reason, version), now) == [refused]
    assert machine.handle(DeadlineReached(), now + 60.0) == []


def test_every_state_of_the_slot_is_among_the_cases() -> None:
    states = set()
    for owner, make in CASES.values():
        machine, _, _ = make()
        if owner is Owner.RESPONSE and isinstance(machine, Conversation):
            states.add(machine.slot.state)
    assert states == set(State)
