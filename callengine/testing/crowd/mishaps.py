"""Calls for a `Crowd` in which something goes wrong at random, and what must hold all the same.

Timing is not judged: with many calls on one machine it is the machine's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from callengine.agent import Agent
from callengine.audio.g711 import SAMPLE_RATE_HZ
from callengine.machines.onsets import Outcome
from callengine.messages import EndCause
from callengine.testing import laws
from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.caller.script import (
    BargeIn,
    Dial,
    DropSocket,
    HangUp,
    Say,
    SendRaw,
    SkipTime,
    Step,
    StopFrames,
    WaitUntil,
    WaitUntilQuiet,
)
from callengine.testing.crowd.crowd import CrowdCall
from callengine.testing.held import Held, noise, reply
from callengine.testing.network.proxy import Cut, Slow, Swallow
from callengine.testing.network.relay import Side
from callengine.testing.realtime import faults
from callengine.testing.realtime.script import Behaviour
from callengine.testing.realtime.server import SimulatedRealtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from callengine.summary import CallSummary
    from callengine.testing.network.proxy import Trouble
    from callengine.testing.realtime.faults import Fault

AGENT: Final = Agent(fallback=noise(0.5, 1_000_004), farewell=noise(0.3, 1_000_003))
PATIENCE_S: Final = 30.0
"""For a step of a healthy call, on a machine with too much to do."""

SHORT_PATIENCE_S: Final = 4.0
"""For a step of a call in which something may be waited for in vain."""

QUIET_S: Final = 2.0
"""An answer is over after so long: when a machine is slow, silences in an answer are as well."""

LAST_QUIET_S: Final = 4.0
"""Before the caller hangs up: nothing may be under way to him any more."""

NOTICED_S: Final = 30.0
"""A dead carrier is noticed after so long: in shorter calls there is none."""

GREETING_S: Final = 1.0
TURN_S: Final = 8.0
"""About how long a question and its answer take."""

_LOUD_CODES: Final = bytes([*range(0x10, 0x30), *range(0x90, 0xB0)])
_HUNG_UP: Final = frozenset({EndCause.CALLER_HUNG_UP})
_CALLER_LOST: Final = _HUNG_UP | {EndCause.CARRIER_LOST}
_MODEL_LOST: Final = _HUNG_UP | {EndCause.MODEL_LOST}
_MODEL_DEAD: Final = _HUNG_UP | {EndCause.MODEL_SILENT, EndCause.MODEL_FAILED}
_CLOSES: Final = (1000, 1001, 1008, 1011, 1012, 1013)


@dataclass(frozen=True, slots=True)
class Mishap:
    """What goes wrong in one call, and how it may end then.

    A call may always end as planned before its mishap strikes, or is noticed.
    """

    name: str
    causes: frozenset[EndCause] = _HUNG_UP
    steps: tuple[Step, ...] = ()
    faults: tuple[Fault, ...] = ()
    on_carrier: tuple[Trouble, ...] = ()
    on_model: tuple[Trouble, ...] = ()
    refuse_with: int | None = None


NONE: Final = Mishap("none")


def draw(rng: Random, seconds: float) -> Mishap:
    """Something that goes wrong in a call of that length."""
    at = rng.uniform(1.0, max(seconds - 2.0, 1.5))
    return rng.choice([*_of_the_carrier(rng, at, seconds), *_of_the_model(rng, at)])


def _of_the_carrier(rng: Random, at: float, seconds: float) -> Iterator[Mishap]:
    yield Mishap("carrier reset", _CALLER_LOST, on_carrier=(Cut(at),))
    yield Mishap("carrier slow to read", on_carrier=(Slow(Side.CLIENT, 0, at, 1.5),))
    yield Mishap("carrier slow to send", on_carrier=(Slow(Side.SERVER, 0, at, 1.5),))
    yield Mishap("caller drops", _CALLER_LOST, (DropSocket(rng.random() < 0.5, code=1001),))
    yield Mishap("caller hangs up", steps=(HangUp(),))
    yield Mishap("no frames", steps=(StopFrames(2.0),))
    yield Mishap("clock jumps", steps=(SkipTime(rng.choice((-2_000, 300, 20_000))),))
    yield Mishap("garbage", steps=(SendRaw("{"), SendRaw(b"\x00"), SendRaw('{"event":"media"}')))
    if seconds > NOTICED_S:
        dead = _CALLER_LOST | {EndCause.CARRIER_SILENT}
        yield Mishap("carrier dead", dead, on_carrier=(Swallow(at),))


def _of_the_model(rng: Random, at: float) -> Iterator[Mishap]:
    later = faults.After(at)
    close = faults.CloseSocket(later, rng.choice(_CLOSES))
    yield Mishap("model reset", _MODEL_LOST, on_model=(Cut(at),))
    yield Mishap("model dead", _MODEL_DEAD, on_model=(Swallow(at),))
    yield Mishap("model slow to read", on_model=(Slow(Side.SERVER, 0, at, 1.5),))
    yield Mishap("model slow to send", on_model=(Slow(Side.CLIENT, 0, at, 1.5),))
    yield Mishap("model closes", _MODEL_LOST, faults=(close,))
    yield Mishap("model silent", _MODEL_DEAD, faults=(faults.GoSilent(later),))
    yield Mishap("model stalls", faults=(faults.StallAudio(2, 300, 2.0),))
    yield Mishap("response fails", faults=(faults.FailResponse(2, after_ms=200),))
    yield Mishap("model talks nonsense", faults=(faults.SendRaw(later, '{"type":7}'),))
    refused = frozenset({EndCause.SESSION_REFUSED})
    yield Mishap("session refused", refused, faults=(faults.RefuseSessionUpdate(),))
    yield Mishap("key refused", frozenset({EndCause.MODEL_REFUSED}), refuse_with=401)
    yield Mishap("model busy", frozenset({EndCause.MODEL_UNREACHABLE}), refuse_with=503)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One call of the crowd, and what was drawn for it."""

    number: int
    mishap: Mishap
    call: CrowdCall
    voice: bytes
    """Audio that only this caller sends."""


