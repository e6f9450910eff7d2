"""A whole call without sockets or time: the real actors and both simulators on a virtual clock.

What takes a minute on a telephone takes a fraction of a second here, and the same seed gives the
same call, message for message.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callengine.actors.call import Call, Setting, start_call
from callengine.actors.stepper import Stepper
from callengine.agent import Agent
from callengine.edges.realtime import why_closed
from callengine.logs import CallLog
from callengine.messages import (
    EndCause,
    ModelAlive,
    ModelClosed,
    ModelConnected,
    ModelMessage,
)
from callengine.settings import Settings
from callengine.testing.peer import Close, Outgoing, Peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.actors.realtime_bridge import FromModel
    from callengine.agent import AgentChoice
    from callengine.messages import StreamStarted
    from callengine.records import Record
    from callengine.summary import CallSummary

MAX_CALL_S = 3600.0
"""A simulated call that has not ended by then is ended by the simulation."""

PING_S = 15.0
"""How often the model's socket is asked whether it is there."""


Watch = Callable[[float, str, object], None]
"""Is told when, for whom and what: every message of the call, as it is handled."""


class Line:
    """A WebSocket that is not there: one peer, one way in, one way out, and the time between.

    Like TCP it keeps the order, however long a message takes.
    """

    def __init__(
        self, stepper: Stepper, peer: Peer, delay_s: Callable[[], float], watch: Watch | None
    ) -> None:
        self._stepper = stepper
        self._peer = peer
        self._delay_s = delay_s
        self._watch = watch
        self._arrives_at: dict[Callable[[Outgoing], None], float] = {
            self._to_peer: 0.0,
            self._to_engine: 0.0,
        }
        self._woken_for: float | None = None
        self._deliver: Callable[[Outgoing], None] | None = None
        self._peer_hung_up = False

    @property
    def is_open(self) -> bool:
        """Neither side has closed it; such a socket answers pings, whatever its peer does."""
        return self._deliver is not None

    def open(self, deliver: Callable[[Outgoing], None]) -> None:
        """Connect; what the peer sends is delivered when it arrives."""
        self._deliver = deliver
        self._peer.opened(self._stepper.now())
        self._pump()

    def send(self, message: str) -> None:
        """Send to the peer. Once closed, nothing arrives."""
        if self._deliver is not None:
            self._later(self._to_peer, message)

    def close(self, code: int, reason: str) -> None:
        """Close from our side."""
        if self._deliver is not None:
            self._later(self._to_peer, Close(code, reason))
            self._deliver = None

    def _later(self, arrive: Callable[[Outgoing], None], message: Outgoing) -> None:
        at = max(self._stepper.now() + self._delay_s(), self._arrives_at[arrive])
        self._arrives_at[arrive] = at
        self._stepper.call_at(at, functools.partial(arrive, message))

    def _to_peer(self, message: Outgoing) -> None:
        if self._peer_hung_up:
            return
        now = self._stepper.now()
        if self._watch is not None:
            self._watch(now, type(self._peer).__name__, message)
        if isinstance(message, Close):
            self._peer.closed(message.code, message.reason, now)
        else:
            self._peer.received(message, now)
        self._pump()

    def _to_engine(self, message: Outgoing) -> None:
        if self._deliver is None:
            return
        deliver = self._deliver
        if isinstance(message, Close):
            self._deliver = None
        deliver(message)

    def _pump(self) -> None:
        for outgoing in self._peer.take_outgoing():
            self._peer_hung_up |= isinstance(outgoing, Close)
            self._later(self._to_engine, outgoing)
        deadline = self._peer.next_deadline()
        if deadline is not None and deadline != self._woken_for:
            self._woken_for = deadline
            wake = functools.partial(self._wake, deadline)
            self._stepper.call_at(max(deadline, self._stepper.now()), wake)

    def _wake(self, deadline: float) -> None:
        if deadline != self._woken_for or self._peer_hung_up:
            return  # the peer has changed its mind, or is gone
        self._woken_for = None
        self._peer.advance(self._stepper.now())
        self._pump()


@dataclass
class _CarrierLink:
    """The engine's way to the simulated caller."""

    line: Line

    def send_media(self, message: str) -> None:
        self.line.send(message)

    def send(self, message: str) -> None:
        self.line.send(message)

    def send_first(self, message: str) -> tuple[int, int]:
        self.line.send(message)
        return 0, 0

    def close(self, code: int, reason: str) -> None:
        self.line.close(code, reason)


