"""The laws of a call, checked on what a caller and a simulated model recorded.

Each law is a function that raises `LawBroken`. They look at what crossed the two lines and, where a
law speaks of them, at the summary's own figures; never at the engine's insides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from callengine.audio.g711 import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, FRAME_S
from callengine.machines.onsets import Outcome
from callengine.machines.pacing import RASTER_S
from callengine.machines.response import CANCEL_DEADLINE_S
from callengine.machines.speech import CONFIRM_FRAMES
from callengine.messages import EndCause
from callengine.testing import figures, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from callengine.testing.held import Frame, Held
    from callengine.testing.realtime.record import ItemRecord, Record, ResponseRecord

TRUNCATE_SLACK_MS: Final = 60
"""How much less than was heard the model may be told was heard, beside the line's latency."""

DEAD_AIR_S: Final = 12.0
"""The longest silence after a turn of the caller, with all retries on the way to an answer."""

RETRY_S: Final = 1.0
"""From the end of a response with nothing to hear to the beginning of the next, at most."""

_EPS: Final = 1e-4
"""The times of a summary are rounded to a tenth of a millisecond."""


class LawBroken(AssertionError):  # noqa: N818 - it is broken, not in error
    """What was seen, and where."""


def nothing_of_an_interrupted_response_is_played_on(held: Held) -> None:
    """After a clear no media of what it cleared, unless the interruption was taken back."""
    for frame in held.frames:
        for earlier in held.interruptions[: frame.clears]:
            if earlier.response_id == frame.response_id and earlier.outcome is not Outcome.RESUMED:
                raise LawBroken(
                    f"{frame.response_id} goes on at {frame.at:.3f} after it was interrupted at"
                    f" {earlier.decided_s:.3f} ({earlier.outcome})"
                )


def marks_carry_the_generation(held: Held) -> None:
    """Every mark sent after a clear is of a newer generation than every one before."""
    newest, clears = -1, 0
    for mark in held.caller.marks:
        generation = int(mark.name.split("-")[0].removeprefix("g"))
        if generation < newest + (mark.clears > clears):
            raise LawBroken(f"mark {mark.name} follows one of generation {newest}")
        newest, clears = generation, mark.clears


def truncates_tell_what_was_heard(held: Held) -> None:
    """Never more than was received, about as much as was heard."""
    for model, truncate in _of_all(held, "truncates"):
        if not truncate.accepted:
            raise LawBroken(f"the server refused {truncate}")
        response, item, begin = _item(model, truncate.item_id)
        heard_ms = held.heard_bytes(response.id, begin, begin + len(item.audio)) / BYTES_PER_MS
        least_ms = heard_ms - TRUNCATE_SLACK_MS - held.latency_s * 1000
        # How far behind the ear is tells no line that varies.
        hidden_ms = held.uncertain_bytes(response.id) / BYTES_PER_MS
        most_ms = min(heard_ms + FRAME_MS + hidden_ms, len(item.audio) / BYTES_PER_MS)
        if not least_ms <= truncate.audio_end_ms <= most_ms:
            raise LawBroken(f"{truncate}, but {heard_ms:.1f} ms were heard")


def what_was_not_heard_is_truncated(held: Held) -> None:
    """The model believes of no item that more of it was heard than was, once it matters."""
    cut = {truncate.item_id for _, truncate in _of_all(held, "truncates")}
    for entry in held.interruptions:
        if entry.outcome is not Outcome.ACTED or entry.response_id is None:
            continue
        if entry.response_id in held.own_audio:
            continue  # the model knows nothing of it
        model = held.model_of(entry.response_id)
        if _is_gone_by(model, (entry.settled_s or entry.decided_s) + held.latency_s):
            continue  # nobody is left to be told
        response = model.response(entry.response_id)
        begin = 0
        for item in response.items:
            heard = held.heard_bytes(response.id, begin, begin + len(item.audio))
            hidden = FRAME_BYTES + held.uncertain_bytes(response.id)
            if heard + hidden < len(item.audio) and item.id not in cut:
                raise LawBroken(f"of {item.id} only {heard / BYTES_PER_MS:.1f} ms were heard")
            begin += len(item.audio)


def cancels_name_their_response_and_are_resolved(held: Held) -> None:
    """By id, and within the deadline, if the call and the session last as long."""
    for _, cancel in _of_all(held, "cancels"):
        if cancel.response_id is None:
            raise LawBroken(f"the cancel at {cancel.at:.3f} names no response")
    over_at = [model.closed[2] + held.latency_s for model in held.models if model.closed]
    for entry in held.interruptions:
        sent_s, resolved_s = entry.cancel_sent_s, entry.cancel_resolved_s
        if sent_s is None:
            continue
        if resolved_s is None:
            resolved_s = min(
                [held.summary.duration_s, *(at for at in over_at if at >= sent_s - _EPS)]
            )
        if resolved_s - sent_s > CANCEL_DEADLINE_S + _EPS:
            raise LawBroken(f"the cancel at {sent_s:.3f} was open for {resolved_s - sent_s:.3f} s")


