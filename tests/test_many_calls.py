"""Many calls at once on real sockets, most of them in trouble: nobody is harmed by a neighbour.

benchmarks/many_calls.py does it with a hundred.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import pytest

from callengine import Settings
from callengine.testing.crowd.crowd import Crowd
from callengine.testing.crowd.engine_process import EngineProcess
from callengine.testing.crowd.mishaps import AGENT, NONE, Drawn, breaches, draw_call, strangers

if TYPE_CHECKING:
    from callengine import CallSummary

CALLS = 20
CALL_S = 8.0
DEADLINE_S = 60.0


def summaries(engine: EngineProcess) -> dict[str, CallSummary]:
    told = {}
    for _ in range(CALLS):
        try:
            summary = engine.summaries.get(timeout=15.0)
        except queue.Empty:
            break
        told[summary.stream_sid] = summary
    return told


@pytest.mark.edge_case(86)
@pytest.mark.realtime
@pytest.mark.timeout(120)
def test_calls_in_trouble_keep_the_laws_and_harm_nobody() -> None:
    calls = [draw_call(n, seed=4, seconds=CALL_S, healthy=n % 2 == 0) for n in range(CALLS)]
    with (
        Crowd() as crowd,
        EngineProcess(Settings(realtime_url=crowd.model_url, model_retries=0), AGENT) as engine,
    ):
        crowd.hold([each.call for each in calls], engine.media_url, deadline_s=DEADLINE_S)
        told = summaries(engine)
        after = engine.holdings()
        stopped = engine.stop()
    found = {
        (each.number, each.mishap.name): list(breaches(each, told.get(stream_sid(each))))
        for each in calls
    }
    assert {key: what for key, what in found.items() if what} == {}
    assert list(strangers(calls)) == []
    assert sum(each.mishap is NONE for each in calls) == CALLS // 2
    assert len({each.mishap.name for each in calls}) > CALLS // 4, "troubles of many kinds"
    assert (after.calls, after.actors) == (0, 0)
    assert not [name for name in after.threads if name.startswith(("callengine-c", "callengine-m"))]
    assert stopped.threads == ("MainThread",)
    assert stopped.objects == {}


def stream_sid(drawn: Drawn) -> str:
    return drawn.call.caller.record.stream_sid
