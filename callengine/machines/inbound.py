"""The caller's stream: what TwilioIngress decides.

It owns the stream's identity, its sequence and its media clock. The model's VAD counts the audio it
was given, not time, so a hole in the stream would keep a turn from ever ending: holes are filled
with silence, by the carrier's own timestamps and, when frames cease altogether, by the clock.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import field
from enum import Enum, auto
from typing import Final, TypeAlias

from callengine.audio.g711 import BYTES_PER_MS, FRAME_MS, SILENCE_BYTE
from callengine.messages import (
    CallEnding,
    CallerFrame,
    CarrierClosed,
    DeadlineReached,
    DtmfPressed,
    EndCause,
    MarkEchoed,
    Owner,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
    StreamStarted,
)
from callengine.security.floods import MAX_BURST_MESSAGES, MAX_MESSAGES_PER_S, MessageRate
from callengine.values import dataclass
from callengine.wire import twilio as wire
from callengine.wire.fault import Fault

START_DEADLINE_S: Final = 10.0
"""A socket that sends no `start` by then is closed."""

GAP_TOLERANCE_MS: Final = FRAME_MS // 2
"""Frames come 19.97 ms apart in whole milliseconds: less than this is not a hole."""

MAX_FILL_MS: Final = 10_000
"""The most silence one hole is filled with; the rest of it is counted as skipped.

All the silence of a call is at most so much more than the time it has taken: a media clock that
leaps from frame to frame cannot make a flood of audio out of few messages."""

STALL_S: Final = 0.750
"""No frame for this long: silence is made up until frames come again."""

STALL_STEP_S: Final = 0.200

RECENT_FRAMES: Final = 64
"""How far back a repeated sequence number is a duplicate, not a counter that began anew."""

ALIVE_REPORT_S: Final = 1.0

MAX_REASON_CHARS: Final = 120
"""A WebSocket's close reason has at most 123 bytes; what a host's edge calls one may be longer."""


class State(Enum):
    """The stream."""

    WAITING = auto()  # for `start`
    STREAMING = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class StartRefused:
    """A start came, of whom we have not invited."""

    why: str


TRANSITIONS: Final = {
    (State.WAITING, wire.Start): State.STREAMING,
    (State.WAITING, StreamStarted): State.STREAMING,
    (State.WAITING, StartRefused): State.ENDED,
    (State.WAITING, wire.Stop): State.ENDED,
    (State.WAITING, CarrierClosed): State.ENDED,
    (State.WAITING, DeadlineReached): State.ENDED,
    (State.STREAMING, wire.Stop): State.ENDED,
    (State.STREAMING, wire.Start): State.ENDED,
    (State.STREAMING, StartRefused): State.ENDED,
    (State.STREAMING, CarrierClosed): State.ENDED,
    (State.STREAMING, wire.Malformed): State.ENDED,
}
"""A second `start` ends the call: ids must never mix. Of malformed messages only an oversized one
ends it; the others are counted and cost nothing else. Once ended, nothing matters. Outside of the
table, one message too many of any kind ends it too, and a start of audio that is not mu-law.

