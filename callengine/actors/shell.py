"""The actor around a machine: feed it messages and time, do what it says, wake it when due.

A shell has no opinions. It turns its own death into a message, so that pykka, which stops every
actor of the process on a `BaseException`, never hears of it. A dead shell keeps its place and its
mailbox: what comes waits until the supervisor lets it begin anew, or the call is over.
"""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pykka

from callengine.actors.dispatch import BoundedMailbox, DispatchedActor, Dispatcher, tell
from callengine.logs import QuietLog, trace_of
from callengine.messages import (
    ActorCrashed,
    BeginAnew,
    DeadlineReached,
    Owner,
    ReportRequest,
    ResetRequest,
    StateChanged,
    StatesWanted,
)
from callengine.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from loguru import Logger

Ref = pykka.ActorRef[Any]

MAX_HELD: Final = 4096
"""Messages that wait for a dead actor. Beyond, the newest is dropped and counted as lost."""


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
    """Ask for this to know that everything told before has been handled; or have `reached` called,
    on the actor's thread."""

    reached: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What an actor counted by the end of the call, and how many messages found it dead."""

    actor: str
    counts: object
    lost_messages: int = 0


_FOR_THE_SHELL: Final = frozenset({Barrier, Peers, BeginAnew, ReportRequest, StatesWanted})
"""What the shell handles itself. Anything else is the machine's, and there is a lot of it."""


_ALARM: Final = DeadlineReached()


class Shell(DispatchedActor):
    """Base of every actor of a call. The first message it gets is `Peers`."""

    ROUTES: ClassVar[Mapping[type, tuple[str, ...]]] = {}
    """Which peers an action is told to; one that is not listed is the shell's own to perform."""

    def __init__(self, dispatcher: Dispatcher, log: Logger) -> None:
        super().__init__(dispatcher)
        self.log = QuietLog(log)
        self.peers: Peers | None = None
        self._now = dispatcher.now
        self._leave: dict[type, tuple[Callable[[object], bool], ...]] = {}  # where an action goes
        self._armed_for = float("inf")
        self._states: dict[Owner, StateChanged] = {}  # told last
        self._held: deque[object] | None = None  # while dead
        self._lost_messages = 0

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

    def renew(self) -> None:
        """Make everything anew that a crash may have broken."""

    def bequeath(self, message: Any) -> Iterable[object]:  # noqa: ANN401, ARG002
        """Actions to take when `message` has killed this actor: what others would wait for."""
        return ()

    # ---- the life of a message

    def on_receive(self, message: object) -> None:
        """pykka's entry."""
        try:
            kind = type(message)
            if kind in _FOR_THE_SHELL or self._held is not None:
                self._receive_own(message)
                return
            now = self._now()
            if kind is DeadlineReached:
                if now >= self._armed_for:
                    self._armed_for = float("inf")
            elif kind is ResetRequest:  # whose alarm may have been lost
                self._armed_for = float("inf")
            self._act(self.handle(message, now))
            self._arm()
        except BaseException as error:  # noqa: BLE001 - beyond here it would stop every call
            with contextlib.suppress(BaseException):
                self._die(error, message)

    def _receive_own(self, message: object) -> None:
        match message:
            case Barrier(reached):
                if reached is not None:
                    reached()
            case Peers():
                self._meet(message)
                self._arm()
            case BeginAnew(first):
                self._begin_anew(first)
            case _ if self._held is not None:
                self._hold(message)
            case ReportRequest():
                self._report(copy.deepcopy(self.report()))  # it goes on counting until stopped
                self._arm()
            case StatesWanted():
                for state in self._states.values():
                    self.tell("watchdog", state)
                self._arm()

    def _meet(self, peers: Peers) -> None:
        self.peers = peers
        self._leave = {
            kind: tuple(getattr(peers, name).actor_inbox.leave for name in names)
            for kind, names in self.ROUTES.items()
        }

    def _act(self, actions: Iterable[object]) -> None:
        for action in actions:
            kind = type(action)
            if kind not in self._leave:
                self.perform(action)
                continue
            if isinstance(action, StateChanged):
                self._states[action.owner] = action
            for leave in self._leave[kind]:
                leave(action)

    def tell(self, peer: str, message: object) -> None:
        """Tell one of the call's other actors."""
        assert self.peers is not None, "the first message is Peers"
        tell(getattr(self.peers, peer), message)

    def _report(self, counts: object) -> None:
        lost = self._lost_messages
        if isinstance(self.actor_inbox, BoundedMailbox):
            lost += self.actor_inbox.dropped
        self.tell("supervisor", Report(type(self).__name__, counts, lost))

    def _arm(self) -> None:
        """Ask to be woken. An alarm that is no longer wanted finds nothing due: it is harmless."""
        due = self.next_deadline()
        if due is not None and due < self._armed_for:
            self._armed_for = due
            self.dispatcher.tell_at(due, self.actor_ref, _ALARM)

    # ---- death, and life after it

    def _die(self, error: BaseException, message: object) -> None:
        """Stop at once: a broken machine takes no more of what is waiting."""
        name = type(self).__name__
        was_alive = self._held is None
        self._held = self._held or deque()
        if self.peers is None:
            self._stop()
        else:
            if was_alive:
                self._leave_will(message)
            counts = self._last_counts() if was_alive else None
            tell(self.peers.supervisor, ActorCrashed(name, type(error).__name__, counts))
            if isinstance(message, ReportRequest):
                self._hold(message)
        self.log.error("actor crashed", actor=name, **trace_of(error))

    def _leave_will(self, message: object) -> None:
        with contextlib.suppress(BaseException):
            self._act(self.bequeath(message))

    def _last_counts(self) -> object:
        with contextlib.suppress(BaseException):
            return self.report()
        return None

    def _hold(self, message: object) -> None:
        assert self._held is not None, "only the dead let messages wait"
        if isinstance(message, ReportRequest):
            self._lost_messages += len(self._held)
            self._held.clear()
            self._report(None)
        elif len(self._held) < MAX_HELD:
            self._held.append(message)
        else:
            self._lost_messages += 1

    def _begin_anew(self, first: Iterable[object]) -> None:
        if self._held is None:
            return
        self.renew()
        self._states.clear()
        self._armed_for = float("inf")
        self._arm()
        waiting, self._held = deque((*first, *self._held)), None
        self._take_up(waiting)

    def _take_up(self, waiting: deque[object]) -> None:
        while waiting and self._held is None:
            self.on_receive(waiting.popleft())
        if self._held is not None:  # it died again
            self._held.extend(waiting)


FLOW_TIMEOUT_S = 10.0


def call_when_handled(ref: Ref, reached: Callable[[], object]) -> None:
    """For a reader that may not wait. A dead actor has nothing left to handle."""
    try:
        ref.tell(Barrier(reached))
    except pykka.ActorDeadError:
        reached()


def wait_until_handled(ref: Ref) -> None:
    """For a socket's reader, every few messages: its messages never pile up in a mailbox.

    While it waits the socket is not read, and TCP holds the peer back. A dead actor, or one that
    is stuck, is somebody else's business.
    """
    with contextlib.suppress(pykka.ActorDeadError, pykka.Timeout):
        ref.ask(Barrier(), timeout=FLOW_TIMEOUT_S)
