from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.presence import ALIVE_REPORT_S, Presence, SendProbe, State
from callengine.messages import (
    CallEnding,
    EndCause,
    Owner,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
)

SILENT = ResetReason.MODEL_SILENT


def told(state: str, version: int) -> StateChanged:
    return StateChanged(Owner.MODEL, state, version)


def asked() -> Presence:
    """A model that was asked at 12.5; version 2."""
    presence = Presence()
    presence.spoke(10.0)
    presence.doubt(12.5)
    presence.expire(12.5)
    return presence


def request(version: int, reason: ResetReason = SILENT) -> ResetRequest:
    return ResetRequest(Owner.MODEL, reason, version)


def test_any_sign_of_life_is_reported_and_then_at_most_every_five_seconds() -> None:
    presence = Presence()
    assert presence.spoke(10.0) == [told("open", 1)]
    assert presence.pong(10.0 + ALIVE_REPORT_S - 0.1) == []
    assert presence.pong(10.0 + ALIVE_REPORT_S) == [told("open", 2)]
    assert presence.spoke(10.0 + 2 * ALIVE_REPORT_S) == [told("open", 3)]


def test_a_model_that_is_doubted_is_asked_when_the_time_has_come_and_once() -> None:
    presence = Presence()
    presence.spoke(10.0)
    presence.doubt(12.5)
    assert presence.next_deadline() == 12.5
    assert presence.expire(12.4) == []
    assert presence.expire(12.5) == [SendProbe("probe-1"), told("asked", 2)]
    assert presence.next_deadline() is None
    presence.doubt(13.0)
    assert presence.expire(20.0) == []


def test_one_that_speaks_in_time_is_not_asked() -> None:
    presence = Presence()
    presence.doubt(12.5)
    presence.spoke(12.4)
    assert presence.next_deadline() is None
    assert presence.expire(12.5) == []
    assert presence.probes_sent == 0


def test_a_pong_does_not_take_the_doubt_away() -> None:
    presence = Presence()
    presence.doubt(12.5)
    presence.pong(12.4)
    assert SendProbe("probe-1") in presence.expire(12.5)


def test_of_two_doubts_the_sooner_counts() -> None:
    for first, second in ((3.0, 5.0), (5.0, 3.0)):
        presence = Presence()
        presence.doubt(first)
        presence.doubt(second)
        assert presence.next_deadline() == 3.0


def test_a_pong_is_no_answer_and_an_event_is() -> None:
    presence = asked()
    assert presence.pong(60.0) == []
    assert presence.spoke(60.1) == [told("open", 3)]
    assert presence.pong(70.0) == [told("open", 4)]


def test_an_answer_is_reported_at_once() -> None:
    assert asked().spoke(12.6) == [told("open", 3)]


def test_every_question_has_a_name_of_its_own() -> None:
    presence = asked()
    presence.spoke(12.6)
    presence.doubt(20.0)
    assert presence.expire(20.0)[0] == SendProbe("probe-2")


def test_l10_a_model_that_was_asked_and_stays_silent_is_given_up() -> None:
    granted, ending = asked().reset(request(2))
    assert granted == ResetGranted(Owner.MODEL, SILENT)
    assert isinstance(ending, CallEnding)
    assert ending.cause is EndCause.MODEL_SILENT
    assert "pings" in ending.detail


@pytest.mark.parametrize(
    ("reason", "version", "why"),
    [
        (SILENT, 1, Refusal.VERSION_MOVED),
        (SILENT, 3, Refusal.VERSION_MOVED),
        (ResetReason.STUCK_RESPONSE, 2, Refusal.NOT_STUCK),
    ],
)
def test_l10_any_other_reset_is_refused(reason: ResetReason, version: int, why: Refusal) -> None:
    presence = asked()
    assert presence.reset(request(version, reason)) == [ResetRefused(Owner.MODEL, reason, why)]
    assert presence.state is State.ASKED


DEEDS = st.tuples(st.sampled_from(["spoke", "pong", "doubt", "expire"]), st.floats(0, 10))


@given(st.lists(DEEDS, max_size=40))
def test_whatever_happens_an_event_of_the_model_ends_every_doubt(
    deeds: list[tuple[str, float]],
) -> None:
    presence = Presence()
    now = 0.0
    version = 0
    for deed, wait_s in deeds:
        now += wait_s
        match deed:
            case "spoke":
                actions = [*presence.spoke(now)]
                assert presence.state is State.PRESENT
            case "pong":
                before = presence.state
                actions = [*presence.pong(now)]
                assert presence.state is before
            case "doubt":
                presence.doubt(now + 1.0)
                actions = []
            case _:
                actions = [a for a in presence.expire(now) if isinstance(a, StateChanged)]
        for action in actions:
            version += 1
            assert action.version == version
            assert action.state == ("asked" if presence.state is State.ASKED else "open")
        doubted = presence.state is State.DOUBTED
        assert (presence.next_deadline() is not None) is doubted
