"""What a simulated caller witnessed: the record that tests are written against.

Facts and plain questions to them; no verdict. All times are seconds on the clock the caller was
run with; audio is mu-law at 8 kHz, so 8 bytes are one millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from callengine.audio.g711 import SAMPLE_RATE_HZ, SILENCE_BYTE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callengine.testing.caller.script import Step
    from callengine.testing.caller.twiml import NextStep

STRETCH_GAP_S: Final = 0.1
"""A stretch of speech bridges gaps shorter than this."""

_SLACK_S: Final = 1e-6


def ends_stretch(gap_s: float) -> bool:
    """Whether silence of `gap_s` separates two stretches of speech."""
    return gap_s >= STRETCH_GAP_S - _SLACK_S


@dataclass(frozen=True, slots=True)
class HeardSpan:
    """Bytes the caller heard without a gap; the first one began to sound at `at`."""

    at: float
    payload: bytes

    @property
    def until(self) -> float:
        """When the last byte had sounded."""
        return self.at + len(self.payload) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """One valid `media` message. Of its payload, the last `dropped_bytes` exceeded ten minutes.

    `clears` counts the `clear` messages that had come before it.
    """

    at: float
    payload: bytes
    dropped_bytes: int = 0
    clears: int = 0

    @property
    def size_bytes(self) -> int:
        """Length of the audio; a frame should have 160."""
        return len(self.payload)


@dataclass(frozen=True, slots=True)
class Said:
    """A clip the caller said: `onset_at` is when the message with its first byte was sent.

    `clip` is what was sent of it: less than scripted only if the call ended meanwhile.
    """

    label: str
    onset_at: float
    end_at: float
    kind: Literal["say", "barge_in"]
    clip: bytes


@dataclass(frozen=True, slots=True)
class Dialled:
    """A key the caller pressed."""

    digit: str
    at: float


@dataclass(frozen=True, slots=True)
class Clear:
    """A `clear` that arrived, and how much queued audio it kept from being heard."""

    at: float
    dropped_bytes: int


@dataclass(frozen=True, slots=True)
class MarkSeen:
    """A `mark` that arrived.

    `echoed_at` is None while it was not echoed; `cleared` says that a `clear` caused the echo, so
    that the audio before the mark was not heard to its end; `clears` counts those before the mark.
    """

    name: str
    received_at: float
    echoed_at: float | None = None
    cleared: bool = False
    clears: int = 0


@dataclass(frozen=True, slots=True)
class Violation:
    """Something of the agent that Twilio would report in its debugger, under this error code.

    31950: not a text message; 31951: not one of the exact shapes; 31931: more than ten minutes
    queued; 31930: read too slowly, so that audio of the caller was dropped. Twilio reports each
    once per stream; here every one is kept. What was wrong was dropped, the rest of the call goes
    on.
    """

    code: int
    detail: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Missed:
    """A waiting step of the script that ran into its timeout, and when."""

    step: Step
    at: float


@dataclass(frozen=True, slots=True)
class ClosedBy:
    """The end of the call: who ended it, and the close code (1006 when cut)."""

    code: int
    reason: str
    by: Literal["caller", "engine"]
    at: float


@dataclass(slots=True)
class CallRecord:
    """One call, as the caller saw it. Read it when the call is over.

    `opened_at` (0.0 until then) is when the WebSocket was up. `heard` excludes the time in which
    nothing was queued, but judges no byte: silence sent by the agent is heard. Bytes are conserved:
    `frames` = `heard` + dropped by `clears` + `dropped_bytes` of frames + `unheard_bytes`, the last
    being what was still queued at the end. `inbound_frames_sent` counts the caller's own `media`
    messages that left. `next_steps` is what Twilio did when the agent had closed the stream.
    """

    account_sid: str
    call_sid: str
    stream_sid: str
    opened_at: float = 0.0
    closed: ClosedBy | None = None
    heard: list[HeardSpan] = field(default_factory=list)
    unheard_bytes: int = 0
    frames: list[ReceivedFrame] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    digits: list[Dialled] = field(default_factory=list)
    clears: list[Clear] = field(default_factory=list)
    marks: list[MarkSeen] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    inbound_frames_sent: int = 0
    next_steps: tuple[NextStep, ...] = ()

    def heard_track(self, until: float | None = None) -> bytes:
        """What was heard from `opened_at` to `until`, silence where nothing was.

        `until` defaults to the end of the call, or of all audio if it is not over, as in
        `said_track`: the two have the same length and align to the sample.
        """
        return self._track(((span.at, span.payload) for span in self.heard), until)

    def said_track(self, until: float | None = None) -> bytes:
        """What the caller said, likewise: each clip at the time its first byte was sent."""
        return self._track(((said.onset_at, said.clip) for said in self.said), until)

    def silence_after(self, at: float) -> float | None:
        """Seconds from `at` until the AI, audible then, fell silent; 0.0 if it was not audible.

        Gaps shorter than 100 ms do not count as silence. None if it was still to go on when the
        record ended.
        """
        stretches = self._stretches()
        for begin, end in stretches:
            if begin <= at <= end:
                last = (begin, end) == stretches[-1]
                return None if last and self.unheard_bytes else end - at
        return 0.0

    def frame_gaps_ms(self) -> list[float]:
        """Milliseconds between each two successive `media` messages, over the whole call."""
        return [(after.at - before.at) * 1000 for before, after in pairwise(self.frames)]

    def _stretches(self) -> list[tuple[float, float]]:
        stretches: list[tuple[float, float]] = []
        for span in self.heard:
            if stretches and not ends_stretch(span.at - stretches[-1][1]):
                stretches[-1] = (stretches[-1][0], span.until)
            else:
                stretches.append((span.at, span.until))
        return stretches

    def _track(self, pieces: Iterable[tuple[float, bytes]], until: float | None) -> bytes:
        track = bytearray()
        for at, payload in pieces:
            # Rounded times may collide by one sample; the audio is then shifted, never cut.
            track += SILENCE_BYTE * (self._sample_at(at) - len(track))
            track += payload
        length = self._sample_at(self._end() if until is None else until)
        track += SILENCE_BYTE * (length - len(track))
        return bytes(track[:length])

    def _sample_at(self, at: float) -> int:
        return max(0, round((at - self.opened_at) * SAMPLE_RATE_HZ))

    def _end(self) -> float:
        if self.closed is not None:
            return self.closed.at
        ends = [span.until for span in self.heard] + [said.end_at for said in self.said]
        return max(ends, default=self.opened_at)
