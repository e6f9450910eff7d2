"""What is under way arrives: the moves of messages, each at the head of its line.

Two laws are watched here, because they are about what a message must not do: L2, a mark that a
clear brings back, and L10, a request for a reset that comes too late.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from callengine.messages import MarkEchoed, Owner, ResetRefused, ResetRequest, StateChanged
from callengine.testing.explore.broken import Broken, hold
from callengine.testing.explore.carrier import Echo
from callengine.testing.explore.server import NOT_ACTIVE
from callengine.wire import realtime_events as wire

if TYPE_CHECKING:
    from callengine.testing.explore.snapshots import Step
    from callengine.testing.explore.world import World


def bridge_hears_pacer(world: World) -> World | None:
    """The bridge takes the pacer's next message."""
    if not world.to_bridge:
        return None
    after = world.fork()
    event, *left = world.to_bridge
    after.to_bridge = tuple(left)
    after.bridge_hears(event)
    return after


def bridge_hears_model(world: World) -> World | None:
    """The bridge takes the model's next message."""
    if not world.downlink:
        return None
    after = world.fork()
    (events, about), *left = world.downlink
    after.downlink = tuple(left)
    for event in events:
        after.bridge_hears(event, about)
    return after


def pacer_hears_bridge(world: World) -> World | None:
    """The pacer takes the bridge's next message."""
    if not world.to_pacer:
        return None
    after = world.fork()
    event, *left = world.to_pacer
    after.to_pacer = tuple(left)
    after.pacer_hears(event)
    return after


def carrier_hears(world: World) -> World | None:
    """The carrier takes what was written next."""
    if not world.outbox:
        return None
    after = world.fork()
    waiting, *left = world.outbox
    after.outbox = tuple(left)
    after.carrier_hears(waiting.message)
    return after


def pacer_hears_carrier(world: World) -> World | None:
    """The pacer takes the next mark that came back."""
    if not world.echoes:
        return None
    after = world.fork()
    waiting, *left = world.echoes
    after.echoes = tuple(left)
    assert isinstance(waiting.message, Echo)
    echoed(after, waiting.message)
    return after


def echoed(world: World, echo: Echo) -> None:
    """L2: a mark that a clear brings back teaches nothing, as if nobody had sent it."""
    before = world.pacer
    world.pacer_hears(MarkEchoed(echo.name))
    if echo.cleared:
        untaught = world.machines.step(before, MarkEchoed("nobody"), world.now)
        flat = partial(world.machines.but_for, "Marks._under_way")
        same = flat(world.pacer) == flat(untaught.after)
        hold("L2", f"{echo.name} was cleared, and counts as heard", holds=same)


def watchdog_is_heard(world: World) -> World | None:
    """An owner takes the watchdog's request."""
    if not world.resets:
        return None
    after = world.fork()
    request, *left = world.resets
    after.resets = tuple(left)
    is_response = request.owner is Owner.RESPONSE
    refuse = world.behind(request) > 0 or (is_response and world.slot_watch.cancel is not None)
    if refuse:
        _changes_nothing(world, request)
    if is_response:
        after.bridge_hears(request)
    else:
        after.pacer_hears(request)
    return after


def _changes_nothing(world: World, request: ResetRequest) -> None:
    """L10: it leaves the machine as anything else would that is not its business."""
    is_response = request.owner is Owner.RESPONSE
    machine = world.bridge if is_response else world.pacer
    other = _NOBODYS_ERROR if is_response else MarkEchoed("nobody")
    as_is = world.machines.step(machine, other, world.now)
    try:
        asked = world.machines.step(machine, request, world.now)
    except Broken as broken:
        raise Broken("L10", f"{request.reason} must be refused; {broken}") from broken
    flat = partial(world.machines.but_for, "Conversation.presence")
    same = flat(asked.after) == flat(as_is.after) and _told(asked) == _told(as_is)
    hold("L10", f"{request.reason} must be refused and change nothing", holds=same)


_NOBODYS_ERROR: Final = wire.ErrorReceived(NOT_ACTIVE, None, "", None, "nobody-1")


def _told(step: Step) -> list[object]:
    """What a machine did, but for its refusal and for reports about its model."""
    return [
        action
        for action in step.actions
        if not isinstance(action, ResetRefused)
        and not (isinstance(action, StateChanged) and action.owner is Owner.MODEL)
    ]
