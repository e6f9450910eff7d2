"""A whole call to tamper with: the local call's script on the virtual clock."""

from __future__ import annotations

import copy
from functools import cache

from callengine.testing import SimulatedCaller, SimulatedRealtime, Simulation
from callengine.testing.local_call import LEAST_SECONDS, LocalCall, Resources, replies, script
from callengine.testing.realtime.script import Behaviour


@cache
def _held() -> LocalCall:
    caller = SimulatedCaller(script(LEAST_SECONDS), seed=1)
    model = SimulatedRealtime(replies(), behaviour=Behaviour(latency_s=0.04), seed=1)
    summary = Simulation(caller, model).run()
    before = Resources(threads=3, sockets=5)
    return LocalCall(caller.record, model.record, summary, before, before)


def held() -> LocalCall:
    """A copy of its own for every test."""
    return copy.deepcopy(_held())
