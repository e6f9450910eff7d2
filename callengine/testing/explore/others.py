"""What the caller, the host's code, the watchdog and the clock may do.

Time passes only when no actor has anything in its mailbox (they are far quicker than a frame), and
beyond a deadline of the bridge only if everybody it waits for has been heard, but for the few times
that the budget allows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from callengine.audio.g711 import FRAME_S
from callengine.messages import (
    DeadlineReached,
    Owner,
    ResetReason,
    ResetRequest,
    SpeechConfirmed,
    SpeechEnded,
    SpeechOnset,
    ToolReturned,
)
from callengine.testing.explore.arrivals import echoed
from callengine.testing.explore.broken import hold
from callengine.testing.explore.carrier import Echo
from callengine.testing.explore.terms import Voice

if TYPE_CHECKING:
    from callengine.testing.explore.world import World

_SLACK_S: Final = 1e-6


def caller_begins(world: World) -> World | None:
    """Our detector hears the caller."""
    if not world.budget.onsets or world.voice is not Voice.QUIET:
        return None
    after = world.fork()
    after.budget = replace(world.budget, onsets=world.budget.onsets - 1)
    after.voice = Voice.SPEAKING
    after.pacer_hears(SpeechOnset(world.now, 1000))
    return after


def caller_goes_on(world: World) -> World | None:
    """It is no cough."""
    if world.voice is not Voice.SPEAKING:
        return None
    after = world.fork()
    after.voice = Voice.CONFIRMED
    after.pacer_hears(SpeechConfirmed(world.now))
    return after


def caller_ends(world: World) -> World | None:
    """He is quiet again."""
    if world.voice is Voice.QUIET:
        return None
    after = world.fork()
    after.voice = Voice.QUIET
    after.pacer_hears(SpeechEnded(world.now))
    return after


def tool_returns(world: World) -> World | None:
    """The host's code has a result."""
    if not world.host:
        return None
    after = world.fork()
    call_id, *left = world.host
    after.host = tuple(left)
    after.bridge_hears(ToolReturned(call_id, "{}"))
    return after


def watchdog_doubts_response(world: World) -> World | None:
    """The watchdog asks for a reset of the response as it has seen it last."""
    return _doubt(world, Owner.RESPONSE, ResetReason.STUCK_RESPONSE)


def watchdog_doubts_playout(world: World) -> World | None:
    """The watchdog asks for a reset of playout as it has seen it last."""
    return _doubt(world, Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED)


def _doubt(world: World, owner: Owner, reason: ResetReason) -> World | None:
    if not world.budget.resets:
        return None
    after = world.fork()
    after.budget = replace(world.budget, resets=world.budget.resets - 1)
    seen = world.versions[owner is Owner.RESPONSE]
    after.resets = (*world.resets, ResetRequest(owner, reason, seen))
    return after


# ---- time


def time_passes(world: World) -> World | None:
    """Until the next deadline of anybody's, which is kept."""
    if world.to_bridge or world.to_pacer or world.resets:
        return None
    now = _next_time(world)
    if now is None:
        return None
    after = world.fork()
    if _is_due(world.bridge.due, now) and _is_awaited(world):
        if not world.budget.lapses:
            return None
        after.budget = replace(world.budget, lapses=world.budget.lapses - 1)
    after.now = now
    after.carrier_plays()
    _echo_at_once(after)
    if _is_due(world.pacer.due, now):
        after.pacer_hears(DeadlineReached())
        hold("stuck", "the pacer is busy for ever", holds=not _is_due(after.pacer.due, now))
    if _is_due(world.bridge.due, now):
        after.bridge_hears(DeadlineReached())
        hold("stuck", "the bridge is busy for ever", holds=not _is_due(after.bridge.due, now))
    after.slot_watch.clock(now)
    return after


def _is_due(due: float | None, now: float) -> bool:
    return due is not None and due <= now


def _next_time(world: World) -> float | None:
    """The next deadline; those that differ only by a float's rounding are one."""
    dues = [world.pacer.due, world.bridge.due, world.carrier.due]
    ahead = [max(due, world.now) for due in dues if due is not None]
    if not ahead:
        return None
    first = min(ahead)
    under_way = [waiting.since for waiting in (*world.outbox[:1], *world.echoes[:1])]
    if any(first > since + FRAME_S + _SLACK_S for since in under_way):
        return None
    return max(at for at in ahead if at <= first + _SLACK_S)


def _is_awaited(world: World) -> bool:
    """Somebody else has something to say to the bridge."""
    server = world.server
    if server.silent:
        return bool(world.downlink)
    busy = server.active is not None or server.owes or server.hearing
    return busy or bool(world.uplink or world.downlink or world.host)


def _echo_at_once(world: World) -> None:
    """On a quick line a mark is back as soon as it was reached."""
    while not world.slow_line and world.echoes:
        echo = world.echoes[0].message
        assert isinstance(echo, Echo)
        if echo.cleared:
            return
        world.echoes = world.echoes[1:]
        echoed(world, echo)
