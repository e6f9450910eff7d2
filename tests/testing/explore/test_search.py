from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine.machines.response import ResponseSlot
from callengine.machines.transmission import Transmission
from callengine.testing.explore import TELLING_ALL, TELLING_SOME, explore, report
from callengine.testing.explore import search as module
from callengine.testing.explore.broken import Broken
from callengine.testing.explore.snapshots import Machines
from callengine.testing.explore.starts import STARTS, play

if TYPE_CHECKING:
    from callengine.messages import PlayAudio


@pytest.fixture
def a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio of any generation is played."""

    def queue(machine: Transmission, event: PlayAudio, _: float) -> None:
        machine.playout.queue(
            event.response_id, event.item_id, event.content_index, event.audio, protected=False
        )

    monkeypatch.setattr(Transmission, "_queue", queue)


def test_the_same_exploration_finds_the_same_states() -> None:
    first, second = (explore(4, starts=["crossed"]) for _ in range(2))
    assert (first.states, first.transitions) == (second.states, second.transitions)
    assert first.depth == 4


def test_every_server_is_explored() -> None:
    two = explore(3, starts=["crossed"], servers=TELLING_SOME)
    one = explore(3, starts=["crossed"], servers=[TELLING_ALL])
    assert one.states < two.states


def test_a_limit_of_time_ends_it_with_what_was_explored() -> None:
    exploration = explore(50, starts=["crossed"], limit_s=0.0)
    assert exploration.depth == 0
    assert exploration.states == 2


@pytest.mark.usefixtures("a_bug")
def test_a_violation_tells_the_shortest_way_there() -> None:
    exploration = explore(6, starts=["two generations"], servers=[TELLING_ALL], enough=1)
    assert exploration.depth == 2, "it is enough"
    (violation,) = exploration.violations
    assert violation.law == "L1"
    assert violation.start == "two generations, naming answers and errors"
    assert violation.moves == (
        "the caller goes on",
        "the pacer hears the bridge: PlayAudio r2 i2a",
    )
    text = report(exploration)
    assert "1 violations" in text
    assert "    2 the pacer hears the bridge: PlayAudio r2 i2a" in text


@pytest.mark.usefixtures("a_bug")
def test_the_moves_of_a_violation_lead_there() -> None:
    exploration = explore(4, starts=["two generations"], servers=[TELLING_ALL])
    for violation in exploration.violations:
        world = STARTS["two generations"](Machines(), TELLING_ALL)
        labels = [move.split(":")[0] for move in violation.moves]
        with pytest.raises(Broken, match=violation.message):
            play(world, *labels).at_rest()


def test_a_bug_that_shows_on_the_way_to_a_start_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ResponseSlot, "accepts", lambda *_: False)
    exploration = explore(1, starts=["answering"], servers=[TELLING_ALL])
    (violation,) = exploration.violations
    assert violation.law == "stuck"
    assert violation.moves == ()


def test_a_machine_that_raises_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transmission, "_interrupt", lambda *_: 1 / 0)
    exploration = explore(1, starts=["answering"], servers=[TELLING_ALL])
    assert {violation.law for violation in exploration.violations} == {"raised"}


def test_a_world_that_does_not_come_to_rest_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TO_REST", 2)
    exploration = explore(0, starts=["generated"], servers=[TELLING_ALL])
    (violation,) = exploration.violations
    assert (violation.law, len(violation.moves)) == ("stuck", 2)
