"""`python -m callengine bench`: what a call costs here, and how many of them one engine holds.

Exit status: 0 all points are valid and no law was broken, 1 otherwise.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from callengine.errors import SettingsError

if TYPE_CHECKING:
    import argparse

    from callengine.testing.bench.figures import Point
    from callengine.testing.bench.machine import Cores

MOST_CALLS: Final = 1000
"""A ramp ends there, if the engine does not end it before."""


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; returns the exit status."""
    if not sys.platform.startswith("linux"):
        raise SettingsError("the bench reads /proc and uses epoll: it needs Linux")
    from callengine.testing.bench import machine, report

    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--out {options.out} cannot be made: {error.strerror}") from None
    cores = machine.choose_cores()
    told = machine.describe()
    print(_where(cores, told))
    points, knee = _points(options, cores)
    made = report.Report(told, cores.engine is not None, options.seed, tuple(points), knee)
    print(f"\n{report.table(points)}")
    if knee is not None:
        robbed = any(each.disturbed and not each.within_knee for each in points)
        more = " or more: the engine had to share its core when more failed" if robbed else ""
        print(f"knee: {knee} calls{more}")
    for path in report.write(made, options.out):
        print(f"  {path}")
    return 0 if made.passed else 1


def _points(options: argparse.Namespace, cores: Cores) -> tuple[list[Point], int | None]:
    if options.ramp:
        return _ramp(options, cores)
    return [_hold(calls, options, cores) for calls in options.calls], None


def _ramp(options: argparse.Namespace, cores: Cores) -> tuple[list[Point], int]:
    from callengine.testing.bench.ramp import Ramp

    ramp, points = Ramp(MOST_CALLS, options.calls[0]), []
    while ramp.next is not None:
        made = _hold(ramp.next, options, cores)
        points.append(made)
        if made.invalid:
            print("the load is past its own knee: what is beyond cannot be told", flush=True)
            break
        ramp.tried(made.calls, held=made.within_knee)
    return points, ramp.knee


def _hold(calls: int, options: argparse.Namespace, cores: Cores) -> Point:
    from callengine.testing.bench.load import Plan
    from callengine.testing.bench.report import verdict
    from callengine.testing.bench.run import hold, room_for

    print(f"{calls} calls for {options.seconds:g} s ... ", end="", flush=True)
    made = hold(Plan(calls, options.seconds, options.seed), room_for(calls), cores)
    print(f"{verdict(made)}, {made.cost.cpu_ms_per_call_s:.2f} ms of CPU per call-second")
    return made


def _where(cores: Cores, told: dict[str, object]) -> str:
    pinned = "not pinned: there is one core only"
    if cores.engine is not None:
        load = ",".join(map(str, sorted(cores.load)))
        pinned = f"engine on core {cores.engine}, callers and models on {load}"
    return f"Python {told['python']}, {told['usable_cores']} cores; {pinned}"
