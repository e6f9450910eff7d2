"""A run that went well, made by hand, for tests that break one thing of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from callengine.messages import EndCause
from callengine.summary import CallFacts, CallSummary, summarise
from callengine.testing.bench.caller import CallerCounts
from callengine.testing.bench.ear import EarCounts
from callengine.testing.bench.engine_process import Outcome
from callengine.testing.bench.load import Loaded, Plan
from callengine.testing.bench.machine import Sample
from callengine.testing.bench.measured import Measured
from callengine.testing.bench.model import ModelCounts

if TYPE_CHECKING:
    from callengine.testing.bench.call import CarrierEnd, ModelEnd

FRAMES = 1000


@dataclass
class MadeCaller:
    call_sid: str
    counts: CallerCounts = field(default_factory=lambda: CallerCounts(frames=FRAMES, questions=2))


@dataclass
class MadeEar:
    counts: EarCounts = field(default_factory=lambda: EarCounts(frames=500))


@dataclass
class MadeModel:
    counts: ModelCounts = field(default_factory=lambda: ModelCounts(responses=2))


@dataclass
class MadeCarrier:
    caller: MadeCaller
    ear: MadeEar = field(default_factory=MadeEar)
    fault: str = ""
    over: bool = True


@dataclass
class MadeModelEnd:
    model: MadeModel = field(default_factory=MadeModel)
    fault: str = ""
    over: bool = True


@dataclass
class Run:
    """Two calls, 10 s measured. Change what you like, then look at `measured`."""

    carriers: list[MadeCarrier] = field(
        default_factory=lambda: [MadeCarrier(MadeCaller(f"CA{n}")) for n in range(2)]
    )
    models: list[MadeModelEnd] = field(default_factory=lambda: [MadeModelEnd(), MadeModelEnd()])
    summaries: list[CallSummary] = field(
        default_factory=lambda: [made_summary(f"CA{n}") for n in range(2)]
    )
    lateness_ms: Counter[int] = field(default_factory=lambda: Counter({0: 990, 1: 10}))
    left_open: int = 0
    active_calls: int = 0
    actors: int = 0
    sockets_left: int = 0

    @property
    def measured(self) -> Measured:
        samples = (
            Sample(100.0, 50.0, 3.0, 60_000_000, 6),
            Sample(105.0, 50.5, 3.1, 62_000_000, 9),
            Sample(110.0, 51.0, 3.2, 61_000_000, 7),
        )
        loaded = Loaded(
            cast("tuple[CarrierEnd, ...]", tuple(self.carriers)),
            cast("tuple[ModelEnd, ...]", tuple(self.models)),
            samples,
            self.lateness_ms,
            busy=0.25,
            left_open=self.left_open,
        )
        outcome = Outcome(tuple(self.summaries), self.active_calls, self.actors)
        before = Sample(90.0, 49.0, 2.9, 58_000_000, 5)
        return Measured(Plan(2, 10.0, 1), loaded, outcome, before, self.sockets_left, 0.5)


def made_summary(call_sid: str) -> CallSummary:
    facts = CallFacts(call_sid, f"MZ{call_sid}", EndCause.CALLER_HUNG_UP, "", 1000.0, 1020.0)
    summary = summarise(facts, {})
    lateness = Counter({1.0: 495, 5.0: 5})
    return replace(
        summary,
        tx_frames=500,
        inbound=replace(summary.inbound, frames=FRAMES),
        transmission=replace(
            summary.transmission, frames=500, lateness=lateness, max_lateness_ms=4.5
        ),
    )
