"""What `python -m callengine prove` prints."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from callengine.testing import laws
from callengine.testing.prove.fleet import Tally, prove
from callengine.testing.prove.scenario import MIN_CALL_S, draw
from callengine.testing.prove.shrink import shrink
from callengine.testing.prove.timeline import Timeline, describe
from callengine.testing.prove.trial import judge

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from callengine.testing.prove.scenario import Scenario

MAX_TOLD: Final = 3
"""Broken calls that are told in full; of the others the seeds."""

SEEDS_THAT_FAILED: Final = (
    6788,
    77832,
    880418,
    882697,
    990380,
    990896,
    5551654,
    5552763,
    13248301,
    142928295,
    160061992,
    777001421,
)
"""Calls that once broke a law; every run holds them again."""


def run(calls: int, first_seed: int, processes: int | None = None) -> int:
    """Hold and judge `calls` calls; prints what came of it and returns the exit status."""
    processes = processes or os.cpu_count() or 1
    wanted = [*SEEDS_THAT_FAILED, *range(first_seed, first_seed + calls)]
    print(
        f"Proving {calls:,} calls, seeds {first_seed} to {first_seed + calls - 1}, and"
        f" {len(SEEDS_THAT_FAILED)} that failed once, on {processes} processes",
        flush=True,
    )
    tally = prove(wanted, processes, _Progress(len(wanted)))
    print()
    for line in summary(tally):
        print(line)
    for verdict in sorted(tally.broken, key=lambda each: each.seed)[:MAX_TOLD]:
        print()
        _tell(verdict.seed)
    return 1 if tally.broken_calls else 0


def replay(seed: int, *, with_frames: bool = False) -> int:
    """Hold the call of one seed again, and print all of it."""
    return _print_call(draw(seed), with_frames=with_frames)


def summary(tally: Tally) -> Iterable[str]:
    """The table at the end."""
    hours, speed = tally.simulated_s / 3600, tally.simulated_s / max(tally.real_s, 1e-9)
    yield (
        f"calls        {tally.calls:,}, of them {tally.short_calls:,} ended by their trouble"
        f" within {MIN_CALL_S:.0f} s"
    )
    yield f"simulated    {hours:.1f} hours in {tally.real_s:.0f} s, {speed:.0f} times real time"
    yield f"barge-ins    {_counts(tally.barge_ins)}"
    yield f"troubles     {_counts(tally.troubles)}"
    yield f"waits        {_counts(tally.waits)}"
    yield f"laws         {len(laws.ALWAYS) + 1} laws, checked {tally.laws_checked:,} times"
    yield f"violations   {tally.broken_calls:,} calls"
    for law, number in tally.breaches.most_common():
        yield f"  {number:,} x {law}"
    if tally.broken:
        yield f"  seeds: {', '.join(str(each.seed) for each in tally.broken)}"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.most_common()) or "none"


def _tell(seed: int) -> None:
    """One broken call: the law, the shortest script that breaks it, and what happened in it."""
    scenario = draw(seed)
    breaches = judge(scenario).breaches
    if not breaches:
        print(f"seed {seed} breaks no law when it is held again: the engine keeps a secret state")
        return
    print(f"Seed {seed} breaks {breaches[0].law}: {breaches[0].seen}")
    print(f"Again, and in full: python -m callengine prove --replay {seed}")
    print("The shortest call that still does:")
    _print_call(shrink(scenario, breaches[0].law))


def _print_call(scenario: Scenario, *, with_frames: bool = False) -> int:
    timeline = Timeline(with_frames=with_frames)
    verdict = judge(scenario, timeline)
    for line in describe(scenario):
        print(f"  {line}")
    for line in timeline.lines():
        print(line)
    for breach in verdict.breaches:
        print(f"broken: {breach.law}: {breach.seen}")
    if not verdict.breaches:
        print("no law is broken")
    return 1 if verdict.breaches else 0


class _Progress:
    """One line that says how far it is: rewritten on a terminal, now and then in a log."""

    WIDTH: Final = 30

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._live = sys.stdout.isatty()
        self._next_s = 0.0

    def __call__(self, tally: Tally) -> None:
        if tally.real_s < self._next_s and tally.calls < self._calls:
            return
        self._next_s = tally.real_s + (0.2 if self._live else 20.0)
        done = round(self.WIDTH * tally.calls / max(self._calls, 1))
        line = (
            f"  {'#' * done}{'.' * (self.WIDTH - done)}  {tally.calls:,} of {self._calls:,}"
            f"   {tally.simulated_s / 3600:.1f} h simulated   {tally.broken_calls} broken"
        )
        print(f"\r{line}" if self._live else line, end="" if self._live else "\n", flush=True)
