"""Many calls at once, most of them in trouble: does every law hold, who is harmed, what is left?

    python benchmarks/many_calls.py                         100 calls, 60 s each
    python benchmarks/many_calls.py --calls 20 --seconds 15 --seed 7

Real sockets on loopback: the engine in one process, the callers and models with a TCP proxy on each
of their lines in another. Four calls in ten are healthy; in the others something breaks at a random
moment. Lateness is told and not judged: it is the machine's. Exits with 1 if something does not
hold.
"""

from __future__ import annotations

import argparse
import logging
import queue
import sys
import time

from callengine import CallSummary, Settings
from callengine.testing.crowd.crowd import Crowd
from callengine.testing.crowd.engine_process import EngineProcess, Holdings
from callengine.testing.crowd.mishaps import AGENT, Drawn, breaches, by_mishap, draw_call, strangers

HEALTHY_OF_TEN = 4
OF_THE_ENGINE = ("callengine-loop", "callengine-connect", "callengine-host", "callengine-http")
"""Threads that the first call starts, and the engine keeps, or gives back when they idle."""

FILES_OF_THE_LOOP = 3
"""Its selector, and the two ends of what wakes it: kept from the first call on."""

ENTRY_S = 0.06
"""One call comes in after the other; it takes about so long."""

NOTICED_S = 60.0
"""Until the last call is over: a dead carrier is noticed after 30 s, a dead model after 50."""


def draw(number: int, options: argparse.Namespace) -> Drawn:
    """Nobody sends frames until everybody is on the line, so that nobody waits to come in."""
    return draw_call(
        number,
        options.seed,
        options.seconds,
        healthy=number % 10 < HEALTHY_OF_TEN,
        silent_for_s=ENTRY_S * (options.calls - number),
    )


def collect(engine: EngineProcess, calls: int) -> dict[str, CallSummary]:
    """The summaries by stream, as far as they come."""
    summaries: dict[str, CallSummary] = {}
    until = time.monotonic() + NOTICED_S
    for _ in range(calls):
        try:
            summary = engine.summaries.get(timeout=max(until - time.monotonic(), 0.0))
        except queue.Empty:
            break
        summaries[summary.stream_sid] = summary
    return summaries


def judge(calls: list[Drawn], summaries: dict[str, CallSummary]) -> int:
    """Print what became of the calls; returns how many things did not hold."""
    wrong = 0
    print(f"\n{'what went wrong':24} calls  ended with")
    for name, group in by_mishap(calls).items():
        told = [summaries.get(drawn.call.caller.record.stream_sid) for drawn in group]
        causes = sorted({str(each.end_cause) for each in told if each is not None})
        print(f"{name:24} {len(group):5}  {', '.join(causes)}")
        for drawn, summary in zip(group, told, strict=True):
            for breach in breaches(drawn, summary):
                wrong += 1
                print(f"    call {drawn.number}: {breach[:300]}")
    for stranger in strangers(calls):
        wrong += 1
        print(f"    {stranger}")
    return wrong


def lateness(summaries: dict[str, CallSummary]) -> str:
    told = list(summaries.values())
    frames = sum(each.tx_frames for each in told)
    late = sum(each.tx_late_frames for each in told)
    worst = sorted(each.transmission.max_lateness_ms for each in told)
    median = worst[len(worst) // 2] if worst else 0.0
    return (
        f"{frames} frames sent, {late / max(frames, 1):.1%} late; the latest frame of a call:"
        f" median {median:.0f} ms, worst {max(worst, default=0):.0f} ms"
    )


def left(before: Holdings, after: Holdings) -> list[str]:
    """What the engine's process did not give back."""
    found = []
    if after.calls or after.actors:
        found.append(f"{after.calls} calls, {after.actors} actors")
    extra = set(after.threads) - set(before.threads)
    found += [name for name in sorted(extra) if not name.startswith(OF_THE_ENGINE)]
    files = after.files - before.files - FILES_OF_THE_LOOP
    if files > 0:
        found.append(f"{files} files")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    calls = [draw(n, options) for n in range(options.calls)]
    with Crowd() as crowd:
        settings = Settings(realtime_url=crowd.model_url, max_calls=options.calls, model_retries=0)
        with EngineProcess(settings, AGENT) as engine:
            before, began = engine.holdings(), time.monotonic()
            deadline_s = 4 * options.seconds + 60.0
            crowd.hold([each.call for each in calls], engine.media_url, deadline_s=deadline_s)
            lasted_s = time.monotonic() - began
            summaries = collect(engine, len(calls))
            after = engine.holdings()
            stopped = engine.stop()
    wrong = judge(calls, summaries)
    remains = left(before, after)
    print(f"\n{len(calls)} calls in {lasted_s:.0f} s, at most {peak(calls)} at the same time")
    print(lateness(summaries))
    print(f"engine: {after.cpu_s - before.cpu_s:.0f} s of CPU, {after.rss_bytes / 1e6:.0f} MB")
    print(f"left behind: {', '.join(remains) or 'nothing'}; alarms {after.alarms}")
    print(f"after stop: {stopped.threads}, objects {stopped.objects}")
    print(f"{wrong} things did not hold" if wrong else "every law held")
    sys.exit(1 if wrong or remains or stopped.objects else 0)


def peak(calls: list[Drawn]) -> int:
    """The most calls at the same time."""
    edges = []
    for drawn in calls:
        record = drawn.call.caller.record
        if record.closed is not None:
            edges += [(record.opened_at, 1), (record.closed.at, -1)]
    most = now = 0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most


if __name__ == "__main__":
    main()