def draw_call(
    number: int, seed: int, seconds: float, *, healthy: bool, silent_for_s: float = 0.0
) -> Drawn:
    """A call that is like no other: its caller's voice and its model's are its own.

    For `silent_for_s` the caller sends no frames: until all callers are on the line, say.
    """
    rng = Random(f"{seed}/{number}")
    mishap = NONE if healthy else draw(rng, seconds)
    voice = bytes(rng.choices(_LOUD_CODES, k=SAMPLE_RATE_HZ))
    script = _script(rng, voice, seconds, mishap)
    if silent_for_s:
        script = (StopFrames(silent_for_s), *script)
    caller = SimulatedCaller(script, seed=rng.getrandbits(32))
    replies = [reply(GREETING_S, number * 1_000)]
    replies += [reply(rng.uniform(1.5, 4.0), number * 1_000 + n) for n in range(1, 30)]
    model = SimulatedRealtime(
        replies,
        behaviour=Behaviour(latency_s=0.04),
        faults=mishap.faults,
        seed=rng.getrandbits(32),
    )
    call = CrowdCall(caller, model, mishap.on_carrier, mishap.on_model, mishap.refuse_with)
    return Drawn(number, mishap, call, voice)


def _script(rng: Random, voice: bytes, seconds: float, mishap: Mishap) -> tuple[Step, ...]:
    """Questions, some of them over the AI, in about so many seconds.

    A healthy call ends in silence, when all was heard: everything in it is accounted for then.
    """
    patience_s = PATIENCE_S if mishap is NONE else SHORT_PATIENCE_S
    steps: list[Step] = [WaitUntilQuiet(0.5, patience_s)]
    for _ in range(max(round(seconds / TURN_S), 1)):
        steps.append(Say(voice))
        if rng.random() < 0.4:
            steps.append(BargeIn(voice, rng.choice((0.0, 0.3)), timeout_s=patience_s))
        steps.append(WaitUntilQuiet(QUIET_S, patience_s))
        if rng.random() < 0.2:
            steps.append(Dial("42#"))
    if mishap is NONE:
        steps.append(WaitUntilQuiet(LAST_QUIET_S, patience_s))
    place = rng.randint(1, len(steps))
    return (*steps[:place], *mishap.steps, *steps[place:], WaitUntil(seconds))


