"""Calls on the virtual clock in which it is the model that is odd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callengine import Agent, Settings
from callengine.testing import (
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    laws,
)
from callengine.testing.caller.script import Say, WaitUntilQuiet
from callengine.testing.held import Held, hold, noise, reply
from callengine.testing.speech import clip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.testing import Behaviour
    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.faults import Fault
    from callengine.testing.realtime.script import Replies

INVENTED: Final = (laws.counters_agree, laws.counters_invent_nothing)
"""Laws that cannot hold when the test itself puts messages on a line."""

QUESTION: Final = clip("caller_question_1")
STOP: Final = clip("caller_barge_in_2")
YES: Final = clip("caller_yes")
FAREWELL: Final = noise(0.5, 77)
FAREWELL_AGENT: Final = Agent(farewell=FAREWELL, fallback=b"")
ONE_SESSION: Final = Settings(model_retries=0)
"""What a session does. What becomes of a call in another one: tests/test_second_sessions.py."""
REPLIES: Final = [reply(2.0, number) for number in range(1, 9)]
ASK: Final[list[Step]] = [WaitUntilQuiet(0.5, 10.0), Say(QUESTION), WaitUntilQuiet(3.0, 20.0)]
"""The greeting is heard, a question asked, the answer heard."""


def call(
    script: Sequence[Step] = ASK,
    replies: Replies = REPLIES,
    *faults: Fault,
    agent: Agent = FAREWELL_AGENT,
    behaviour: Behaviour | None = None,
    settings: Settings | None = None,
    latency_s: float = 0.005,
) -> Held:
    """Hold a call. Whatever the model does, the books balance, and nothing dies or is left."""
    caller = SimulatedCaller(script)
    model = SimulatedRealtime(replies, behaviour=behaviour, faults=faults)
    settings = settings or ONE_SESSION
    held = hold(Simulation(caller, model, agent, settings, latency_s=latency_s))
    laws.nothing_is_left(held)
    assert held.summary.crashes == ()
    assert held.summary.audio.balance_bytes == 0
    assert held.caller.violations == []
    assert {frame.size_bytes for frame in held.caller.frames} <= {160}
    assert held.model.misread_bytes == 0, "no audio for a session that would take it for PCM"
    return held


def check(held: Held, *but: object) -> None:
    """All laws, `but` those that cannot hold in this call."""
    for law in laws.ALWAYS:
        if law not in but:
            law(held)


def heard(held: Held) -> bytes:
    """All the caller heard, without the silences between."""
    return b"".join(span.payload for span in held.caller.heard)


def errors(held: Held) -> list[str | None]:
    """The codes of the errors the model sent."""
    return [error.code for error in held.model.errors]
