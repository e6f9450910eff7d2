"""What one second of a call costs, in counts that are the same on every machine and in every run.

    python -m tests.budget           what it costs on this interpreter, and where
    python -m tests.budget --write   and that is the budget from now on

Counted are the messages that actors handle, and the calls of the engine's own code: of its
functions, and of builtins by them. The peers, pykka and the stepper are not: they are not ours, or
not there in production. No clock, no hash and no other test has a part in it.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import callengine
from callengine import Agent
from callengine.testing import (
    BargeIn,
    HangUp,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.held import reply
from callengine.testing.speech import clip

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType, FrameType

BUDGET = Path(__file__).with_suffix(".json")
"""By Python version, what a call-second may cost."""

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

ENGINE = str(Path(callengine.__file__).parent)
NOT_THE_ENGINE = (f"{ENGINE}/testing/", f"{ENGINE}/actors/stepper.py")
PEERS = {SimulatedCaller.__name__, SimulatedRealtime.__name__}

SHOWN = 25


@dataclass(frozen=True)
class Cost:
    """What a call came to, and how many seconds it took."""

    seconds: float
    messages: Counter[str]
    """By the actor that handled them, and their type."""
    calls: Counter[str]
    """By the function that was called, or called a builtin."""

    def per_second(self) -> dict[str, float]:
        """As it is kept in the budget."""
        return {
            "messages": round(self.messages.total() / self.seconds, 1),
            "calls": round(self.calls.total() / self.seconds),
        }


class Profile:
    """Counts calls by their code while it is set."""

    def __init__(self) -> None:
        self._calls: Counter[CodeType] = Counter()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event in {"call", "c_call"}:
            self._calls[frame.f_code] += 1

    def of_the_engine(self) -> Counter[str]:
        calls: Counter[str] = Counter()
        for code, count in self._calls.items():
            where = code.co_filename
            if where.startswith(ENGINE) and not where.startswith(NOT_THE_ENGINE):
                calls[f"{where.removeprefix(ENGINE)[1:]} {code.co_qualname}"] += count
        return calls


def call(messages: Counter[str]) -> Simulation:
    """Both talk, in turns and at once."""
    question, stop = clip("caller_question_1"), clip("caller_barge_in_2")
    script = [
        WaitUntilQuiet(1.0, 20.0),
        Say(question),
        WaitUntilHeard(20.0),
        WaitUntilQuiet(1.0, 20.0),
        Say(question),
        BargeIn(stop, 3.0),
        WaitUntilQuiet(1.0, 20.0),
        HangUp(),
    ]

    def watch(_: float, name: str, message: object) -> None:
        if name not in PEERS:
            messages[f"{name} {type(message).__name__}"] += 1

    return Simulation(
        SimulatedCaller(script, seed=1),
        SimulatedRealtime([reply(6.0, n) for n in range(6)], seed=1),
        Agent(),
        seed=1,
        latency_s=0.02,
        watch=watch,
    )


def measure() -> Cost:
    """Hold the call twice: the first one fills what is remembered from call to call."""
    call(Counter()).run()
    messages: Counter[str] = Counter()
    held = call(messages)
    profile, before = Profile(), sys.getprofile()
    gc.collect()
    gc.disable()  # what it calls back depends on what else is alive
    sys.setprofile(profile)
    try:
        summary = held.run()
    finally:
        sys.setprofile(before)
        gc.enable()
    return Cost(summary.duration_s, messages, profile.of_the_engine())


def budget() -> dict[str, Mapping[str, float]]:
    """What is kept, by Python version."""
    kept: dict[str, Any] = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    return kept


def shown(cost: Cost) -> str:
    """Where it goes, the most first."""
    lines = [f"a call of {cost.seconds:.2f} s; per second of it:"]
    for title, counts in (("messages", cost.messages), ("calls", cost.calls)):
        lines.append(f"\n{counts.total() / cost.seconds:10.1f}  {title}")
        lines += [f"{n / cost.seconds:10.1f}    {what}" for what, n in counts.most_common(SHOWN)]
    return "\n".join(lines)


def main() -> None:
    """Show what a call costs, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep it as the budget")
    options = parser.parse_args()
    cost = measure()
    sys.stdout.write(f"{shown(cost)}\n\nPython {VERSION}: {cost.per_second()}\n")
    sys.stdout.write(f"the budget: {budget().get(VERSION)}\n")
    if options.write:
        kept = {**budget(), VERSION: cost.per_second()}
        BUDGET.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
