"""Many drawn calls, held by several processes, and what they came to."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import signal
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from callengine.testing.prove.scenario import MIN_CALL_S, draw
from callengine.testing.prove.trial import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BATCH_CALLS: Final = 20
"""Calls a process holds before it reports."""

MAX_KEPT: Final = 100
"""Broken calls that are remembered; the others are only counted."""


@dataclass(slots=True)
class Tally:
    """What became of all the calls so far."""

    calls: int = 0
    short_calls: int = 0
    """Of them, those that their trouble ended within `MIN_CALL_S`."""
    simulated_s: float = 0.0
    real_s: float = 0.0
    laws_checked: int = 0
    broken_calls: int = 0
    barge_ins: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    breaches: Counter[str] = field(default_factory=Counter)
    broken: deque[Verdict] = field(default_factory=lambda: deque(maxlen=MAX_KEPT))

    def add(self, verdict: Verdict) -> None:
        """Count one call."""
        self.calls += 1
        self.short_calls += verdict.duration_s < MIN_CALL_S
        self.simulated_s += verdict.duration_s
        self.laws_checked += verdict.laws_checked
        self.barge_ins += verdict.barge_ins
        self.troubles += verdict.troubles
        self.waits += verdict.waits
        if verdict.breaches:
            self.broken_calls += 1
            self.breaches.update(breach.law for breach in verdict.breaches)
            self.broken.append(verdict)


def prove(
    wanted: Iterable[int],
    processes: int,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Hold and judge the calls of these seeds; `progress` is told the tally now and then."""
    began_at = time.perf_counter()
    tally = Tally()
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _prepare) as pool:
        for verdicts in pool.imap_unordered(_judge_all, _batches(wanted)):
            for verdict in verdicts:
                tally.add(verdict)
            tally.real_s = time.perf_counter() - began_at
            progress(tally)
    return tally


def _batches(wanted: Iterable[int]) -> Iterator[list[int]]:
    waiting = iter(wanted)
    while batch := list(itertools.islice(waiting, BATCH_CALLS)):
        yield batch


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us tells us to stop
    gc.freeze()


def _judge_all(batch: list[int]) -> list[Verdict]:
    return [judge(draw(seed)) for seed in batch]
