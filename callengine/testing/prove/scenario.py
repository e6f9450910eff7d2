"""A call drawn from a seed, as data: who says what when, what the lines do, what goes wrong.

Everything that may differ between two calls is a field here, so that a call can be repeated,
shortened and printed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Final

from callengine.agent import Agent, Tool, VadConfig
from callengine.audio import g711
from callengine.messages import EndCause
from callengine.settings import Settings
from callengine.testing import speech
from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.caller.script import (
    BargeIn,
    Dial,
    Say,
    Step,
    StopFrames,
    Wait,
    WaitUntil,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.held import noise, reply
from callengine.testing.prove.trouble import (
    ENDS_THE_CALL,
    LOST,
    Trouble,
    draw_loss,
    draw_trouble,
    may_end,
    session_never_made,
)
from callengine.testing.realtime.faults import DelaySessionUpdated
from callengine.testing.realtime.script import (
    Behaviour,
    CancelStyle,
    Ending,
    Reply,
    ReplyRequest,
    ToolCall,
    Transcription,
    TranscriptionOutcome,
)
from callengine.testing.realtime.server import SimulatedRealtime
from callengine.testing.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.realtime.faults import Fault
    from callengine.testing.simulation import Watch

MIN_CALL_S: Final = 20.0
MAX_CALL_S: Final = 60.0

QUESTIONS: Final = ("caller_question_1", "caller_question_3", "caller_yes")
OBJECTIONS: Final = ("caller_barge_in_1", "caller_barge_in_2", "caller_yes")

DEAF: Final = VadConfig(threshold=1.0)
"""A model that does not hear a cough; our detector does."""

_PULSE: Final = bytes([*[0xD3] * 4, *[0x53] * 4])


def cough(duration_ms: int) -> bytes:
    """A noise of the caller that is loud to us (an RMS of 780) and nothing to a deaf model."""
    return _PULSE * (g711.BYTES_PER_MS * duration_ms // len(_PULSE))


@dataclass(frozen=True, slots=True)
class ReplyPlan:
    """One reply of the model: how long it speaks, and what else it does."""

    seconds: float
    second_item_s: float = 0.0
    calls_tool: bool = False
    ending: Ending = Ending.COMPLETED

    def made(self, seed: int) -> Reply:
        """The reply, in noise of its own."""
        if not self.seconds:
            return Reply(ending=self.ending)
        calls = (ToolCall("lookup", '{"what":"hours"}'),) if self.calls_tool else ()
        return reply(self.seconds, seed, *calls, second_item_s=self.second_item_s)


@dataclass(frozen=True, slots=True)
class Successor:
    """A session that takes the place of one that was lost."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: tuple[Fault, ...] = ()

    @property
    def lasts(self) -> bool:
        """It begins, if late, and goes on to the end of the call."""
        return all(
            isinstance(fault, DelaySessionUpdated) and fault.seconds for fault in self.faults
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """One call. `successors` are the models that can be reached when one is lost, in order."""

    seed: int
    script: tuple[Step, ...]
    ending: tuple[Step, ...]
    replies: tuple[ReplyPlan, ...]
    greeting: str | None = "Say hello."
    greeting_protected: bool = True
    model_is_deaf_to_coughs: bool = False
    onset_frames: int = 5
    lead_ms: int = 100
    latency_s: float = 0.005
    jitter_s: float = 0.0
    playout_delay_s: float = 0.0
    mark_echo_delay_s: float = 0.0
    behaviour: Behaviour = field(default_factory=Behaviour)
    troubles: tuple[Trouble, ...] = ()
    successors: tuple[Successor, ...] = ()
    fallback_s: float = 1.0
    fallback_text: str | None = None
    fallback_after_ms: int = 2500

    def simulation(self, watch: Watch | None = None) -> Simulation:
        """The call, ready to be held."""
        faults = tuple(fault for trouble in self.troubles for fault in trouble.model)
        models = self._models([Successor(self.behaviour, faults), *self.successors])
        return Simulation(
            SimulatedCaller(
                self.script + self.ending,
                seed=self.seed,
                playout_delay_s=self.playout_delay_s,
                mark_echo_delay_s=self.mark_echo_delay_s,
            ),
            next(models),
            self._agent(),
            Settings(
                onset_frames=self.onset_frames,
                lead_ms=self.lead_ms,
                fallback_after_ms=self.fallback_after_ms,
            ),
            seed=self.seed,
            latency_s=self.latency_s,
            jitter_s=self.jitter_s,
            hiccups=tuple(t.hiccup for t in self.troubles if t.hiccup is not None),
            watch=watch,
            next_model=lambda: next(models, None),
        )

    def _models(self, sessions: list[Successor]) -> Iterator[SimulatedRealtime]:
        """One goes on where the one before was lost. The plans begin again at the end, but no two
        replies sound the same."""
        numbers = itertools.count(1)

        def answer(_: ReplyRequest) -> Reply:
            number = next(numbers)
            plan = self.replies[(number - 1) % len(self.replies)]
            return plan.made(1000 * self.seed + number)

        for n, session in enumerate(sessions):
            yield SimulatedRealtime(
                answer,
                behaviour=session.behaviour,
                faults=session.faults,
                seed=self.seed + n,
                ids_from=1000 * n,
            )

    @property
    def may_end(self) -> frozenset[EndCause]:
        """How the call may end. A model with nothing to say twice in a row is given up: if it took
        over from one that was lost, that is the cause."""
        silent = any(not plan.seconds for plan in self.replies)
        ends = may_end(self.troubles) | ({EndCause.MODEL_FAILED} if silent else set())
        if not self.successors:
            return ends
        if not self.successors[0].lasts:
            return ends | LOST
        return ends if silent else ends - LOST

    def _agent(self) -> Agent:
        return Agent(
            greeting=self.greeting,
            greeting_protected=self.greeting_protected,
            vad=DEAF if self.model_is_deaf_to_coughs else VadConfig(),
            tools=(Tool("lookup", "", {"type": "object"}, lambda what: what),),
            fallback=noise(self.fallback_s, -self.seed - 500_000_000),
            fallback_text=self.fallback_text,
            farewell=noise(1.0, -self.seed - 1),
        )


def draw(seed: int) -> Scenario:
    """The call of a seed: the same one every time."""
    rng = Random(seed)
    troubles = tuple(draw_trouble(rng) for _ in range(rng.choice([0, 0, 1, 1, 2])))
    behaviour = _manners(rng)
    greeting = rng.choice([None, "Say hello.", "Say hello.", "Say hello."])
    # A carrier's delay shows when the first audio was heard; it must not shrink in underruns.
    measurable = greeting is not None and not troubles and behaviour.pace > 1.0
    scenario = Scenario(
        seed,
        *_scripts(rng, troubles, greets=greeting is not None),
        tuple(_reply_plan(rng) for _ in range(9)),
        greeting=greeting,
        greeting_protected=rng.random() < 0.5,
        model_is_deaf_to_coughs=rng.random() < 0.5,
        onset_frames=rng.choice([2, 5, 5, 5]),
        lead_ms=rng.choice([0, 40, 100, 100, 100, 200]),
        latency_s=rng.choice([0.0, 0.005, 0.02, 0.06, 0.15]),
        jitter_s=rng.choice([0.0, 0.0, 0.01, 0.05]),
        playout_delay_s=rng.choice([0.0, 0.06, 0.2]) if measurable else 0.0,
        mark_echo_delay_s=rng.choice([0.0, 0.02, 0.2]),
        behaviour=behaviour,
        troubles=troubles,
    )
    return _with_waits(scenario, rng)


def _with_waits(scenario: Scenario, rng: Random) -> Scenario:
    """Whatever makes the caller wait: a slow model, one that is lost, and what he hears then."""
    behaviour, troubles = _maybe_slow(scenario.behaviour, rng), scenario.troubles
    lost = rng.random() < 0.3
    if lost:
        troubles += (draw_loss(rng),)
    successors = tuple(_successor(rng) for _ in range(rng.choice([0, 1, 1, 2])))
    slowest_s = max(each.first_audio_s for each in (behaviour, *(s.behaviour for s in successors)))
    quiet_s = 4.0 if slowest_s <= 1.0 and not any(s.faults for s in successors) else slowest_s + 6.0
    # While no frames come the model does not hear that his turn is over.
    quiet_s += sum(step.seconds for step in scenario.script if isinstance(step, StopFrames))
    hears_out = WaitUntilQuiet(4.0, 24.0)
    waits = replace(
        scenario,
        ending=tuple(
            replace(step, quiet_s=quiet_s, timeout_s=40.0 + quiet_s) if step == hears_out else step
            for step in scenario.ending
        ),
        behaviour=behaviour,
        troubles=troubles,
        successors=successors,
        fallback_s=rng.choice([0.0, 0.6, 1.0, 1.31]),
        fallback_text=rng.choice([None, "Sorry, I was away."]),
        fallback_after_ms=rng.choice([1000, 2500, 2500]),
    )
    # See `measurable`; and what is heard in the place of a slow greeting may be interrupted before
    # it is measured.
    is_slow = 1000 * (behaviour.first_audio_s + 1.0) > waits.fallback_after_ms
    return replace(waits, playout_delay_s=0.0) if lost or is_slow else waits


def _maybe_slow(behaviour: Behaviour, rng: Random) -> Behaviour:
    if rng.random() < 0.8:
        return behaviour
    return replace(behaviour, first_audio_s=rng.choice([2.6, 3.5, 5.0]))


def _successor(rng: Random) -> Successor:
    faults: tuple[Fault, ...] = rng.choice(
        [
            (),
            (),
            (),
            (DelaySessionUpdated(rng.uniform(0.1, 4.0)),),
            draw_loss(rng).model,
            session_never_made(rng),
        ]
    )
    return Successor(_maybe_slow(_manners(rng), rng), faults)


def _reply_plan(rng: Random) -> ReplyPlan:
    if rng.random() < 0.04:
        return ReplyPlan(0.0, ending=rng.choice(list(Ending)))
    return ReplyPlan(
        rng.choice([0.7, 1.5, 2.2, 3.9, 4.0, 5.01]),
        rng.choice([0.0, 0.0, 0.0, 1.3]),
        calls_tool=rng.random() < 0.12,
    )


def _manners(rng: Random) -> Behaviour:
    outcomes = list(TranscriptionOutcome)
    uneven = (1, 159, 160, 161, 1000, 4133)
    return Behaviour(
        pace=rng.choice([0.7, 1.0, 2.0, 6.0, 6.0, 60.0]),
        created_after_s=rng.choice([0.0, 0.01, 0.1, 0.4]),
        first_audio_s=rng.choice([0.0, 0.05, 0.3, 1.0]),
        delta_bytes=rng.choice([(160,), uneven, uneven, (800,), (800,), (4000,), (8000, 0)]),
        deltas_in_flight=rng.choice([0, 2, 8]),
        cancel_takes_s=rng.choice([0.0, 0.02, 0.3]),
        cancel_style=rng.choice(list(CancelStyle)),
        cancel_races_completion=rng.random() < 0.3,
        transcript_done_first=rng.random() < 0.5,
        active_error_names_event=rng.random() < 0.5,
        transcriptions=(
            Transcription(after_s=rng.choice([0.0, 0.5, 4.0]), outcome=rng.choice(outcomes)),
        ),
    )


def _scripts(
    rng: Random, troubles: tuple[Trouble, ...], *, greets: bool
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """A caller who asks, interrupts, coughs and dials; at the end he listens to the end."""
    # The line's delays must have been measured before the first interruption.
    steps: list[Step] = [WaitUntilHeard(6.0), Wait(0.6)] if greets else [Wait(0.5)]
    for _ in range(rng.randint(2, 5)):
        steps += _move(rng)
    ending: list[Step] = [
        WaitUntil(MIN_CALL_S - 4.0),
        WaitUntilQuiet(4.0, 24.0),
        WaitUntil(MIN_CALL_S),
    ]
    for trouble in troubles:
        if trouble.kind in ENDS_THE_CALL:
            ending = [WaitUntil(MIN_CALL_S), _question(rng), Wait(rng.uniform(0.0, 3.0))]
            ending += trouble.steps
        else:
            at = rng.randint(1, len(steps))
            steps[at:at] = trouble.steps
    return tuple(steps), tuple(ending)


def _question(rng: Random) -> Say:
    name = rng.choice(QUESTIONS)
    return Say(speech.clip(name), name)


def _move(rng: Random) -> list[Step]:
    heard_s = rng.choice([0.0, 0.02, 0.3, 1.0, 2.0])
    asks, objection = _question(rng), rng.choice(OBJECTIONS)
    interrupts = BargeIn(speech.clip(objection), heard_s, objection, timeout_s=4.0)
    length_ms = rng.choice([100, 120, 160, 280])
    coughs = BargeIn(cough(length_ms), heard_s, f"cough {length_ms} ms", timeout_s=4.0)
    return rng.choice(
        [
            [asks, WaitUntilQuiet(rng.choice([0.2, 1.0]), 8.0)],
            [asks, Wait(rng.random())],
            [asks, interrupts],
            [interrupts],
            [interrupts, Wait(rng.choice([0.0, 0.3])), interrupts],
            [coughs, Wait(rng.choice([0.1, 0.4, 1.0]))],
            [coughs, interrupts],
            [Dial(rng.choice(["1", "42#"]))],
        ]
    )
