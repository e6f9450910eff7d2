"""The shortest call that still breaks the same law: for people to read."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from callengine.testing.prove.trial import judge
from callengine.testing.realtime.script import Behaviour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.prove.scenario import Scenario

MAX_TRIALS: Final = 300

_PLAIN: Final[dict[str, Any]] = {
    "jitter_s": 0.0,
    "playout_delay_s": 0.0,
    "mark_echo_delay_s": 0.0,
    "latency_s": 0.005,
    "lead_ms": 100,
}


def shrink(scenario: Scenario, law: str) -> Scenario:
    """Leave out whatever the breach of `law` does not need."""
    trials = 0
    shorter = True
    while shorter:
        shorter = False
        for candidate in _simpler(scenario):
            trials += 1
            if trials > MAX_TRIALS:
                return scenario
            if any(breach.law == law for breach in judge(candidate).breaches):
                scenario, shorter = candidate, True
                break
    return scenario


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """The scenario without one thing: a trouble, a step, a reply, something unusual."""
    for n in range(len(scenario.troubles)):
        yield replace(scenario, troubles=_without(scenario.troubles, n))
    for n in range(len(scenario.script)):
        yield replace(scenario, script=_without(scenario.script, n))
    if len(scenario.replies) > 1:
        yield replace(scenario, replies=scenario.replies[:-1])
    for name, value in _PLAIN.items():
        if getattr(scenario, name) != value:
            yield replace(scenario, **{name: value})
    plain = Behaviour()
    for each in fields(Behaviour):
        value = getattr(plain, each.name)
        if getattr(scenario.behaviour, each.name) != value:
            yield replace(scenario, behaviour=replace(scenario.behaviour, **{each.name: value}))


T = TypeVar("T")


def _without(items: tuple[T, ...], n: int) -> tuple[T, ...]:
    return items[:n] + items[n + 1 :]
