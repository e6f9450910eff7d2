"""The actor around a machine: feed it messages and time, do what it says, wake it when due.

A shell has no opinions. It turns its own death into a message, so that pykka, which stops every
actor of the process on a `BaseException`, never hears of it.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pykka

from callengine.actors.dispatch import DispatchedActor, Dispatcher, tell
from callengine.logs import trace_of
from callengine.messages import ActorCrashed, DeadlineReached, ReportRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from loguru import Logger

Ref = pykka.ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Peers:
    """The actors of one call, for each other."""

    ingress: Ref
    detector: Ref
    pacer: Ref
    bridge: Ref
    watchdog: Ref
    host_calls: Ref
    supervisor: Ref


@dataclass(frozen=True, slots=True)
class Barrier:
    """Ask for this to know that everything told before has been handled."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an actor counted, by the end of the call."""

    actor: str
    counts: object


class Shell(DispatchedActor):
    """Base of every actor of a call. The first message it gets is `Peers`."""

    ROUTES: ClassVar[Mapping[type, tuple[str, ...]]] = {}
    """Which peers an action is told to; one that is not listed is the shell's own to perform."""

    def __init__(self, dispatcher: Dispatcher, log: Logger) -> None:
        super().__init__(dispatcher)
        self.log = log
        self.peers: Peers | None = None
        self._armed_for = float("inf")

    # ---- for subclasses

    def handle(self, message: Any, now: float) -> Iterable[object]:  # noqa: ANN401
        """Feed the machine; returns its actions."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """When the machine wants to be woken."""
        return None

    def perform(self, action: object) -> None:
        """Do what only this actor can do."""
        raise NotImplementedError(f"{type(self).__name__} cannot perform {action!r}")

    def report(self) -> object:
        """What this actor counted."""
        return None

    # ---- the life of a message

    def on_receive(self, message: object) -> None:
        """pykka's entry."""
        try:
            self._receive(message)
        except BaseException as error:  # noqa: BLE001 - beyond here it would stop every call
            self._die(error)

    def _receive(self, message: object) -> None:
        match message:
            case Barrier():
                return
            case Peers():
                self.peers = message
            case ReportRequest():
                counts = copy.deepcopy(self.report())  # it goes on counting until it is stopped
                self.tell("supervisor", Report(type(self).__name__, counts))
            case _:
                now = self.dispatcher.now()
                if isinstance(message, DeadlineReached) and now >= self._armed_for:
                    self._armed_for = float("inf")  # an alarm from before a nearer one is no alarm
                self._act(self.handle(message, now))
        self._arm()

    def _act(self, actions: Iterable[object]) -> None:
        for action in actions:
            peers = self.ROUTES.get(type(action))
            if peers is None:
                self.perform(action)
            else:
                for peer in peers:
                    self.tell(peer, action)

    def tell(self, peer: str, message: object) -> None:
        """Tell one of the call's other actors."""
        assert self.peers is not None, "the first message is Peers"
        tell(getattr(self.peers, peer), message)

    def _arm(self) -> None:
        """Ask to be woken. An alarm that is no longer wanted finds nothing due: it is harmless."""
        due = self.next_deadline()
        if due is not None and due < self._armed_for:
            self._armed_for = due
            self.dispatcher.tell_at(due, self.actor_ref, DeadlineReached())

    def _die(self, error: BaseException) -> None:
        """Stop at once: a broken machine takes no more of what is waiting."""
        name = type(self).__name__
        if self.peers is not None:
            tell(self.peers.supervisor, ActorCrashed(name, type(error).__name__))
        self._stop()
        self.log.error("actor crashed", actor=name, **trace_of(error))


FLOW_TIMEOUT_S = 10.0


def wait_until_handled(ref: Ref) -> None:
    """For a socket's reader, every few messages: its messages never pile up in a mailbox.

    While it waits the socket is not read, and TCP holds the peer back. A dead actor, or one that
    is stuck, is somebody else's business.
    """
    with contextlib.suppress(pykka.ActorDeadError, pykka.Timeout):
        ref.ask(Barrier(), timeout=FLOW_TIMEOUT_S)
