"""Does the caller's voice interrupt? From the onset to the decision whether it was a false alarm.

It is told whether something audible may be interrupted; it does not know what.

An interruption is executed at the onset, before anybody can be sure. Within `false_trigger_s` the
suspicion is confirmed (the caller goes on, or the model heard speech too) or, if the caller is
quiet again when the time is up, dismissed.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, TypeAlias

from callengine.messages import (
    DeadlineReached,
    ModelHeardSpeech,
    SpeechConfirmed,
    SpeechEnded,
    SpeechOnset,
)

Evidence: TypeAlias = (
    SpeechOnset | SpeechConfirmed | SpeechEnded | ModelHeardSpeech | DeadlineReached
)


class State(Enum):
    """How far a barge-in has come."""

    LISTENING = auto()  # no barge-in is open
    SUSPECTED = auto()  # interrupted; the caller is still loud
    FADING = auto()  # interrupted; the caller is quiet again


LISTENING: Final = State.LISTENING


class Floor(Enum):
    """What the caller's voice meets."""

    FREE = auto()  # nothing is audible
    TAKEN = auto()  # the AI is audible
    PROTECTED = auto()  # the AI is audible and may not be interrupted


class Verdict(Enum):
    """What to do."""

    NOTHING = auto()
    INTERRUPT = auto()  # silence the AI; wait for confirmation
    INTERRUPT_AND_CONFIRM = auto()  # silence the AI; there is no doubt
    CONTINUE = auto()  # part of the barge-in that is open: note it
    CONFIRM = auto()  # it was speech
    DISMISS = auto()  # it was not: resume
    GUARD = auto()  # the AI is protected: note it, keep talking
    PASS = auto()  # nothing was audible: note it
    PASS_CONFIRMED = auto()  # there is nothing to interrupt, and the caller really speaks


TRANSITIONS: Final = {
    (State.LISTENING, SpeechOnset): State.SUSPECTED,
    (State.SUSPECTED, SpeechEnded): State.FADING,
    (State.SUSPECTED, SpeechConfirmed): State.LISTENING,
    (State.SUSPECTED, ModelHeardSpeech): State.LISTENING,
    (State.SUSPECTED, DeadlineReached): State.LISTENING,
    (State.FADING, SpeechOnset): State.SUSPECTED,
    (State.FADING, ModelHeardSpeech): State.LISTENING,
    (State.FADING, DeadlineReached): State.LISTENING,
}
"""From `LISTENING` only where there is something to interrupt. What is not listed changes nothing:
the end of speech that did not interrupt, a second onset without an end, evidence after the fact."""

_OPEN_VERDICTS: Final = {
    (State.SUSPECTED, SpeechConfirmed): Verdict.CONFIRM,
    (State.SUSPECTED, ModelHeardSpeech): Verdict.CONFIRM,
    (State.SUSPECTED, DeadlineReached): Verdict.CONFIRM,
    (State.FADING, SpeechOnset): Verdict.CONTINUE,
    (State.FADING, ModelHeardSpeech): Verdict.CONFIRM,
    (State.FADING, DeadlineReached): Verdict.DISMISS,
}

# What evidence means while no barge-in is open. Speech that began in silence and is confirmed only
# now, or that the model heard and we did not, interrupts without doubt.
_LISTENING_VERDICTS: Final = {
    (SpeechOnset, Floor.TAKEN): Verdict.INTERRUPT,
    (SpeechOnset, Floor.PROTECTED): Verdict.GUARD,
    (SpeechOnset, Floor.FREE): Verdict.PASS,
    (SpeechConfirmed, Floor.TAKEN): Verdict.INTERRUPT_AND_CONFIRM,
    (SpeechConfirmed, Floor.FREE): Verdict.PASS_CONFIRMED,
    (SpeechConfirmed, Floor.PROTECTED): Verdict.PASS_CONFIRMED,
    (ModelHeardSpeech, Floor.TAKEN): Verdict.INTERRUPT_AND_CONFIRM,
}


class BargeIn:
    """One call's barge-ins, one at a time."""

    def __init__(self, false_trigger_s: float) -> None:
        self.state = State.LISTENING
        self._false_trigger_s = false_trigger_s
        self._deadline: float | None = None

    def handle(self, evidence: Evidence, floor: Floor, now: float) -> Verdict:
        """Weigh one piece of evidence; `floor` is how things are at this moment."""
        if isinstance(evidence, DeadlineReached) and not self._is_due(now):
            return Verdict.NOTHING
        if self.state is State.LISTENING:
            verdict = _LISTENING_VERDICTS.get((type(evidence), floor), Verdict.NOTHING)
            if verdict is Verdict.INTERRUPT:
                self._deadline = now + self._false_trigger_s
                self.state = TRANSITIONS[self.state, SpeechOnset]
            return verdict
        verdict = _OPEN_VERDICTS.get((self.state, type(evidence)), Verdict.NOTHING)
        self.state = TRANSITIONS.get((self.state, type(evidence)), self.state)
        return verdict

    def next_deadline(self) -> float | None:
        """When a false alarm is given up."""
        return None if self.state is State.LISTENING else self._deadline

    def _is_due(self, now: float) -> bool:
        deadline = self.next_deadline()
        return deadline is not None and now >= deadline
