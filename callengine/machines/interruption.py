"""What an interruption put off at the model, until it is known whether it was one.

Cancelling cannot wait for certainty, so a false alarm has something to make good: responses that
were called off before they began, and a sentence that was cut. Audio that the model sent between
our cancel and its end belongs to the one or to the other.
"""

from __future__ import annotations

from enum import Enum, auto

from callengine.machines.response_terms import CONTINUATION, Purpose, Wanted


class State(Enum):
    """The latest interruption."""

    SETTLED = auto()  # the caller was heard, or nothing happened yet
    OPEN = auto()  # nobody knows yet
    DISMISSED = auto()  # a false alarm: what was cut is being played after all


class Interruption:
    """One at a time; what an earlier one put off is forgotten when the next begins."""

    def __init__(self) -> None:
        self.state = State.SETTLED
        self._put_off: list[Wanted] = []

    @property
    def put_something_off(self) -> bool:
        """A response was stopped, or called off."""
        return bool(self._put_off)

    def begin(self) -> None:
        """The carrier is silent; whether for good is to be seen."""
        self.state = State.OPEN
        self._put_off.clear()

    def cut(self) -> None:
        """The model was stopped in mid-sentence."""
        self.called_off(CONTINUATION)

    def called_off(self, wanted: Wanted) -> None:
        """A response was cancelled before it began."""
        if wanted not in self._put_off:
            self._put_off.append(wanted)

    def completed(self) -> None:
        """The cancel came too late to cut anything."""
        self._put_off = [w for w in self._put_off if w.purpose is not Purpose.CONTINUATION]

    def settle(self) -> None:
        """It was the caller."""
        self.state = State.SETTLED
        self._put_off.clear()

    def dismiss(self) -> list[Wanted]:
        """It was nothing; returns the responses that are wanted now."""
        self.state = State.DISMISSED
        put_off, self._put_off = self._put_off, []
        return put_off
