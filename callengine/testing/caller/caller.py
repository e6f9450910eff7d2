"""A simulated phone caller behind a faithful Twilio media stream: the far end of an agent's socket.

It follows a script, plays what the agent sends in real time, echoes marks, is as strict as Twilio
about what it accepts, and records everything (`record`). It judges nothing: tests do. It shares no
protocol code with the engine, so that the two cannot be wrong in the same way.

    caller = SimulatedCaller([WaitUntilQuiet(0.5, 20.0), Say(clip), BargeIn(clip, 1.5)], seed=7)
    run_client(caller, "ws://127.0.0.1:8000/media", deadline_s=60)
    assert caller.record.silence_after(caller.record.said[-1].onset_at) < 0.25

Protocol source: Twilio's "Media Streams - WebSocket Messages" and "<Stream>" pages.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

from callengine.testing.caller.checks import ClearIn, MarkIn, MediaIn, Refused, check
from callengine.testing.caller.ear import Delays
from callengine.testing.caller.faults import WriteNumbers
from callengine.testing.caller.line import CallLine
from callengine.testing.caller.record import CallRecord, ClosedBy, Violation
from callengine.testing.caller.steps import Until, perform
from callengine.testing.caller.stream import StreamFacts, TwilioStream
from callengine.testing.caller.twiml import steps_after_stream

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from callengine.testing.caller.faults import Fault
    from callengine.testing.caller.script import Step
    from callengine.testing.peer import Outgoing


class SimulatedCaller:
    """One call, as a `Peer`.

    `seed` makes the ids and the first timestamp. `before_start` is sent between `connected` and
    `start`, `start_delay_s` holds `start` back, `start_overrides` are merged into its `start`
    object (`{"mediaFormat": {"sampleRate": 16000}}`; `ABSENT` removes a field): all three to inject
    faults. `playout_delay_s` is the carrier's jitter buffer: after a silence audio sounds so much
    after it came. `mark_echo_delay_s` delays every echo, except those that a `clear` brings forth.
    What else shall be wrong with the stream is in `faults`. `twiml` is the answer of the voice
    webhook: what follows the stream in it is done, and noted, when the agent closes.

    The script begins when `start` was sent; at its end the caller hangs up. From then on frames
    leave every 20 ms whether the caller speaks or not. If `advance` comes late, what was due is
    sent at once and the grid stays.
    """

    def __init__(
        self,
        script: Sequence[Step],
        *,
        seed: int = 0,
        stream: StreamFacts | None = None,
        playout_delay_s: float = 0.0,
        mark_echo_delay_s: float = 0.0,
        before_start: Sequence[str | bytes] = (),
        start_overrides: Mapping[str, object] | None = None,
        start_delay_s: float = 0.0,
        faults: Sequence[Fault] = (),
        twiml: str | None = None,
    ) -> None:
        facts = stream or StreamFacts()
        styles = [fault.style for fault in faults if isinstance(fault, WriteNumbers)]
        self._line = CallLine(
            TwilioStream(facts, seed, styles[0] if styles else None),
            Delays(playout_delay_s, mark_echo_delay_s),
            faults,
            () if twiml is None else steps_after_stream(twiml),
        )
        self._sends_connected = facts.sends_connected
        self._before_start = tuple(before_start)
        self._start_overrides = dict(start_overrides or {})
        self._start_delay_s = start_delay_s
        self._script = tuple(script)
        self._running: Generator[Until, float, None] | None = None
        self._until: Until = _never
        self._done_to = -math.inf

    @property
    def record(self) -> CallRecord:
        """What the caller witnessed so far; complete when the call is over."""
        if not self._line.over:
            self._line.ear.note_heard()
        return self._line.record

    def opened(self, now: float) -> None:
        """The stream is connected: the call begins."""
        self._line.now = self._line.record.opened_at = now
        if self._sends_connected:
            self._line.connect()
        for message in self._before_start:
            self._line.send_raw(message)
        self._running = self._run(now)
        self._until = next(self._running)
        self.advance(now)

    def received(self, message: str | bytes, now: float) -> None:
        """The agent sent something: play it, obey it, or record what is wrong with it."""
        if self._line.over:
            return
        self.advance(now)
        content = check(message, self._line.record.stream_sid)
        if self._line.voice is None and not isinstance(content, Refused):
            content = Refused(31951, "sent before the stream started")
        self._accept(content, now)
        self.advance(now)

    def closed(self, code: int, reason: str, now: float) -> None:
        """The agent closed the socket, or it was cut: the call is over."""
        if not self._line.over:
            self._line.end(ClosedBy(code, reason, "engine", now))

    def advance(self, now: float) -> None:
        """Do everything that is due up to `now`, in the order it was due."""
        self._line.now = now
        while (at := self.next_deadline()) is not None and at <= now:
            # What only now turns out to have been due earlier is done now.
            self._done_to = max(at, self._done_to)
            self._do_due(self._done_to)
        self._done_to = now
        if not self._line.over:
            self._line.ear.listen_to(now)

    def next_deadline(self) -> float | None:
        """When the next frame, echo or step of the script is due; None when the call is over."""
        if self._line.over:
            return None
        due = _earlier(self._until(), self._line.ear.next_at())
        due = _earlier(due, self._line.outlet.release_at)
        voice = self._line.voice
        return due if voice is None else _earlier(due, voice.next_at)

    def take_outgoing(self) -> list[Outgoing]:
        """What to send now, in order."""
        return self._line.outlet.take()

    def _run(self, at: float) -> Generator[Until, float, None]:
        start_at = at + self._start_delay_s
        at = yield lambda: start_at
        self._line.start(at, self._start_overrides)
        yield from perform(self._script, self._line, at)

    def _do_due(self, at: float) -> None:
        """Marks first, then the script, so that what it starts to say makes the frame of `at`."""
        line = self._line
        if line.outlet.release_at is not None and line.outlet.release_at <= at:
            line.release()
        line.ear.listen_to(at)
        line.echo(line.ear.echoes_due(at, line.now))
        self._continue_script(at)
        if not line.over and line.voice is not None and line.voice.next_at <= at:
            line.send_frame()

    def _continue_script(self, at: float) -> None:
        while self._running is not None and (due := self._until()) is not None and due <= at:
            try:
                self._until = self._running.send(at)
            except StopIteration:
                self._running, self._until = None, _never

    def _accept(self, content: MediaIn | MarkIn | ClearIn | Refused, now: float) -> None:
        ear, record = self._line.ear, self._line.record
        match content:
            case MediaIn(payload):
                ear.media(payload, now)
            case MarkIn(name):
                ear.mark(name, now)
            case ClearIn():
                self._line.echo(ear.clear(now))
            case Refused(code, detail):
                record.violations.append(Violation(code, detail, now))
            case _:
                assert_never(content)


def _never() -> None:
    return None


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or (other is not None and other < one):
        return other
    return one
