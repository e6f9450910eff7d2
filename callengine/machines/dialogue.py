"""A call's conversation across the model's sessions: what RealtimeBridge decides.

First somebody has to be found to answer the call. When the model is lost, a new session takes over:
it is told what was said, says the fallback if an answer is owed, and never greets twice. If that
fails too the call ends, with the cause of the outage.

It refuses to know what a conversation is made of: that is `Conversation`, one per session.
"""

from __future__ import annotations

from collections import deque
from dataclasses import astuple, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

from callengine.machines import conversation_terms as terms
from callengine.machines.conversation import Conversation
from callengine.machines.conversation_terms import Resume, SaidTurn
from callengine.machines.deadlines import earliest
from callengine.machines.metering import Budget, Meter
from callengine.machines.turns import OpenTurn, Turns
from callengine.messages import (
    AgentSaid,
    AnswerOwed,
    AudioComplete,
    CallEnding,
    CallerFrame,
    CallerSaid,
    DeadlineReached,
    EndCause,
    EventSeen,
    ItemHeard,
    PlayAudio,
    Refusal,
    ResetRefused,
    ResetRequest,
    StreamStarted,
    TurnSettled,
)
from callengine.values import dataclass
from callengine.wire.realtime_events import ResponseDone, SessionUpdated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.wire.realtime_client import SessionConfig

AGENT_DEADLINE_S: Final = 1.5
"""The host's choice of an agent is waited for; then the stand-in answers."""

RETRY_PAUSE_S: Final = 0.25
"""Between the loss of a session and the next attempt."""

RETRY_DEADLINE_S: Final = 5.0
"""A new session that is not live by then has failed: the caller has waited long enough."""

MAX_OUTAGES: Final = 5
"""Per call. A model that is lost more often is not worth talking to."""

MAX_TURNS_RECALLED: Final = 20
MAX_TURN_CHARACTERS: Final = 1000
"""What a new session is told of each of the last turns; the beginning of a longer one is cut."""

RETRIED: Final = frozenset(
    {
        EndCause.MODEL_UNREACHABLE,
        EndCause.MODEL_LOST,
        EndCause.MODEL_SILENT,
        EndCause.MODEL_FAILED,
        EndCause.SESSION_EXPIRED,
    }
)
"""Ends of a session that another session may not meet. A refused key is refused again."""


class State(Enum):
    """The call's conversation."""

    WAITING = auto()  # for the stream
    CASTING = auto()  # somebody is being found to answer
    TALKING = auto()
    PARTED = auto()  # the model was lost, and is connected to again presently
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Brief:
    """What of an agent the model's side needs to know. `fallback` is mu-law audio."""

    config: SessionConfig
    greeting: str | None
    greeting_protected: bool
    fallback: bytes = b""
    fallback_text: str | None = None


@dataclass(frozen=True, slots=True)
class AgentFound:
    """Somebody answers the call."""

    brief: Brief


@dataclass(frozen=True, slots=True)
class StandInWanted:
    """Nobody was found in time: answer with an `AgentFound` of whoever is at hand."""


@dataclass(frozen=True, slots=True)
class OpenModel:
    """Connect to the model, on a new socket."""


@dataclass(frozen=True, slots=True)
class ForgetModel:
    """What still comes from the socket that is open no longer counts."""


TRANSITIONS: Final = {
    (State.WAITING, StreamStarted): State.CASTING,
    (State.CASTING, AgentFound): State.TALKING,
    (State.TALKING, CallEnding): State.PARTED,
    (State.PARTED, CallEnding): State.PARTED,
    (State.PARTED, DeadlineReached): State.TALKING,
}
"""`CallEnding` is what the conversation of one session says; if it is not to be tried again the
dialogue is `OVER`, as it is when the call is. An agent that is known beforehand is found at once.
While casting, `DeadlineReached` asks for the stand-in and changes nothing."""

CONVERSES: Final = (State.TALKING, State.PARTED)
"""There is a conversation, and it takes what comes."""

Event: TypeAlias = StreamStarted | AgentFound | terms.Event
Action: TypeAlias = (
    OpenModel | ForgetModel | StandInWanted | AnswerOwed | EventSeen | TurnSettled | terms.Action
)