def creates_wait_for_the_slot(held: Held) -> None:
    """A create leaves only while, as far as we can know, no response is under way.

    An engine that stood still looks at its alarms before it looks at what has come meanwhile.
    """
    way_s = held.latency_s
    for model, create in _of_all(held, "creates"):
        for response in model.responses:
            if response.created_at is None or response.out_of_band:
                continue
            known_from = response.created_at + way_s + held.frozen_s
            known_until = float("inf") if response.done_at is None else response.done_at - way_s
            # It left between one latency and no time ago; what it knew is as uncertain.
            if known_from + _EPS < create.at - way_s and create.at < known_until - _EPS:
                raise LawBroken(f"a create came at {create.at:.3f} during {response.id}")


def the_carrier_is_cleared_at_once(held: Held) -> None:
    """Every interruption is a clear, which is there one latency after the decision."""
    decided, clears = held.interruptions, held.caller.clears
    if len(clears) > len(decided):
        raise LawBroken(f"{len(clears)} clears, {len(decided)} interruptions")
    for entry, clear in zip(decided, clears, strict=False):
        if not entry.decided_s - _EPS <= clear.at <= entry.decided_s + held.latency_s + _EPS:
            raise LawBroken(f"decided at {entry.decided_s:.3f}, cleared at {clear.at:.3f}")


def what_is_audible_is_interrupted(held: Held) -> None:
    """An onset is not taken for an ordinary turn while the caller hears the AI."""
    confirm_s = CONFIRM_FRAMES * FRAME_S
    for entry in held.summary.barge_ins:
        if entry.outcome is not Outcome.UNOPPOSED:
            continue
        if any(abs(clear.at - entry.decided_s) < confirm_s for clear in held.caller.clears):
            continue  # what was heard before is cut, and what is heard behind it is something else
        before = entry.decided_s - held.latency_s - FRAME_S
        after = entry.decided_s + 2 * held.latency_s + confirm_s
        for span in held.caller.heard:
            if span.at < before and span.until > after:
                raise LawBroken(f"the AI talked over the caller at {entry.decided_s:.3f}")


def a_protected_greeting_is_heard(held: Held) -> None:
    """From its first sample to its last, whatever the caller says."""
    if not held.greeting_is_protected:
        return
    for response in _greetings(held):
        # What the caller overtook behind it is cut when, by our clock, it is over.
        whole = (
            held.is_in_one_piece(response.id) and held.missing_bytes(response) <= held.hidden_bytes
        )
        if response.status == "cancelled" or not whole:
            raise LawBroken(f"of the greeting {held.heard[response.id]} was heard")


def nobody_is_greeted_twice(held: Held) -> None:
    """A session that takes the place of another greets only if nothing of a greeting was played."""
    greeted = [each.id for each in _greetings(held) if each.id in held.first_frame_at]
    if len(greeted) > 1:
        raise LawBroken(f"the caller was greeted {len(greeted)} times: {greeted}")


def audio_is_conserved(held: Held) -> None:
    """To the byte; whole frames; only tails are padded; in order, without hole or repeat."""
    if held.summary.audio.balance_bytes != 0:
        raise LawBroken(f"{held.summary.audio.balance_bytes} bytes are unaccounted for")
    sizes = {frame.size_bytes for frame in held.caller.frames} - {FRAME_BYTES}
    if sizes:
        raise LawBroken(f"frames of {sizes} bytes")
    latest: dict[str, Frame] = {}
    for frame in held.frames:
        before = latest.get(frame.response_id)
        if before is None and frame.offset:
            raise LawBroken(f"{frame.response_id} lacks its first {frame.offset} bytes")
        if before is not None and before.clears == frame.clears:
            if before.end != frame.offset:
                raise LawBroken(f"{frame.response_id} jumps from {before.end} to {frame.offset}")
            if before.size != FRAME_BYTES:
                raise LawBroken(f"padding in the middle of {frame.response_id}")
        latest[frame.response_id] = frame


