"""The caller's end of the line: everything a script can do, written as Twilio would write it.

Decides no timing; what is due when is asked of the voice and the ear.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from callengine.testing.caller.ear import Ear
from callengine.testing.caller.record import CallRecord, ClosedBy, Dialled, Missed
from callengine.testing.caller.voice import Voice
from callengine.testing.peer import Close, Outgoing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callengine.testing.caller.playout import Sounding
    from callengine.testing.caller.stream import TwilioStream


class CallLine:
    """A `Line` that collects what is to be sent in `outgoing`.

    `now` is the time at which that will be sent: the real one, even where something was due
    earlier.
    """

    def __init__(self, stream: TwilioStream, mark_echo_delay_s: float) -> None:
        self.record = CallRecord(stream.account_sid, stream.call_sid, stream.stream_sid)
        self.ear = Ear(self.record, mark_echo_delay_s)
        self.voice: Voice | None = None
        self.outgoing: list[Outgoing] = []
        self.now = 0.0
        self._stream = stream

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self.record.closed is not None

    def connect(self) -> None:
        """Send `connected`."""
        self.outgoing.append(self._stream.connected())

    def start(self, at: float, overrides: Mapping[str, object]) -> None:
        """Send `start`; from here on frames leave, on a grid that counts from `at`."""
        self.outgoing.append(self._stream.start(overrides))
        self.voice = Voice(at, self.record.said)

    def send_frame(self) -> None:
        """Send the frame of the present slot."""
        slot = self._speaking().slot
        payload = self._speaking().next_frame(self.now)
        self.outgoing.append(self._stream.media(payload, slot))
        self.record.inbound_frames_sent += 1

    def echo(self, names: list[str]) -> None:
        """Send marks back."""
        self.outgoing += [self._stream.mark(name) for name in names]

    def say(self, clip: bytes, label: str, kind: Literal["say", "barge_in"]) -> float:
        """Start to say a clip; returns when it will be said."""
        return self._speaking().say(clip, label, kind)

    def sounding(self) -> Sounding | None:
        """What of the AI is or was last audible."""
        return self.ear.sounding()

    def spoke_until(self) -> float:
        """When the caller's last clip ended; minus infinity if there was none."""
        return self.record.said[-1].end_at if self.record.said else -math.inf

    def press(self, digit: str) -> None:
        """Send one key."""
        self.outgoing.append(self._stream.dtmf(digit))
        self.record.digits.append(Dialled(digit, self.now))

    def pause_frames(self, until: float) -> None:
        """Send no frames before `until`."""
        self._speaking().pause_until(until)

    def skip_time(self, milliseconds: int) -> None:
        """Let the media timestamps jump."""
        self._stream.skip_time(milliseconds)

    def send_raw(self, message: str | bytes) -> None:
        """Send a message as it is."""
        self.outgoing.append(message)

    def miss(self, missed: Missed) -> None:
        """Record a step that timed out."""
        self.record.missed.append(missed)

    def hang_up(self) -> None:
        """Send `stop` and close."""
        self.outgoing.append(self._stream.stop())
        self.drop(1000, abrupt=False)

    def drop(self, code: int, *, abrupt: bool) -> None:
        """Close with `code`, or cut, without `stop`."""
        close = Close(1006 if abrupt else code, abrupt=abrupt)
        self.outgoing.append(close)
        self.end(ClosedBy(close.code, "", "caller", self.now))

    def end(self, closed: ClosedBy) -> None:
        """The call is over: nothing more is heard or said."""
        self.ear.listen_to(closed.at)
        self.ear.note_heard()
        if self.voice is not None:
            self.voice.stop()
        self.record.closed = closed

    def _speaking(self) -> Voice:
        if self.voice is None:
            raise RuntimeError("the stream has not started: call start() first")
        return self.voice
