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
    """What pykka takes for an inbox: `leave` a message in it, and whoever runs its actor has it
    `handle` one after the other.

    It is not bounded: its senders are. No socket is read while its messages wait to be handled, and
    actors only answer what they are sent.

    What our actors tell each other is left here as it is and handed to `on_receive`. Whatever pykka
    sends (a question, a stop) comes in its envelope, and runs pykka's own loop. The shortcut saves
    half of what telling costs, five times per frame.
    """

    class TurnOver(Exception):  # noqa: N818 - it ends pykka's loop, nothing is wrong
        """Nothing more is handed out."""

    def __init__(self) -> None:
        self.actor: DispatchedActor | None = None
        self.closed = False
        """Its actor is dead."""
        self._at_hand: Envelope[Any] | None = None

    def leave(self, message: object) -> bool:
        """Leave a message, from any thread. False: the actor is dead, or has too many."""
        raise NotImplementedError

    def qsize(self) -> int:
        """Messages waiting."""
        raise NotImplementedError

    def empty(self) -> bool:
        """Nothing is waiting."""
        return self.qsize() == 0

    def put(self, envelope: Envelope[Any]) -> None:
        """pykka's entry: after the actor's death it is refused."""
        if not self.leave(envelope):
            refuse(envelope)

    def get(self) -> Envelope[Any]:
        """For pykka's loop: the envelope at hand, once."""
        envelope, self._at_hand = self._at_hand, None
        if envelope is None:
            raise Mailbox.TurnOver
        return envelope

    def handle(self, message: object) -> None:
        """Have one message handled; who is dead handles none."""
        actor = self.actor
        assert actor is not None, "a message is for an actor"
        if self.closed:
            if type(message) is Envelope:
                refuse(message)
        elif type(message) is Envelope:
            self._at_hand = message
            actor.run_pykkas_loop()
            self.closed = actor.actor_stopped.is_set()
        else:
            try:
                actor.on_receive(message)
            except BaseException:  # noqa: BLE001 - pykka would stop every actor there is
                actor.fail()
                self.closed = True


class Line(deque[tuple["LineMailbox", object]]):
    """What waits for the actors of one thread, in the order in which it came."""

    def __init__(self, wake: Callable[[], object]) -> None:
        super().__init__()
        self.wake = wake
        self.asleep = False
        """Its thread has to be woken if something comes."""

    def handle_next(self) -> None:
        """Have the first of them handled. Raises IndexError if there is none."""
        mailbox, message = self.popleft()
        mailbox.handle(message)


class LineMailbox(Mailbox):
    """For an actor that shares its thread with others: all that they are told waits in one line.

    So it needs neither a lock nor a turn.
    """

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def leave(self, message: object) -> bool:
        """See `Mailbox.leave`."""
        if self.closed:
            return False
        line = self._line
        line.append((self, message))
        if line.asleep:
            line.wake()
        return True

    def qsize(self) -> int:
        """See `Mailbox.qsize`."""
        return sum(mailbox is self for mailbox, _ in tuple(self._line))


class QueueMailbox(Mailbox):
    """For an actor that has its turns by itself: keeps what waits, and wakes somebody to run it."""

    def __init__(self, wake: Callable[[QueueMailbox], None]) -> None:
        super().__init__()
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[Any] = deque()  # messages, and envelopes
        self._scheduled = False

    def leave(self, message: object) -> bool:
        """See `Mailbox.leave`."""
        if self.closed:
            return False
        self._waiting.append(message)
        if not self._scheduled and self._schedule():
            self._wake(self)
        return True

    def put(self, envelope: Envelope[Any]) -> None:
        """See `Mailbox.put`."""
        super().put(envelope)
        if self.closed:  # meanwhile
            self._refuse_all()

    def qsize(self) -> int:
        """See `Mailbox.qsize`."""
        return len(self._waiting)

    def run_turn(self) -> bool:
        """Have one message handled; True if there has to be another turn."""
        if self._waiting:
            self.handle(self._waiting.popleft())
        if self.closed:
            self._refuse_all()
            return False
        # Whoever leaves a message sees that there is no turn, or is seen here.
        self._scheduled = False
        return bool(self._waiting) and self._schedule()

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


class BoundedMailbox(QueueMailbox):
    """For an actor that may block: those who tell it something never wait, and at the bound what
    they tell is dropped and counted, unless somebody waits for the answer."""

    def __init__(self, wake: Callable[[QueueMailbox], None], max_waiting: int) -> None:
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
