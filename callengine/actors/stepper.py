"""Actors on a virtual clock, one message at a time, in an order drawn from a seed."""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from pykka._envelope import Envelope

from callengine.actors.dispatch import QueueMailbox, Reply, refuse, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    import pykka

    from callengine.actors.dispatch import DispatchedActor


class Stepper:
    """Actors, and anything else that takes time, one step at a time on the caller's thread.

    Which of the waiting actors is next is drawn from the seed. What an actor tells arrives in the
    order in which it tells it, as pykka promises; between two things that it tells in one turn
    others may have theirs, as with threads. The clock moves only when nothing is waiting.

    `watch` is told of every message when its turn has come: the time, the actor's name, and it.
    """

    def __init__(
        self, seed: int = 0, watch: Callable[[float, str, object], None] | None = None
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 - an order that can be repeated
        self.watch = watch
        self._now = 0.0
        self._frozen_until = 0.0
        self._ready: list[QueueMailbox | _Untold] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._turn: _Untold | None = None

    def now(self) -> float:
        """Virtual seconds since the stepper was made."""
        return self._now

    @property
    def alarms(self) -> int:
        """How many things wait for their time."""
        return len(self._due)

    def tell_at(self, when: float, ref: pykka.ActorRef[Any], message: object) -> None:
        """See `Dispatcher.tell_at`."""
        self.call_at(when, functools.partial(tell, ref, message))

    def call_at(self, when: float, do: Callable[[], None]) -> None:
        """Do something when the time has come."""
        heapq.heappush(self._due, (when, next(self._order), do))

    def mailbox(self) -> QueueMailbox:
        """See `Dispatcher.mailbox`."""
        return _SteppedMailbox(self)

    def start(self, actor: DispatchedActor) -> None:
        """A stepped actor runs when it has a message."""

    def freeze(self, for_s: float) -> None:
        """Give no actor a turn for so long; the clock and the network go on."""
        self._frozen_until = max(self._frozen_until, self._now + for_s)

    def wake(self, waiting: QueueMailbox | _Untold) -> None:
        """Give this a turn some time."""
        self._ready.append(waiting)

    def post(self, mailbox: _SteppedMailbox, message: object) -> bool:
        """Whether a message arrives now; if not, it does before its sender's next turn."""
        turn = self._turn
        if turn is None:
            return True
        turn.told += 1
        if turn.told == 1 or (not turn.messages and self.random.random() < PROMPT):
            return True
        turn.messages.append((mailbox, message))
        return False

    def step(self) -> bool:
        """Let one actor handle one message, or move the clock; False if nothing is left to do."""
        if not self._ready:
            return self._move_clock(float("inf"))
        if self._now < self._frozen_until:
            return self._move_clock(self._frozen_until) or self._thaw()
        ready = self._ready
        chosen = int(self.random.random() * len(ready))
        ready[chosen], ready[-1] = ready[-1], ready[chosen]
        waiting = ready.pop()
        if isinstance(waiting, _Untold):
            waiting.tell_next(self)
            return True
        turn = self._turn = _Untold(waiting)
        goes_on = waiting.run_turn()
        self._turn = None
        if turn.messages:
            turn.goes_on = goes_on
            ready.append(turn)
        elif goes_on:
            ready.append(waiting)
        return True

    def run(self, until: float) -> None:
        """Step until nothing is left to do before `until`, then set the clock to it."""
        while self._ready or (self._due and self._due[0][0] <= until):
            if self._ready:
                self.step()
            else:
                self._move_clock(until)
        self._now = max(self._now, until)

    def settle(self) -> None:
        """Step until no message is waiting; time stands still."""
        while self._ready:
            self.step()

    def _thaw(self) -> bool:
        self._now = self._frozen_until
        return True

    def _move_clock(self, until: float) -> bool:
        if not self._due or self._due[0][0] > until:
            return False
        when, _, do = heapq.heappop(self._due)
        self._now = max(self._now, when)
        do()
        return True


PROMPT: Final = 0.75
"""How often what an actor tells arrives before anybody else has a turn."""


class _Untold:
    """What an actor told in its turn and has not arrived yet."""

    __slots__ = ("goes_on", "mailbox", "messages", "told")

    def __init__(self, mailbox: QueueMailbox) -> None:
        self.mailbox = mailbox
        self.told = 0
        self.goes_on = False
        self.messages: deque[tuple[_SteppedMailbox, object]] = deque()

    def tell_next(self, stepper: Stepper) -> None:
        """Let the next one arrive; after the last one the actor's turn is over."""
        mailbox, message = self.messages.popleft()
        mailbox.arrive(message)
        if self.messages:
            stepper.wake(self)
        elif self.goes_on:
            stepper.wake(self.mailbox)


class _SteppedMailbox(QueueMailbox):
    """A mailbox whose senders may wait for an answer by stepping."""

    def __init__(self, stepper: Stepper) -> None:
        super().__init__(stepper.wake)
        self._stepper = stepper

    def leave(self, message: object) -> bool:
        """See `Mailbox.leave`."""
        if type(message) is Envelope and isinstance(message.reply_to, Reply):
            message.reply_to.drive = self._stepper.step
        return super().leave(message) if self._stepper.post(self, message) else True

    def arrive(self, message: object) -> None:
        """A message that was on its way is here."""
        if not super().leave(message) and type(message) is Envelope:
            refuse(message)

    def run_turn(self) -> bool:
        """See `QueueMailbox.run_turn`."""
        if self._stepper.watch is not None and self._waiting:
            message = self._waiting[0]
            message = message.message if type(message) is Envelope else message
            self._stepper.watch(self._stepper.now(), type(self.actor).__name__, message)
        return super().run_turn()
