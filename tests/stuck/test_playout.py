"""Audio that was sent and is not heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callengine import Agent, EndCause
from callengine.machines.lifecycle import DEADLINE_S as LIFE_DEADLINE_S
from callengine.machines.lifecycle import State as Life
from callengine.machines.marks import OVERDUE_S, SILENT_S
from callengine.machines.onsets import Outcome
from callengine.messages import Interrupted, ResponseHeard
from callengine.testing import (
    BargeIn,
    Say,
    SimulatedCaller,
    StopPlaying,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
    laws,
)
from callengine.testing.caller.faults import LoseEchoes
from callengine.testing.held import noise, reply
from callengine.testing.realtime import faults
from callengine.testing.realtime.faults import AtResponse
from tests.stuck.course import (
    FOR_EVER_S,
    QUESTION,
    SLACK_S,
    STOP,
    after_the_greeting,
    course,
)

if TYPE_CHECKING:
    from callengine.testing.caller.script import Step


def test_a_carrier_that_stops_echoing_marks_does_not_keep_a_response_audible() -> None:
    """Nor the greeting protected: by the clock, it was heard."""
    script: list[Step] = [WaitUntilQuiet(0.5, 9.0), Wait(14.0), Say(QUESTION)]
    seen = course(
        SimulatedCaller([*script, BargeIn(STOP, 1.0), Wait(9.0)], faults=(LoseEchoes(after=3),)),
        replies=[reply(4.0, n) for n in range(4)],
    )
    sounded_until = seen.held.caller.heard[0].until
    heard_at, what = seen.all_of(ResponseHeard)[0]
    assert what.response_id == "resp_sim0001"
    assert heard_at <= sounded_until + OVERDUE_S + SILENT_S + SLACK_S
    assert [entry.outcome for entry in seen.held.interruptions] == [Outcome.ACTED]
    laws.every_turn_is_answered(seen.held)
    laws.nothing_is_heard_twice_or_left_out(seen.held)


def test_a_line_that_stands_still_is_interrupted_like_any_other() -> None:
    seen = course(
        [WaitUntilHeard(5.0), Wait(1.0), StopPlaying(8.0), Wait(4.0), Say(QUESTION), Wait(12.0)],
        replies=[reply(4.0, n) for n in range(4)],
        agent=Agent(greeting_protected=False),
    )
    (interrupted,) = [what for _, what in seen.all_of(Interrupted)]
    assert interrupted.response_id == "resp_sim0001"
    (truncate,) = seen.held.model.truncates
    told_bytes, heard = truncate.audio_end_ms * 8, seen.held.heard["resp_sim0001"][0]
    most_bytes = len(heard) + (OVERDUE_S + SLACK_S) * 8_000
    assert len(heard) <= told_bytes <= most_bytes, "until a mark was overdue it seemed to be heard"
    laws.every_turn_is_answered(seen.held)


def test_a_farewell_that_cannot_be_heard_is_not_waited_for_for_ever() -> None:
    """The line stands still; the marks say so."""
    seen = course(
        after_the_greeting(WaitUntilHeard(9.0), StopPlaying(FOR_EVER_S), Wait(60.0)),
        faults.CloseSocket(AtResponse(2, 1_000)),
        agent=Agent(farewell=noise(8.0, 77)),
    )
    assert seen.held.summary.end_cause is EndCause.MODEL_LOST
    lost_at = seen.held.model.closed[2] if seen.held.model.closed else 0.0
    assert lost_at + 8.0 < seen.closed_at <= lost_at + LIFE_DEADLINE_S[Life.DRAINING] + SLACK_S
