"""The words in which the response slot is spoken to, and in which it answers."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import Final, TypeAlias

from callengine.messages import (
    DeadlineReached,
    ResetGranted,
    ResetRefused,
    ResetRequest,
    StateChanged,
)
from callengine.values import dataclass


class Purpose(StrEnum):
    """What a response is wanted for."""

    GREETING = "greeting"
    ANSWER = "answer"  # the caller said something
    TOOL_RESULT = "tool_result"
    CONTINUATION = "continuation"  # a false alarm cut the model short


UNANSWERED_BY_OTHERS: Final = frozenset({Purpose.TOOL_RESULT, Purpose.CONTINUATION})
"""Still wanted after a response of the server's own, which answers the caller as ours would."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A response somebody wants; equal ones that wait are asked for once.

    `given_up` is the event id of an earlier create for it that the model has not answered;
    `refused_since` is when the model first said that another response is under way; None again
    as soon as one is seen.
    """

    purpose: Purpose
    instructions: str | None = None
    attempt: int = field(default=1, compare=False)
    not_before: float = field(default=float("-inf"), compare=False)
    given_up: str | None = field(default=None, compare=False)
    refused_since: float | None = field(default=None, compare=False)


CONTINUE: Final = (
    "Noise on the line cut you off in the middle of your last reply. Continue exactly where you"
    " stopped, without repeating anything and without mentioning it."
)

CONTINUATION: Final = Wanted(Purpose.CONTINUATION, CONTINUE)
"""The rest of a sentence that was cut short for no good reason."""


# ---- events


@dataclass(frozen=True, slots=True)
class CreateWanted:
    """Ask for a response as soon as the slot is free."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Created:
    """`response.created`: ours, or one the server made of a caller's turn.

    `answers` is the event id of our create, if the server says so. One that says nothing while our
    create is out is taken for ours, by a server that never says, until an error tells otherwise.
    """

    response_id: str
    answers: str | None = None


@dataclass(frozen=True, slots=True)
class AudioCame:
    """The model sent audio of this response."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The model is at work, though not at audio: at words, or at the arguments of a tool."""


@dataclass(frozen=True, slots=True)
class Done:
    """`response.done`. `failed` if there is nothing to hear and it is worth another try."""

    response_id: str
    failed: bool


@dataclass(frozen=True, slots=True)
class CancelWanted:
    """The caller interrupted: whatever is in the slot is outdated. `barge_in` tells which time."""

    barge_in: int | None = None


@dataclass(frozen=True, slots=True)
class CancelRefused:
    """The error `response_cancel_not_active`, with the id of the event that caused it if told."""

    caused_by: str | None


@dataclass(frozen=True, slots=True)
class CreateRefused:
    """The error `conversation_already_has_active_response`: not now."""

    caused_by: str | None


@dataclass(frozen=True, slots=True)
class CreateFailed:
    """Any other error that names our create."""

    caused_by: str | None


Event: TypeAlias = (
    CreateWanted
    | Created
    | AudioCame
    | Moved
    | Done
    | CancelWanted
    | CancelRefused
    | CreateRefused
    | CreateFailed
    | ResetRequest
    | DeadlineReached
)

# ---- actions


@dataclass(frozen=True, slots=True)
class SendCreate:
    """Send `response.create`; the error that refuses it will name `event_id`."""

    event_id: str
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Send `response.cancel`, always with the id: without one it may hit the next response."""

    event_id: str
    response_id: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The slot let go of this response: no more of its audio counts."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Outdated:
    """The interruption took the place of this one: it is asked for no more, or comes unwanted."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The model failed this one as often as it may, or (`jammed`) takes no create at all."""

    wanted: Wanted
    jammed: bool = False


Action: TypeAlias = (
    SendCreate
    | SendCancel
    | Finished
    | Outdated
    | GaveUp
    | StateChanged
    | ResetGranted
    | ResetRefused
)


class Settlement(StrEnum):
    """How a cancel ended."""

    DONE = "done"
    NOT_ACTIVE = "not_active"
    DEADLINE = "deadline"
    SUPERSEDED = "superseded"  # the server began the next response


@dataclass(slots=True)
class Cancel:
    """One line of the record of cancels; times are monotonic seconds."""

    response_id: str
    sent_at: float
    barge_in: int | None = None
    resolved_at: float | None = None
    settlement: Settlement | None = None


@dataclass(slots=True)
class ResponseCounts:
    """What the summary says about the slot."""

    creates_sent: int = 0
    creates_refused: int = 0
    creates_timed_out: int = 0
    creates_overflowed: int = 0
    retries: int = 0
    cancels_sent: int = 0
    cancels_timed_out: int = 0
    responses: int = 0
    unexpected_created: int = 0
    unexpected_done: int = 0
    stuck_recoveries: int = 0
