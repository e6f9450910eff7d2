"""Carries out a caller's script on a `Line`, one step after the other.

Decides when a step is over; refuses to know how anything is sent or heard. A running step is a
generator: it yields a function that tells when it wants to go on (None: not foreseeable yet; asked
again whenever something changes) and is sent the time when that has come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, assert_never

from callengine.testing.caller.record import Missed
from callengine.testing.caller.script import (
    BargeIn,
    CountFrom,
    Dial,
    DropSocket,
    HangUp,
    HoldBack,
    LoseFrames,
    RepeatFrame,
    Say,
    SendRaw,
    SkipTime,
    Step,
    StopFrames,
    StopPlaying,
    SwapFrames,
    TimelessStep,
    Wait,
    WaitUntil,
    WaitUntilHeard,
    WaitUntilQuiet,
)

if TYPE_CHECKING:
    from callengine.testing.caller.playout import Sounding

InstantStep = (
    SkipTime | LoseFrames | RepeatFrame | SwapFrames | CountFrom | SendRaw | HangUp | DropSocket
)
Until = Callable[[], float | None]
Running = Generator[Until, float, float]


class Line(Protocol):
    """What a script can do on a call, and what it can listen for."""

    @property
    def over(self) -> bool:
        """Whether the call has ended."""

    def say(self, clip: bytes, label: str, kind: Literal["say", "barge_in"]) -> float:
        """Start to say a clip; returns when it will be said."""

    def sounding(self) -> Sounding | None:
        """What of the AI is or was last audible."""

    def spoke_until(self) -> float:
        """When the caller's last clip ended; minus infinity if there was none."""

    def press(self, digit: str) -> None:
        """Send one key."""

    def pause_frames(self, until: float) -> None:
        """Send no frames before `until`."""

    def skip_time(self, milliseconds: int) -> None:
        """Let the media timestamps jump."""

    def stop_playing(self, until: float) -> None:
        """Hear nothing before `until`."""

    def lose_frames(self, count: int) -> None:
        """Let the next frames never leave."""

    def repeat_frame(self, times: int) -> None:
        """Let the next frame leave more than once."""

    def swap_frames(self) -> None:
        """Let the next two frames leave in reverse order."""

    def count_from(self, sequence: int) -> None:
        """Let the next message have this number."""

    def hold_back(self, until: float, room_frames: int | None) -> None:
        """Let nothing leave before `until`."""

    def send_raw(self, message: str | bytes) -> None:
        """Send a message as it is."""

    def hang_up(self) -> None:
        """Send `stop` and close."""

    def drop(self, code: int, *, abrupt: bool) -> None:
        """Close or cut without `stop`."""

    def miss(self, missed: Missed) -> None:
        """Record a step that timed out."""


def perform(script: Sequence[Step], line: Line, at: float) -> Generator[Until, float, None]:
    """Run the whole script from `at` on, then hang up."""
    began_at = at
    for step in script:
        if isinstance(step, WaitUntil):
            at = yield _at(max(at, began_at + step.seconds))
        else:
            at = yield from _step(step, line, at)
        if line.over:
            return
    line.hang_up()


def _step(step: TimelessStep, line: Line, at: float) -> Running:
    match step:
        case Wait(seconds):
            at = yield _at(at + seconds)
        case Say(clip, label):
            at = yield _at(line.say(clip, label, "say"))
        case BargeIn():
            at = yield from _barge_in(step, line, at)
        case WaitUntilHeard(timeout_s):
            at, _ = yield from _wait(step, line, _heard_for(line, 0.0, at), at + timeout_s)
        case WaitUntilQuiet(quiet_s, timeout_s):
            at, _ = yield from _wait(step, line, _quiet_for(line, quiet_s), at + timeout_s)
        case Dial():
            at = yield from _dial(step, line, at)
        case StopFrames(seconds):
            line.pause_frames(at + seconds)
            at = yield _at(at + seconds)
        case StopPlaying(seconds):
            line.stop_playing(at + seconds)
        case HoldBack(seconds, room_frames):
            line.hold_back(at + seconds, room_frames)
        case _:
            _at_once(step, line)
    return at


def _at_once(step: InstantStep, line: Line) -> None:
    match step:
        case SkipTime(milliseconds):
            line.skip_time(milliseconds)
        case LoseFrames(count):
            line.lose_frames(count)
        case RepeatFrame(times):
            line.repeat_frame(times)
        case SwapFrames():
            line.swap_frames()
        case CountFrom(sequence):
            line.count_from(sequence)
        case SendRaw(message):
            line.send_raw(message)
        case HangUp():
            line.hang_up()
        case DropSocket(abrupt, code):
            line.drop(code, abrupt=abrupt)
        case _:
            assert_never(step)


def _at(time: float) -> Until:
    return lambda: time


def _barge_in(step: BargeIn, line: Line, at: float) -> Running:
    give_up_at = at + step.timeout_s
    condition = _heard_for(line, step.after_heard_s, at)
    at, heard = yield from _wait(step, line, condition, give_up_at)
    if heard:
        at = yield _at(line.say(step.clip, step.label, "barge_in"))
    return at


def _dial(step: Dial, line: Line, at: float) -> Running:
    for digit in step.digits:
        line.press(digit)
        at = yield _at(at + step.interval_s)
    return at


def _wait(
    step: Step, line: Line, condition: Until, give_up_at: float
) -> Generator[Until, float, tuple[float, bool]]:
    """Wait for the time `condition` foresees; the flag tells whether it came before the timeout."""
    at = yield lambda: min(give_up_at, _or_never(condition()))
    met = _or_never(condition()) <= at
    if not met:
        line.miss(Missed(step, at))
    return at, met


def _or_never(time: float | None) -> float:
    return math.inf if time is None else time


def _heard_for(line: Line, seconds: float, since: float) -> Until:
    """When, from `since` on, the stretch being heard has lasted `seconds` and still goes on."""

    def at() -> float | None:
        sounding = line.sounding()
        if sounding is None:
            return None
        earliest = max(since, sounding.stretch_since + seconds)
        return earliest if earliest < sounding.until else None

    return at


def _quiet_for(line: Line, seconds: float) -> Until:
    """When the AI, heard since the caller last spoke, will have been silent for `seconds`."""

    def at() -> float | None:
        sounding = line.sounding()
        if sounding is None or sounding.until <= line.spoke_until():
            return None
        return sounding.until + seconds

    return at
