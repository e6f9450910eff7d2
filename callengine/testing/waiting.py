"""L13 by the caller's ear: when he waits for something to be said, and what he hears meanwhile.

Times are those of the two records. A wait is over as soon as something of what he waits for is
played, as soon as the model hears him speak, and when the call is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from callengine.audio.g711 import FRAME_S
from callengine.machines.dead_air import MAX_FILLS, REPEAT_S
from callengine.machines.onsets import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.held import Held
    from callengine.testing.realtime.record import Record, ResponseRecord

SLACK_S: Final = 0.5
"""How much later than it is meant to the fallback may be heard, beside what the line takes."""

_EPS: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Wait:
    """Something is owed `since` then, `until` it is heard or no longer owed.

    `over` is what the caller waits for, in words.
    """

    since: float
    until: float
    over: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch in which the caller hears something; `fallbacks` are how many begin in it."""

    at: float
    until: float
    fallbacks: int


def waits(held: Held) -> list[Wait]:
    """All waits of a call, by when they begin. Several may be open at a time."""
    found = []
    for since, over, answers in _begun(held):
        alive = [model for model in held.models if not _is_over(model, since)]
        heard = [_heard_first(held, answer) for answer in answers]
        spoke = [
            started.at
            for model in alive
            for started, stopped in zip_longest(model.speech_started, model.speech_stopped)
            if started.at >= since and (stopped is None or stopped.at > since)
        ]
        ends = [at for at in (*heard, *spoke) if at is not None]
        found.append(Wait(since, min([*ends, _closed_at(held)]), over))
    return sorted([*found, *_sentences(held)], key=lambda wait: wait.since)


def _sentences(held: Held) -> Iterator[Wait]:
    """While the model speaks, the caller waits for the rest; unless somebody stops it."""
    for response in held.uninterrupted:
        done_at, heard_at = response.done_at, held.first_frame_at[response.id]
        if done_at is not None and done_at > heard_at:
            yield Wait(heard_at, done_at, "the rest of a sentence")


def sentences(held: Held) -> list[Wait]:
    """What the model has begun, until it is done: its rest is owed."""
    return [
        Wait(response.created_at, response.done_at or _closed_at(held), "the rest")
        for response in held.responses
        if response.created_at is not None
    ]


def requests(held: Held) -> list[Wait]:
    """What the model was asked for, until it is heard, and the rest of what it has begun."""
    asked = [
        Wait(create.at, held.first_frame_at.get(create.response_id or "", _closed_at(held)), "it")
        for model in held.models
        for create in model.creates
    ]
    begun = [
        Wait(at, _closed_at(held) if response.done_at is None else response.done_at, "the rest")
        for response in held.responses
        if (at := response.first_audio_at) is not None
    ]
    return asked + begun


def _begun(held: Held) -> Iterator[tuple[float, str, list[ResponseRecord]]]:
    """When something begins to be owed, what, and the responses that may be it."""
    if held.agent.greeting:
        yield held.caller.opened_at, "the greeting", held.responses
    for model in held.models:
        for turn in model.speech_stopped:
            yield turn.at, "an answer", _made_after(held, turn.at)
        for response in model.responses:
            if response.done_at is not None and _calls_a_tool(held, model, response):
                yield response.done_at, "what a tool found", _made_behind(held, response)
    for at in _interrupted_unheard(held):
        yield at, "an answer, interrupted by what only we heard", _made_after(held, at)
    for n, lost in enumerate(held.models[:-1], 1):
        if lost.closed is not None and (_is_speaking(lost) or _is_hearing(lost)):
            later = [response for model in held.models[n:] for response in model.responses]
            yield lost.closed[2], "what was lost", later


def _interrupted_unheard(held: Held) -> Iterator[float]:
    """When the model was interrupted, by what it did not take for speech."""
    for entry in held.interruptions:
        at, response_id = entry.settled_s, entry.response_id
        if entry.outcome is not Outcome.ACTED or at is None or response_id is None:
            continue
        if response_id not in held.own_audio and not _hears(held.model_of(response_id), at):
            yield at


