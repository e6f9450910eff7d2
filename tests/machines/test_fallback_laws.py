"""L13 and L9 around the fallback: what is owed until when, and what it must not cost the caller."""

from __future__ import annotations

import pytest

from callengine.machines.conversation import UNHEARD_GRACE_S
from callengine.machines.response_terms import Purpose, SendCancel, SendCreate
from callengine.machines.transmission import FALLBACK
from callengine.machines.transmission_terms import SendClear
from callengine.messages import (
    AnswerOwed,
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallerFrame,
    Interrupted,
    ModelConnected,
    PlayAudio,
    ResponseHeard,
    SpeechConfirmed,
    SpeechEnded,
    ToolCalled,
)
from callengine.wire import realtime_events as wire
from tests.machines.conversation_rig import (
    CONFIRMED,
    GREETING,
    Rig,
    created,
    delta,
    done,
    error,
    function_call,
    only,
)
from tests.machines.test_transmission import Line, of, onset, sound, started

CLIP = bytes(range(1, 161)) * 50
"""One second; sounds like nothing else."""

STARTS, STOPS = wire.SpeechStarted("i9", 0), wire.SpeechStopped("i9", 0)
COMMITTED = wire.InputCommitted("i9")


def owed(rig: Rig) -> list[AnswerOwed]:
    return only(AnswerOwed, rig.reports)


# ---- what the bridge tells


def test_l13_a_greeting_that_goes_on_is_no_answer() -> None:
    rig = Rig(GREETING)
    rig.live()
    rig(created("r1", "create-1"), delta("r1"), STARTS, STOPS, COMMITTED)
    assert owed(rig) == [AnswerOwed(behind="r1")]
    rig(delta("r1"), done("r1"))
    assert rig.machine.owes
    rig(created("r2"), delta("r2", "i2"), done("r2"))
    assert not rig.machine.owes


def test_l13_what_a_response_says_beside_calling_a_tool_is_not_what_the_tool_finds() -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1"), function_call("c1"), delta("r1"))
    assert owed(rig) == [AnswerOwed(behind="r1")]
    assert rig.machine.owes


def test_l13_who_interrupts_and_is_not_heard_by_the_model_waits_from_then_on() -> None:
    """If it was noise nobody but us would know that the answer is still owed."""
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1"), done("r1"), Interrupted(1, 1, "r1"))
    assert owed(rig) == []
    rig(BargeInConfirmed(1, ()))
    assert owed(rig) == [AnswerOwed()]
    rig(STARTS)
    rig.after(UNHEARD_GRACE_S)
    assert owed(rig) == [AnswerOwed()], "he is heard, and waits for nothing while he speaks"


def test_l5_nothing_is_asked_of_a_session_that_is_not_live() -> None:
    """The caller spoke over a fallback: what he said is held, and will be answered when heard."""
    rig = Rig()
    rig(ModelConnected(), CallerFrame(b"\x00" * 160), Interrupted(1, 1, FALLBACK.format(1)))
    rig(BargeInConfirmed(1, ()))
    assert only(SendCreate, rig.after(UNHEARD_GRACE_S + 5.0)) == []
    rig(CONFIRMED)
    assert only(SendCreate, rig.after(30.0)) == []


def test_l1_an_answer_is_cancelled_although_a_protected_greeting_waits_behind_it() -> None:
    rig = Rig(GREETING)
    rig.live()
    rig(created("r1", "create-1"), done("r1", "failed"), created("r2"))
    rig(error("conversation_already_has_active_response", "create-2"), delta("r2", "i2"))
    assert rig.machine.slot.wants(Purpose.GREETING)
    assert only(SendCancel, rig(Interrupted(1, 1, "r2")))


def test_l13_who_was_speaking_when_the_model_was_lost_is_owed_an_answer() -> None:
    """The session that was lost heard him begin; the next one hears, at best, how he ends."""
    rig = Rig()
    rig.live()
    assert not rig.machine.owes
    rig(STARTS)
    assert rig.machine.owes


