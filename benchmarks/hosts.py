"""How late is audio under each host? The same calls under every one of them, one after the other.

    python -m benchmarks.hosts                                10 calls of 20 s under each host
    python -m benchmarks.hosts --calls 40 --host "uvicorn, FastAPI" --host standalone

Run it where the tests are, on the machine that is to be judged and with nothing else on it: callers
and models run on it too, in this process. Each caller hears one long reply. Printed are, over all
frames of all calls,

- spacing: milliseconds from one frame to the next, as the callers saw them arrive (20 is right; the
  burst that begins a reply is left out);
- lateness: milliseconds by which frames left behind their slot, as the engine saw it. Its histogram
  has buckets, so p50 and p99 are upper bounds;
- late frames (20 ms or more) and schedules that were given up (200 ms or more: a gap is heard);
- CPU: percent of one core that the server's processes took for each call, callers not included.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

from callengine.testing import SimulatedRealtime, WaitUntilQuiet
from callengine.testing.held import reply
from callengine.testing.sockets import PeerServer
from tests.hosts.phone import Phone
from tests.hosts.servers import COMMANDS, Server, serving, why_not

BURST_FRAMES = 10
"""The lead is sent at once."""

HTTP_THREADS = 8
TITLE = (
    f"{'':24}|  spacing (ms)       |  lateness (ms)        |  late    resets |  CPU\n"
    f"{'host':24}|   p50    p99    max |   p50    p99      max |  frames         |  per call"
)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else math.nan


def bucket(lateness: dict[float, int], share: float) -> float:
    """The upper bound of the bucket that this share of the frames is in or below."""
    left = share * sum(lateness.values())
    for bound in sorted(lateness):
        left -= lateness[bound]
        if left <= 0:
            return bound
    return math.nan


def cpu_s(group: int) -> float:
    """CPU time that the live processes of a group have taken."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def options(host: str, calls: int) -> tuple[str, ...]:
    return ("--threads", str(calls + HTTP_THREADS)) if "gthread" in host else ()


def hold(server: Server, calls: int, seconds: float) -> str:
    """Hold the calls; what came of them as a row."""
    phone, patience_s = Phone(server.port), seconds + 30.0
    used_s, began = cpu_s(server.process.pid), time.monotonic()
    held = [phone.begin(phone.line(), WaitUntilQuiet(1.0, patience_s)) for _ in range(calls)]
    records = [call.join(patience_s + 30.0) for call in held]
    summaries = [server.summary() for _ in held]
    lasted_s = time.monotonic() - began
    used_s = cpu_s(server.process.pid) - used_s
    gaps = [gap for each in records for gap in each.frame_gaps_ms()[BURST_FRAMES:]]
    lateness: dict[float, int] = {}
    for each in summaries:
        for bound, frames in each["transmission"]["lateness"].items():
            lateness[float(bound)] = lateness.get(float(bound), 0) + frames
    worst = max(each["transmission"]["max_lateness_ms"] for each in summaries)
    late = sum(each["tx_late_frames"] for each in summaries)
    resets = sum(each["tx_schedule_resets"] for each in summaries)
    return (
        f"| {percentile(gaps, 0.5):5.1f}  {percentile(gaps, 0.99):5.1f}  {max(gaps):5.0f} "
        f"| <={bucket(lateness, 0.5):3.0f}  <={bucket(lateness, 0.99):3.0f}  {worst:7.1f} "
        f"| {late:6}  {resets:6}  | {used_s / lasted_s / calls:8.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10, help="at the same time")
    parser.add_argument("--seconds", type=float, default=20.0, help="that each of them hears")
    parser.add_argument("--host", action="append", choices=COMMANDS, help="all of them")
    given = parser.parse_args()
    print(f"{given.calls} calls of {given.seconds:.0f} s under each host\n\n{TITLE}")
    words = reply(given.seconds, 1)
    room = {"CALLENGINE_MAX_CALLS": str(given.calls)}
    for host in given.host or COMMANDS:
        if (reason := why_not(host)) is not None:
            print(f"{host:24}| {reason}")
            continue
        with (
            PeerServer(lambda: SimulatedRealtime([words])) as models,
            serving(host, models.url, *options(host, given.calls), **room) as server,
        ):
            row = hold(server, given.calls, given.seconds)
            server.terminate()
        print(f"{host:24}{row}", flush=True)


if __name__ == "__main__":
    main()
