"""How actors get a thread. Three ways, one kind of actor, which cannot tell them apart.

`Loop` (`loop.py`) runs every mailbox on one thread that also owns the sockets and the alarms: for
actors that never wait. `BlockingActors` (`threads.py`) runs them on threads that come and go as
they are needed: for actors that may block. For tests `Stepper` (`stepper.py`) runs one message at a
time on the caller's thread, under a clock that only moves when told.

All three plug into pykka where it provides for new actor types, and run pykka's own actor loop for
whatever pykka sends: the mailbox ends that loop by raising out of `get`. So `tell`, `ask`, `stop`,
the registry and the life cycle are pykka's, unchanged.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

if TYPE_CHECKING:
    from collections.abc import Callable


class Mailbox:
    """An inbox that hands out a limited number of messages per turn, and never blocks.

    It is not bounded: its senders are. No socket is read while its messages wait to be handled, and
    actors only answer what they are sent.

    What our actors tell each other is left here as it is and handed to `on_receive`. Whatever pykka
    sends (a question, a stop) comes in its envelope, and runs pykka's own loop. The shortcut saves
    half of what telling costs, five times per frame.
    """

    class TurnOver(Exception):  # noqa: N818 - it ends pykka's loop, nothing is wrong
        """Nothing more is handed out."""

    def __init__(self, wake: Callable[[Mailbox], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[Any] = deque()  # messages, and envelopes
        self._at_hand: Envelope[Any] | None = None
        self._scheduled = False
        self._closed = False
        self.actor: DispatchedActor | None = None

    def leave(self, message: object) -> bool:
        """Leave a message; wakes the actor if it sleeps. False: it is dead, or has too many."""
        if self._closed:
            return False
        self._waiting.append(message)
        if not self._scheduled and self._schedule():
            self._wake(self)
        return True

    def put(self, envelope: Envelope[Any]) -> None:
        """pykka's entry: after the actor's death it is refused."""
        if not self.leave(envelope):
            refuse(envelope)
        elif self._closed:  # meanwhile
            self._refuse_all()

    def get(self) -> Envelope[Any]:
        """For pykka's loop: the envelope at hand, once."""
        envelope, self._at_hand = self._at_hand, None
        if envelope is None:
            raise Mailbox.TurnOver
        return envelope

    def empty(self) -> bool:
        """Nothing is waiting."""
        return not self._waiting

    def qsize(self) -> int:
        """Messages waiting."""
        return len(self._waiting)

    def run_turn(self, batch: int) -> bool:
        """Have at most `batch` messages handled; True if there has to be another turn."""
        actor = self.actor
        assert actor is not None, "a mailbox is woken for its actor"
        waiting, is_stopped = self._waiting, actor.actor_stopped.is_set
        while batch and waiting:
            batch -= 1
            message = waiting.popleft()
            if type(message) is Envelope:
                self._at_hand = message
                actor.run_pykkas_loop()
                if is_stopped():
                    break
            else:
                try:
                    actor.on_receive(message)
                except BaseException:  # noqa: BLE001 - pykka would stop every actor there is
                    actor.fail()
                    break
        if is_stopped():
            self._closed = True
            self._refuse_all()
            return False
        # Whoever leaves a message sees that there is no turn, or is seen here.
        self._scheduled = False
        return bool(waiting) and self._schedule()

    def _schedule(self) -> bool:
        """Whether it is up to the caller to see to a turn."""
        with self._lock:
            others, self._scheduled = self._scheduled, True
            return not others

    def _refuse_all(self) -> None:
        while self._waiting:
            message = self._waiting.popleft()
            if type(message) is Envelope:
                refuse(message)


class BoundedMailbox(Mailbox):
    """For an actor that may block: those who tell it something never wait, and at the bound what
    they tell is dropped and counted, unless somebody waits for the answer."""

    def __init__(self, wake: Callable[[Mailbox], None], max_waiting: int) -> None:
        super().__init__(wake)
        self.dropped = 0
        self._max_waiting = max_waiting

    def leave(self, message: object) -> bool:
        """See `Mailbox.leave`."""
        awaited = type(message) is Envelope and message.reply_to is not None
        if self.qsize() >= self._max_waiting and not awaited:
            self.dropped += 1
            return False
        return super().leave(message)


def refuse(envelope: Envelope[Any]) -> None:
    """As pykka does it: a stop that came too late has what it wanted, anything else has not."""
    if envelope.reply_to is None:
        return
    if isinstance(envelope.message, _ActorStop):
        envelope.reply_to.set(None)
        return
    error = pykka.ActorDeadError("stopped before handling the message")
    envelope.reply_to.set_exception((pykka.ActorDeadError, error, None))


class Reply(pykka.ThreadingFuture[Any]):
    """A reply that can be waited for; on the stepper, waiting is stepping."""

    drive: Callable[[], bool] | None = None

    def get(self, *, timeout: float | None = None) -> Any:  # noqa: ANN401 - pykka's signature
        """Wait for the reply."""
        while self.drive is not None and self._result is None:
            if not self.drive():
                timeout = 0.0
                break
        return super().get(timeout=timeout)


class Dispatcher(Protocol):
    """A clock, and threads for actors."""

    def now(self) -> float:
        """Monotonic seconds."""

    def tell_at(self, when: float, ref: pykka.ActorRef[Any], message: object) -> None:
        """Tell an actor something when the time has come; if it is dead by then, nothing."""

    def mailbox(self) -> Mailbox:
        """A new inbox for an actor of this dispatcher."""

    def start(self, actor: DispatchedActor) -> None:
        """Begin to run an actor."""


class DispatchedActor(pykka.Actor):
    """An actor that runs wherever its dispatcher runs it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        super().__init__()

    def _create_actor_inbox(self) -> Any:  # type: ignore[override]  # noqa: ANN401
        return self.dispatcher.mailbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return Reply()

    def _start_actor_loop(self) -> None:
        if isinstance(self.actor_inbox, Mailbox):
            self.actor_inbox.actor = self
        try:
            self.dispatcher.start(self)
        except BaseException:
            pykka.ActorRegistry.unregister(self.actor_ref)
            self.actor_stopped.set()
            raise

    def fail(self) -> None:
        """Die of the exception that is being handled, as pykka has it."""
        self._handle_failure(*sys.exc_info())
        with contextlib.suppress(Exception):
            self.on_failure(*sys.exc_info())

    def run_pykkas_loop(self) -> None:
        """Until the mailbox ends it, or the actor has stopped."""
        with contextlib.suppress(Mailbox.TurnOver):
            self._actor_loop_running()


def tell(ref: pykka.ActorRef[Any], message: object) -> None:
    """Tell one of our actors something; if it is dead, nobody is there to be told."""
    ref.actor_inbox.leave(message)  # type: ignore[attr-defined]