def the_carrier_holds_no_more_than_the_lead(held: Held) -> None:
    """Frames leave at the pace at which they are played, at most the lead ahead of it, and what
    their raster adds."""
    most_s = held.lead_s + RASTER_S + held.jitter_s + FRAME_S + _EPS
    plays_until, clears = 0.0, 0
    for frame in held.frames:
        if frame.clears > clears:
            plays_until, clears = 0.0, frame.clears
        ahead_s = max(plays_until - frame.at, 0.0)
        if ahead_s > most_s:
            raise LawBroken(f"at {frame.at:.3f} the carrier held {ahead_s:.3f} s of audio")
        plays_until = frame.at + ahead_s + FRAME_S


def nothing_is_heard_twice_or_left_out(held: Held) -> None:
    """What was heard of a response is its beginning, each sample once, also across a cough."""
    for response_id, stretches in held.heard.items():
        if not held.is_in_one_piece(response_id):
            raise LawBroken(f"of {response_id} was heard: {stretches}")


def whole_replies_are_heard(held: Held) -> None:
    """An uninterrupted reply is heard from its first sample to its last."""
    for response in held.uninterrupted:
        if not held.was_heard(response):
            told = f"{len(response.audio)} bytes were sent, {held.heard[response.id]} heard"
            raise LawBroken(f"{response.id}: {told}")


def replies_have_no_gaps(held: Held) -> None:
    """An uninterrupted reply is heard in one piece."""
    for response in held.uninterrupted:
        if not any(response.audio in span.payload for span in held.caller.heard):
            raise LawBroken(f"{response.id} was heard in pieces")


def every_turn_is_answered(held: Held) -> None:
    """What the caller said last has an answer, which is heard to its end.

    Unless he goes while it is on its way, or while one with nothing to hear is asked for again.
    """
    turns = [turn.at for _, turn in _of_all(held, "speech_stopped")]
    if not turns:
        return
    said_at = max(turns)
    answers = [r for r in held.responses if (r.created_at or 0.0) >= said_at - _EPS]
    closed_at = held.caller.closed.at if held.caller.closed else float("inf")
    for answer in answers:
        is_lost = held.model_of(answer.id) is not held.models[-1]
        if is_lost:
            continue
        if answer.done_at is None or (not answer.audio and answer.done_at > closed_at - RETRY_S):
            return
    if not any(r.audio and held.was_heard(r) for r in answers):
        raise LawBroken(f"nothing was heard after {said_at:.3f}")


def no_turn_meets_dead_air(held: Held) -> None:
    """After a turn something is heard, or the caller speaks again, or the call ends; soon."""
    closed_at = held.caller.closed.at if held.caller.closed else float("inf")
    heard = [frame.at for frame in held.caller.frames]
    spoke = [edge.at for _, edge in _of_all(held, "speech_started")]
    begins = [(r.first_audio_at, r.requested_at) for r in held.responses]
    slow_s = max((first - asked for first, asked in begins if first is not None), default=0.0)
    # A slow model is waited for twice: for the response that is given up, and the one after it.
    longest_s = DEAD_AIR_S + 2 * (slow_s + held.latency_s)
    for _, turn in _of_all(held, "speech_stopped"):
        relief = min((at for at in (*heard, *spoke, closed_at) if at > turn.at), default=closed_at)
        if relief - turn.at > longest_s:
            raise LawBroken(f"{relief - turn.at:.1f} s of silence after {turn.at:.3f}")


def a_wait_is_filled(held: Held) -> None:
    """Who is owed something hears something: the fallback, if the model says nothing in time.

    He is owed the greeting from the beginning of the stream, an answer from the end of his turn as
    the model tells it, what a tool found from the end of the response that called it (unless that
    was cancelled for good), and the rest of an answer from the loss of the model in the middle of
    it, or an answer if it was lost while he spoke, and the rest of a sentence until the model ends
    it. No silence of such a wait is longer
    than `fallback_after`, and behind a fallback no longer than `REPEAT_S`; with what the line
    takes, and half a second.

    Unless there is no fallback, or it was played `MAX_FILLS` times for what is owed. A wait is over
    when the first frame of what is owed arrives, when the model hears the caller speak, and with
    the call.
    """
    if not held.agent.fallback_audio():
        return
    for silence in waiting.silences(held):
        lasted_s = silence.until - silence.at
        if lasted_s > waiting.longest_s(held, silence.fills):
            told = f"{lasted_s:.2f} s of silence from {silence.at:.3f} on"
            raise LawBroken(
                f"{told}, waiting for {silence.wait.over} since {silence.wait.since:.3f}"
            )


