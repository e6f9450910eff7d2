"""Where explorations begin: situations that plain search would reach only late.

Each is played move by move, so it is a state the machines really get into.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from callengine.audio.g711 import FRAME_BYTES, FRAME_S
from callengine.machines.conversation import Conversation
from callengine.machines.transmission import Transmission
from callengine.machines.transmission_terms import SendMark
from callengine.messages import MarkEchoed, ModelConnected, StreamStarted
from callengine.testing.explore.audio_watch import AudioWatch
from callengine.testing.explore.broken import Broken
from callengine.testing.explore.carrier import Carrier
from callengine.testing.explore.moves import MOVES
from callengine.testing.explore.server import CONFIRMED, Server
from callengine.testing.explore.slot_watch import SlotWatch
from callengine.testing.explore.terms import Budget
from callengine.testing.explore.world import World
from callengine.wire.realtime_client import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.testing.explore.snapshots import Machines

TELLING_ALL: Final = Server(echoes=True, names=True)
TELLING_NOTHING: Final = Server(echoes=False, names=False)
TELLING_SOME: Final = (Server(echoes=True, names=False), Server(echoes=False, names=True))

BEGIN_AT: Final = 100.0
FALSE_TRIGGER_S: Final = 0.040
_CONFIG: Final = SessionConfig("Answer the phone.", "marin")

READS, HEARS = "the model reads", "the bridge hears the model"
SAYS, ENDS = "the model says more", "the model ends"
PLAYS, TOLD = "the pacer hears the bridge", "the bridge hears the pacer"
BEGINS, QUIET = "the caller begins", "the caller ends"
LISTENS, COMMITS = "the model hears the caller", "the model hears him end"
WRITTEN, ECHOED = "the carrier hears the pacer", "the pacer hears the carrier"
TIME = "time passes"


PROMPT: Final = Carrier(0.0)
"""A carrier that plays what it gets as it gets it."""


def begin(
    machines: Machines,
    server: Server,
    *,
    greeting: bool = False,
    protected: bool = False,
    lead_s: float = 0.0,
    carrier: Carrier = PROMPT,
) -> World:
    """A call whose stream and session have just begun; the first mark has come back at once."""
    pacer = Transmission(lead_s=lead_s, mark_every_frames=1, false_trigger_s=FALSE_TRIGGER_S)
    for action in pacer.handle(StreamStarted("", "", {}), BEGIN_AT):
        if isinstance(action, SendMark):
            pacer.handle(MarkEchoed(action.name), BEGIN_AT)
    bridge = Conversation(
        _CONFIG,
        greeting="Say hello." if greeting else None,
        greeting_protected=protected,
        now=BEGIN_AT,
    )
    bridge.handle(ModelConnected(), BEGIN_AT)
    world = World()
    world.machines = machines
    world.now = BEGIN_AT
    world.pacer, world.bridge = machines.take(pacer), machines.take(bridge)
    world.server = replace(server, interrupts=not (greeting and protected))
    world.carrier = carrier
    world.slot_watch = SlotWatch(owed=greeting)
    world.audio_watch = AudioWatch()
    world.bridge_hears(CONFIRMED)
    return world


def play(world: World, *labels: str) -> World:
    """Make these moves; each must be possible."""
    for label in labels:
        after = MOVES[label](world)
        if after is None:
            raise Broken("stuck", f"{label}: that should be possible")
        world = after
    return world


def _greeted(
    machines: Machines, server: Server, lead_s: float = 0.0, carrier: Carrier = PROMPT
) -> World:
    """The greeting was heard: the client knows whether the server tells what it answers."""
    begun = begin(machines, server, greeting=True, lead_s=lead_s, carrier=carrier)
    world = _allow(begun, **_PLENTY)
    return play(world, READS, HEARS, *_SPOKEN, ENDS, HEARS, PLAYS, TIME, TOLD)


def _allow(world: World, **most: int) -> World:
    world = world.fork()
    world.budget = Budget(**most)
    return world


_PLENTY: Final = {"onsets": 9, "turns": 9, "calls": 9}
_TURN: Final = (LISTENS, COMMITS, HEARS, HEARS, PLAYS)
_ANSWER: Final = (*_TURN, "the model answers", HEARS)
_SPOKEN: Final = (SAYS, HEARS, PLAYS)
_RESULT: Final = ("the model calls a tool", HEARS, ENDS, HEARS, PLAYS, "a tool returns")

Start: TypeAlias = "Callable[[Machines, Server], World]"


def _answering(machines: Machines, server: Server) -> World:
    """A turn is being answered, and the caller hears the first frame."""
    world = _greeted(machines, server)
    return _allow(play(world, *_ANSWER, *_SPOKEN), onsets=2, turns=1, resets=1)


def _ahead(machines: Machines, server: Server) -> World:
    """So too, with a frame of lead on a line that takes its time; it is the second turn."""
    world = _greeted(machines, server, lead_s=FRAME_S)
    world.slow_line = True
    world.audio_watch = replace(world.audio_watch, slack_bytes=FRAME_BYTES)
    world = play(world, *_ANSWER, *_SPOKEN, WRITTEN, WRITTEN, TIME, ECHOED)
    return _allow(play(world, *_SPOKEN), onsets=2, turns=1)


def _generated(machines: Machines, server: Server) -> World:
    """The model is done, and the caller still hears it: the common case."""
    world = _greeted(machines, server)
    world = play(world, *_ANSWER, *_SPOKEN, *_SPOKEN, ENDS, HEARS, PLAYS)
    return _allow(world, onsets=2, turns=1, lapses=1)


def _late_ear(machines: Machines, server: Server) -> World:
    """So too, with a carrier that plays two frames late, which was learnt from the greeting."""
    world = _greeted(machines, server, carrier=Carrier(2 * FRAME_S))
    world = play(world, TIME)
    world = play(world, *_ANSWER, *_SPOKEN, *_SPOKEN, ENDS, HEARS, PLAYS)
    return _allow(world, onsets=2, turns=1)


def _asking(machines: Machines, server: Server) -> World:
    """A tool has returned, and a response about it was asked for."""
    world = _greeted(machines, server)
    return _allow(play(world, *_ANSWER, *_RESULT), onsets=1, turns=1, calls=1, resets=1)


def _failing(machines: Machines, server: Server) -> World:
    """So too, and whatever is asked for may fail, or take too long."""
    world = _greeted(machines, server)
    return _allow(play(world, *_ANSWER, *_RESULT), onsets=1, failures=1, lapses=1)


def _crossing(machines: Machines, server: Server) -> World:
    """So too, while the server is about to answer another turn by itself."""
    world = _greeted(machines, server)
    world = play(world, *_ANSWER, *_RESULT, LISTENS, COMMITS)
    return _allow(world, onsets=1, turns=1)


def _crossed(machines: Machines, server: Server) -> World:
    """So too, and it has: the caller hears an answer, and the create is still on its way."""
    world = _greeted(machines, server)
    world = play(world, *_ANSWER, *_RESULT, *_ANSWER, *_SPOKEN)
    return _allow(world, onsets=1, turns=1)


def _cancelling(machines: Machines, server: Server) -> World:
    """An answer was interrupted while it was generated, and nobody is sure yet."""
    world = _greeted(machines, server)
    world = play(world, *_ANSWER, *_SPOKEN, BEGINS, TOLD)
    return _allow(world, onsets=1, turns=1, calls=1, resets=1, silences=1)


def _in_doubt(machines: Machines, server: Server) -> World:
    """An answer was interrupted in the middle of a frame, and the caller is quiet again."""
    world = _greeted(machines, server)
    world = play(world, *_ANSWER, *_SPOKEN, *_SPOKEN, ENDS, HEARS, PLAYS)
    world = play(_half_a_frame_later(world), BEGINS, QUIET, TOLD)
    return _allow(world, onsets=1, turns=1)


def _two_generations(machines: Machines, server: Server) -> World:
    """The pacer has interrupted; the bridge has not heard of it and sends on."""
    world = _greeted(machines, server)
    world = play(world, *_ANSWER, *_SPOKEN, BEGINS, SAYS, HEARS)
    return _allow(world, onsets=1, turns=1)


def _continuing(machines: Machines, server: Server) -> World:
    """A false alarm is over: what it cut is played on, and the rest was asked for."""
    world = _greeted(machines, server)
    world = play(world, *_ANSWER, *_SPOKEN, BEGINS, TOLD, READS, ENDS, HEARS, PLAYS, QUIET)
    return _allow(play(world, ECHOED, TIME, TOLD), onsets=1, turns=1)


def _greeting(machines: Machines, server: Server) -> World:
    """A protected greeting is heard."""
    world = _allow(begin(machines, server, greeting=True, protected=True), **_PLENTY)
    return _allow(play(world, READS, HEARS, *_SPOKEN), onsets=1, turns=1, lapses=1)


def _greeting_asked(machines: Machines, server: Server) -> World:
    """A greeting that may be interrupted was asked for."""
    world = _allow(begin(machines, server, greeting=True), **_PLENTY)
    return _allow(world, onsets=1, turns=1, failures=1, resets=1)


def _half_a_frame_later(world: World) -> World:
    world = world.fork()
    world.now += FRAME_S / 2
    return world


STARTS: Final[dict[str, Start]] = {
    "answering": _answering,
    "ahead": _ahead,
    "generated": _generated,
    "late ear": _late_ear,
    "asking": _asking,
    "failing": _failing,
    "crossing": _crossing,
    "crossed": _crossed,
    "cancelling": _cancelling,
    "in doubt": _in_doubt,
    "two generations": _two_generations,
    "continuing": _continuing,
    "greeting": _greeting,
    "greeting asked": _greeting_asked,
}
