"""What the model may do: the moves of the server.

What it says or ends is its own affair, but for one thing that a client cannot cope with: see
`_may_end`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from callengine.machines.presence import SendProbe
from callengine.machines.response_terms import SendCancel, SendCreate
from callengine.machines.session import SendTurnDetection
from callengine.testing.explore.server import ACTIVE, CONFIRMED, NOT_ACTIVE
from callengine.testing.explore.slot_watch import MAX_STRIKES
from callengine.testing.explore.terms import Downlink

if TYPE_CHECKING:
    from callengine.testing.explore.world import World


def model_reads(world: World) -> World | None:
    """The server takes our next message."""
    if not world.uplink or world.server.silent:
        return None
    after = world.fork()
    message, *left = world.uplink
    after.uplink = tuple(left)
    server = world.server
    match message:
        case SendCreate() if server.active is None:
            after.slot_watch = world.slot_watch.server_takes(message)
            after.server, created = server.begin(message.event_id)
            after.downlink += (Downlink((created,), message.event_id),)
        case SendCreate():
            after.downlink += (Downlink((server.error(ACTIVE, message),), message.event_id),)
        case SendCancel(_, name) if server.cancels(name):
            after.server = replace(server, cut=True)
        case SendCancel():
            after.downlink += (Downlink((server.error(NOT_ACTIVE, message),)),)
        case SendTurnDetection():
            after.server = replace(server, interrupts=message.interrupt_response)
        case SendProbe():
            after.downlink += (Downlink((CONFIRMED,)),)
    return after


def model_says(world: World) -> World | None:
    """The server sends audio."""
    if not world.server.may_say:
        return None
    after = world.fork()
    after.server, told = world.server.say()
    after.downlink += (Downlink(told),)
    return after


def model_calls(world: World) -> World | None:
    """The server's response calls a tool."""
    server = world.server
    if not world.budget.calls or server.active is None or server.cut or server.called:
        return None
    if server.silent:
        return None
    after = world.fork()
    after.budget = replace(world.budget, calls=world.budget.calls - 1)
    after.server, call = server.call()
    after.downlink += (Downlink((call,)),)
    return after


def model_ends(world: World) -> World | None:
    """The server's response is over: completed, or cancelled if it was."""
    server = world.server
    if not (server.cut or server.said or server.called) or not _may_end(world):
        return None
    return _end(world, "cancelled" if server.cut else "completed")


def model_fails(world: World) -> World | None:
    """The server's response is over before it began to speak."""
    server = world.server
    if not world.budget.failures or server.cut or server.said or server.called:
        return None
    if not _may_end(world):
        return None
    after = _end(world, "failed")
    after.budget = replace(world.budget, failures=world.budget.failures - 1)
    return after


def _may_end(world: World) -> bool:
    """See the assumption in the package's docstring."""
    server = world.server
    if server.active is None or server.silent:
        return False
    is_crossed = any(isinstance(message, SendCreate) for message in world.uplink)
    return server.echoes or server.answering is not None or not is_crossed


def _end(world: World, status: str) -> World:
    after = world.fork()
    after.server, done = world.server.end(status)
    after.downlink += (Downlink((done,), world.server.answering),)
    return after


def model_hears(world: World) -> World | None:
    """The server hears the caller begin; it may hear what our detector does not."""
    server = world.server
    if not world.budget.turns or server.hearing or server.owes or server.silent:
        return None
    after = world.fork()
    after.budget = replace(world.budget, turns=world.budget.turns - 1)
    after.server, started = server.hear()
    after.downlink += (Downlink((started,)),)
    return after


def model_commits(world: World) -> World | None:
    """The server hears the caller end: a turn."""
    if not world.server.hearing or world.server.silent:
        return None
    after = world.fork()
    after.server, told = world.server.commit()
    after.downlink += (Downlink(told),)
    return after


def model_answers(world: World) -> World | None:
    """The server answers the turn by itself; while another response is under way it cannot."""
    server = world.server
    if not server.owes or server.cut or server.silent:
        return None
    after = world.fork()
    if server.active is not None:
        after.server = replace(server, owes=False)
        return after
    after.server, created = server.begin(None)
    after.downlink += (Downlink((created,)),)
    return after


def model_falls_silent(world: World) -> World | None:
    """Nothing is heard of the server any more; its socket stays open."""
    if not world.budget.silences:
        return None
    after = world.fork()
    after.budget = replace(world.budget, silences=world.budget.silences - 1)
    after.server = replace(world.server, silent=True)
    after.slot_watch = replace(world.slot_watch, strikes=MAX_STRIKES)
    return after