@dataclass
class _ModelLink:
    """The engine's way to the simulated model, and to those that take its place."""

    line: Line
    stepper: Stepper
    next_line: Callable[[], Line | None]
    closed: bool = False
    opened: bool = False

    def connect(self, tell_bridge: Callable[[FromModel], None]) -> None:
        if self.closed:
            return
        if self.opened:
            self.line.close(1000, "")
            line = self.next_line()
            if line is None:
                tell_bridge(ModelClosed(EndCause.MODEL_UNREACHABLE, "there is no other model"))
                return
            self.line = line
        self.opened, line = True, self.line

        def deliver(sent: Outgoing) -> None:
            if isinstance(sent, Close):
                tell_bridge(
                    why_closed(1006, "") if sent.abrupt else why_closed(sent.code, sent.reason)
                )
            else:
                tell_bridge(ModelMessage(sent))

        def ping() -> None:
            if line.is_open:
                tell_bridge(ModelAlive())
                self.stepper.call_at(self.stepper.now() + PING_S, ping)

        tell_bridge(ModelConnected())
        line.open(deliver)
        self.stepper.call_at(self.stepper.now() + PING_S, ping)

    def send_media(self, message: str) -> None:
        self.line.send(message)

    def send(self, message: str) -> None:
        self.line.send(message)

    def close(self) -> None:
        self.closed = True
        self.line.close(1000, "")


@dataclass(frozen=True, slots=True)
class Hiccup:
    """From `at_s` on no actor gets a turn for `for_s`: a collector, a busy neighbour."""

    at_s: float
    for_s: float


@dataclass
class Simulation:
    """One simulated call. `run()` holds it to its end and returns the engine's summary.

    `seed` draws the order in which waiting actors get their turn, and the jitter; each peer has a
    seed of its own. A message takes `latency_s` on either line, and up to `jitter_s` longer.
    `next_model` makes the peer of a session that takes the place of one that was lost; without it,
    or if it has none, no other model can be reached. The rest are of the host: see `Setting`.
    """

    caller: Peer
    model: Peer
    agent: Agent | AgentChoice = field(default_factory=Agent)
    settings: Settings = field(default_factory=Settings)
    seed: int = 0
    latency_s: float = 0.001
    jitter_s: float = 0.0
    hiccups: Sequence[Hiccup] = ()
    watch: Watch | None = None
    next_model: Callable[[], Peer | None] | None = None
    stand_in: Callable[[StreamStarted], Agent] = lambda _: Agent()
    redirect: Callable[[str, str, str], None] | None = None
    note: Callable[[Record], None] = lambda _: None
    stepper: Stepper = field(init=False)
    call: Call = field(init=False)
    summary: CallSummary | None = field(init=False, default=None)
    models: list[Peer] = field(init=False)
    """All that were connected to, `model` the first."""

    def __post_init__(self) -> None:
        self.models = [self.model]
        self.stepper = Stepper(self.seed, self.watch)
        carrier = Line(self.stepper, self.caller, self._delay_s, self.watch)
        model = Line(self.stepper, self.model, self._delay_s, self.watch)
        for hiccup in self.hiccups:
            freeze = functools.partial(self.stepper.freeze, hiccup.for_s)
            self.stepper.call_at(hiccup.at_s, freeze)
        self.call = start_call(
            Setting(
                self.stepper,
                self.stepper,
                CallLog(),
                stand_in=self.stand_in,
                redirect=self.redirect,
                note=self.note,
            ),
            self.settings,
            self.agent,
            (_CarrierLink(carrier), _ModelLink(model, self.stepper, self._next_line)),
            self._conclude,
        )
        carrier.open(self._from_caller)

    @property
    def longest_way_s(self) -> float:
        """The longest time a message takes on either line."""
        return self.latency_s + self.jitter_s

    def _next_line(self) -> Line | None:
        model = None if self.next_model is None else self.next_model()
        if model is None:
            return None
        self.models.append(model)
        return Line(self.stepper, model, self._delay_s, self.watch)

    def _delay_s(self) -> float:
        if not self.jitter_s:
            return self.latency_s
        return self.latency_s + self.stepper.random.random() * self.jitter_s

    def _conclude(self, summary: CallSummary) -> None:
        self.summary = summary

    def _from_caller(self, sent: Outgoing) -> None:
        if isinstance(sent, Close):
            self.call.carrier_closed(1006 if sent.abrupt else sent.code, sent.reason)
        else:
            self.call.received(sent)

    def run(self, limit_s: float = MAX_CALL_S) -> CallSummary:
        """Hold the call until it ends, or end it after `limit_s` virtual seconds."""
        while self.summary is None and self.stepper.now() < limit_s:
            if not self.stepper.step():
                break
        if self.summary is None:
            self.call.end(EndCause.SHUTDOWN, "the simulation's time is up")
            self.stepper.run(self.stepper.now() + 5.0)
        self.stepper.run(self.stepper.now() + 1.0)
        assert self.summary is not None, "a call that was ended has a summary"
        return self.summary
