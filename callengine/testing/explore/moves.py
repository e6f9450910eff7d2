"""What may happen next: a table of moves, each from a world to the one after it.

A move that is not possible gives None; one that breaks a law raises `Broken`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from callengine.testing.explore import arrivals, model, others

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callengine.testing.explore.world import World

Move: TypeAlias = "Callable[[World], World | None]"

MOVES: Final[dict[str, Move]] = {
    "the bridge hears the pacer": arrivals.bridge_hears_pacer,
    "the bridge hears the model": arrivals.bridge_hears_model,
    "the pacer hears the bridge": arrivals.pacer_hears_bridge,
    "the model reads": model.model_reads,
    "the carrier hears the pacer": arrivals.carrier_hears,
    "the pacer hears the carrier": arrivals.pacer_hears_carrier,
    "the watchdog is heard": arrivals.watchdog_is_heard,
    "the caller begins": others.caller_begins,
    "the caller goes on": others.caller_goes_on,
    "the caller ends": others.caller_ends,
    "a tool returns": others.tool_returns,
    "the model says more": model.model_says,
    "the model calls a tool": model.model_calls,
    "the model ends": model.model_ends,
    "the model fails": model.model_fails,
    "the model hears the caller": model.model_hears,
    "the model hears him end": model.model_commits,
    "the model answers": model.model_answers,
    "the model falls silent": model.model_falls_silent,
    "the watchdog doubts the response": others.watchdog_doubts_response,
    "the watchdog doubts playout": others.watchdog_doubts_playout,
    "time passes": others.time_passes,
}


def heard_by(world: World, label: str) -> str:
    """What a move delivers, to be read by people."""
    heads: dict[str, Iterable[object]] = {
        "the bridge hears the pacer": world.to_bridge[:1],
        "the bridge hears the model": [e for told in world.downlink[:1] for e in told.events],
        "the pacer hears the bridge": world.to_pacer[:1],
        "the model reads": world.uplink[:1],
        "the carrier hears the pacer": [waiting.message for waiting in world.outbox[:1]],
        "the pacer hears the carrier": [waiting.message for waiting in world.echoes[:1]],
        "the watchdog is heard": world.resets[:1],
    }
    heard = ", ".join(map(_short, heads.get(label, ())))
    return f": {heard}" if heard else ""


def _short(message: object) -> str:
    names = ("response_id", "item_id", "event_id", "status", "code", "name", "owner")
    told = [str(getattr(message, name)) for name in names if hasattr(message, name)]
    return " ".join([type(message).__name__, *told])


TO_REST: Final = (
    "the model reads",
    "the bridge hears the model",
    "the bridge hears the pacer",
    "the pacer hears the bridge",
    "the carrier hears the pacer",
    "the pacer hears the carrier",
    "the watchdog is heard",
    "a tool returns",
    "the caller ends",
    "the model hears him end",
    "the model ends",
    "the model says more",
    "the model answers",
    "time passes",
)
"""Left to itself, the world does the first of these that is possible; what nobody has to do (the
caller's and the server's new ideas) is not in it."""
