"""How to test your own agent: a whole call on a virtual clock."""

from callengine import Agent
from callengine.testing import (
    BargeIn,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    WaitUntilQuiet,
    said,
)
from callengine.testing.speech import clip


def test_the_greeting_may_be_interrupted() -> None:
    caller = SimulatedCaller([BargeIn(clip("caller_barge_in_1"), 1.0), WaitUntilQuiet(0.7, 20.0)])
    model = SimulatedRealtime([said("agent_greeting"), said("agent_reply_1")])
    agent = Agent(greeting_protected=False)

    summary = Simulation(caller, model, agent=agent).run()

    assert summary.barge_in_events == 1
    silence_s = caller.record.silence_after(caller.record.said[0].onset_at)
    assert silence_s is not None
    assert silence_s < 0.2
    assert model.record.truncates[0].accepted
