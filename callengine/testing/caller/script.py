"""What a simulated caller does, as data: the steps of its script, done one after the other.

Holds no behaviour; `caller_steps` carries the steps out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wait:
    """Stay on the line, saying nothing."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Stay on the line until the script has run for `seconds`; done at once if it has."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Say:
    """Say `clip` (mu-law, 8 kHz), starting at the next frame boundary; done when it is said."""

    clip: bytes
    label: str = ""


@dataclass(frozen=True, slots=True)
class BargeIn:
    """Say `clip` over the AI, once the caller has been hearing it for `after_heard_s` at a stretch.

    Gaps under 100 ms do not end a stretch. If that does not come about within `timeout_s` the step
    is recorded as missed, the clip is not said and the script goes on.
    """

    clip: bytes
    after_heard_s: float
    label: str = ""
    timeout_s: float = 15.0


@dataclass(frozen=True, slots=True)
class WaitUntilHeard:
    """Wait until the AI is audible: at once if it is. Missed after `timeout_s`."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class WaitUntilQuiet:
    """Wait until the AI has spoken and has then been silent for `quiet_s`. Missed after
    `timeout_s`.

    Spoken means: something was heard after the caller's own last clip ended (before the first one:
    since the call began).
    """

    quiet_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Dial:
    """Press keys: one dtmf message each, in order, `interval_s` after each one (the last too).

    Any character is sent as it is, so that an agent can be shown keys that do not exist.
    """

    digits: str
    interval_s: float = 0.1


@dataclass(frozen=True, slots=True)
class StopFrames:
    """Send no media for `seconds` (hold, network trouble); the timestamps jump afterwards."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SkipTime:
    """Let the media timestamps jump by `milliseconds`, which may be negative, in no time."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class StopPlaying:
    """Hear nothing for `seconds`: what the agent sends waits at the carrier, marks and all.

    The script goes on at once; frames leave as before.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class LoseFrames:
    """The next `count` frames of the caller never leave; their numbers and their time are gone."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class RepeatFrame:
    """The next frame of the caller leaves `times` more times, number and all."""

    times: int = 1


@dataclass(frozen=True, slots=True)
class SwapFrames:
    """The next two frames of the caller leave in reverse order, each with its own number."""


@dataclass(frozen=True, slots=True)
class CountFrom:
    """The next message has this sequence number: a gap, or a counter that begins anew."""

    sequence: int


@dataclass(frozen=True, slots=True)
class HoldBack:
    """Nothing that Twilio sends leaves for `seconds`, then all of it in one burst: the network.

    The script goes on meanwhile. With `room_frames` it is the agent that reads too slowly: audio
    beyond so many frames is dropped and reported (31930).
    """

    seconds: float
    room_frames: int | None = None


@dataclass(frozen=True, slots=True)
class SendRaw:
    """Send any message, text (`str`) or binary (`bytes`): a fault. The counters do not move."""

    message: str | bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call as Twilio does when the caller hangs up: `stop`, then the socket closes."""


@dataclass(frozen=True, slots=True)
class DropSocket:
    """End the call without `stop`: TCP is cut or, unless `abrupt`, the socket closes with `code`.

    Code 1005 closes without a code.
    """

    abrupt: bool = True
    code: int = 1000


TimelessStep = (
    Wait
    | Say
    | BargeIn
    | WaitUntilHeard
    | WaitUntilQuiet
    | Dial
    | StopFrames
    | SkipTime
    | StopPlaying
    | LoseFrames
    | RepeatFrame
    | SwapFrames
    | CountFrom
    | HoldBack
    | SendRaw
    | HangUp
    | DropSocket
)
"""Steps that do not depend on when the script began."""

Step = TimelessStep | WaitUntil
