"""Every state of every owner: what ends it if nothing else does, or why nothing has to.

`python -m tests.stuck.states` writes it as a table. A test keeps it true: a state without a row, a
constant that has changed, and a proof that does not exist are failures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callengine.machines import (
    barge_in,
    dialogue,
    inbound,
    interruption,
    lifecycle,
    presence,
    response,
    session,
    speech,
)
from callengine.machines.stall import LIMITS
from callengine.messages import Owner

if TYPE_CHECKING:
    from enum import Enum


@dataclass(frozen=True, slots=True)
class Deadline:
    """It ends itself: after `constant`, which is so many seconds."""

    constant: str
    seconds: float
    then: str
    shown_by: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The watchdog asks its owner about it, under this name."""

    owner: Owner
    name: str
    then: str
    shown_by: str

    @property
    def seconds(self) -> float:
        """How long it may last without progress."""
        return LIMITS[self.owner, self.name].seconds


@dataclass(frozen=True, slots=True)
class Follows:
    """It ends with another state, which has an end."""

    state: Enum | str
    why: str
    shown_by: str


@dataclass(frozen=True, slots=True)
class Harmless:
    """It may last for ever."""

    why: str


Way = Deadline | Asked | Follows | Harmless

_CALLER = "stuck/test_caller.py::test_"
_MODEL = "stuck/test_model.py::test_"
_RESPONSE = "stuck/test_response.py::test_"
_PLAYOUT = "stuck/test_playout.py::test_"
_DIALOGUE = "stuck/test_dialogue.py::test_"
_FUSES = "stuck/test_fuses.py::test_"

QUEUED: Final = "playout: a frame is due"
INCOMPLETE: Final = "playout: the rest of a response has not come"
UNHEARD: Final = "playout: all is sent, not all is heard"
SILENT: Final = "playout: silence"
LIMBO: Final = "playout: flushed audio is kept, and nothing is played"
DRAINING: Final = "playout: draining"
HEARING: Final = "the model hears the caller, and nothing is asked for"
WAITING: Final = "a response waits for the slot"
OWED: Final = "an answer is owed"
TOOL: Final = "a tool runs"
ASKING: Final = "the watchdog waits for an answer"
DEAD: Final = "an actor is dead, and what it is told waits"

