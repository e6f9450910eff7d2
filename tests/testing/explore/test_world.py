from __future__ import annotations

import pytest

from callengine.messages import Interrupted, PlayAudio, ResponseHeard
from callengine.testing.explore.broken import Broken
from callengine.testing.explore.carrier import Carrier, Echo
from callengine.testing.explore.moves import MOVES, TO_REST, heard_by
from callengine.testing.explore.server import Server
from callengine.testing.explore.snapshots import Machines
from callengine.testing.explore.sound import Run, frame_of
from callengine.testing.explore.starts import (
    STARTS,
    TELLING_ALL,
    TELLING_NOTHING,
    TELLING_SOME,
    play,
)
from callengine.testing.explore.terms import Budget, Voice
from callengine.wire import realtime_events as wire


def test_the_carrier_plays_back_to_back_after_its_delay() -> None:
    carrier = Carrier(0.04).media(frame_of(1, 0), 1.0).mark("m", 1.0).media(frame_of(1, 1), 1.01)
    assert carrier.due == pytest.approx(1.06)
    assert carrier.on_air == Run(1, 0, 160)
    carrier, heard, echoes = carrier.play(1.06)
    assert heard == [Run(1, 0, 160)]
    assert echoes == [Echo("m", cleared=False)]
    assert carrier.due == pytest.approx(1.08)


def test_a_clear_returns_all_marks_and_counts_what_was_heard() -> None:
    carrier = Carrier(0.0).media(frame_of(1, 0), 1.0).mark("m", 1.0).media(frame_of(1, 1), 1.0)
    carrier, heard, echoes = carrier.clear(1.01)
    assert heard == [Run(1, 0, 80)]
    assert echoes == [Echo("m", cleared=True)]
    assert (carrier.due, carrier.on_air) == (None, None)


def test_a_mark_behind_nothing_is_reached_at_once() -> None:
    _, _, echoes = Carrier(0.04).mark("m", 1.0).play(1.0)
    assert echoes == [Echo("m", cleared=False)]


def test_the_server_echoes_and_names_as_it_is_asked_to() -> None:
    assert TELLING_ALL.begin("create-1")[1].answers == "create-1"
    assert TELLING_NOTHING.begin("create-1")[1].answers is None
    assert {server.manners for server in (TELLING_ALL, TELLING_NOTHING, *TELLING_SOME)} == {
        "naming answers and errors",
        "naming answers",
        "naming errors",
        "naming nothing",
    }


def test_the_server_says_two_items_and_ends_each() -> None:
    server, _ = Server(echoes=True, names=True).begin(None)
    told: list[wire.ServerEvent] = []
    while server.may_say:
        server, events = server.say()
        told += events
    assert [type(event) for event in told] == [
        wire.AudioDelta,
        wire.AudioDelta,
        wire.AudioDone,
        wire.AudioDelta,
        wire.AudioDone,
    ]


def test_a_response_that_is_cut_says_one_thing_more() -> None:
    server, _ = Server(echoes=True, names=True).begin(None)
    assert server.cancels("r1")
    assert not server.cancels("r2")
    server, _ = server.hear()
    assert server.cut
    assert not server.cancels("r1")
    server, events = server.say()
    assert [type(event) for event in events] == [wire.AudioDelta]
    assert not server.may_say


def test_a_server_that_may_not_interrupt_hears_and_goes_on() -> None:
    server, _ = Server(echoes=True, names=True, interrupts=False).begin(None)
    assert not server.hear()[0].cut


@pytest.mark.parametrize("server", [TELLING_ALL, TELLING_NOTHING, *TELLING_SOME])
@pytest.mark.parametrize("start", STARTS)
def test_every_start_is_reached_and_something_may_happen(start: str, server: Server) -> None:
    world = STARTS[start](Machines(), server)
    assert any(move(world) is not None for move in MOVES.values())


def test_a_start_that_cannot_be_reached_is_a_violation() -> None:
    world = STARTS["generated"](Machines(), TELLING_ALL)
    with pytest.raises(Broken, match="should be possible"):
        play(world, "the model ends")


def test_a_move_leaves_the_world_it_starts_from_alone() -> None:
    world = STARTS["cancelling"](Machines(), TELLING_ALL)
    before = world.key()
    moved = [move(world) for move in MOVES.values()]
    assert world.key() == before
    assert before not in {after.key() for after in moved if after is not None}


def test_the_order_of_moves_of_different_machines_does_not_matter() -> None:
    world = STARTS["two generations"](Machines(), TELLING_ALL)
    one = play(world, "the caller ends", "the model says more")
    other = play(world, "the model says more", "the caller ends")
    assert one.key() == other.key()


def test_whoever_is_left_alone_does_what_he_must_and_begins_nothing() -> None:
    assert set(TO_REST) < set(MOVES)
    assert set(MOVES) - set(TO_REST) == {
        "the caller begins",
        "the caller goes on",
        "the model calls a tool",
        "the model fails",
        "the model hears the caller",
        "the model falls silent",
        "the watchdog doubts the response",
        "the watchdog doubts playout",
    }


def test_time_waits_for_mailboxes_and_for_the_model() -> None:
    world = STARTS["asking"](Machines(), TELLING_ALL)
    assert MOVES["time passes"](world) is None, "the create is not answered, and may not lapse"
    generous = world.fork()
    generous.budget = Budget(lapses=1)
    assert play(generous, "time passes").now == pytest.approx(world.now + 5.0)
    generous.to_bridge = (ResponseHeard("r1"),)
    assert MOVES["time passes"](generous) is None


def test_what_was_not_read_by_the_carrier_is_dropped_by_a_clear() -> None:
    world = STARTS["ahead"](Machines(), TELLING_ALL)
    assert world.outbox
    after = play(world, "the caller begins")
    assert len(after.outbox) == 1
    assert [type(message) for message in after.to_bridge] == [Interrupted]


def test_what_a_move_delivers_is_told() -> None:
    world = STARTS["two generations"](Machines(), TELLING_ALL)
    assert isinstance(world.to_pacer[0], PlayAudio)
    assert heard_by(world, "the pacer hears the bridge") == ": PlayAudio r2 i2a"
    assert heard_by(world, "the caller ends") == ""
    assert world.voice is Voice.SPEAKING


def test_more_on_a_line_than_fits_is_not_explored() -> None:
    world = STARTS["generated"](Machines(), TELLING_ALL)
    assert not world.overfull
    world.to_bridge = (ResponseHeard("r1"),) * 9
    assert world.overfull
