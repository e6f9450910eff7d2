"""The caller's end of the line: everything a script can do, written as Twilio would write it.

Decides no timing; what is due when is asked of the voice and the ear.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from callengine.audio.g711 import FRAME_BYTES
from callengine.testing.caller.ear import Delays, Ear
from callengine.testing.caller.faults import EchoFault, FrameSizes
from callengine.testing.caller.frames import Frames
from callengine.testing.caller.outlet import Outlet
from callengine.testing.caller.record import CallRecord, ClosedBy, Dialled, Missed, Violation
from callengine.testing.caller.voice import Voice
from callengine.testing.peer import Close

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callengine.testing.caller.faults import Fault
    from callengine.testing.caller.playout import Sounding
    from callengine.testing.caller.stream import TwilioStream
    from callengine.testing.caller.twiml import NextStep


class CallLine:
    """A `Line` that collects what is to be sent in its `outlet`.

    `now` is the time at which that will be sent: the real one, even where something was due
    earlier.
    """

    def __init__(
        self,
        stream: TwilioStream,
        delays: Delays,
        faults: Sequence[Fault] = (),
        after_stream: tuple[NextStep, ...] = (),
    ) -> None:
        self.record = CallRecord(stream.account_sid, stream.call_sid, stream.stream_sid)
        echo_faults = [fault for fault in faults if isinstance(fault, EchoFault)]
        self.ear = Ear(self.record, delays, echo_faults)
        self.voice: Voice | None = None
        self.outlet = Outlet()
        self.now = 0.0
        sizes = [fault.sizes_bytes for fault in faults if isinstance(fault, FrameSizes)]
        self._frames = Frames(stream, sizes[0] if sizes else (FRAME_BYTES,))
        self._unread_frames = 0
        self._stream = stream
        self._after_stream = after_stream

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self.record.closed is not None

    def connect(self) -> None:
        """Send `connected`."""
        self.outlet.put(self._stream.connected())

    def start(self, at: float, overrides: Mapping[str, object]) -> None:
        """Send `start`; from here on frames leave, on a grid that counts from `at`."""
        self.outlet.put(self._stream.start(overrides))
        self.voice = Voice(at, self.record.said)

    def send_frame(self) -> None:
        """Send the audio of the present slot."""
        slot = self._speaking().slot
        for message in self._frames.say(self._speaking().next_frame(self.now), slot):
            if self.outlet.put_audio(message):
                self.record.inbound_frames_sent += 1
            else:
                self._unread_frames += 1

    def echo(self, names: list[str]) -> None:
        """Send marks back."""
        for name in names:
            self.outlet.put(self._stream.mark(name))

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
        self.outlet.put(self._stream.dtmf(digit))
        self.record.digits.append(Dialled(digit, self.now))

    def pause_frames(self, until: float) -> None:
        """Send no frames before `until`."""
        self._speaking().pause_until(until)

    def skip_time(self, milliseconds: int) -> None:
        """Let the media timestamps jump."""
        self._stream.skip_time(milliseconds)

    def stop_playing(self, until: float) -> None:
        """Hear nothing before `until`."""
        self.ear.stop_playing(until)

    def lose_frames(self, count: int) -> None:
        """Let the next frames never leave."""
        self._frames.lose(count)

    def repeat_frame(self, times: int) -> None:
        """Let the next frame leave more than once."""
        self._frames.repeat(times)

    def swap_frames(self) -> None:
        """Let the next two frames leave in reverse order."""
        self._frames.swap()

    def count_from(self, sequence: int) -> None:
        """Let the next message have this number."""
        self._stream.count_from(sequence)

    def hold_back(self, until: float, room_frames: int | None) -> None:
        """Let nothing leave before `until`."""
        self.outlet.hold_back(until, room_frames)

    def release(self) -> None:
        """Let go what was held back."""
        self.outlet.release()
        if self._unread_frames:
            told = f"{self._unread_frames} frames dropped: the agent reads too slowly"
            self.record.violations.append(Violation(31930, told, self.now))
            self._unread_frames = 0

    def send_raw(self, message: str | bytes) -> None:
        """Send a message as it is."""
        self.outlet.put(message)

    def miss(self, missed: Missed) -> None:
        """Record a step that timed out."""
        self.record.missed.append(missed)

    def hang_up(self) -> None:
        """Send `stop` and close."""
        self.outlet.put(self._stream.stop())
        self.drop(1000, abrupt=False)

    def drop(self, code: int, *, abrupt: bool) -> None:
        """Close with `code`, or cut, without `stop`."""
        close = Close(1006 if abrupt else code, abrupt=abrupt)
        if abrupt:
            self.outlet.drop_held()
        self.release()
        self.outlet.put(close)
        self.end(ClosedBy(close.code, "", "caller", self.now))

    def end(self, closed: ClosedBy) -> None:
        """The call is over: nothing more is heard or said."""
        if closed.by == "engine":
            self.record.next_steps = self._after_stream
        self.ear.listen_to(closed.at)
        self.ear.note_heard()
        if self.voice is not None:
            self.voice.stop()
        self.record.closed = closed

    def _speaking(self) -> Voice:
        if self.voice is None:
            raise RuntimeError("the stream has not started: call start() first")
        return self.voice