def _hears(model: Record, at: float) -> bool:
    """It hears the caller speak; or nothing any more."""
    heard = zip_longest(model.speech_started, model.speech_stopped)
    return _is_over(model, at) or any(
        started.at <= at and (stopped is None or stopped.at > at) for started, stopped in heard
    )


def _calls_a_tool(held: Held, model: Record, response: ResponseRecord) -> bool:
    """And the call is to be made: it was not cancelled, unless that was taken back."""
    called = any(item.type == "function_call" for item in response.items)
    cancelled = any(cancel.response_id == response.id for cancel in model.cancels)
    made = held.was_resumed(response.id) or not cancelled
    return called and response.status == "completed" and made


def _is_over(model: Record, at: float) -> bool:
    return model.closed is not None and model.closed[2] <= at


def _is_speaking(model: Record) -> bool:
    """It was lost in the middle of a response."""
    return any(r.created_at is not None and r.done_at is None for r in model.responses)


def _is_hearing(model: Record) -> bool:
    """It was lost while the caller spoke."""
    return len(model.speech_started) > len(model.speech_stopped)


def _made_after(held: Held, at: float) -> list[ResponseRecord]:
    """At that very moment only the server itself answers."""
    return [
        response
        for response in held.responses
        if response.created_at is not None
        and response.created_at > at + (-_EPS if response.automatic else _EPS)
    ]


def _made_behind(held: Held, before: ResponseRecord) -> list[ResponseRecord]:
    """On a line without latency the next is made the moment the one before is done."""
    assert before.done_at is not None, "it called a tool, and is done"
    return [
        response
        for response in held.responses
        if response is not before
        and response.created_at is not None
        and response.created_at > before.done_at - _EPS
    ]


def _heard_first(held: Held, response: ResponseRecord) -> float | None:
    return held.first_frame_at.get(response.id)


def _closed_at(held: Held) -> float:
    return held.caller.closed.at if held.caller.closed else float("inf")


def sounds(held: Held) -> list[Sound]:
    """What the caller heard, joined where less than two frames are between."""
    begun = iter([*held.fallbacks_at, float("inf")])
    next_begun = next(begun)
    found: list[Sound] = []
    for span in held.caller.heard:
        fallbacks = 0
        while next_begun < span.until:  # a frame arrives before it is heard
            fallbacks, next_begun = fallbacks + 1, next(begun)
        last = found[-1] if found else None
        if last is not None and span.at - last.until < 2 * FRAME_S:
            found[-1] = Sound(last.at, span.until, last.fallbacks + fallbacks)
        else:
            found.append(Sound(span.at, span.until, fallbacks))
    return found


@dataclass(frozen=True, slots=True)
class Silence:
    """A stretch of a wait in which nothing is heard; `fills` fallbacks came before it."""

    wait: Wait
    at: float
    until: float
    fills: int


def silences(held: Held) -> Iterator[Silence]:
    """The silences of every wait, in order."""
    heard = sounds(held)
    for wait in waits(held):
        at, fills = wait.since, _fills_before(held, wait.since)
        for sound in heard:
            if sound.until <= wait.since:
                continue
            if sound.at >= wait.until:
                break
            if sound.at > at:
                yield Silence(wait, at, sound.at, fills)
            at, fills = sound.until, fills + sound.fallbacks
        if wait.until > at:
            yield Silence(wait, at, wait.until, fills)


def _fills_before(held: Held, at: float) -> int:
    """Fallbacks for what was owed already, with no word of the model or the caller since."""
    firsts = (_heard_first(held, response) for response in held.responses)
    words = [first for first in firsts if first is not None and first <= at]
    words += [e.at for model in held.models for e in model.speech_started if e.at <= at]
    since = max(words, default=0.0)
    return sum(since < fallback_at <= at for fallback_at in held.fallbacks_at)


def longest_s(held: Held, fills: int) -> float:
    """How long a silence may last behind so many fallbacks."""
    if fills >= MAX_FILLS:
        return float("inf")
    meant_s = REPEAT_S if fills else held.fallback_after_s
    return meant_s + SLACK_S + 2 * held.latency_s + held.frozen_s
