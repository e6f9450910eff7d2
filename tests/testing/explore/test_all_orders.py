"""The proof itself, at the depth that every change has to pass, and the bugs that it must find."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from callengine.machines.conversation import Conversation
from callengine.machines.marks import Marks
from callengine.machines.playout import Playout
from callengine.machines.response import ResponseSlot, State
from callengine.machines.response_terms import CreateRefused, Done, Settlement
from callengine.machines.transmission import Transmission
from callengine.machines.transmission_terms import SendClear
from callengine.machines.unheard import Unheard
from callengine.testing.explore import CI_DEPTH, STARTS, explore, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.machines.response_terms import Event
    from callengine.messages import HeardItem, PlayAudio, ResetRequest

DEPTHS = {
    "cancelling": 5,
    "continuing": 7,
    "crossing": 9,
    "generated": 9,
    "greeting": 9,
    "in doubt": 11,
    "late ear": 9,
}
"""From some situations less can happen than from others."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("start", STARTS)
def test_no_order_of_moves_breaks_a_law(start: str) -> None:
    depth = DEPTHS.get(start, CI_DEPTH)
    exploration = explore(depth, starts=[start])
    assert not exploration.violations, report(exploration)
    assert exploration.depth == depth
    assert exploration.states > 1000, "the situation has gone dead"


# ---- bugs, one line each


def any_generation_is_played(machine: Transmission, event: PlayAudio, _: float) -> None:
    machine.playout.queue(
        event.response_id, event.item_id, event.content_index, event.audio, protected=False
    )


def cleared_marks_count(was: Callable[..., None]) -> Callable[..., None]:
    def echoed(marks: Marks, name: str, now: float) -> None:
        if name in marks._under_way:
            mark = marks._under_way[name]
            marks._under_way[name] = replace(mark, clears=marks._clears)
        was(marks, name, now)

    return echoed


def nothing_is_cleared(was: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def interrupt(*args: object) -> list[Any]:
        return [action for action in was(*args) if not isinstance(action, SendClear)]

    return interrupt


def a_whole_item_was_heard(was: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def truncate(unheard: Unheard, generation: int, heard: tuple[HeardItem, ...] = ()) -> list[Any]:
        return was(unheard, generation, tuple(replace(item, heard_ms=999) for item in heard))

    return truncate


def the_version_is_not_compared(was: Callable[..., object]) -> Callable[..., object]:
    def refusal(slot: ResponseSlot, request: ResetRequest) -> object:
        return was(slot, replace(request, if_version=slot.version))

    return refusal


def a_second_interruption_opens_the_lock(was: Callable[..., object]) -> Callable[..., object]:
    def cancel(slot: ResponseSlot, event: object, now: float) -> object:
        if slot.state is State.CANCELLING:
            return slot._release(Done("", failed=False), Settlement.DONE, now)
        return was(slot, event, now)

    return cancel


def a_refused_create_is_dropped(was: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def take(slot: ResponseSlot, event: Event, now: float) -> list[Any]:
        wanted = slot._wanted.copy()
        actions = was(slot, event, now)
        if isinstance(event, CreateRefused):
            slot._wanted = wanted
        return actions

    return take


def a_cancel_names_the_one_before(was: Callable[..., Any]) -> Callable[..., Any]:
    return lambda slot, name, now: was(slot, f"r{int(name[1:]) - 1}", now)


def no_deadline_while_cancelling(was: Callable[..., Any]) -> Callable[..., Any]:
    return lambda slot: None if slot.state is State.CANCELLING else was(slot)


def creates_go_out_at_once(was: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def ask_next(slot: ResponseSlot, now: float) -> list[Any]:
        if slot.state is not State.GENERATING or not slot._wanted:
            return was(slot, now)
        kept, slot.state = slot.state, State.IDLE
        actions = was(slot, now)
        slot.state = kept
        return actions

    return ask_next


def what_was_cut_is_gone_for_good(_: Callable[..., None]) -> Callable[..., None]:
    return Playout.discard_limbo


def what_was_cut_comes_back(_: Callable[..., None]) -> Callable[..., None]:
    return Playout.resume


def no_generation_for_the_bridge(was: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def playout_event(machine: Conversation, event: object, now: float) -> list[Any]:
        kept = machine._generation
        actions = was(machine, event, now)
        machine._generation = kept
        return actions

    return playout_event


def doubt_is_no_reason_to_wait(_: object) -> property:
    return property(lambda machine: machine._streaming)


def the_greeting_is_fair_game(was: Callable[..., object]) -> Callable[..., object]:
    def cancel(machine: Conversation, now: float, barge_in: int | None = None) -> object:
        kept, machine._protected = machine._protected, False
        actions = was(machine, now, barge_in)
        machine._protected = kept
        return actions

    return cancel


BUGS: list[tuple[type, str, Callable[[Any], Any], str, str, int]] = [
    (Transmission, "_queue", lambda _: any_generation_is_played, "two generations", "L1", 2),
    (Playout, "discard_limbo", what_was_cut_comes_back, "cancelling", "L1", 1),
    (Transmission, "_may_send", doubt_is_no_reason_to_wait, "crossed", "L1", 2),
    (Conversation, "_playout_event", no_generation_for_the_bridge, "cancelling", "L3", 2),
    (Marks, "echoed", cleared_marks_count, "late ear", "L2", 2),
    (Unheard, "truncate", a_whole_item_was_heard, "answering", "L3", 3),
    (Playout, "resume", what_was_cut_is_gone_for_good, "in doubt", "L3", 2),
    (ResponseSlot, "_send_cancel", a_cancel_names_the_one_before, "answering", "L4", 2),
    (ResponseSlot, "_cancel", a_second_interruption_opens_the_lock, "answering", "L4", 4),
    (ResponseSlot, "next_deadline", no_deadline_while_cancelling, "cancelling", "L4", 2),
    (ResponseSlot, "_ask_next", creates_go_out_at_once, "crossed", "L5", 4),
    (ResponseSlot, "_take", a_refused_create_is_dropped, "crossed", "L5", 2),
    (Transmission, "_interrupt", nothing_is_cleared, "answering", "L6", 1),
    (Conversation, "_cancel", the_greeting_is_fair_game, "greeting", "L9", 2),
    (ResponseSlot, "_refusal", the_version_is_not_compared, "asking", "L10", 4),
]


@pytest.mark.parametrize(("owner", "name", "bug", "start", "law", "depth"), BUGS)
def test_a_bug_breaks_its_law(
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    bug: Callable[[Any], Any],
    start: str,
    law: str,
    depth: int,
) -> None:
    monkeypatch.setattr(owner, name, bug(getattr(owner, name)))
    exploration = explore(depth, starts=[start])
    assert law in {violation.law for violation in exploration.violations}, report(exploration)
