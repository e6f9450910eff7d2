"""Calls on the virtual clock in which it is the carrier that is odd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from callengine import Agent, Settings
from callengine.testing import SimulatedCaller, SimulatedRealtime, Simulation, laws
from callengine.testing.caller.script import Say, WaitUntilQuiet
from callengine.testing.caller.stream import StreamFacts, TwilioStream
from callengine.testing.held import Held, hold, reply
from callengine.testing.speech import clip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.testing import Behaviour, Reply
    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.faults import Fault
    from callengine.testing.simulation import Hiccup

INVENTED: Final = (laws.counters_agree, laws.counters_invent_nothing)
"""Laws that cannot hold when the test itself puts messages on a line."""

QUESTION: Final = clip("caller_question_1")
STOP: Final = clip("caller_barge_in_2")
REPLIES: Final = [reply(1.0, 1), reply(3.0, 2), reply(2.0, 3), reply(2.0, 4)]
GREETED: Final = WaitUntilQuiet(0.5, 10.0)
ANSWERED: Final = WaitUntilQuiet(1.5, 20.0)
ASK: Final[list[Step]] = [GREETED, Say(QUESTION), ANSWERED]
"""The greeting is heard, a question asked, the answer heard."""


def call(
    script: Sequence[Step] = ASK,
    *,
    replies: Sequence[Reply] = REPLIES,
    agent: Agent | None = None,
    behaviour: Behaviour | None = None,
    model_faults: Sequence[Fault] = (),
    settings: Settings | None = None,
    latency_s: float = 0.005,
    jitter_s: float = 0.0,
    hiccups: Sequence[Hiccup] = (),
    seed: int = 0,
    **options: Any,  # noqa: ANN401 - of the caller
) -> Held:
    """Hold a call. Whatever the carrier does, the books balance, and nothing dies or is left."""
    caller = SimulatedCaller(script, seed=seed, **options)
    model = SimulatedRealtime(replies, behaviour=behaviour, faults=model_faults, seed=seed)
    agent, settings = agent or Agent(), settings or Settings()
    simulation = Simulation(
        caller,
        model,
        agent,
        settings,
        seed=seed,
        latency_s=latency_s,
        jitter_s=jitter_s,
        hiccups=hiccups,
    )
    held = hold(simulation)
    laws.nothing_is_left(held)
    laws.nothing_crashes(held)
    assert held.summary.audio.balance_bytes == 0
    assert held.caller.missed == []
    return held


def check(held: Held, *but: object) -> None:
    """All laws, `but` those that cannot hold in this call."""
    for law in laws.ALWAYS:
        if law not in but:
            law(held)


def asked_and_answered(held: Held) -> None:
    """To the last byte of the question, and the last one of the answer."""
    assert QUESTION in bytes(held.model.appended)
    greeting, answer = held.model.responses
    assert held.was_heard(greeting)
    assert held.was_heard(answer)


def closed(held: Held) -> tuple[int, str]:
    """How the carrier's socket ended, and by whom."""
    assert held.caller.closed is not None
    return held.caller.closed.code, held.caller.closed.by


def model_hung_up_on_s(held: Held) -> float:
    """How long after the carrier's socket ended the model's did, which is given back politely."""
    assert held.caller.closed is not None
    assert held.model.closed is not None
    assert held.model.closed[0] == 1000
    return held.model.closed[2] - held.caller.closed.at


def stream(seed: int = 0, **facts: Any) -> TwilioStream:  # noqa: ANN401 - of the stream
    """Messages as those of the caller with that seed, but numbered on their own."""
    return TwilioStream(StreamFacts(**facts), seed)
