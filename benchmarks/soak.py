"""Thousands of short calls in one process: is everything given back?

    python benchmarks/soak.py                2,000 calls, 20 at a time, after 1,000
    python benchmarks/soak.py --calls 300

Real sockets on loopback; the engine in a process of its own, which counts what it holds before,
after, when the last alarm has rung, and when the engine has stopped; the last beside a process that
held the first calls only. Exits with 1 if something was not given back.
"""

from __future__ import annotations

import argparse
import logging
import sys

from callengine.testing.crowd.engine_process import Holdings
from callengine.testing.crowd.soak import leaks, soak

WARM_UP = 1000
RSS_BYTES = 2048
"""A call. The heap still grows a little; what is left of a call is counted in blocks."""

BLOCKS = 0.5
"""A call: of no call may so much as an object be left."""


def row(when: str, held: Holdings) -> str:
    objects = sum(held.objects.values())
    return (
        f"{when:22} {len(held.threads):7} {held.files:5} {held.actors:6} {held.alarms:6}"
        f" {objects:7} {held.blocks:8} {held.rss_bytes / 1e6:7.1f} {held.cpu_s:6.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=20)
    options = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    soaked = soak(options.calls, at_once=options.at_once, warm_up=WARM_UP, wait=True)
    print(f"{soaked.calls} calls in {soaked.seconds:.0f} s, {options.at_once} at a time")
    for cause, count in soaked.causes.most_common():
        print(f"  {count:5} {cause}")
    print(f"{'':22} threads files actors alarms objects   blocks  RSS MB  CPU s")
    print(row(f"after {WARM_UP} calls", soaked.warm))
    print(row("after the last", soaked.after))
    if soaked.later is not None:
        print(row("when the alarms rang", soaked.later))
    print(row("when it was stopped", soaked.stopped))
    print(row(f"stopped after {WARM_UP}", soaked.unused))
    found = list(leaks(soaked, rss_bytes=RSS_BYTES, blocks=BLOCKS))
    print("\n".join(found) if found else "everything was given back")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
