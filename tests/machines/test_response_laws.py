"""The response slot against a model of the server: one active response, lines with a delay.

What is lost or late for seconds is left to the deadlines; see test_response.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from callengine.machines.response import (
    CANCEL_DEADLINE_S,
    MAX_ATTEMPTS,
    AudioCame,
    CancelRefused,
    CancelWanted,
    Created,
    CreateRefused,
    CreateWanted,
    Done,
    Finished,
    Purpose,
    ResponseSlot,
    SendCancel,
    SendCreate,
    State,
    Wanted,
)
from callengine.messages import DeadlineReached

if TYPE_CHECKING:
    from callengine.machines import response as slot

CONTINUATION = Wanted(Purpose.CONTINUATION, "go on")


@dataclass(eq=False)
class ToolResult:
    """One wish for a response about a tool's result, and what became of it."""

    accepted: int = 0
    failed: int = 0
    excused: bool = False

    @property
    def open(self) -> bool:
        return not self.excused and self.accepted == self.failed < MAX_ATTEMPTS


@dataclass
class Server:
    """One active response at a time; refuses creates and cancels that do not fit."""

    echoes: bool
    names_errors: bool
    inbox: deque[SendCreate | SendCancel] = field(default_factory=deque)
    outbox: deque[slot.Event] = field(default_factory=deque)
    active: str | None = None
    answering: SendCreate | None = None
    made: int = 0

    def begin(self, create: SendCreate | None) -> None:
        self.made += 1
        self.active, self.answering = f"r{self.made}", create
        answers = create.event_id if create and self.echoes else None
        self.outbox.append(Created(self.active, answers))

    def end(self, *, failed: bool) -> None:
        assert self.active is not None
        self.outbox.append(Done(self.active, failed))
        self.active = self.answering = None

    def read(self) -> SendCreate | None:
        """Take one message; returns a create that was accepted."""
        message = self.inbox.popleft()
        caused_by = message.event_id if self.names_errors else None
        match message:
            case SendCreate() if self.active is None:
                self.begin(message)
                return message
            case SendCreate():
                self.outbox.append(CreateRefused(caused_by))
            case SendCancel(_, response_id) if response_id == self.active:
                self.end(failed=False)
            case SendCancel():
                self.outbox.append(CancelRefused(caused_by))
        return None


