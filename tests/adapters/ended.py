"""A call that is over, and an engine to be watched: what metrics are fed with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from callengine.machines.metering import Usage
from callengine.machines.onsets import Onset, Outcome
from callengine.machines.transmission_terms import TransmissionCounts
from callengine.messages import EndCause
from callengine.reports import HostCounts, PacerReport
from callengine.summary import CallFacts, CallSummary, summarise

FACTS = CallFacts("CA1", "MZ1", EndCause.CALLER_HUNG_UP, "", 100.0, 160.0)

SENT = TransmissionCounts(
    frames=100,
    late_frames=3,
    schedule_resets=2,
    lateness=Counter({1.0: 90, 5.0: 5, 50.0: 3, inf: 2}),
    barge_in_events=3,
    false_triggers=1,
    stuck_recoveries=4,
)

LEDGER = (
    Onset(110.0, 110.07, Outcome.ACTED, level_rms=900, barge_in=1),
    Onset(120.0, 120.25, Outcome.RESUMED, level_rms=900, barge_in=2),
    Onset(125.0, 125.0, Outcome.ACTED, barge_in=3),  # what only the model heard
    Onset(130.0, 130.06, Outcome.UNOPPOSED, level_rms=900),
)

USAGE = Usage(
    input_tokens=1000,
    output_tokens=300,
    cached_tokens=400,
    input_audio_tokens=700,
    output_audio_tokens=250,
    cost_usd=0.25,
)


def ended_call(**changes: Any) -> CallSummary:  # noqa: ANN401
    """A minute with all that is measured."""
    reports = {
        "TxPacer": PacerReport(transmission=SENT, ledger=LEDGER),
        "HostCalls": HostCounts(context_errors=5),
    }
    measured = {
        "restarts": 6,
        "dead_air_s": 2.2,
        "model_reconnects": 7,
        "fallbacks": 8,
        "usage": USAGE,
    }
    return replace(summarise(FACTS, reports), **{**measured, **changes})


@dataclass
class View:
    """An engine as metrics see it."""

    active_calls: int = 0
    slots_free: int = 0
    draining: bool = False
    strained: bool = False
    shed: dict[str, int] = field(
        default_factory=lambda: {"calls": 0, "diagnostics": 0, "recordings": 0}
    )
    mailbox_depth: int = 0
    journal_waiting: int = 0