# ---- what must hold

WHATEVER_BREAKS: Final[tuple[Callable[[Held], None], ...]] = (
    laws.nothing_of_an_interrupted_response_is_played_on,
    laws.marks_carry_the_generation,
    laws.audio_is_conserved,
    laws.nothing_crashes,
    laws.counters_invent_nothing,
)

TIMING: Final[frozenset[Callable[[Held], None]]] = frozenset(
    {
        laws.truncates_tell_what_was_heard,
        laws.what_was_not_heard_is_truncated,
        laws.cancels_name_their_response_and_are_resolved,
        laws.creates_wait_for_the_slot,
        laws.what_is_audible_is_interrupted,
        laws.the_carrier_is_cleared_at_once,
        laws.no_turn_meets_dead_air,
        laws.a_wait_is_filled,
        laws.a_fallback_fills_a_wait,
        laws.the_carrier_holds_no_more_than_the_lead,
    }
)
"""Laws that compare times of different processes, or hold a machine to its deadlines."""

TO_THE_SAMPLE: Final[frozenset[Callable[[Held], None]]] = frozenset(
    {laws.nothing_is_heard_twice_or_left_out, laws.whole_replies_are_heard}
)


def breaches(drawn: Drawn, summary: CallSummary | None) -> Iterator[str]:
    """What did not hold in a call that is over."""
    call, mishap = drawn.call, drawn.mishap
    if call.failure is not None:
        yield f"the caller could not hold the call: {call.failure!r}"
    if summary is None:
        yield "there is no summary"
        return
    if summary.end_cause not in mishap.causes:
        yield f"it ended with {summary.end_cause}: {summary.end_detail}"
    record = call.caller.record
    held = Held(summary, record, call.model.record, latency_s=0.0, jitter_s=0.0, agent=AGENT)
    checked: Iterable[Callable[[Held], None]] = WHATEVER_BREAKS
    if mishap is NONE:
        checked = [law for law in laws.ALWAYS if law not in TIMING]
        waited = [missed for missed in record.missed if not isinstance(missed.step, BargeIn)]
        yield from (f"missed: {missed}" for missed in waited)
        if drawn.voice not in call.model.record.appended:
            yield "the model did not hear its caller"
    if any(entry.outcome is Outcome.RESUMED for entry in summary.barge_ins):
        # Where the caller stopped hearing it is an estimate, as good as the timing.
        checked = [law for law in checked if law not in TO_THE_SAMPLE]
    yield from (f"violation: {violation}" for violation in record.violations)
    for law in checked:
        try:
            law(held)
        except AssertionError as broken:
            yield f"{law.__name__}: {broken}"


def strangers(calls: Iterable[Drawn]) -> Iterator[str]:
    """Which models heard callers that were not theirs."""
    calls = list(calls)
    by_voice = {drawn.voice[:160]: drawn for drawn in calls}
    for drawn in calls:
        appended = bytes(drawn.call.model.record.appended)
        for voice, other in by_voice.items():
            if other is not drawn and voice in appended:
                yield f"model {drawn.number} heard caller {other.number}"


def by_mishap(calls: Iterable[Drawn]) -> dict[str, list[Drawn]]:
    """The calls, by what went wrong."""
    sorted_out: defaultdict[str, list[Drawn]] = defaultdict(list)
    for drawn in calls:
        sorted_out[drawn.mishap.name].append(drawn)
    return dict(sorted(sorted_out.items()))
