from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine.machines.conversation_terms import SendFunctionOutput
from callengine.machines.response_terms import Purpose, SendCancel, SendCreate, Wanted
from callengine.messages import (
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    DeadlineReached,
    Interrupted,
    Owner,
    ResetGranted,
    ResetReason,
)
from callengine.testing.explore.broken import Broken
from callengine.testing.explore.server import ACTIVE, NOT_ACTIVE
from callengine.testing.explore.slot_watch import SlotWatch
from callengine.wire import realtime_events as wire

if TYPE_CHECKING:
    from collections.abc import Callable

RESULT = SendCreate("create-1", Wanted(Purpose.TOOL_RESULT))
ANSWER = SendCreate("create-1", Wanted(Purpose.ANSWER))
CANCEL = SendCancel("cancel-2", "r1")
TOLD = SendFunctionOutput("c1", "{}")
RESET = ResetGranted(Owner.RESPONSE, ResetReason.STUCK_RESPONSE)


def created(name: str, answers: str | None = None) -> wire.ResponseCreated:
    return wire.ResponseCreated(name, False, answers)


def done(name: str, status: str = "completed") -> wire.ResponseDone:
    return wire.ResponseDone(name, status, None, None, None, ())


def error(code: str, caused_by: str | None = None) -> wire.ErrorReceived:
    return wire.ErrorReceived(code, None, "", None, caused_by)


def does(watch: SlotWatch, *actions: object, greeting: bool = False) -> SlotWatch:
    for action in actions:
        watch = watch.bridge_does(action, 0.0, greeting=greeting)
    return watch


def hears(
    watch: SlotWatch, *events: object, about: str | None = None, now: float = 0.0
) -> SlotWatch:
    for event in events:
        watch = watch.bridge_hears(event, now, about)
    return watch


def asked() -> SlotWatch:
    """A result was told and asked about."""
    return does(SlotWatch(), TOLD, RESULT)


def taken() -> SlotWatch:
    """So too, and the server has begun to say something about it."""
    return hears(asked().server_takes(RESULT), created("r1", "create-1"), about="create-1")


def cancelling() -> SlotWatch:
    return does(hears(SlotWatch(), created("r1")), CANCEL)


BROKEN: list[tuple[str, Callable[[], object]]] = [
    ("L4", lambda: does(SlotWatch(), CANCEL)),
    ("L4", lambda: does(hears(SlotWatch(), created("r2")), CANCEL)),
    ("L4", lambda: does(cancelling(), SendCancel("cancel-3", "r1"))),
    ("L4", lambda: does(cancelling(), AudioComplete("r1"))),
    ("L4", lambda: does(hears(cancelling(), error(NOT_ACTIVE, "other")), AudioComplete("r1"))),
    ("L4", lambda: cancelling().clock(2.1)),
    ("L4", lambda: cancelling().at_rest()),
    ("L5", lambda: does(cancelling(), ANSWER)),
    ("L5", lambda: does(hears(SlotWatch(), created("r1")), ANSWER)),
    ("L5", lambda: does(asked(), ANSWER)),
    ("L5", lambda: does(SlotWatch(), RESULT)),
    ("L5", lambda: taken().server_takes(RESULT)),
    ("L5", lambda: asked().at_rest()),
    ("L5", lambda: does(SlotWatch(), TOLD).at_rest()),
    ("L5", lambda: hears(SlotWatch(), wire.InputCommitted("u")).at_rest()),
    ("L9", lambda: does(hears(SlotWatch(), created("r1")), CANCEL, greeting=True)),
]


@pytest.mark.parametrize(("law", "happens"), BROKEN)
def test_what_breaks_a_law(law: str, happens: Callable[[], object]) -> None:
    with pytest.raises(Broken) as broken:
        happens()
    assert broken.value.law == law