def a_fallback_fills_a_wait(held: Held) -> None:
    """It is played only while something is owed, and behind a silence that is long enough."""
    way_s = 2 * held.latency_s + held.frozen_s
    open_waits = [*waiting.waits(held), *waiting.requests(held), *waiting.sentences(held)]
    for at in held.fallbacks_at:
        owed = [w for w in open_waits if w.since <= at and at <= w.until + way_s]
        if not owed:
            raise LawBroken(f"nothing was owed at {at:.3f}, when the fallback began")
        quiet_since = max((s.until for s in held.caller.heard if s.at < at - _EPS), default=0.0)
        quiet_since = max(quiet_since, min(wait.since for wait in owed))
        # What the carrier is thought to hold is as uncertain as the line.
        if at - quiet_since < held.fallback_after_s - way_s - 3 * held.jitter_s - FRAME_S:
            raise LawBroken(f"the fallback came {at - quiet_since:.3f} s after the last sound")


def nothing_is_left(held: Held) -> None:
    """No actor, and nothing that would keep the clock busy."""
    if held.leftovers:
        raise LawBroken(", ".join(held.leftovers))


def nothing_crashes(held: Held) -> None:
    """No actor died, not even one that began anew."""
    if held.summary.crashes or held.summary.end_cause is EndCause.CRASHED:
        raise LawBroken(f"{held.summary.end_detail} {held.summary.crashes}")


def counters_agree(held: Held) -> None:
    """What the summary says is what the simulators saw: the caller, and the model in all sessions.

    What was under way to a session that was lost never arrived: there `counters_invent_nothing`
    must do.
    """
    shown = [*figures.with_the_carrier(held)]
    if not held.later_models:
        shown += figures.with_the_model(held)
    if wrong := [str(each) for each in shown if each.sent != each.arrived]:
        raise LawBroken("; ".join(wrong))


def counters_invent_nothing(held: Held) -> None:
    """Whatever breaks, no more arrived than was sent."""
    shown = (*figures.with_the_carrier(held), *figures.with_the_model(held))
    if wrong := [str(each) for each in shown if each.sent < each.arrived]:
        raise LawBroken("; ".join(wrong))


def the_carrier_had_nothing_to_complain_about(held: Held) -> None:
    """Every message had one of Twilio's exact shapes, and the model read all it was sent."""
    unread = [(model.unreadable, model.misread_bytes) for model in held.models]
    if held.caller.violations or any(map(any, unread)):
        raise LawBroken(f"{held.caller.violations} {unread}")


Recorded: TypeAlias = Literal["truncates", "cancels", "creates", "speech_started", "speech_stopped"]


def _of_all(held: Held, what: Recorded) -> Iterator[tuple[Record, Any]]:
    """What the sessions recorded, each with its session."""
    return ((model, each) for model in held.models for each in getattr(model, what))


def _is_gone_by(model: Record, at: float) -> bool:
    """That session is over by then."""
    return model.closed is not None and model.closed[2] <= at + _EPS


def _greetings(held: Held) -> list[ResponseRecord]:
    """The responses that a session was asked to greet with."""
    if not held.agent.greeting:
        return []
    return [
        model.response(create.response_id)
        for model, create in _of_all(held, "creates")
        if create.response_id and create.response.get("instructions") == held.agent.greeting
    ]


def _item(model: Record, item_id: str) -> tuple[ResponseRecord, ItemRecord, int]:
    """An item of a session, the response it is of, and where in it its audio begins."""
    for response in model.responses:
        begin = 0
        for item in response.items:
            if item.id == item_id:
                return response, item, begin
            begin += len(item.audio)
    raise LawBroken(f"no response of the session has an item {item_id}")


ALWAYS: Final[Mapping[Callable[[Held], None], str]] = {
    the_carrier_had_nothing_to_complain_about: "form",
    nothing_of_an_interrupted_response_is_played_on: "L1",
    marks_carry_the_generation: "L2",
    truncates_tell_what_was_heard: "L3",
    what_was_not_heard_is_truncated: "L3",
    cancels_name_their_response_and_are_resolved: "L4",
    creates_wait_for_the_slot: "L5",
    what_is_audible_is_interrupted: "L6",
    the_carrier_is_cleared_at_once: "L7",
    a_protected_greeting_is_heard: "L9",
    nobody_is_greeted_twice: "L9",
    the_carrier_holds_no_more_than_the_lead: "pace",
    audio_is_conserved: "L11",
    nothing_is_heard_twice_or_left_out: "L11",
    whole_replies_are_heard: "L11",
    nothing_is_left: "L12",
    nothing_crashes: "L12",
    every_turn_is_answered: "L13",
    no_turn_meets_dead_air: "L13",
    a_wait_is_filled: "L13",
    a_fallback_fills_a_wait: "L13",
    counters_agree: "L15",
    counters_invent_nothing: "L15",
}
"""What holds in every call in which nothing breaks and the caller hangs up in a silence."""
