"""Which differences between two worlds can matter, and which cannot: a table, and the reasons.

Two worlds are one if no future can tell them apart. So times count relative to now, generations
relative to the newest, and what is only counted, for the summary or to make names that are new,
does not count at all. A new field of a machine counts until a rule says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from callengine.audio.g711 import FRAME_S
from callengine.testing.explore.sound import response_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Kind(Enum):
    """What a field holds."""

    IGNORED = auto()
    TIME = auto()  # counts relative to now
    DUE = auto()  # so too, until it has come; then it does not matter how long ago that was
    DURATION = auto()
    GENERATION = auto()  # counts relative to the newest
    MEMBERS = auto()  # names to be recognised: one that nothing else bears cannot come again


@dataclass(frozen=True, slots=True)
class Of:
    """A value of a kind inside a derived one."""

    kind: Kind
    value: object


Rule: TypeAlias = "Kind | Callable[[Mapping[str, Any]], object]"
"""A kind, or what to look at instead, derived from all fields of the object."""


def _marks(marks: Mapping[str, Any]) -> object:
    """A mark from before the last clear has only to be recognised."""
    clears, echoed_to, stretch = marks["_clears"], marks["_echoed_to"], marks["_stretch"]
    return [
        (
            name,
            not mark.ordinal,
            mark.plays_at > echoed_to,
            Of(Kind.TIME, mark.plays_at),
            mark.stretch == stretch,
            mark.after_silence,
        )
        if mark.clears == clears
        else name
        for name, mark in marks["_under_way"].items()
    ]


def _watched_since(marks: Mapping[str, Any]) -> object:
    """It matters to marks that were under way before."""
    since = marks["_watched_since"]
    earlier = any(mark.plays_at < since for mark in marks["_under_way"].values())
    return Of(Kind.TIME, since) if earlier else None


def _plays_until(playout: Mapping[str, Any]) -> object:
    """With nothing on its way the next frame is played as it is sent; once the carrier has played
    all it held, by any delay, it matters no more how long ago that was."""
    if playout["_sent"]:
        return Of(Kind.TIME, playout["_plays_until"])
    held_s = max(FRAME_S, playout["_marks"].delay_after_silence_s or 0.0)
    return Of(Kind.DUE, playout["_plays_until"] + held_s)


def _next_play_at(grid: Mapping[str, Any]) -> object:
    """An anchor and a count of frames, of which only the sum is ever used."""
    return Of(Kind.DUE, grid["_anchor"] + grid["_frames"] * FRAME_S)


def _deadline(barge_in: Mapping[str, Any]) -> object:
    """Left as it is when nothing is open any more."""
    listening = barge_in["state"].name == "LISTENING"
    return None if listening else Of(Kind.TIME, barge_in["_deadline"])


RULES: Final[dict[str, Rule]] = {
    # What is counted for the summary; no step looks at what an earlier one has counted.
    "Transmission.counts": Kind.IGNORED,
    "Onsets.ledger": Kind.IGNORED,
    "Transmission.late_at": Kind.IGNORED,
    "Transmission.own_audio_bytes": Kind.IGNORED,
    # Nobody tells it here that anything is owed (see `terms.TO_PACER`): it stays as it began.
    "Transmission._dead_air": Kind.IGNORED,
    # What is owed decides only what the pacer would be told of it.
    "Conversation._owed": Kind.IGNORED,
    "Playout.counts": Kind.IGNORED,
    "Marks._counts": Kind.IGNORED,
    "Conversation.counts": Kind.IGNORED,
    "Session.counts": Kind.IGNORED,
    "ToolCalls.counts": Kind.IGNORED,
    "ResponseSlot.counts": Kind.IGNORED,
    "ResponseSlot.cancelled": Kind.IGNORED,
    "ResponseSlot._barge_in": Kind.IGNORED,
    "Interrupted.barge_in": Kind.IGNORED,
    # An open onset is a line of the ledger, but for `heard`, which its confirmation tells.
    "Onset.onset_at": Kind.IGNORED,
    "Onset.decided_at": Kind.IGNORED,
    "Onset.settled_at": Kind.IGNORED,
    "Onset.barge_in": Kind.IGNORED,
    "Onset.level_rms": Kind.IGNORED,
    "Onset.flushed_frames": Kind.IGNORED,
    # A version matters as compared with that of a request under way: the world tells how far.
    "Transmission._version": Kind.IGNORED,
    "ResponseSlot.version": Kind.IGNORED,
    # When progress was reported last decides only when it is reported next, which moves a version.
    "Transmission._reported_at": Kind.IGNORED,
    "Transmission._reported_frames": lambda machine: machine["_reported_frames"] is None,
    "ResponseSlot._reported_at": Kind.IGNORED,
    "Presence.version": Kind.IGNORED,
    "Presence._reported_at": Kind.IGNORED,
    # Counted only to make names that are new.
    "ResponseSlot._sent": Kind.IGNORED,
    "Playout._ordinal": Kind.IGNORED,
    "Track.ordinal": Kind.IGNORED,
    "Marks._clears": Kind.IGNORED,
    "Session._updates": Kind.IGNORED,
    "Presence.probes_sent": Kind.IGNORED,
    # The same from the first move to the last.
    "Session._config": Kind.IGNORED,
    "Conversation._greeting": Kind.IGNORED,
    "Conversation._resume": Kind.IGNORED,
    "SendTurnDetection.config": Kind.IGNORED,
    # Generations and names.
    "Playout.generation": Kind.GENERATION,
    "Transmission._wanted_from": Kind.GENERATION,
    "Track.generation": Kind.GENERATION,
    "PlayAudio.generation": Kind.GENERATION,
    "Interrupted.generation": Kind.GENERATION,
    "BargeInConfirmed.generation": Kind.GENERATION,
    "CallerSpoke.generation": Kind.GENERATION,
    "Conversation._generation": Kind.GENERATION,
    "_Item.generation": Kind.GENERATION,
    "ToolCalls._known": Kind.MEMBERS,
    "Conversation._fruitful": Kind.MEMBERS,
    "Unheard._settled": Kind.MEMBERS,
    "ResponseSlot._finished": Kind.MEMBERS,
    "ResponseSlot._seems_refused": Kind.MEMBERS,
    "Wanted.given_up": Kind.MEMBERS,
    # Times.
    "Marks._under_way": _marks,
    "Marks._echoed_to": Kind.IGNORED,  # see `_marks`
    "Marks._watched_since": _watched_since,
    "Marks._next_plays_at": Kind.IGNORED,  # follows from the marks, as does the next
    "Marks._overdue_at": Kind.IGNORED,
    "Playout._plays_until": _plays_until,
    "Playout._look_again_at": Kind.DUE,
    "Marks._stretch": Kind.IGNORED,  # see `_marks`
    "Marks.delay_s": Kind.IGNORED,  # one of the next two
    "Marks._own_delay_s": Kind.DURATION,
    "Marks.delay_after_silence_s": Kind.DURATION,
    "Marks._round_trip_s": Kind.DURATION,
    "Playout._sent": lambda playout: [
        (track.response_id, audio, Of(Kind.TIME, plays_at))
        for track, audio, plays_at in playout["_sent"]
    ],
    "Grid._anchor": _next_play_at,
    "Grid._frames": Kind.IGNORED,  # see `_next_play_at`
    "Grid._next_play_at": Kind.IGNORED,
    "Grid.due_at": Kind.IGNORED,  # follows from the rest
    "Grid._opened_at": Kind.DUE,
    "Grid._lead_s": Kind.DURATION,
    "BargeIn._false_trigger_s": Kind.DURATION,
    "BargeIn._deadline": _deadline,
    "Conversation._answer_due_at": Kind.DUE,
    "Session._deadline": Kind.TIME,
    "Presence._ask_at": Kind.TIME,
    "ResponseSlot._deadline": Kind.TIME,
    "ResponseSlot._held_until": Kind.DUE,
    "Wanted.not_before": Kind.DUE,
    "Wanted.refused_since": Kind.TIME,
    "ToolCalls._deadlines": lambda tools: {
        name: Of(Kind.TIME, at) for name, at in tools["_deadlines"].items()
    },
    # The explored world's own books.
    "Piece.ends_at": Kind.TIME,
    "Carrier.delay_s": Kind.DURATION,
    "Carrier.plays_until": Kind.DUE,
    "Server.made": Kind.IGNORED,
    "Server.active": lambda server: server["active"] and response_id(server["active"]),
    "Told.number": lambda told: response_id(told["number"]),
    "Told.born": Kind.GENERATION,
    "Cuts.count": Kind.GENERATION,
    "Cuts.standing": Kind.GENERATION,
    "Cuts.before": Kind.GENERATION,
    "Cuts.generation": Kind.GENERATION,
    "AudioWatch.plays_until": Kind.DUE,
    "Asked.at": Kind.TIME,
    "Cancel.at": Kind.TIME,
    "Waiting.since": Kind.TIME,
}
"""By type and field. A field that is not here is compared as it is."""
