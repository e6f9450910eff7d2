"""What a call costs under `serve --workers`: as many calls per worker, on ever more workers.

    python -m benchmarks.workers                                20 calls on each of 1, 2 and 4
    python -m benchmarks.workers --calls 100 --workers 1,8      on a machine with cores for them

CPU per call-second is that of all processes together, the parent's too, least of three runs: where
it stays what one worker takes, calls per machine grow as cores do. The load is one process more,
and wants a core of its own. Linux only. Exits with 1 if a call left no summary.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from callengine import Agent, CallEngine, CallSummary, Settings, StreamStarted
from callengine.edges.standalone import StandaloneServer
from callengine.machines.pacing import LATENESS_BUCKETS_MS
from callengine.testing.bench import machine
from callengine.testing.bench.engine_process import AGENT, CALL_NAME
from callengine.testing.bench.load import Load, Plan
from callengine.workers.commons import Commons
from callengine.workers.parent import Parent
from callengine.workers.worker import Worker

if TYPE_CHECKING:
    from callengine.testing.bench.machine import Sample

ROOT = Path(__file__).parent.parent
DRAIN_S = 5.0


# ---- the server


def serve(workers: int, model_port: int) -> None:
    """The other process: `serve --workers`, with an agent that says which call is whose."""
    settings = Settings(
        realtime_url=f"ws://127.0.0.1:{model_port}", max_calls=1000, max_sockets_per_address=1000
    )
    commons = Commons(workers, settings.max_calls)
    engine = CallEngine(settings, agent=answered_by, shared=commons)
    server = StandaloneServer(engine, on_call=tell)
    parent = Parent(
        server.give_port(),
        commons,
        lambda control: Worker(control, engine, server, commons, drain_s=DRAIN_S).run(),
        drain_s=DRAIN_S,
        on_drain=lambda _: None,
    )
    print(server.media_url, flush=True)
    parent.run()


def answered_by(started: StreamStarted) -> Agent:
    number = started.custom_parameters.get("call", "")
    return replace(AGENT, instructions=CALL_NAME.format(number))


def tell(summary: CallSummary) -> None:
    paced = summary.transmission
    told = {"lateness": list(paced.lateness.items()), "resets": paced.schedule_resets}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


# ---- the load


@dataclass
class Serving:
    """What the load asks of an engine: where it is, and what it has cost by now."""

    media_url: str
    pid: int

    def sample(self) -> Sample:
        return machine.sample(self.pid, None)


@dataclass(frozen=True)
class Run:
    """What one came to. `parent_ms` is the parent's CPU time, from the first call to the last."""

    cost_ms: float
    parent_ms: float
    lateness: Counter[float]
    resets: int
    busy: float
    summaries: int


def run(workers: int, calls: int, seconds: float) -> Run:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        server = (sys.executable, "-m", "benchmarks.workers", "--serve", str(workers))
        process = subprocess.Popen(  # noqa: S603 - this program
            [*server, "--model-port", str(listening.getsockname()[1])],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        engine = Serving(process.stdout.readline().strip(), process.pid)
        before_s = cpu_s(process.pid)
        loaded = Load(Plan(calls, seconds, 1), listening, engine).run()  # type: ignore[arg-type]
        parent_ms = (cpu_s(process.pid) - before_s) * 1000
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    told = [json.loads(line) for line in out.splitlines()]
    lateness: Counter[float] = Counter()
    for each in told:
        lateness.update(dict(each["lateness"]))
    first, last = loaded.samples[0], loaded.samples[-1]
    cost_ms = (last.cpu_s - first.cpu_s) * 1000 / (calls * loaded.window_s)
    resets = sum(each["resets"] for each in told)
    return Run(cost_ms, parent_ms, lateness, resets, loaded.busy, len(told))


def cpu_s(pid: int) -> float:
    """Of a process without its children; see clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def measure(workers: int, options: argparse.Namespace) -> bool:
    """One row; False if a call left no summary."""
    calls = workers * options.calls
    runs = [run(workers, calls, options.seconds) for _ in range(options.runs)]
    best = min(runs, key=lambda each: each.cost_ms)
    print(
        f"{workers:7}  {calls:5}  {best.cost_ms:18.2f}  {best.parent_ms:12.0f}"
        f"  {p99(best.lateness):>12}  {best.resets:6}  {best.busy:9.0%}",
        flush=True,
    )
    return all(each.summaries == calls for each in runs)


def p99(lateness: Counter[float]) -> str:
    """Of a histogram whose keys are upper bounds in ms."""
    seen, total = 0, sum(lateness.values())
    for bound in sorted(lateness):
        seen += lateness[bound]
        if seen >= 0.99 * total:
            return f"<= {bound:g} ms" if bound <= LATENESS_BUCKETS_MS[-1] else "more"
    return "-"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20, help="per worker (20)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", default="1,2,4", help="1,2,4")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--model-port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.model_port)
        return 0
    print(f"{os.cpu_count()} cores, load before {machine.load_average()}")
    print("workers  calls  ms per call-second  parent in ms  lateness p99  resets  load busy")
    rows = [measure(int(each), options) for each in options.workers.split(",")]
    return 0 if all(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