@dataclass(slots=True)
class DialogueCounts:
    """What the summary says about the sessions of a call."""

    reconnects: int = 0
    stand_ins: int = 0


class Dialogue:
    """The model's side of one call, from the stream's start to the call's end."""

    def __init__(self, brief: Brief | None, *, retries: int, budget: Budget) -> None:
        self.state = State.WAITING
        self.counts = DialogueCounts()
        self.meter = Meter(budget)
        self.conversations: list[Conversation] = []
        self._brief = brief
        self._retries = retries
        self._tried = 0
        self._outages = 0
        self._outage: CallEnding | None = None
        self._spoken: str | None = None  # the response of which more audio may come
        self._recent: deque[SaidTurn] = deque(maxlen=MAX_TURNS_RECALLED)
        self._turns = Turns()
        self._waits_since: float | None = None  # while somebody was being found
        self._deadline: float | None = None
        self._live_by: float | None = None
        self._due_at: float | None = None

    @property
    def is_casting(self) -> bool:
        """Somebody is being found to answer the call."""
        return self.state is State.CASTING

    def next_deadline(self) -> float | None:
        """When something is due next."""
        return self._due_at

    def handle(self, event: Event, now: float) -> Sequence[Action]:
        """Take one event; returns what is to be done, in this order."""
        nothing_is_due = self._due_at is None or now < self._due_at
        if isinstance(event, CallerFrame) and nothing_is_due and self.conversations:
            # 50 a second. Going on like any other event they would cost ten times as much, and
            # nothing else comes of them.
            return self.conversations[-1].session.caller_audio(event.payload)
        actions = self._take(event, now)
        self._due_at = self._earliest()
        return actions

    def _earliest(self) -> float | None:
        conversation = self.conversations[-1].next_deadline() if self.conversations else None
        return earliest(self._deadline, self._live_by, conversation)

    def _take(self, event: Event, now: float) -> list[Action]:
        match event:
            case StreamStarted():
                return self._started(now)
            case AgentFound(brief):
                return self._found(brief, now)
            case DeadlineReached() if self._deadline is not None and now >= self._deadline:
                return self._expire(event, now)
            case _ if self.state in CONVERSES:
                return self._converse(event, now)
            case ResetRequest(owner, reason):
                return [ResetRefused(owner, reason, Refusal.NOT_STUCK)]
        return []

    def close(self) -> None:
        """The call is over: nothing more counts."""
        self.state = State.OVER
        self._deadline = self._live_by = self._due_at = None
        for conversation in self.conversations[-1:]:
            conversation.close()

    @property
    def turns_left(self) -> tuple[OpenTurn, ...]:
        """What the agent said whose fate nobody has told: only playout knows what was heard."""
        left = {turn.item_id: replace(turn) for turn in self._turns.unsettled}
        for conversation in self.conversations:
            for item_id, _, audio_ms in map(astuple, conversation.left_unheard):
                turn = left.setdefault(item_id, OpenTurn(item_id))
                turn.audio_ms = (turn.audio_ms or 0) + audio_ms
        return tuple(left.values())

    # ---- who answers

    def _started(self, now: float) -> list[Action]:
        if (self.state, StreamStarted) not in TRANSITIONS:
            return []
        self.state = State.CASTING
        if self._brief is not None:
            return self._found(self._brief, now)
        self._deadline, self._waits_since = now + AGENT_DEADLINE_S, now
        return []

    def _found(self, brief: Brief, now: float) -> list[Action]:
        if (self.state, AgentFound) not in TRANSITIONS:
            return []
        self.state, self._brief, self._deadline = State.TALKING, brief, None
        self.conversations.append(
            Conversation(
                brief.config,
                greeting=brief.greeting,
                greeting_protected=brief.greeting_protected,
                now=now,
            )
        )
        owed = [AnswerOwed(brief.fallback, self._waits_since)] if brief.greeting else []
        return [OpenModel(), *owed]

    # ---- one session after the other

    def _expire(self, event: DeadlineReached, now: float) -> list[Action]:
        self._deadline = None
        if self.state is State.CASTING:
            self.counts.stand_ins += 1
            return [StandInWanted()]
        self.state = State.TALKING
        self._live_by = now + RETRY_DEADLINE_S
        return [OpenModel(), *self._converse(event, now)]

    def _converse(self, event: terms.Event, now: float) -> list[Action]:
        assert self._brief is not None, "a conversation has an agent"
        actions: list[Action] = []
        ending: CallEnding | None = None
        for action in self.conversations[-1].handle(event, now):
            match action:
                case PlayAudio():
                    self._outage, self._tried = None, 0
                    self._spoken = action.response_id
                case CallEnding():
                    ending = action
                    continue
                case AudioComplete(response_id) if response_id == self._spoken:
                    self._spoken = None
                case CallerSaid(_, transcript):
                    self._remember(SaidTurn("user", transcript))
                case AgentSaid(item_id, transcript):
                    self._remember(SaidTurn("assistant", transcript))
                    actions += self._turns.said(item_id, transcript)
                case ItemHeard(item_id, heard_ms, audio_ms):
                    actions += self._turns.heard(item_id, heard_ms, audio_ms)
                    continue
                case AnswerOwed():
                    actions.append(replace(action, fallback=self._brief.fallback))
                    continue
            actions.append(action)
        if ending is not None:
            return [*actions, *self._ended(ending, now)]
        return [*actions, *self._watch(event, now)]

    def _watch(self, event: terms.Event, now: float) -> list[Action]:
        """What the dialogue itself learns from an event that the conversation took."""
        if isinstance(event, SessionUpdated) and self.conversations[-1].is_live:
            self._live_by = None
        if self._live_by is not None and now >= self._live_by:
            told = "the model's new session did not open"
            return self._ended(CallEnding(EndCause.MODEL_UNREACHABLE, told), now)
        if isinstance(event, ResponseDone) and event.usage is not None:
            self.meter.add(event.usage)
            if (spent := self.meter.exceeded) is not None:
                self.close()
                return [CallEnding(EndCause.BUDGET_SPENT, spent)]
        return []

    def _remember(self, turn: SaidTurn) -> None:
        if turn.text.strip():
            self._recent.append(SaidTurn(turn.role, turn.text[-MAX_TURN_CHARACTERS:]))

    def _ended(self, ending: CallEnding, now: float) -> list[Action]:
        self._live_by = None
        if self._outage is None:
            self._outage = ending
            self._outages += 1
        again = ending.cause in RETRIED and self._tried < self._retries
        if not again or self._outages > MAX_OUTAGES:
            self.close()
            return [self._outage]
        self._tried += 1
        return self._part(ending, now)

    def _part(self, ending: CallEnding, now: float) -> list[Action]:
        """The next session holds what the caller says until it is live."""
        assert self._brief is not None, "a conversation has an agent"
        lost = self.conversations[-1]
        lost.close()
        self.counts.reconnects += 1
        self.state = TRANSITIONS[self.state, CallEnding]
        self._deadline = now + RETRY_PAUSE_S
        greets = lost.greeting_unheard
        apologises = lost.owes and not greets
        resume = Resume(tuple(self._recent), self._apology() if apologises else None)
        self.conversations.append(
            Conversation(
                self._brief.config,
                greeting=self._brief.greeting if greets else None,
                greeting_protected=self._brief.greeting_protected,
                now=now,
                resume=resume,
                before=lost,
            )
        )
        owed = [AnswerOwed(self._brief.fallback)] if greets or lost.owes else []
        cut = [AudioComplete(self._spoken)] if self._spoken is not None else []
        self._spoken = None
        return [ForgetModel(), EventSeen("model_lost", str(ending.cause)), *cut, *owed]

    def _apology(self) -> str:
        """What the new session is asked to say, in the place of the answer that was lost."""
        assert self._brief is not None, "a conversation has an agent"
        text = self._brief.fallback_text
        first = f'First say this, word for word: "{text}" Then' if text else "Then"
        return (
            f"{self._brief.config.instructions}\n\nThe connection was interrupted for a moment, and"
            f" the caller is waiting. {first} answer what the caller said last; if nothing is left"
            " to be answered, ask how you can go on helping. Do not greet again."
        )