class SlotAndServer(RuleBasedStateMachine):
    """L4 and L5, whoever is first."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = ResponseSlot()
        self.now = 0.0
        self.wishes: list[ToolResult] = []
        self.covered: dict[str, list[ToolResult]] = {}
        self.known_active: str | None = None
        self.served: list[ToolResult] = []
        self.sent_ids: set[str] = set()

    @initialize(echoes=st.booleans(), names_errors=st.booleans())
    def a_server(self, echoes: bool, names_errors: bool) -> None:
        self.server = Server(echoes, names_errors)
        self.tell(CreateWanted(Wanted(Purpose.GREETING)))
        self.come_to_rest()

    # ---- our side

    def tell(self, event: slot.Event) -> None:
        match event:
            case Created(response_id):
                self.known_active = response_id
            case Done(response_id) if response_id == self.known_active:
                self.known_active = None
            case CancelRefused() if self.slot.state is State.CANCELLING:
                self.known_active = None
        for action in self.slot.handle(event, self.now):
            match action:
                case SendCreate(event_id, wanted):
                    assert self.known_active is None, "L5: only when the slot is free"
                    self.send(action)
                    if wanted.purpose is Purpose.TOOL_RESULT:
                        self.covered[event_id] = [wish for wish in self.wishes if wish.open]
                        assert self.covered[event_id], "L5: doubled"
                case SendCancel(_, response_id):
                    assert response_id == self.known_active, "L4: by the id"
                    self.send(action)
                case Finished(response_id):
                    assert not self.slot.accepts(response_id)

    def send(self, message: SendCreate | SendCancel) -> None:
        assert message.event_id not in self.sent_ids
        self.sent_ids.add(message.event_id)
        self.server.inbox.append(message)

    @rule()
    def a_tool_returns(self) -> None:
        self.wishes.append(ToolResult())
        self.tell(CreateWanted(Wanted(Purpose.TOOL_RESULT)))

    @rule(purpose=st.sampled_from([Wanted(Purpose.ANSWER), CONTINUATION]))
    def something_else_is_wanted(self, purpose: Wanted) -> None:
        self.tell(CreateWanted(purpose))

    @precondition(lambda self: self.may_interrupt())
    @rule()
    def the_caller_interrupts(self) -> None:
        """He takes the place of what is asked for, not of what waits."""
        asked = self.slot._asked
        if self.covered and asked is not None and asked.purpose is Purpose.TOOL_RESULT:
            for wish in [*self.covered.values()][-1]:
                wish.excused = True
        self.tell(CancelWanted())

    # ---- the server's side

    @precondition(lambda self: self.server.inbox)
    @rule()
    def the_server_reads(self) -> None:
        accepted = self.server.read()
        if accepted is None:
            return
        wishes = self.covered.get(accepted.event_id, [])
        self.served = [wish for wish in wishes if wish.open]
        assert not wishes or self.served or any(w.excused for w in wishes), "L5: doubled"
        for wish in self.served:
            wish.accepted += 1

    @precondition(lambda self: self.server.active is None and not self.unwanted_crossing())
    @rule()
    def the_server_answers_a_turn_by_itself(self) -> None:
        self.server.begin(None)
        self.served = []

    @precondition(lambda self: self.server.active and self.may_end())
    @rule(failed=st.booleans())
    def the_response_ends(self, failed: bool) -> None:
        for wish in self.served if failed else []:
            wish.failed += 1
        self.server.end(failed=failed)

    @precondition(lambda self: self.server.active)
    @rule()
    def audio_comes(self) -> None:
        self.server.outbox.append(AudioCame(self.server.active or ""))

    @precondition(lambda self: self.server.outbox)
    @rule()
    def a_message_arrives(self) -> None:
        self.tell(self.server.outbox.popleft())

    def may_end(self) -> bool:
        """A server that does not say which create it answers is slower than the lines."""
        heard_of = self.known_active == self.server.active
        return self.server.echoes or (heard_of and not self.crossing())

    def may_interrupt(self) -> bool:
        """People are slower than the lines, where the server does not name what it refuses."""
        echoes = self.server.echoes
        if not echoes and self.crossing() and self.slot.state is not State.REQUESTED:
            return False
        refusals = (SendCancel, CancelRefused, CreateRefused)
        on_the_line = [*self.server.inbox, *self.server.outbox]
        clear = self.server.echoes and self.server.names_errors
        return clear or not any(isinstance(message, refusals) for message in on_the_line)

    def crossing(self) -> bool:
        return any(isinstance(message, SendCreate) for message in self.server.inbox)

    def unwanted_crossing(self) -> bool:
        """What the caller says lasts longer than a create is on its way."""
        unwanted = self.slot.state is State.UNWANTED and self.crossing()
        return unwanted and not self.server.echoes

    # ---- time

    @precondition(lambda self: self.slot.state is State.IDLE)
    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(DeadlineReached())

    @invariant()
    def only_a_cancel_is_a_lock(self) -> None:
        unresolved = [c for c in self.slot.cancelled if c.settlement is None]
        assert len(unresolved) == (self.slot.state is State.CANCELLING)
        assert all(self.now <= c.sent_at + CANCEL_DEADLINE_S for c in unresolved)

    def teardown(self) -> None:
        """Nothing is stuck, and nothing was lost."""
        if not hasattr(self, "server"):
            return
        self.come_to_rest()
        assert self.slot.state is State.IDLE
        assert not self.slot.busy
        assert [wish for wish in self.wishes if wish.open] == [], "L5: lost"

    def come_to_rest(self) -> None:
        for _ in range(200):
            while self.server.inbox or self.server.outbox:
                if self.server.inbox:
                    self.the_server_reads()
                if self.server.outbox:
                    self.a_message_arrives()
            if self.server.active:
                self.the_response_ends(failed=False)
            elif self.slot.state is State.IDLE and self.slot.busy:
                self.time_passes(0.5)
            else:
                break


TestSlotAndServer = SlotAndServer.TestCase
TestSlotAndServer.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