`StreamStarted` is what one that died had told: its successor goes on with the stream."""

Event: TypeAlias = (
    wire.Inbound | StartRefused | StreamStarted | CarrierClosed | ResetRequest | DeadlineReached
)

Action: TypeAlias = (
    StreamStarted
    | CallerFrame
    | MarkEchoed
    | DtmfPressed
    | CallEnding
    | StateChanged
    | ResetGranted
    | ResetRefused
)


@dataclass(slots=True)
class InboundCounts:
    """What the summary says about the inbound stream."""

    frames: int = 0
    payload_bytes: int = 0
    filled_ms: int = 0
    skipped_ms: int = 0
    stalls: int = 0
    duplicates: int = 0
    reordered: int = 0
    clock_restarts: int = 0
    empty_frames: int = 0
    foreign_frames: int = 0
    early_messages: int = 0
    dtmf_digits: int = 0
    unknown_messages: int = 0
    malformed: Counter[str] = field(default_factory=Counter)


class Inbound:
    """One carrier stream."""

    def __init__(self, now: float) -> None:
        self.state = State.WAITING
        self.counts = InboundCounts()
        self.stream_sid: str | None = None
        self._recent: deque[int] = deque(maxlen=RECENT_FRAMES)
        self._next_ms: float | None = None
        self._made_up_ms = 0
        self._began_at = self._frame_at = now
        self._deadline: float | None = now + START_DEADLINE_S
        self._version = 0
        self._report_at = float("-inf")
        self._rate = MessageRate(now)

    def next_deadline(self) -> float | None:
        """When the start is overdue, or silence has to be made up."""
        return self._deadline

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; returns what is to be done, in this order."""
        if isinstance(event, wire.Media) and self.state is State.STREAMING:
            # 50 a second: what is asked of any other event below would cost them a fifth more.
            return self._media(event, now) if self._rate.allows(now) else self._flooded()
        if self.state is State.ENDED:
            return _refused(event)
        if isinstance(event, wire.Inbound) and not self._rate.allows(now):
            return self._flooded()
        match event:
            case wire.Media():
                self.counts.early_messages += 1
            case wire.Mark(_, _, name):
                return self._if_streaming(MarkEchoed(name))
            case wire.Dtmf(_, _, digit):
                self.counts.dtmf_digits += 1
                return self._if_streaming(DtmfPressed(digit))
            case wire.Start():
                return self._start(event, now)
            case StartRefused(why):
                return self._end(event, EndCause.TICKET_REFUSED, why)
            case StreamStarted():
                return self._resume(event, now)
            case wire.Stop():
                return self._end(event, EndCause.CALLER_HUNG_UP, "")
            case CarrierClosed(code, reason):
                told = (
                    f"the carrier's socket closed with {code} {reason[:MAX_REASON_CHARS]}".rstrip()
                )
                return self._end(event, EndCause.CARRIER_LOST, told)
            case wire.Malformed():
                return self._malformed(event)
            case wire.Unknown():
                self.counts.unknown_messages += 1
            case ResetRequest():
                return self._reset(event)
            case DeadlineReached():
                return self._expire(event, now)
        return []  # `connected` says nothing that matters here

    # ---- life

    def _enter(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, type(event)]

    def _end(self, event: Event, cause: EndCause, detail: str) -> list[Action]:
        self._enter(event)
        return self._give_up(cause, detail)

    def _give_up(self, cause: EndCause, detail: str) -> list[Action]:
        self.state = State.ENDED
        self._deadline = None
        return [CallEnding(cause, detail)]

    def _flooded(self) -> list[Action]:
        told = f"over {MAX_MESSAGES_PER_S} messages a second, after {MAX_BURST_MESSAGES}"
        return self._give_up(EndCause.FLOODED, told)

    def _start(self, event: wire.Start, now: float) -> list[Action]:
        if self.state is State.STREAMING:
            return self._end(event, EndCause.SECOND_START, "a second start on the same socket")
        got = event.media_format
        if (got.encoding, got.sample_rate_hz, got.channels) != ("audio/x-mulaw", 8000, 1):
            told = f"{got.encoding} {got.sample_rate_hz} Hz {got.channels} channels"
            return self._give_up(EndCause.UNSUPPORTED_MEDIA, f"the stream is {told}, not mu-law")
        started = StreamStarted(
            event.stream_sid, event.call_sid, event.custom_parameters, event.account_sid
        )
        return [started, *self._stream(event, event.stream_sid, now)]

    def _resume(self, event: StreamStarted, now: float) -> list[Action]:
        if self.state is State.STREAMING:
            return []
        return self._stream(event, event.stream_sid, now)

    def _stream(self, event: Event, stream_sid: str, now: float) -> list[Action]:
        self._enter(event)
        self.stream_sid = stream_sid
        self._began_at = self._frame_at = now
        self._deadline = now + STALL_S
        return self._report(now)

    def _malformed(self, event: wire.Malformed) -> list[Action]:
        self.counts.malformed[event.fault] += 1
        if event.fault is Fault.OVERSIZE and self.state is State.STREAMING:
            return self._end(event, EndCause.OVERSIZE_MESSAGE, event.detail)
        return []

    def _if_streaming(self, action: MarkEchoed | DtmfPressed) -> list[Action]:
        if self.state is State.STREAMING:
            return [action]
        self.counts.early_messages += 1
        return []

    # ---- media

    def _media(self, event: wire.Media, now: float) -> list[Action]:
        is_ours = event.stream_sid == self.stream_sid or not event.stream_sid
        if not is_ours or event.track == "outbound":
            self.counts.foreign_frames += 1
            return []
        sequence, recent = event.sequence_number, self._recent
        if sequence is not None:
            if recent and sequence <= recent[-1] and self._is_repeated(event, sequence):
                return []
            recent.append(sequence)
        actions = [] if now < self._report_at else self._report(now)
        if not event.payload:
            self.counts.empty_frames += 1
            return actions
        self._frame_at = now
        self._deadline = now + STALL_S
        self.counts.frames += 1
        self.counts.payload_bytes += len(event.payload)
        fill_ms = self._hole_before(event, now)
        if fill_ms:
            actions.append(self._silence(fill_ms))
        actions.append(CallerFrame(event.payload))
        return actions

    def _is_repeated(self, event: wire.Media, sequence: int) -> bool:
        """A number seen before, or one whose place has been filled with silence already.

        Unless its time is only now, by the media clock: then the counter has begun anew. Numbers
        rise in `_recent`: one above the last need not be looked for.
        """
        known = sequence in self._recent
        overtaken = self._recent[-1] - RECENT_FRAMES < sequence < self._recent[-1]
        due = self._is_due(event)
        if (known or overtaken) and not due:
            self.counts.duplicates += known
            self.counts.reordered += not known
            return True
        self._recent.clear()
        self.counts.clock_restarts += 1
        if not due:
            self._next_ms = None
        return False

    def _is_due(self, event: wire.Media) -> bool:
        if event.timestamp_ms is None or self._next_ms is None:
            return False
        return event.timestamp_ms > self._next_ms - len(event.payload) / BYTES_PER_MS / 2

    def _hole_before(self, event: wire.Media, now: float) -> int:
        """Milliseconds of silence to put before this frame, by the carrier's media clock."""
        length_ms = len(event.payload) / BYTES_PER_MS
        expected, made_up = self._next_ms, self._made_up_ms
        self._made_up_ms = 0
        if event.timestamp_ms is None:
            if expected is not None:
                self._next_ms = expected + made_up + length_ms
            return 0
        self._next_ms = event.timestamp_ms + length_ms
        if expected is None:
            return 0
        hole_ms = event.timestamp_ms - expected
        if hole_ms < -length_ms:
            self.counts.clock_restarts += 1
            return 0
        hole_ms -= made_up
        if hole_ms < GAP_TOLERANCE_MS:
            return 0
        elapsed_ms = round((now - self._began_at) * 1000)
        affordable_ms = elapsed_ms + MAX_FILL_MS - self.counts.filled_ms
        fill_ms = max(min(round(hole_ms), MAX_FILL_MS - made_up, affordable_ms), 0)
        self.counts.skipped_ms += round(hole_ms) - fill_ms
        return fill_ms

    def _silence(self, duration_ms: int) -> CallerFrame:
        self.counts.filled_ms += duration_ms
        return CallerFrame(SILENCE_BYTE * (duration_ms * BYTES_PER_MS))

    def _expire(self, event: DeadlineReached, now: float) -> list[Action]:
        if self._deadline is None or now < self._deadline:
            return []
        if self.state is State.WAITING:
            return self._end(event, EndCause.START_TIMEOUT, "the carrier sent no start")
        if self._made_up_ms == 0:
            self.counts.stalls += 1
        missing_ms = round((now - self._frame_at) * 1000) - self._made_up_ms
        fill_ms = min(missing_ms, MAX_FILL_MS - self._made_up_ms)
        if fill_ms <= 0:
            self._deadline = None
            return []
        self._made_up_ms += fill_ms
        self._deadline = now + STALL_STEP_S
        return [self._silence(fill_ms)]

    # ---- watchdog

    def _report(self, now: float) -> list[Action]:
        self._report_at = now + ALIVE_REPORT_S
        self._version += 1
        return [StateChanged(Owner.CARRIER, "streaming", self._version)]

    def _reset(self, request: ResetRequest) -> list[Action]:
        owner, reason = Owner.CARRIER, request.reason
        if request.if_version != self._version:
            return [ResetRefused(owner, reason, Refusal.VERSION_MOVED)]
        if reason is not ResetReason.CARRIER_SILENT:
            return [ResetRefused(owner, reason, Refusal.NOT_STUCK)]
        silent = self._give_up(EndCause.CARRIER_SILENT, "the carrier's socket is open but dead")
        return [ResetGranted(owner, reason), *silent]


def _refused(event: Event) -> list[Action]:
    """Over is not stuck; whoever asks is answered."""
    if isinstance(event, ResetRequest):
        return [ResetRefused(event.owner, event.reason, Refusal.NOT_STUCK)]
    return []