@pytest.mark.parametrize(
    "event",
    [done("r1", "cancelled"), error(NOT_ACTIVE), error(NOT_ACTIVE, "cancel-2"), created("r2")],
)
def test_what_ends_a_cancel(event: object) -> None:
    does(hears(cancelling(), event), AudioComplete("r1")).at_rest()


def test_a_cancel_ends_at_its_deadline() -> None:
    late = hears(cancelling(), DeadlineReached(), now=2.0)
    late.clock(2.0)
    assert does(late, AudioComplete("r1")).cancel is None
    assert hears(cancelling(), DeadlineReached(), now=1.9) == cancelling()


def test_a_result_that_was_told_leaves_nothing() -> None:
    hears(taken(), done("r1"), about="create-1").at_rest()


@pytest.mark.parametrize("caused_by", [None, "create-1"])
def test_a_refused_create_is_to_be_sent_again(caused_by: str | None) -> None:
    refused = hears(asked(), error(ACTIVE, caused_by), about="create-1")
    with pytest.raises(Broken, match="lost"):
        refused.at_rest()
    again = does(refused, SendCreate("create-2", Wanted(Purpose.TOOL_RESULT)))
    assert again.wishes.wait_for("create-2")


def test_a_failed_response_is_to_be_asked_for_again_and_two_failures_excuse() -> None:
    once = hears(taken(), done("r1", "failed"), about="create-1")
    with pytest.raises(Broken, match="lost"):
        once.at_rest()
    hears(once, done("r2", "failed")).at_rest()


def test_a_server_that_does_not_echo_is_believed_to_have_answered() -> None:
    assert hears(asked(), created("auto")).out is None
    knows = hears(SlotWatch(), created("r0", "create-0"), done("r0"))
    assert hears(does(knows, TOLD, RESULT), created("auto")).out is not None


def test_what_the_caller_overtook_is_lost_only_if_it_was_nothing() -> None:
    put_off = hears(asked(), Interrupted(1, 1, "r0"))
    assert put_off.unwanted("create-1")
    refused = hears(put_off, error(ACTIVE, "create-1"), about="create-1")
    answered = hears(refused, BargeInConfirmed(1, ()), created("r2"), done("r2"))
    answered.at_rest()
    with pytest.raises(Broken, match="lost"):
        hears(refused, BargeInDismissed()).at_rest()


def test_what_the_server_made_of_an_overtaken_create_is_no_second_answer() -> None:
    put_off = hears(asked(), Interrupted(1, 1, "r0"), BargeInDismissed())
    assert put_off.server_takes(RESULT).wishes == put_off.wishes


def test_a_caller_who_took_the_place_of_a_create_is_owed_an_answer() -> None:
    watch = hears(does(SlotWatch(), ANSWER), CallerSpoke(1))
    assert watch.owed
    assert not hears(watch, created("r1"), done("r1")).owed


def test_an_answer_that_is_cut_is_owed_still() -> None:
    heard = hears(SlotWatch(), wire.InputCommitted("u"), created("r1"))
    assert not hears(heard, done("r1")).owed
    assert hears(heard, done("r1", "cancelled")).owed


def test_a_protected_create_cannot_be_overtaken() -> None:
    watch = hears(does(SlotWatch(), ANSWER, greeting=True), CallerSpoke(1))
    assert not watch.unwanted("create-1")


@pytest.mark.parametrize("late", [False, True])
def test_what_the_client_gave_up_may_come_twice_or_never(late: bool) -> None:
    gave_up = hears(asked(), DeadlineReached(), now=5.0) if late else does(asked(), RESET)
    assert gave_up.strikes == 1
    gave_up.at_rest()
    twice = does(gave_up.server_takes(RESULT), SendCreate("create-2", RESULT.wanted))
    twice.server_takes(SendCreate("create-2", RESULT.wanted))


def test_a_turn_excuses_what_it_cuts() -> None:
    watch = hears(taken(), wire.SpeechStarted("u", 0), done("r1", "failed"), about="create-1")
    assert not watch.wishes.lost
