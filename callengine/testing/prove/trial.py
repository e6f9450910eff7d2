"""One drawn call, held and judged."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from callengine.testing import laws
from callengine.testing.held import hold
from callengine.testing.prove.trouble import excused

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.testing.held import Held
    from callengine.testing.prove.scenario import Scenario
    from callengine.testing.simulation import Watch

NO_FAILURE: Final = "L12 nothing fails"
GOOD_END: Final = "L12 a call ends as its caller or its trouble means it to"


@dataclass(frozen=True, slots=True)
class Breach:
    """A law that did not hold, and what was seen."""

    law: str
    seen: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one call."""

    seed: int
    duration_s: float
    breaches: tuple[Breach, ...]
    barge_ins: Counter[str]
    troubles: Counter[str]
    laws_checked: int
    waits: Counter[str] = field(default_factory=Counter)
    """How often what the caller waited for was bridged, and how."""


def name_of(law: Callable[[Held], None]) -> str:
    """A law in words, as `L1 nothing of an interrupted response is played on`."""
    return f"{laws.ALWAYS[law]} {law.__name__.replace('_', ' ')}"


def judge(scenario: Scenario, watch: Watch | None = None) -> Verdict:
    """Hold the call and check every law that its troubles do not excuse."""
    troubles = Counter(trouble.kind for trouble in scenario.troubles)
    try:
        held = hold(scenario.simulation(watch))
        cause = held.summary.end_cause
        excuses = excused(scenario.troubles, held)
        checked = [law for law in laws.ALWAYS if law not in excuses]
        breaches = [Breach(name_of(law), seen) for law in checked if (seen := _seen(law, held))]
        if cause not in scenario.may_end:
            breaches.append(Breach(GOOD_END, f"{cause}: {held.summary.end_detail}"))
    except Exception:  # noqa: BLE001 - whatever it is, it is a finding
        breach = Breach(NO_FAILURE, traceback.format_exc(limit=-3))
        return Verdict(scenario.seed, 0.0, (breach,), Counter(), troubles, 0)
    return Verdict(
        scenario.seed,
        held.summary.duration_s,
        tuple(breaches),
        Counter(entry.outcome.value for entry in held.summary.barge_ins),
        troubles,
        len(checked) + 1,
        Counter(
            {"fallbacks": held.summary.fallbacks, "models that took over": len(held.later_models)}
        ),
    )


def _seen(law: Callable[[Held], None], held: Held) -> str:
    try:
        law(held)
    except AssertionError as broken:
        return str(broken)
    return ""