STATES: Final[dict[Enum | str, tuple[Way, ...]]] = {
    # ---- TwilioIngress
    inbound.State.WAITING: (
        Deadline(
            "inbound.START_DEADLINE_S",
            10.0,
            "start_timeout",
            _CALLER + "a_stream_that_never_starts_is_closed",
        ),
    ),
    inbound.State.STREAMING: (
        Asked(
            Owner.CARRIER,
            "streaming",
            "carrier_silent",
            _CALLER + "a_carrier_that_is_silent_is_found_and_the_call_ends",
        ),
    ),
    inbound.State.ENDED: (Harmless("the supervisor has been told; requests are refused"),),
    # ---- VADDetector
    speech.State.QUIET: (Harmless("nobody waits, and a loud frame leaves it"),),
    speech.State.RISING: (
        Deadline(
            "inbound.STALL_S",
            0.75,
            "frames that cease are made up as silence, which ends it",
            _CALLER + "speech_ends_although_frames_cease_in_the_middle_of_it",
        ),
    ),
    speech.State.SPEAKING: (
        Deadline(
            "inbound.STALL_S",
            0.75,
            "and 200 ms of made-up silence end it",
            _CALLER + "speech_ends_although_frames_cease_in_the_middle_of_it",
        ),
    ),
    speech.State.CONFIRMED: (
        Harmless("a caller may speak for as long as he likes; no decision waits for the end"),
    ),
    # ---- TxPacer
    SILENT: (Harmless("nobody waits, and audio leaves it"),),
    QUEUED: (
        Asked(
            Owner.PLAYOUT,
            "playing",
            "the schedule begins anew",
            _FUSES + "playout_whose_alarm_was_lost_is_found_and_goes_on_to_the_sample",
        ),
    ),
    INCOMPLETE: (
        Follows(
            response.State.GENERATING,
            "the slot tells the end of every response that it lets go",
            _RESPONSE + "a_response_whose_end_is_never_told_is_found_and_nothing_is_said_twice",
        ),
    ),
    UNHEARD: (
        Deadline(
            "marks.SILENT_S",
            10.0,
            "after a mark is overdue (1 s): from then on the clock counts",
            _PLAYOUT + "a_carrier_that_stops_echoing_marks_does_not_keep_a_response_audible",
        ),
    ),
    LIMBO: (
        Follows(
            barge_in.State.FADING,
            "played on or dropped when the barge-in is decided",
            _CALLER + "a_false_alarm_is_taken_back_in_time",
        ),
    ),
    DRAINING: (
        Follows(
            lifecycle.State.DRAINING,
            "the supervisor does not wait for longer",
            _PLAYOUT + "a_farewell_that_cannot_be_heard_is_not_waited_for_for_ever",
        ),
    ),
    barge_in.State.LISTENING: (Harmless("nobody waits, and an onset leaves it"),),
    barge_in.State.SUSPECTED: (
        Deadline(
            "settings.Settings.false_trigger_ms",
            0.5,
            "it was the caller",
            _CALLER + "a_barge_in_that_nothing_more_is_heard_of_is_decided_in_time",
        ),
    ),
    barge_in.State.FADING: (
        Deadline(
            "settings.Settings.false_trigger_ms",
            0.5,
            "it was nothing",
            _CALLER + "a_false_alarm_is_taken_back_in_time",
        ),
    ),
    # ---- RealtimeBridge: one session after the other
    dialogue.State.WAITING: (
        Follows(
            inbound.State.WAITING,
            "nobody answers a call without a stream",
            _CALLER + "a_stream_that_never_starts_is_closed",
        ),
    ),
    dialogue.State.CASTING: (
        Deadline(
            "dialogue.AGENT_DEADLINE_S",
            1.5,
            "the stand-in answers",
            _DIALOGUE + "a_choice_that_is_never_made_is_not_waited_for",
        ),
    ),
    dialogue.State.TALKING: (
        Follows(
            session.State.LIVE,
            "a dialogue is as alive as its session",
            _MODEL + "a_dead_socket_of_the_model_is_found_although_nobody_speaks",
        ),
        Deadline(
            "dialogue.RETRY_DEADLINE_S",
            5.0,
            "so soon a session that took the place of a lost one is live, or has failed",
            _DIALOGUE + "a_session_that_takes_the_place_of_another_is_live_soon_or_has_failed",
        ),
    ),
    dialogue.State.PARTED: (
        Deadline(
            "dialogue.RETRY_PAUSE_S",
            0.25,
            "connected to again",
            _DIALOGUE + "a_model_that_is_lost_is_connected_to_again_presently",
        ),
    ),
    dialogue.State.OVER: (Harmless("the supervisor has been told; requests are refused"),),
    # ---- RealtimeBridge: the session
    session.State.CONNECTING: (
        Deadline(
            "session.DEADLINE_S",
            10.0,
            "model_unreachable",
            _MODEL + "a_model_that_cannot_be_reached_ends_the_call_with_a_farewell",
        ),
    ),
    session.State.CONFIGURING: (
        Deadline(
            "session.DEADLINE_S",
            10.0,
            "session_refused",
            _MODEL + "a_session_that_is_never_confirmed_ends_the_call_with_a_farewell",
        ),
    ),
    session.State.LIVE: (
        Follows(
            presence.State.PRESENT,
            "a session is as alive as its model",
            _MODEL + "a_dead_socket_of_the_model_is_found_although_nobody_speaks",
        ),
    ),
    session.State.CLOSED: (Harmless("the supervisor has been told; requests are refused"),),
    presence.State.PRESENT: (
        Asked(
            Owner.MODEL,
            "open",
            "model_silent",
            _MODEL + "a_dead_socket_of_the_model_is_found_although_nobody_speaks",
        ),
    ),
    presence.State.DOUBTED: (
        Deadline(
            "conversation.UNHEARD_GRACE_S",
            1.5,
            "it is asked",
            _MODEL + "a_model_that_does_not_hear_the_caller_and_answers_nothing_is_found",
        ),
    ),
    presence.State.ASKED: (
        Asked(
            Owner.MODEL,
            "asked",
            "model_silent",
            _MODEL + "a_model_that_does_not_hear_the_caller_and_answers_nothing_is_found",
        ),
    ),
    # ---- RealtimeBridge: the response slot
    response.State.IDLE: (Harmless("nobody waits; what does wait has a row of its own"),),
    response.State.REQUESTED: (
        Deadline(
            "response.REQUEST_DEADLINE_S",
            5.0,
            "asked for once more; then model_failed",
            _RESPONSE + "a_create_that_is_not_answered_is_sent_again",
        ),
        Asked(
            Owner.RESPONSE,
            "requested",
            "asked for once more",
            _FUSES + "a_create_whose_alarm_was_lost_is_found_by_the_watchdog",
        ),
    ),
    response.State.UNWANTED: (
        Deadline(
            "response.REQUEST_DEADLINE_S",
            5.0,
            "given up",
            _RESPONSE + "a_create_that_the_caller_has_overtaken_is_given_up_in_time",
        ),
        Asked(
            Owner.RESPONSE,
            "unwanted",
            "refused (not_stuck), and its own deadline acts",
            _FUSES + "an_overtaken_create_whose_alarm_was_lost_is_found_by_the_watchdog",
        ),
    ),
    response.State.GENERATING: (
        Asked(
            Owner.RESPONSE,
            "generating",
            "cancelled and asked for again",
            _RESPONSE + "a_response_of_which_nothing_comes_is_found_and_asked_for_again",
        ),
        Asked(
            Owner.RESPONSE,
            "speaking",
            "cancelled, and the rest asked for",
            _RESPONSE + "a_response_that_stops_in_the_middle_is_found_and_goes_on",
        ),
    ),
    response.State.CANCELLING: (
        Deadline(
            "response.CANCEL_DEADLINE_S",
            2.0,
            "taken as done",
            _RESPONSE + "a_cancel_that_is_not_answered_is_over_in_time",
        ),
        Asked(
            Owner.RESPONSE,
            "cancelling",
            "refused (cancel_pending), and its own deadline acts",
            _FUSES + "a_cancel_whose_alarm_was_lost_is_found_by_the_watchdog",
        ),
    ),
    WAITING: (
        Deadline(
            "response.JAM_S",
            8.0,
            "refused for so long: model_failed",
            _RESPONSE + "a_response_that_never_ends_ends_the_call_with_a_farewell",
        ),
        Follows(
            HEARING,
            "nothing else keeps it from being asked for when the slot is free",
            _CALLER + "a_tools_result_waits_for_a_turn_but_not_for_ever",
        ),
    ),
    # ---- RealtimeBridge: around the slot
    HEARING: (
        Deadline(
            "conversation.MAX_TURN_S",
            15.0,
            "an answer is asked for, unless the caller is heard to go on",
            _CALLER + "a_turn_whose_end_is_never_told_is_answered_all_the_same",
        ),
    ),
    OWED: (
        Deadline(
            "conversation.ANSWER_GRACE_S",
            1.5,
            "asked for as soon as the slot is free",
            _CALLER + "an_answer_the_server_does_not_give_is_asked_for",
        ),
    ),
    TOOL: (
        Deadline(
            "tools.TOOL_DEADLINE_S",
            15.0,
            "answered with an error",
            _RESPONSE + "a_tool_that_never_returns_is_answered_for",
        ),
    ),
    interruption.State.SETTLED: (Harmless("nobody waits, and an interruption leaves it"),),
    interruption.State.OPEN: (
        Follows(
            barge_in.State.SUSPECTED,
            "the pacer tells the decision",
            _CALLER + "a_barge_in_that_nothing_more_is_heard_of_is_decided_in_time",
        ),
    ),
    interruption.State.DISMISSED: (Harmless("nobody waits; the next interruption leaves it"),),
    # ---- Watchdog
    ASKING: (
        Deadline(
            "stall.ANSWER_S",
            3.0,
            "asked once more; then crashed, or model_silent",
            _FUSES + "an_actor_that_hangs_ends_the_call",
        ),
    ),
    # ---- Supervisor
    DEAD: (
        Follows(
            lifecycle.State.DRAINING,
            "it begins anew at once, or the call is ending",
            "machines/test_lifecycle.py::test_l14_what_becomes_of_the_crash_of_each_actor",
        ),
    ),
    lifecycle.State.SERVING: (
        Deadline(
            "settings.Settings.max_call_s",
            3600.0,
            "call_too_long",
            _DIALOGUE + "a_call_that_goes_on_and_on_ends_with_the_farewell",
        ),
    ),
    lifecycle.State.DRAINING: (
        Deadline(
            "lifecycle.DEADLINE_S",
            20.0,
            "closed",
            _PLAYOUT + "a_farewell_that_cannot_be_heard_is_not_waited_for_for_ever",
        ),
    ),
    lifecycle.State.HANDING_OVER: (
        Deadline(
            "lifecycle.DEADLINE_S",
            4.0,
            "closed, whatever the carrier does",
            _DIALOGUE + "a_carrier_that_never_says_whether_it_takes_the_call_is_not_waited_for",
        ),
    ),
    lifecycle.State.REPORTING: (
        Deadline(
            "lifecycle.DEADLINE_S",
            4.0,
            "over without the missing reports",
            _FUSES + "an_actor_that_hangs_ends_the_call",
        ),
    ),
    lifecycle.State.OVER: (Harmless("the actors are stopped"),),
}


def name_of(state: Enum | str) -> str:
    """`session.LIVE`, or the words."""
    if isinstance(state, str):
        return state
    return f"{type(state).__module__.rpartition('.')[2]}.{state.name}"


def _cells(way: Way) -> tuple[str, str]:
    match way:
        case Deadline(constant, seconds, then):
            return f"{seconds:g} s (`{constant.rpartition('.')[2]}`)", then
        case Asked(owner, name, then):
            return f"watchdog, {way.seconds:g} s (`{owner} {name}`)", then
        case Follows(state, why):
            return f"as `{name_of(state)}`", why
        case Harmless(why):
            return "-", why


def table() -> str:
    """Markdown: state, what ends it, and how."""
    rows = ["| state | ends after | how, or why it may last |", "|---|---|---|"]
    for state, ways in STATES.items():
        cells = zip(*map(_cells, ways), strict=True)
        rows.append(
            "| " + " | ".join([name_of(state), *("; ".join(each) for each in cells)]) + " |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