@pytest.mark.parametrize("dismissed_first", [False, True])
@pytest.mark.parametrize("was_noise", [False, True])
def test_l13_a_tool_call_that_was_complete_before_its_cancel_is_made_after_a_false_alarm(
    was_noise: bool, dismissed_first: bool
) -> None:
    """What leads up to it is played on: the caller was told that something is looked up."""
    rig = Rig()
    rig.live()
    verdict = BargeInDismissed() if was_noise else BargeInConfirmed(1, ())
    call = function_call("c1")
    rig(created("r1"), delta("r1"), Interrupted(1, 1, "r1"))
    over = done("r1", calls=(call,))
    actions = rig(verdict, call, over) if dismissed_first else rig(call, over, verdict)
    assert (only(ToolCalled, actions) != []) is was_noise


# ---- what the pacer does


def waiting(*, behind: str | None = None) -> Line:
    line = started()
    line.tell(AnswerOwed(CLIP, behind=behind))
    return line


def fallbacks(line: Line) -> int:
    return line.machine.counts.fallbacks


def play_and_wait_for_a_fallback(line: Line, *, before: int) -> None:
    """It comes 2.5 s behind what is no answer."""
    line.play(sound(1600), "r1")
    line.tell(AudioComplete("r1"))
    line.run(0.2 + 2.4)
    assert fallbacks(line) == before
    line.run(0.2)
    assert fallbacks(line) == before + 1


def test_l13_audio_of_what_is_not_the_answer_does_not_end_the_wait() -> None:
    line = waiting(behind="r1")
    play_and_wait_for_a_fallback(line, before=0)
    line.play(sound(1600), "r2")
    line.tell(AudioComplete("r2"))
    line.run(60.0)
    assert fallbacks(line) == 1


def test_l13_behind_words_that_are_not_the_answer_the_next_silence_is_a_first_one() -> None:
    line = waiting(behind="r1")
    line.run(2.7)
    assert fallbacks(line) == 1
    line.run(1.0)
    play_and_wait_for_a_fallback(line, before=1)


def test_l13_what_is_heard_already_is_not_the_answer() -> None:
    """Generated long ago, and still being played."""
    line = started()
    line.play(sound(8000), "r1")
    line.tell(AudioComplete("r1"))
    line.run(0.5)
    line.tell(AnswerOwed(CLIP))
    line.run(0.5 + 2.6)
    assert fallbacks(line) == 1


@pytest.mark.parametrize("dismissed", [False, True])
def test_l13_an_answer_that_came_while_nobody_was_sure_ends_the_wait_if_it_is_played(
    dismissed: bool,
) -> None:
    line = waiting()
    line.run(2.7)
    assert fallbacks(line) == 1
    line.tell(onset(line.now))
    line.tell(PlayAudio("r1", "i1", 0, sound(1600), 0), AudioComplete("r1"))
    line.tell(SpeechEnded(line.now) if dismissed else SpeechConfirmed(line.now))
    line.run(60.0)
    assert (fallbacks(line) == 1) is dismissed


def test_l9_a_protected_greeting_behind_a_fallback_that_is_cut_is_heard_whole() -> None:
    line = waiting()
    line.run(2.7)
    greeting = sound(4000, 99)
    line.tell(PlayAudio("r1", "i1", 0, greeting[:2000], 0, protected=True))
    before = len(line.sent())
    assert of(SendClear, line.tell(onset(line.now)))
    line.tell(PlayAudio("r1", "i1", 0, greeting[2000:], 0, protected=True), AudioComplete("r1"))
    line.tell(SpeechConfirmed(line.now))
    line.run(5.0)
    assert line.sent()[before:] == greeting
    assert of(ResponseHeard, line.actions()) == [ResponseHeard("r1")]
    assert line.balance() == 0


def test_l9_a_protected_greeting_the_carrier_holds_already_is_sent_again() -> None:
    line = waiting()
    line.run(2.7)
    greeting = sound(4000, 99)
    line.tell(PlayAudio("r1", "i1", 0, greeting, 0, protected=True), AudioComplete("r1"))
    while not line.sent().endswith(greeting[:160]):
        line.run(0.02)
    speaking = line.machine.playout.speaking
    assert speaking is not None
    assert speaking.response_id == FALLBACK.format(1), "the carrier has a lead"
    line.tell(onset(line.now), SpeechConfirmed(line.now))
    line.run(5.0)
    assert line.sent().endswith(greeting)
    assert line.balance() == 0
