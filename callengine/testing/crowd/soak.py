"""Thousands of short calls in one process, and whether it gave everything back.

Most calls are healthy; every fifth is broken on one side, because that is another way to end.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from callengine.agent import Agent
from callengine.machines.stall import LIMITS
from callengine.settings import Settings
from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.caller.script import DropSocket, HangUp, Wait, WaitUntilHeard
from callengine.testing.crowd.crowd import Crowd, CrowdCall
from callengine.testing.crowd.engine_process import EngineProcess, Holdings
from callengine.testing.held import noise, reply
from callengine.testing.network.proxy import Cut
from callengine.testing.realtime.faults import AtResponse, CloseSocket, RefuseSessionUpdate
from callengine.testing.realtime.script import Behaviour
from callengine.testing.realtime.server import SimulatedRealtime

if TYPE_CHECKING:
    from collections.abc import Iterator

ALARMS_S: Final = max(limit.seconds for limit in LIMITS.values()) + 5.0
"""An alarm of a call that is over waits no longer than the watchdog has patience."""

MAX_ALARMS: Final = 20
"""What one call may leave waiting for that time."""

MAX_HELD_OBJECTS: Final = 8
"""Of a kind: a thread that waits for work may still hold the call it worked for."""

SUMMARY_S: Final = 20.0
FAREWELL: Final = noise(0.1, 7)

PASSING_THREADS: Final = frozenset({"callengine-connect", "callengine-host", "callengine-http"})
"""As many of these as are needed at the moment; they go when they are not."""

_BREAKS: Final = 5
_REPLIES: Final = tuple(reply(0.6, n) for n in range(4))


@dataclass(frozen=True, slots=True)
class Soaked:
    """What the engine's process held, and how the calls ended."""

    calls: int
    seconds: float
    warm: Holdings
    """After the first calls, which fill caches."""
    after: Holdings
    """After the last call."""
    later: Holdings | None
    """When the last alarm has rung."""
    stopped: Holdings
    """When the engine has stopped."""
    unused: Holdings
    """The same in a process that held the first calls only."""
    causes: Counter[str]


def soak(calls: int, *, at_once: int, warm_up: int, wait: bool) -> Soaked:
    """Hold so many calls, so many at a time; `wait` for the alarms of the last ones, too."""
    with Crowd() as crowd:
        settings = Settings(realtime_url=crowd.model_url, model_retries=0)
        agent = Agent(farewell=FAREWELL)
        with EngineProcess(settings, agent) as engine:
            _hold(crowd, engine, range(warm_up), at_once)
            unused = engine.stop()
        with EngineProcess(settings, agent) as engine:
            _hold(crowd, engine, range(warm_up), at_once)
            warm, began = engine.holdings(), time.monotonic()
            causes = _hold(crowd, engine, range(warm_up, warm_up + calls), at_once)
            lasted_s = time.monotonic() - began
            after = engine.holdings()
            if wait:
                time.sleep(ALARMS_S)
            later = engine.holdings() if wait else None
            return Soaked(calls, lasted_s, warm, after, later, engine.stop(), unused, causes)


def _hold(crowd: Crowd, engine: EngineProcess, numbers: range, at_once: int) -> Counter[str]:
    calls = (_short_call(number) for number in numbers)
    crowd.hold(calls, engine.media_url, deadline_s=60.0, at_once=at_once)
    causes: Counter[str] = Counter()
    for _ in numbers:
        try:
            causes[engine.summaries.get(timeout=SUMMARY_S).end_cause] += 1
        except queue.Empty:
            causes["no summary"] += 1
    return causes


def _short_call(number: int) -> CrowdCall:
    """About a second, of which the AI speaks half."""
    rng = Random(number)
    caller = SimulatedCaller([WaitUntilHeard(20.0), Wait(0.3)], seed=number)
    model = SimulatedRealtime(_REPLIES, behaviour=Behaviour(first_audio_s=0.1), seed=number)
    if number % _BREAKS:
        return CrowdCall(caller, model)
    kind = number // _BREAKS % 6
    if kind == 0:
        return CrowdCall(caller, model, on_carrier=(Cut(0.4),))
    if kind == 1:
        return CrowdCall(caller, model, on_model=(Cut(0.4),))
    if kind == 2:
        return CrowdCall(caller, model, refuse_with=rng.choice((401, 429, 503)))
    if kind == 3:
        last = DropSocket(abrupt=rng.random() < 0.5, code=1001)
        return CrowdCall(SimulatedCaller([WaitUntilHeard(20.0), last], seed=number), model)
    fault = RefuseSessionUpdate() if kind == 4 else CloseSocket(AtResponse(1, 200), 1011)
    broken = SimulatedRealtime(_REPLIES, faults=(fault,), seed=number)
    return CrowdCall(SimulatedCaller([Wait(20.0), HangUp()], seed=number), broken)


def leaks(soaked: Soaked, *, rss_bytes: int, blocks: float) -> Iterator[str]:
    """What was not given back; memory and allocated blocks may grow by so much with each call."""
    calls, last, stopped = soaked.calls, soaked.later or soaked.after, soaked.stopped
    if soaked.causes["no summary"]:
        yield f"{soaked.causes['no summary']} calls had no summary"
    if last.calls or last.actors:
        yield f"{last.calls} calls, {last.actors} actors"
    extra = Counter(last.threads) - Counter(soaked.warm.threads)
    if others := {name: n for name, n in extra.items() if name not in PASSING_THREADS}:
        yield f"threads: {others}"
    if last.files > soaked.warm.files:
        yield f"{last.files - soaked.warm.files} files"
    if last.alarms > (0 if soaked.later else MAX_ALARMS * calls):
        yield f"{last.alarms} alarms"
    if soaked.later and max(last.objects.values(), default=0) > MAX_HELD_OBJECTS:
        yield f"objects of calls: {last.objects}"
    if (grown := (last.rss_bytes - soaked.warm.rss_bytes) / calls) > rss_bytes:
        yield f"memory: {grown:.0f} bytes a call"
    if (more := (stopped.blocks - soaked.unused.blocks) / calls) > blocks:
        yield f"{more:.1f} allocated blocks a call"
    if stopped.threads != ("MainThread",) or stopped.alarms or stopped.objects or stopped.actors:
        yield f"after stop: {stopped}"
