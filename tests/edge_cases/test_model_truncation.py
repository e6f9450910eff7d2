"""Telling the model what was heard, and a model that does not want to know."""

from __future__ import annotations

import pytest

from callengine import EndCause
from callengine.machines.unheard import SendTruncate, Unheard
from callengine.messages import BargeInConfirmed, HeardItem, Interrupted
from callengine.testing import BargeIn, Behaviour, WaitUntilQuiet, laws
from callengine.testing.held import reply
from callengine.testing.realtime.faults import RefuseTruncate
from callengine.wire import realtime_events as wire
from tests.edge_cases.model_calls import ASK, STOP, call, check, errors
from tests.machines.conversation_rig import Rig, created, delta, done, only

TWICE = [
    *ASK[:2],
    BargeIn(STOP, 1.0),
    BargeIn(STOP, 1.0),
    WaitUntilQuiet(3.0, 20.0),
]
LONG = [reply(4.0, number) for number in range(1, 9)]


@pytest.mark.edge_case(52)
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("invalid_value", "Audio content of 3700ms is already shorter than 3760ms"),
        ("unsupported_content_type", "Only model output audio messages can be truncated"),
        (None, "Only model output audio messages can be truncated"),
        ("item_truncate_invalid_item_id", "Item with item_id 'x' not found."),
    ],
)
def test_a_truncate_that_is_refused_costs_nothing_and_is_not_repeated(
    code: str | None, message: str
) -> None:
    held = call(TWICE, LONG, RefuseTruncate(1, code, message))
    check(held, laws.truncates_tell_what_was_heard, laws.what_was_not_heard_is_truncated)
    assert [truncate.accepted for truncate in held.model.truncates] == [False, True]
    assert len({truncate.item_id for truncate in held.model.truncates}) == 2
    assert errors(held) == [code]
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP


@pytest.mark.edge_case(52)
@pytest.mark.parametrize("latency_s", [0.005, 0.15])
@pytest.mark.parametrize("delta_bytes", [(1, 161), (160,), (4_133,)], ids=str)
def test_no_truncate_is_beyond_what_the_model_made(
    delta_bytes: tuple[int, ...], latency_s: float
) -> None:
    """Whole milliseconds, of the first content part, never negative: the server takes all."""
    held = call(TWICE, LONG, behaviour=Behaviour(delta_bytes=delta_bytes), latency_s=latency_s)
    check(held)
    assert len(held.model.truncates) == 2
    for truncate in held.model.truncates:
        assert truncate.accepted
        assert truncate.content_index == 0
        assert type(truncate.audio_end_ms) is int
        assert 0 < truncate.audio_end_ms < 4_000


@pytest.mark.edge_case(52)
@pytest.mark.parametrize("index", [0, 1])
def test_the_content_part_is_the_one_the_audio_came_in(index: int) -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1", "i1", 400, index), done("r1"), Interrupted(1, 1, "r1"))
    heard = HeardItem("i1", index, 120)
    assert rig(BargeInConfirmed(1, (heard,))) == [SendTruncate("i1", index, 120)]


@pytest.mark.edge_case(48, 52)
@pytest.mark.parametrize("is_done", [False, True])
def test_an_item_that_was_heard_to_its_end_keeps_its_words(is_done: bool) -> None:
    """To truncate it would delete its transcript; while it may go on, it must be."""
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1", "i1", 400), delta("r1", "i2", 400))
    if is_done:
        rig(wire.AudioDone("r1", "i1", 0))
    rig(Interrupted(1, 1, "r1"))
    heard = (HeardItem("i1", 0, 400), HeardItem("i2", 0, 100))
    truncates = only(SendTruncate, rig(BargeInConfirmed(1, heard)))
    whole = [] if is_done else [SendTruncate("i1", 0, 400)]
    assert truncates == [*whole, SendTruncate("i2", 0, 100)]


@pytest.mark.edge_case(48)
def test_an_item_that_was_done_is_truncated_if_more_of_it_was_dropped() -> None:
    """Its end was told after the cancel: what came in between was never played."""
    unheard = Unheard()
    key = ("i1", 0)
    unheard.received(key, "r1", 800, 0, protected=False)
    unheard.received(key, "r1", 800, 0, protected=False)
    unheard.complete(key)
    assert unheard.truncate(1, (HeardItem("i1", 0, 100),)) == [SendTruncate("i1", 0, 100)]


@pytest.mark.edge_case(48)
def test_what_was_heard_of_an_item_in_several_stretches_adds_up() -> None:
    """Its audio came between that of another one, and is played in the order of arrival."""
    unheard = Unheard()
    for item_id, size_bytes in (("i1", 3_200), ("i2", 800), ("i1", 1_600)):
        unheard.received((item_id, 0), "r1", size_bytes, 0, protected=False)
    heard = (HeardItem("i1", 0, 400), HeardItem("i2", 0, 100), HeardItem("i1", 0, 60))
    assert unheard.truncate(1, heard) == [SendTruncate("i1", 0, 460), SendTruncate("i2", 0, 100)]
