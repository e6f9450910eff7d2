"""What one run leaves to be judged: the load's record, the engine's summaries, both ends apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callengine.summary import CallSummary
    from callengine.testing.bench.engine_process import Outcome
    from callengine.testing.bench.load import Loaded, Plan
    from callengine.testing.bench.machine import Sample


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything a point is made of.

    `before` is the engine with no call, and `sockets_left` how many more it has open afterwards.
    """

    plan: Plan
    loaded: Loaded
    outcome: Outcome
    before: Sample
    sockets_left: int
    load_average_before: float

    @property
    def summaries(self) -> dict[str, CallSummary]:
        """By call; those of other calls are left out."""
        ours = {each.caller.call_sid for each in self.loaded.carriers}
        return {each.call_sid: each for each in self.outcome.summaries if each.call_sid in ours}
