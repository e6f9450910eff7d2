from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from callengine.machines.conversation import Conversation
from callengine.machines.response import ResponseSlot
from callengine.machines.response_terms import (
    CancelWanted,
    Created,
    CreateWanted,
    Done,
    Purpose,
    Wanted,
)
from callengine.machines.transmission import Transmission
from callengine.messages import DeadlineReached, PlayAudio, StreamStarted
from callengine.testing.explore.fingerprint import Flattener, digest
from callengine.testing.explore.rules import RULES
from callengine.testing.explore.sound import frame_of
from callengine.wire.realtime_client import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable


FLATTENER = Flattener()


def key(*values: object, now: float = 0.0, generation: int = 0) -> bytes:
    return digest([FLATTENER.flat(value) for value in values], now, generation)


def slot(first: int, at: float, *, cancelled: bool = False) -> ResponseSlot:
    """A create is out, after so many responses."""
    machine = ResponseSlot()
    for number in range(first):
        machine.handle(Created(f"r{number}"), at)
        machine.handle(Done(f"r{number}", failed=False), at)
    machine.handle(CreateWanted(Wanted(Purpose.ANSWER)), at)
    if cancelled:
        machine.handle(CancelWanted(), at)
    return machine


def test_neither_the_time_nor_the_names_nor_the_past_matter() -> None:
    assert key(slot(1, 5.0), now=6.0) == key(slot(3, 7.0), now=8.0)


def test_how_long_ago_matters() -> None:
    assert key(slot(1, 5.0), now=6.0) != key(slot(1, 5.0), now=6.5)


def test_the_state_matters() -> None:
    assert key(slot(1, 5.0), now=6.0) != key(slot(1, 5.0, cancelled=True), now=6.0)


def test_a_past_name_matters_while_somebody_bears_it() -> None:
    """The slot recognises r0; whether it has to is seen on the line."""
    recognised, unknown = slot(1, 5.0), slot(0, 5.0)
    assert key(recognised) == key(unknown)
    assert key(recognised, Created("r0")) != key(unknown, Created("r0"))


def test_the_same_name_in_two_places_is_not_two_names() -> None:
    assert key(Created("r1"), Created("r1")) == key(Created("r5"), Created("r5"))
    assert key(Created("r1"), Created("r1")) != key(Created("r1"), Created("r2"))


def playing(at: float, generation: int) -> Transmission:
    """The first of two frames is sent."""
    machine = Transmission(
        lead_s=0.0, mark_every_frames=1, false_trigger_s=0.04, generation=generation
    )
    machine.handle(StreamStarted("", "", {}), at)
    audio = frame_of(1, 0) + frame_of(1, 1)
    machine.handle(PlayAudio("r1", "i1a", 0, audio, generation), at)
    return machine


def test_generations_count_from_the_newest() -> None:
    one, other = playing(1.0, 3), playing(1.0, 7)
    one._takes_over = other._takes_over = False
    assert key(one, now=1.0, generation=3) == key(other, now=1.0, generation=7)
    assert key(one, now=1.0, generation=3) != key(one, now=1.0, generation=4)


def test_where_the_audio_is_matters() -> None:
    later = playing(1.0, 0)
    later.handle(DeadlineReached(), 1.02)
    assert key(playing(1.0, 0), now=1.0) != key(later, now=1.02)


def test_numbers_of_seconds_need_a_rule() -> None:
    @dataclass
    class New:
        patience: float = 1.0

    with pytest.raises(TypeError, match="what kind of number"):
        key(New())


@dataclass
class Bag:
    names: set[str] = field(default_factory=set)


def test_sets_have_no_order() -> None:
    assert key(Bag({"a", "b"})) == key(Bag({"b", "a"})) != key(Bag({"a"}))


def fields_of(machine: object, seen: set[int]) -> set[str]:
    """Every type and field that the walk meets in a machine."""
    if id(machine) in seen or not hasattr(machine, "__module__"):
        return set()
    seen.add(id(machine))
    names = getattr(machine, "__slots__", None) or vars(machine)
    found = {f"{type(machine).__name__}.{name}" for name in names}
    for name in names:
        value = getattr(machine, name)
        parts = value if isinstance(value, tuple | list) else [value]
        for part in parts:
            if type(part).__module__.startswith("callengine.machines"):
                found |= fields_of(part, seen)
    return found


def test_no_rule_is_about_a_field_that_is_gone() -> None:
    """Of the machines themselves; what they hold comes and goes."""
    machines: list[Callable[[], object]] = [
        lambda: playing(1.0, 0),
        lambda: Conversation(
            SessionConfig("", "marin"), greeting=None, greeting_protected=False, now=0.0
        ),
    ]
    fields = {each for make in machines for each in fields_of(make(), set())}
    types = {each.split(".")[0] for each in fields}
    stale = {rule for rule in RULES if rule.split(".")[0] in types} - fields
    assert not stale


def test_a_field_may_be_left_out() -> None:
    one, other = slot(1, 5.0), slot(1, 5.0)
    other._echoes = True
    part = Flattener(ignored=("ResponseSlot._echoes",))
    assert part.flat(one) == part.flat(other)
    assert FLATTENER.flat(one) != FLATTENER.flat(other)


def test_what_is_immutable_is_taken_apart_once() -> None:
    assert FLATTENER.of_value(Created("r1")) is FLATTENER.of_value(Created("r1"))
