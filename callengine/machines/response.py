"""The model's one response slot, and with it the cancel-pending lock.

A Realtime conversation has at most one response at a time. This decides when the next may be asked
for, which response's audio counts, and when a cancel is over. Two rules carry everything:

- `CANCELLING` *is* the lock. While it lasts nothing is created, no audio counts, no reset is
  granted. It ends with `response.done` of that id whatever its status, with the benign error
  `response_cancel_not_active`, or at its own deadline. Today's API has no `response.cancelled`.
- A wanted response waits here until the slot is free. It leaves this list only when the model has
  taken it, or when another response answered the same thing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from enum import Enum, auto
from typing import Final

from callengine.machines.response_terms import (
    CONTINUATION,
    UNANSWERED_BY_OTHERS,
    Action,
    AudioCame,
    Cancel,
    CancelRefused,
    CancelWanted,
    Created,
    CreateFailed,
    CreateRefused,
    CreateWanted,
    Done,
    Event,
    Finished,
    GaveUp,
    Moved,
    Outdated,
    Purpose,
    ResponseCounts,
    SendCancel,
    SendCreate,
    Settlement,
    Wanted,
)
from callengine.messages import (
    DeadlineReached,
    Owner,
    Refusal,
    ResetGranted,
    ResetRefused,
    ResetRequest,
    StateChanged,
)
from callengine.values import dataclass

REQUEST_DEADLINE_S: Final = 5.0
"""A create the model has not answered by then is given up and, once, asked for again."""

CANCEL_DEADLINE_S: Final = 2.0
"""A cancel the model has not answered by then is taken as done: law L4."""

RETRY_DELAY_S: Final = 0.5
"""A failed response is asked for again this much later."""

JAM_S: Final = 8.0
"""A model that keeps refusing for a response that we do not see will not recover by itself."""

MAX_ATTEMPTS: Final = 2
MAX_WANTED: Final = 8
"""Responses waiting for the slot. Beyond, the newest is refused and counted."""

MAX_FINISHED: Final = 32
"""Ids of past responses that are still recognised."""

PROGRESS_S: Final = 1.0
"""How often a generating response is reported to be moving."""


class State(Enum):
    """The slot."""

    IDLE = auto()
    REQUESTED = auto()  # a create is out
    UNWANTED = auto()  # a create is out, and the caller has spoken since: cancel it by its id
    GENERATING = auto()  # the model is at it
    CANCELLING = auto()  # a cancel is out: the lock


IDLE: Final = State.IDLE
GENERATING: Final = State.GENERATING


TRANSITIONS: Final = {
    (State.IDLE, CreateWanted): State.REQUESTED,
    (State.IDLE, Created): State.GENERATING,
    (State.REQUESTED, Created): State.GENERATING,
    (State.REQUESTED, Done): State.IDLE,
    (State.REQUESTED, CancelWanted): State.UNWANTED,
    (State.REQUESTED, CreateRefused): State.IDLE,
    (State.REQUESTED, CreateFailed): State.IDLE,
    (State.REQUESTED, DeadlineReached): State.IDLE,
    (State.REQUESTED, ResetRequest): State.IDLE,
    (State.UNWANTED, Created): State.CANCELLING,
    (State.UNWANTED, Done): State.IDLE,
    (State.UNWANTED, CreateRefused): State.IDLE,
    (State.UNWANTED, CreateFailed): State.IDLE,
    (State.UNWANTED, DeadlineReached): State.IDLE,
    (State.GENERATING, Created): State.GENERATING,
    (State.GENERATING, Done): State.IDLE,
    (State.GENERATING, CancelWanted): State.CANCELLING,
    (State.GENERATING, ResetRequest): State.CANCELLING,
    (State.CANCELLING, Created): State.GENERATING,
    (State.CANCELLING, Done): State.IDLE,
    (State.CANCELLING, CancelRefused): State.IDLE,
    (State.CANCELLING, DeadlineReached): State.IDLE,
}
"""Events about a response other than the one in the slot never reach this table: a `Done` or a
`Created` of a finished id is counted and ignored. A server that echoes our event ids tells its own
responses from ours: while generating its own, `Done` goes back to `REQUESTED` if our create is
still out; while unwanted, its own `Created` is taken as from `IDLE`, and whatever would lead to
`IDLE` leads to `UNWANTED` while such a create is out. Every pair not listed leaves the state
alone."""

_AT_WORK: Final = (AudioCame, Moved)
"""What the model tells most: while it is generating nothing comes of it but a report."""


@dataclass(frozen=True, slots=True)
class _Overtaken:
    """A create that may still be out though nobody wants its response any more.

    `wanted` is told to be outdated as soon as it is sure that the response that was interrupted is
    not the one it asked for; None if it was.
    """

    event_id: str
    wanted: Wanted | None = None


class ResponseSlot:
    """The sole owner of the model's response. Versions go on from those of the session before."""

    def __init__(self, *, version: int = 0) -> None:
        self.state = State.IDLE
        self.counts = ResponseCounts()
        self.cancelled: deque[Cancel] = deque(maxlen=500)
        self.version = version
        self._response_id: str | None = None
        self._audible = False
        self._never_wanted = False
        self._barge_in: int | None = None
        self._wanted: deque[Wanted] = deque()
        self._asked: Wanted | None = None
        self._event_id: str | None = None
        self._overtaken: _Overtaken | None = None
        self._seems_refused: str | None = None  # an unwanted create, by an error without a name
        self._echoes = False
        self._sent = 0
        self._deadline: float | None = None
        self._held_until = float("-inf")
        self._finished: deque[str] = deque(maxlen=MAX_FINISHED)
        self._reported_at = float("-inf")

    # ---- questions

    @property
    def purpose(self) -> Purpose | None:
        """What the response in the slot was asked for; None if the server made it."""
        return self._asked.purpose if self._asked and not self._still_out else None

    @property
    def busy(self) -> bool:
        """A response is out or under way, or one is waiting to be asked for."""
        return self.state is not IDLE or bool(self._wanted)

    def wants(self, purpose: Purpose) -> bool:
        """A response for this purpose is waiting, asked for, or under way."""
        asked = () if self._asked is None else (self._asked,)
        return any(wanted.purpose is purpose for wanted in (*asked, *self._wanted))

    @property
    def under_way(self) -> str | None:
        """The response that is being generated, and wanted."""
        return self._response_id if self.state is State.GENERATING else None

    def accepts(self, response_id: str) -> bool:
        """Audio of this response counts."""
        return self.state is GENERATING and response_id == self._response_id

    def cancels(self, response_id: str) -> bool:
        """This response is being cancelled: its audio still comes, and does not count."""
        return self.state is State.CANCELLING and response_id == self._response_id

    @property
    def cuts(self) -> bool:
        """What is being cancelled was wanted; otherwise nothing of it is played in any case."""
        return self.state is State.CANCELLING and not self._never_wanted

    @property
    def unanswered(self) -> int:
        """How many creates and cancels the model has left unanswered so far."""
        return self.counts.creates_timed_out + self.counts.cancels_timed_out

    def forget_rest(self) -> None:
        """The cancel came too late to cut anything: there is no rest to ask for."""
        self._wanted = deque(w for w in self._wanted if w.purpose is not Purpose.CONTINUATION)

    def hold(self, until: float) -> None:
        """Ask for nothing before then: the caller has the floor."""
        self._held_until = until

    def next_deadline(self) -> float | None:
        """When the slot acts by itself."""
        if self.state is IDLE:
            return max(self._wanted[0].not_before, self._held_until) if self._wanted else None
        return self._deadline

    # ---- the machine

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; returns what is to be done, in this order."""
        if self.state is GENERATING and isinstance(event, _AT_WORK):
            return self._take(event, now)
        before = self.state, self._response_id, self.counts.creates_sent
        actions = self._take(event, now)
        actions += self._ask_next(now)
        if (self.state, self._response_id, self.counts.creates_sent) != before:
            actions.append(self._report(now))
        return actions

    def _take(self, event: Event, now: float) -> list[Action]:
        match event:
            case AudioCame():
                return self._audio_came(event, now)
            case Moved():
                return self._moved(now)
            case CreateWanted(wanted):
                self._want(wanted)
                return []
            case Created():
                return self._created(event, now)
            case Done():
                return self._done(event, now)
            case CancelWanted():
                return [*self._outdate(), *self._cancel(event, now)]
            case CancelRefused(caused_by):
                if self.state is State.CANCELLING and caused_by in {None, self._event_id}:
                    if not self._never_wanted:
                        self.forget_rest()
                    return self._release(event, Settlement.NOT_ACTIVE, now)
                return []
            case CreateRefused():
                return self._create_refused(event, now)
            case CreateFailed():
                return self._create_failed(event, now)
            case ResetRequest():
                return self._reset(event, now)
            case DeadlineReached():
                return self._expire(event, now)

    # ---- wanting

    def _want(self, wanted: Wanted) -> None:
        if wanted in self._wanted:
            return
        if len(self._wanted) >= MAX_WANTED:
            self.counts.creates_overflowed += 1
            return
        self._wanted.append(wanted)

    def _want_again(self, wanted: Wanted | None, not_before: float) -> list[Action]:
        wanted = wanted or Wanted(Purpose.ANSWER)  # one that the server made for the caller
        if wanted.attempt >= MAX_ATTEMPTS:
            return [GaveUp(wanted)]
        self.counts.retries += 1
        again = replace(wanted, attempt=wanted.attempt + 1, not_before=not_before)
        self._put_back(replace(again, given_up=self._event_id))
        return []

    def _put_back(self, wanted: Wanted) -> None:
        """First in line; it covers an equal one that has come to wait meanwhile."""
        if wanted in self._wanted:
            self._wanted.remove(wanted)
        self._wanted.appendleft(wanted)

    def _ask_next(self, now: float) -> list[Action]:
        if self.state is not State.IDLE or not self._wanted:
            return []
        if now < max(self._wanted[0].not_before, self._held_until):
            return []
        self._asked = self._wanted.popleft()
        self._event_id = self._next_event_id("create")
        self._enter(CreateWanted(self._asked))
        self._deadline = now + REQUEST_DEADLINE_S
        self.counts.creates_sent += 1
        return [SendCreate(self._event_id, self._asked)]

    def _drop_answers(self) -> None:
        """The response that has begun answers what the caller said."""
        self._wanted = deque(w for w in self._wanted if w.purpose is not Purpose.ANSWER)

    def _next_event_id(self, kind: str) -> str:
        self._sent += 1
        return f"{kind}-{self._sent}"

    # ---- coming

    def _created(self, event: Created, now: float) -> list[Action]:
        if event.response_id in (self._response_id, *self._finished):
            self.counts.unexpected_created += 1
            return []
        actions = self._supersede(now)
        if event.answers is not None:
            self._echoes = True
            self._take_back(event.answers)
            if event.answers in self._creates():
                if self._event_id is not None and event.answers != self._event_id:
                    self._overtaken = _Overtaken(self._event_id)  # the one before does answer
                self._event_id = None
        elif self.state is State.UNWANTED and self._echoes:
            self._let_create_go()
        unwanted = (
            self.state is State.UNWANTED
            or self._answers_overtaken(event)
            or self._answers_seemingly_refused(event)
        )
        self._enter(event)
        self.counts.responses += 1
        self._wanted = deque(replace(w, refused_since=None) for w in self._wanted)
        self._response_id = event.response_id
        self._deadline = None
        self._never_wanted = unwanted
        if unwanted:
            self.state = State.CANCELLING
            actions.append(self._send_cancel(event.response_id, now))
        elif self.purpose is not Purpose.GREETING:
            self._drop_answers()
        return actions

    def _take_back(self, create: str) -> None:
        """It is answered after all: an error without a name was about a create of the server."""
        waiting = [wanted for wanted in self._wanted if wanted.given_up == create]
        for wanted in waiting:
            self._wanted.remove(wanted)
            if self._event_id is None:
                self._asked = wanted

    def _let_create_go(self) -> None:
        """The server's own response answers what the caller said: that one is wanted."""
        assert self._event_id is not None, "a create is out"
        self._overtaken = _Overtaken(self._event_id)
        self.state = State.IDLE
        self._asked = self._event_id = None

    def _answers_overtaken(self, event: Created) -> bool:
        overtaken = self._overtaken
        if overtaken is None or event.answers != overtaken.event_id:
            return False
        self._overtaken = None
        return True

    def _answers_seemingly_refused(self, event: Created) -> bool:
        """It was not refused: an error without a name was about a create of the server."""
        answers = event.answers
        return self.state is IDLE and answers is not None and answers == self._seems_refused

    def _creates(self) -> tuple[str | None, ...]:
        """The creates that what is asked for was sent with."""
        return self._event_id, self._asked.given_up if self._asked else None

    def _supersede(self, now: float) -> list[Action]:
        """The server began another response: whatever we thought, the one before is over."""
        if self._response_id is None:
            return []
        self.counts.unexpected_created += 1
        if self._event_id is None or self.state is State.CANCELLING:
            self._asked = self._event_id = None
        return self._forget(Settlement.SUPERSEDED, now)

    def _audio_came(self, event: AudioCame, now: float) -> list[Action]:
        if not self.accepts(event.response_id):
            return []
        if self._audible:
            return self._moved(now)
        self._audible = True
        return [self._report(now)]

    def _moved(self, now: float) -> list[Action]:
        if self.state is not GENERATING or now < self._reported_at + PROGRESS_S:
            return []
        return [self._report(now)]

    def _create_refused(self, event: CreateRefused, now: float) -> list[Action]:
        if self._overtaken and event.caused_by in {None, self._overtaken.event_id}:
            return self._overtaken_failed()
        if not self._is_ours(event.caused_by):
            return []
        self.counts.creates_refused += 1
        refused = replace(self._asked, given_up=self._event_id) if self._asked else None
        if self.state is State.GENERATING:
            self._asked = self._event_id = None
            if refused is not None and refused.purpose in UNANSWERED_BY_OTHERS:
                self._put_back(refused)
            return []
        actions: list[Action] = []
        if self.state is State.REQUESTED and refused is not None:
            since = now if refused.refused_since is None else refused.refused_since
            if now - since >= JAM_S:
                actions = [GaveUp(refused, jammed=True)]
            else:
                later = now + RETRY_DELAY_S
                self._put_back(replace(refused, not_before=later, refused_since=since))
        elif event.caused_by is None:
            self._seems_refused = self._event_id
        return [*actions, *self._release(event, Settlement.NOT_ACTIVE, now)]

    def _create_failed(self, event: CreateFailed, now: float) -> list[Action]:
        if self._overtaken and event.caused_by == self._overtaken.event_id:
            return self._overtaken_failed()
        if event.caused_by is None or not self._is_ours(event.caused_by):
            return []
        failed = self._asked
        if self.state is State.GENERATING:
            self._asked = self._event_id = None
            if failed is not None and failed.purpose in UNANSWERED_BY_OTHERS:
                return self._want_again(failed, now + RETRY_DELAY_S)
            return []
        actions: list[Action] = []
        if self.state is State.REQUESTED:
            actions = self._want_again(failed, now + RETRY_DELAY_S)
        return [*actions, *self._release(event, Settlement.NOT_ACTIVE, now)]

    def _overtaken_failed(self) -> list[Action]:
        """The response that was interrupted was not ours, and did not answer this."""
        overtaken, self._overtaken = self._overtaken, None
        self.counts.creates_refused += 1
        wanted = overtaken.wanted if overtaken else None
        return [Outdated(wanted)] if wanted and wanted.purpose in UNANSWERED_BY_OTHERS else []

    @property
    def _still_out(self) -> bool:
        """The response in the slot is the server's own: it would have told if it were ours."""
        return self.state is State.GENERATING and self._echoes and self._event_id is not None

    def _is_ours(self, caused_by: str | None) -> bool:
        """An error about our create that is still out; a nameless one can only mean that."""
        return (
            self.state in {State.REQUESTED, State.UNWANTED, State.GENERATING}
            and self._event_id is not None
            and caused_by in {None, self._event_id}
        )

    # ---- going

    def _done(self, event: Done, now: float) -> list[Action]:
        nameless = self.state in {State.REQUESTED, State.UNWANTED}
        if event.response_id in self._finished or (
            not nameless and event.response_id != self._response_id
        ):
            self.counts.unexpected_done += 1
            return []
        if nameless:  # seen on interruptions: done without created
            self.counts.unexpected_done += 1
            self._response_id = event.response_id
        if self._still_out:
            return self._wait_on(now)
        actions: list[Action] = []
        if event.failed and self.state in {State.REQUESTED, State.GENERATING}:
            actions = self._want_again(self._asked, now + RETRY_DELAY_S)
        return [*actions, *self._release(event, Settlement.DONE, now)]

    def _wait_on(self, now: float) -> list[Action]:
        actions = self._forget(Settlement.DONE, now)
        self.state = State.REQUESTED
        self._deadline = now + REQUEST_DEADLINE_S
        return actions

    def _enter(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, type(event)]

    def _release(self, event: Event, settlement: Settlement, now: float) -> list[Action]:
        actions = self._forget(settlement, now)
        self._enter(event)
        self._asked = self._event_id = self._deadline = None
        overtaken, self._overtaken = self._overtaken, None
        if overtaken is not None and self._echoes:  # it may still begin
            self.state = State.UNWANTED
            self._event_id = overtaken.event_id
            self._deadline = now + REQUEST_DEADLINE_S
        return actions

    def _forget(self, settlement: Settlement, now: float) -> list[Action]:
        response_id, self._response_id = self._response_id, None
        self._audible = False
        if self.state is State.CANCELLING:
            cancel = self.cancelled[-1]
            cancel.resolved_at, cancel.settlement = now, settlement
        if response_id is None:
            return []
        self._finished.append(response_id)
        return [Finished(response_id)]

    def _outdate(self) -> list[Action]:
        """What the caller has overtaken; what he said and what tools returned is still wanted."""
        outdated = [w for w in self._wanted if w.purpose is Purpose.CONTINUATION]
        self._wanted = deque(w for w in self._wanted if w.purpose is not Purpose.CONTINUATION)
        if self.state is State.REQUESTED and self._asked is not None:
            outdated.insert(0, self._asked)
        elif self.state is State.GENERATING and self._asked is not None and self._event_id:
            outdated = [*self._overtake(self._event_id, self._asked), *outdated]
        return [Outdated(wanted) for wanted in outdated]

    def _overtake(self, create: str, wanted: Wanted) -> list[Wanted]:
        """A create that is out, or may be, while another response is interrupted."""
        if not self._still_out:
            self._overtaken = _Overtaken(create, wanted)
            return []
        self._overtaken = _Overtaken(create)
        return [wanted] if wanted.purpose in UNANSWERED_BY_OTHERS else []

    def _cancel(self, event: CancelWanted | ResetRequest, now: float) -> list[Action]:
        self._barge_in = event.barge_in if isinstance(event, CancelWanted) else None
        if self.state is State.CANCELLING and self.cancelled[-1].barge_in is None:
            self.cancelled[-1].barge_in = self._barge_in  # the model's VAD was quicker than ours
        elif self.state is State.REQUESTED:
            self._enter(event)
        elif self.state is State.GENERATING and self._response_id is not None:
            self._enter(event)
            return [self._send_cancel(self._response_id, now)]
        return []

    def _send_cancel(self, response_id: str, now: float) -> SendCancel:
        self._event_id = self._next_event_id("cancel")
        self._deadline = now + CANCEL_DEADLINE_S
        self.cancelled.append(Cancel(response_id, now, self._barge_in))
        self.counts.cancels_sent += 1
        return SendCancel(self._event_id, response_id)

    def _expire(self, event: DeadlineReached, now: float) -> list[Action]:
        if self._deadline is None or now < self._deadline:
            return []
        if self.state is State.CANCELLING:
            self.counts.cancels_timed_out += 1
        else:
            self.counts.creates_timed_out += 1
        actions: list[Action] = []
        if self.state is State.REQUESTED:
            actions = self._want_again(self._asked, now)
        return [*actions, *self._release(event, Settlement.DEADLINE, now)]

    # ---- watchdog

    def _report(self, now: float) -> StateChanged:
        self.version += 1
        self._reported_at = now
        speaking = self.state is State.GENERATING and self._audible
        name = "speaking" if speaking else self.state.name.lower()
        return StateChanged(Owner.RESPONSE, name, self.version)

    def _reset(self, request: ResetRequest, now: float) -> list[Action]:
        refusal = self._refusal(request)
        if refusal is not None:
            return [ResetRefused(Owner.RESPONSE, request.reason, refusal)]
        self.counts.stuck_recoveries += 1
        actions: list[Action] = [ResetGranted(Owner.RESPONSE, request.reason)]
        if self._audible:
            self._want(CONTINUATION)
        else:
            actions += self._want_again(self._asked, now)
        if self.state is State.GENERATING:
            return [*self._cancel(request, now), *actions]
        return [*self._release(request, Settlement.DEADLINE, now), *actions]

    def _refusal(self, request: ResetRequest) -> Refusal | None:
        if self.state is State.CANCELLING:
            return Refusal.CANCEL_PENDING
        if request.if_version != self.version:
            return Refusal.VERSION_MOVED
        if self.state not in {State.REQUESTED, State.GENERATING}:
            return Refusal.NOT_STUCK
        return None
