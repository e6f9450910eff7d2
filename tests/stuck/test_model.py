"""A model that cannot be reached, is dead, or answers pings and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine import Agent, EndCause
from callengine.machines.conversation import MAX_TURN_S, UNHEARD_GRACE_S
from callengine.machines.presence import Presence
from callengine.machines.response import CANCEL_DEADLINE_S, REQUEST_DEADLINE_S
from callengine.machines.session import DEADLINE_S as SESSION_DEADLINE_S
from callengine.machines.session import State as SessionState
from callengine.machines.stall import LIMITS
from callengine.messages import CallerSpoke, Owner, ResetGranted, ResetReason
from callengine.testing import Say, Wait, WaitUntil, WaitUntilQuiet
from callengine.testing import simulation as simulation_module
from callengine.testing.realtime import faults
from callengine.testing.realtime.faults import After, AtAppend, AtResponse, AtResponseDone
from tests.stuck.course import (
    DEAF_TO_HUM,
    HUM_MS,
    QUESTION,
    SLACK_S,
    after_the_greeting,
    assert_farewell,
    course,
)

if TYPE_CHECKING:
    from callengine.testing.caller.script import Step

# ---- the session


def test_a_model_that_cannot_be_reached_ends_the_call_with_a_farewell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulation_module._ModelLink, "connect", lambda *_: None)
    seen = course([Wait(60.0)])
    assert seen.held.summary.end_cause is EndCause.MODEL_UNREACHABLE
    began = SESSION_DEADLINE_S[SessionState.CONNECTING]
    assert seen.held.caller.heard[0].at == pytest.approx(began, abs=SLACK_S)
    assert_farewell(seen)


def test_a_session_that_is_never_confirmed_ends_the_call_with_a_farewell() -> None:
    seen = course([Wait(60.0)], faults.DelaySessionUpdated(None))
    assert seen.held.summary.end_cause is EndCause.SESSION_REFUSED
    began = SESSION_DEADLINE_S[SessionState.CONFIGURING]
    assert seen.held.caller.heard[0].at == pytest.approx(began, abs=SLACK_S)
    assert_farewell(seen)


def test_a_dead_socket_of_the_model_is_found_although_nobody_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Presence, "pong", lambda *_: [])  # no ping is answered
    seen = course([Wait(100.0)], faults.GoSilent(AtResponseDone(1)))
    last_event_at = seen.held.model.sent[-1].at
    ((asked_at, ask),) = seen.asked(Owner.MODEL)
    assert ask.reason is ResetReason.MODEL_SILENT
    assert asked_at <= last_event_at + LIMITS[Owner.MODEL, "open"].seconds + SLACK_S
    assert seen.answers(Owner.MODEL) == [ResetGranted(Owner.MODEL, ask.reason)]
    assert seen.held.summary.end_cause is EndCause.MODEL_SILENT
    assert_farewell(seen)


# ---- a model that answers pings and nothing else


@pytest.mark.parametrize("speaks_at", [3.0, 6.0])
def test_a_model_that_does_not_hear_the_caller_and_answers_nothing_is_found(
    speaks_at: float,
) -> None:
    """Also if it answers a ping, as at 15 s, while it owes the answer to our question."""
    script: list[Step] = [WaitUntil(speaks_at), Say(QUESTION), Wait(60.0)]
    seen = course(script, faults.GoSilent(AtResponseDone(1)))
    ((spoke_at, _),) = seen.all_of(CallerSpoke)
    ((probed_at, probe),) = [
        (at, e) for at, e in seen.sent_to_model("session.update") if "probe" in e["event_id"]
    ]
    assert probed_at == pytest.approx(spoke_at + UNHEARD_GRACE_S, abs=SLACK_S)
    assert probe["session"] == {"type": "realtime"}, "it changes nothing"
    ((asked_at, ask),) = seen.asked(Owner.MODEL)
    assert asked_at == pytest.approx(probed_at + LIMITS[Owner.MODEL, "asked"].seconds, abs=SLACK_S)
    assert seen.answers(Owner.MODEL) == [ResetGranted(Owner.MODEL, ask.reason)]
    assert seen.held.summary.end_cause is EndCause.MODEL_SILENT
    assert seen.held.summary.conversation.probes_sent == 1
    assert_farewell(seen)


def test_a_model_that_is_silent_from_the_beginning_is_found_although_nobody_speaks() -> None:
    seen = course([Wait(60.0)], faults.GoSilent(After(0.02)))
    assert seen.held.summary.end_cause is EndCause.MODEL_SILENT
    most_s = REQUEST_DEADLINE_S + LIMITS[Owner.MODEL, "asked"].seconds
    assert seen.held.caller.heard[0].at <= most_s + SLACK_S
    assert_farewell(seen)


def test_a_model_that_falls_silent_in_the_middle_of_a_word_is_found() -> None:
    seen = course(after_the_greeting(Wait(60.0)), faults.GoSilent(AtResponse(2, 1_000)))
    assert seen.held.summary.end_cause is EndCause.MODEL_SILENT
    limits_s = LIMITS[Owner.RESPONSE, "speaking"].seconds + LIMITS[Owner.MODEL, "asked"].seconds
    last_event_at = seen.held.model.sent[-1].at
    farewell = seen.held.caller.heard[-1]
    assert farewell.at <= last_event_at + limits_s + CANCEL_DEADLINE_S + SLACK_S
    assert_farewell(seen)


def test_a_model_that_heard_the_caller_and_then_falls_silent_is_found() -> None:
    seen = course(after_the_greeting(Wait(90.0)), faults.GoSilent(AtAppend(210)))
    assert len(seen.held.model.speech_started) == 1
    ((spoke_at, _),) = seen.all_of(CallerSpoke)
    assert seen.held.summary.end_cause in {EndCause.MODEL_SILENT, EndCause.MODEL_FAILED}
    most_s = MAX_TURN_S + REQUEST_DEADLINE_S + LIMITS[Owner.MODEL, "asked"].seconds
    assert seen.held.caller.heard[-1].at <= spoke_at + most_s + SLACK_S
    assert_farewell(seen)


def test_noise_that_the_model_rightly_does_not_hear_makes_no_model_suspect() -> None:
    """A line so loud that our detector takes it for speech over and over."""
    agent = Agent(vad=DEAF_TO_HUM)
    hum: list[Step] = [step for _ in range(6) for step in (Say(HUM_MS * 600), Wait(3.0))]
    seen = course([WaitUntilQuiet(0.5, 9.0), *hum], agent=agent)
    spoke = len(seen.all_of(CallerSpoke))
    assert spoke >= 3, "in the end it is known for noise"
    assert seen.held.summary.conversation.probes_sent == spoke
    assert seen.held.summary.watchdog.resets_asked == 0
    assert seen.held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert len(seen.held.model.responses) == 1, "and nobody is talked to"


def test_in_a_conversation_nothing_goes_wrong_with_no_model_is_asked() -> None:
    turns = [step for _ in range(5) for step in (Say(QUESTION), WaitUntilQuiet(1.0, 9.0))]
    seen = course([WaitUntilQuiet(0.5, 9.0), *turns, Wait(60.0)])
    assert seen.held.summary.conversation.probes_sent == 0
    assert seen.held.summary.watchdog.resets_asked == 0
