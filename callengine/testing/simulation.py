"""A whole call without sockets or time: the real actors and both simulators on a virtual clock.

What takes a minute on a telephone takes a fraction of a second here, and the same seed gives the
same call, message for message.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callengine.actors.call import Call, Setting, start_call
from callengine.actors.dispatch import Stepper
from callengine.agent import Agent
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
    from collections.abc import Callable

    from callengine.summary import CallSummary

MAX_CALL_S = 3600.0
"""A simulated call that has not ended by then is ended by the simulation."""

PING_S = 15.0
"""How often the model's socket is asked whether it is there."""


class Line:
    """A WebSocket that is not there: one peer, one way in, one way out, and the time between."""

    def __init__(self, stepper: Stepper, peer: Peer, latency_s: float) -> None:
        self._stepper = stepper
        self._peer = peer
        self._latency_s = latency_s
        self._woken_for: float | None = None
        self._deliver: Callable[[Outgoing], None] | None = None
        self._peer_hung_up = False

    @property
    def is_open(self) -> bool:
        """Neither side has closed it; such a socket answers pings, whatever its peer does."""
        return self._deliver is not None

    def open(self, deliver: Callable[[Outgoing], None]) -> None:
        """Connect; what the peer sends is delivered after the latency."""
        self._deliver = deliver
        self._peer.opened(self._stepper.now())
        self._pump()

    def send(self, message: str) -> None:
        """Send to the peer; it arrives after the latency. Once closed, nothing does."""
        if self._deliver is not None:
            self._later(lambda: self._peer.received(message, self._stepper.now()))

    def close(self, code: int, reason: str) -> None:
        """Close from our side."""
        if self._deliver is not None:
            self._later(lambda: self._peer.closed(code, reason, self._stepper.now()))
            self._deliver = None

    def _later(self, do: Callable[[], None]) -> None:
        def arrive() -> None:
            if not self._peer_hung_up:
                do()
                self._pump()

        self._stepper.call_at(self._stepper.now() + self._latency_s, arrive)

    def _pump(self) -> None:
        for outgoing in self._peer.take_outgoing():
            self._peer_hung_up |= isinstance(outgoing, Close)
            arrive = functools.partial(self._arrive, outgoing)
            self._stepper.call_at(self._stepper.now() + self._latency_s, arrive)
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

    def _arrive(self, sent: Outgoing) -> None:
        if self._deliver is None:
            return
        deliver = self._deliver
        if isinstance(sent, Close):
            self._deliver = None
        deliver(sent)


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
    """The engine's way to the simulated model."""

    line: Line
    stepper: Stepper

    def connect(self, tell_bridge: Callable[[object], None], flow: Callable[[], None]) -> None:  # noqa: ARG002
        def deliver(sent: Outgoing) -> None:
            if isinstance(sent, Close):
                code = 1006 if sent.abrupt else sent.code
                told = f"the model's socket closed with {code} {sent.reason}".rstrip()
                tell_bridge(ModelClosed(EndCause.MODEL_LOST, told))
            else:
                tell_bridge(ModelMessage(sent))

        def ping() -> None:
            if self.line.is_open:
                tell_bridge(ModelAlive())
                self.stepper.call_at(self.stepper.now() + PING_S, ping)

        tell_bridge(ModelConnected())
        self.line.open(deliver)
        self.stepper.call_at(self.stepper.now() + PING_S, ping)

    def send_media(self, message: str) -> None:
        self.line.send(message)

    def send(self, message: str) -> None:
        self.line.send(message)

    def close(self) -> None:
        self.line.close(1000, "")


@dataclass
class Simulation:
    """One simulated call. `run()` holds it to its end and returns the engine's summary.

    `seed` draws the order in which waiting actors get their turn; each peer has a seed of its own.
    `latency_s` is the time a message takes on either line.
    """

    caller: Peer
    model: Peer
    agent: Agent = field(default_factory=Agent)
    settings: Settings = field(default_factory=Settings)
    seed: int = 0
    latency_s: float = 0.001
    stepper: Stepper = field(init=False)
    call: Call = field(init=False)
    summary: CallSummary | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.stepper = Stepper(self.seed)
        carrier = Line(self.stepper, self.caller, self.latency_s)
        model = Line(self.stepper, self.model, self.latency_s)
        self.call = start_call(
            Setting(self.stepper, self.stepper, CallLog()),
            self.settings,
            self.agent,
            (_CarrierLink(carrier), _ModelLink(model, self.stepper)),
            self._conclude,
        )
        carrier.open(self._from_caller)

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
