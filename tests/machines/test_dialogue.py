"""A call's conversation from one session to the next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.conversation import ANSWER_GRACE_S
from callengine.machines.conversation_terms import SaidTurn, SendTurn
from callengine.machines.dialogue import (
    AGENT_DEADLINE_S,
    MAX_OUTAGES,
    MAX_TURN_CHARACTERS,
    MAX_TURNS_RECALLED,
    RETRIED,
    RETRY_DEADLINE_S,
    RETRY_PAUSE_S,
    Action,
    AgentFound,
    Brief,
    Dialogue,
    Event,
    ForgetModel,
    OpenModel,
    StandInWanted,
    State,
)
from callengine.machines.metering import Budget
from callengine.machines.response_terms import Purpose, SendCreate
from callengine.machines.session import SendAppend, SendSessionUpdate
from callengine.messages import (
    AgentSaid,
    AnswerOwed,
    BargeInConfirmed,
    CallEnding,
    CallerFrame,
    CallerSaid,
    DeadlineReached,
    EndCause,
    EventSeen,
    HeardItem,
    Interrupted,
    ModelClosed,
    ModelConnected,
    Owner,
    PlayAudio,
    Refusal,
    ResetReason,
    ResetRefused,
    ResetRequest,
    ResponseHeard,
    StateChanged,
    StreamStarted,
    ToolReturned,
    TurnSettled,
)
from callengine.wire import realtime_events as wire
from tests.machines.conversation_rig import (
    CONFIG,
    CONFIRMED,
    GREETING,
    created,
    delta,
    done,
    function_call,
    only,
)

CLIP = b"\x10" * 800
BRIEF = Brief(CONFIG, None, True, CLIP, "Sorry about that.")
GREETS = Brief(CONFIG, GREETING, True, CLIP, None)
STARTED = StreamStarted("MZ1", "CA1", {})
LOST = ModelClosed(EndCause.MODEL_LOST, "1006")
QUESTION = wire.InputTranscript("i9", "When are you open?")
FRAME = CallerFrame(b"\x55" * 160)


class Rig:
    """One dialogue, woken as its actor wakes it."""

    def __init__(
        self, brief: Brief | None = BRIEF, *, retries: int = 1, budget: Budget | None = None
    ) -> None:
        self.now = 100.0
        self.machine = Dialogue(brief, retries=retries, budget=budget or Budget())

    def __call__(self, *events: Event) -> list[Action]:
        actions = [a for event in events for a in self.machine.handle(event, self.now)]
        return [action for action in actions if not isinstance(action, StateChanged)]

    def after(self, seconds: float) -> list[Action]:
        actions: list[Action] = []
        until = self.now + seconds
        while (due := self.machine.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            actions += self(DeadlineReached())
            again = self.machine.next_deadline()
            assert again is None or again > self.now, "a busy loop"
        self.now = until
        return actions

    def live(self) -> list[Action]:
        return self(STARTED, ModelConnected(), CONFIRMED)

    def reconnect(self) -> list[Action]:
        actions = self.after(RETRY_PAUSE_S)
        assert only(OpenModel, actions)
        return self(ModelConnected(), CONFIRMED)


# ---- who answers


def test_an_agent_that_is_known_answers_at_once() -> None:
    rig = Rig(GREETS)
    assert rig(STARTED) == [OpenModel(), AnswerOwed(CLIP)]
    assert rig.machine.state is State.TALKING
    assert rig(STARTED) == [], "once"


def test_a_caller_who_is_to_speak_first_is_owed_nothing() -> None:
    assert Rig()(STARTED) == [OpenModel()]


def test_who_is_chosen_in_time_answers() -> None:
    rig = Rig(None)
    assert rig(STARTED) == []
    assert rig.after(AGENT_DEADLINE_S - 0.1) == []
    assert rig(AgentFound(BRIEF)) == [OpenModel()]
    assert rig.after(9.0) == []


def test_who_is_not_chosen_in_time_is_stood_in_for() -> None:
    rig = Rig(None)
    rig(STARTED)
    assert rig.after(AGENT_DEADLINE_S) == [StandInWanted()]
    assert rig.machine.is_casting
    assert rig(AgentFound(GREETS)) == [OpenModel(), AnswerOwed(CLIP, since=100.0)]
    assert rig.machine.counts.stand_ins == 1
    assert rig(AgentFound(BRIEF)) == [], "too late"


def test_nothing_matters_before_the_stream_and_after_the_end() -> None:
    rig = Rig()
    request = ResetRequest(Owner.MODEL, ResetReason.MODEL_SILENT, 0)
    refused = ResetRefused(Owner.MODEL, ResetReason.MODEL_SILENT, Refusal.NOT_STUCK)
    assert rig(FRAME, ModelConnected(), LOST, AgentFound(BRIEF)) == []
    assert rig(request) == [refused]
    rig.live()
    rig.machine.close()
    assert rig.machine.next_deadline() is None
    assert rig(FRAME, LOST, STARTED, QUESTION) == []
    assert rig(request) == [refused]


# ---- a model that is lost


@pytest.mark.parametrize("cause", EndCause)
def test_which_losses_are_followed_by_another_session(cause: EndCause) -> None:
    rig = Rig()
    rig.live()
    actions = rig(ModelClosed(cause, "why"))
    if cause in RETRIED:
        assert actions == [ForgetModel(), EventSeen("model_lost", str(cause))]
        assert rig.machine.counts.reconnects == 1
    else:
        assert actions == [CallEnding(cause, "why")]
        assert rig.machine.state is State.OVER


def test_without_retries_a_loss_is_the_end() -> None:
    rig = Rig(retries=0)
    rig.live()
    assert rig(LOST) == [CallEnding(EndCause.MODEL_LOST, "1006")]


def test_the_new_session_is_told_what_was_said_and_nothing_more_if_nothing_is_owed() -> None:
    rig = Rig()
    rig.live()
    rig(QUESTION, created("r1"), delta("r1"), wire.TranscriptDone("r1", "i1", 0, "Always."))
    rig(done("r1"), ResponseHeard("r1"))
    rig(LOST)
    actions = rig.reconnect()
    assert only(SendSessionUpdate, actions)
    assert [each.turn for each in only(SendTurn, actions)] == [
        SaidTurn("user", "When are you open?"),
        SaidTurn("assistant", "Always."),
    ]
    assert only(SendCreate, actions) == []


def test_an_answer_that_was_owed_is_asked_for_again_with_an_apology() -> None:
    rig = Rig()
    rig.live()
    rig(wire.InputCommitted("i9"), QUESTION)
    assert AnswerOwed(CLIP) in rig(LOST)
    (create,) = only(SendCreate, rig.reconnect())
    assert create.wanted.purpose is Purpose.ANSWER
    assert create.wanted.instructions is not None
    assert CONFIG.instructions in create.wanted.instructions
    assert '"Sorry about that."' in create.wanted.instructions


def test_a_sentence_that_was_cut_is_owed() -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1"))
    assert AnswerOwed(CLIP) in rig(LOST)


def test_a_greeting_that_nobody_heard_is_said_by_the_new_session() -> None:
    rig = Rig(GREETS)
    rig.live()
    rig(LOST)
    (create,) = only(SendCreate, rig.reconnect())
    assert create.wanted.purpose is Purpose.GREETING


def test_nobody_is_greeted_in_mid_conversation() -> None:
    """The greeting failed, and the caller has been answered since."""
    rig = Rig(GREETS)
    rig.live()
    rig(created("r1", answers="create-1"), done("r1", "failed"))
    rig(wire.InputCommitted("i9"), created("r2"), delta("r2"), done("r2"), LOST)
    creates = only(SendCreate, rig.reconnect())
    assert Purpose.GREETING not in {create.wanted.purpose for create in creates}


def test_nobody_is_greeted_twice() -> None:
    rig = Rig(GREETS)
    rig.live()
    rig(created("r1", answers="create-1"), delta("r1"), LOST)
    assert [each.wanted.purpose for each in only(SendCreate, rig.reconnect())] == [Purpose.ANSWER]


def test_what_the_caller_says_meanwhile_waits_for_the_new_session() -> None:
    rig = Rig()
    rig.live()
    rig(LOST)
    assert rig(FRAME, FRAME) == []
    assert only(SendAppend, rig.reconnect()) == [SendAppend(FRAME.payload * 2)]


def test_a_tool_that_returns_to_another_session_is_not_told() -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), function_call("c1"), done("r1"), LOST)
    rig.reconnect()
    assert rig(ToolReturned("c1", "{}")) == []


def test_the_second_loss_ends_the_call_with_the_cause_of_the_first() -> None:
    rig = Rig()
    rig.live()
    rig(LOST)
    rig.after(RETRY_PAUSE_S)
    actions = rig(ModelClosed(EndCause.MODEL_UNREACHABLE, "HTTP 503"))
    assert actions == [CallEnding(EndCause.MODEL_LOST, "1006")]


def test_a_new_session_that_does_not_open_is_not_waited_for_long() -> None:
    rig = Rig()
    rig.live()
    rig(LOST)
    rig.after(RETRY_PAUSE_S)
    rig(ModelConnected())
    assert only(CallEnding, rig.after(RETRY_DEADLINE_S - 0.1)) == []
    assert only(CallEnding, rig.after(0.2)) == [CallEnding(EndCause.MODEL_LOST, "1006")]


def test_a_session_that_spoke_ends_the_outage() -> None:
    rig = Rig()
    rig.live()
    for n in range(MAX_OUTAGES):
        rig(LOST)
        assert rig.machine.state is State.PARTED
        rig.reconnect()
        rig(created(f"r{n}"), delta(f"r{n}", f"i{n}"), done(f"r{n}"))
    assert rig(LOST) == [CallEnding(EndCause.MODEL_LOST, "1006")], "it is lost too often"


def test_generations_and_versions_go_on() -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1"), done("r1"), Interrupted(1, 7, "r1"))
    rig(BargeInConfirmed(7, (HeardItem("i1", 0, 40),)), LOST)
    before = rig.machine.conversations[0]
    rig.reconnect()
    rig(created("r2"))
    (play,) = only(PlayAudio, rig(delta("r2", "i2")))
    assert play.generation == 7
    assert rig.machine.conversations[1].slot.version > before.slot.version


def test_what_is_recalled_is_bounded() -> None:
    rig = Rig()
    rig.live()
    for n in range(100):
        rig(wire.InputTranscript(f"i{n}", f"{n} " + "x" * 5000))
    rig(wire.InputTranscript("i100", "   "), LOST)
    turns = only(SendTurn, rig.reconnect())
    assert len(turns) == MAX_TURNS_RECALLED
    assert {len(each.turn.text) for each in turns} == {MAX_TURN_CHARACTERS}


# ---- money


def test_a_budget_that_is_spent_ends_the_call() -> None:
    rig = Rig(budget=Budget(max_tokens=15))
    rig.live()
    rig(created("r1"), delta("r1"))
    assert only(CallEnding, rig(done("r1"))) == []
    rig(created("r2"), delta("r2", "i2"))
    (ending,) = only(CallEnding, rig(done("r2")))
    assert ending.cause is EndCause.BUDGET_SPENT


# ---- turns


def test_a_turn_is_told_with_what_was_heard_of_it() -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1", ms=3000))
    said = wire.TranscriptDone("r1", "i1", 0, "We are open from nine to five.")
    assert only(AgentSaid, rig(said)) == [AgentSaid("i1", "We are open from nine to five.")]
    rig(done("r1"), Interrupted(1, 1, "r1"))
    told = rig(BargeInConfirmed(1, (HeardItem("i1", 0, 1500),)))
    assert only(TurnSettled, told) == [
        TurnSettled("i1", "We are open from nine to five.", "We are open", 1500, 3000)
    ]
    assert rig.machine.turns_left == ()


def test_what_is_being_said_at_the_end_is_left() -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1", ms=3000), wire.TranscriptDone("r1", "i1", 0, "We are open."))
    (left,) = rig.machine.turns_left
    assert (left.item_id, left.text, left.audio_ms) == ("i1", "We are open.", 3000)


def test_the_callers_words_are_passed_on() -> None:
    rig = Rig()
    rig.live()
    assert only(CallerSaid, rig(QUESTION)) == [CallerSaid("i9", "When are you open?")]


# ---- the caller's frames


def test_an_answer_that_is_due_is_asked_for_with_a_frame_that_comes_before_the_alarm() -> None:
    rig = Rig()
    rig.live()
    rig(wire.InputCommitted("i9"))
    rig.now += ANSWER_GRACE_S
    append, create = rig(FRAME)[:2]
    assert append == SendAppend(FRAME.payload)
    assert isinstance(create, SendCreate)


def test_a_new_session_that_does_not_open_is_given_up_though_the_caller_speaks() -> None:
    rig = Rig()
    rig.live()
    rig(LOST)
    rig.after(RETRY_PAUSE_S)
    rig.now += RETRY_DEADLINE_S
    assert only(CallEnding, rig(FRAME))


class Thorough(Dialogue):
    """Takes a frame of the caller like any other event."""

    def handle(self, event: Event, now: float) -> list[Action]:
        actions = self._take(event, now)
        self._due_at = self._earliest()
        return actions


EVENTS: list[Event] = [
    AgentFound(BRIEF),
    ModelConnected(),
    CONFIRMED,
    LOST,
    created("r1"),
    created("r2", "create-1"),
    delta("r1"),
    done("r1"),
    done("r2", "failed"),
    function_call("c1"),
    ToolReturned("c1", "1"),
    ResponseHeard("r1"),
    Interrupted(1, 1, "r1"),
    BargeInConfirmed(1, ()),
    wire.SpeechStarted("i9", 0),
    wire.SpeechStopped("i9", 0),
    wire.InputCommitted("i9"),
    ModelClosed(EndCause.SESSION_REFUSED, ""),
]
LATER = st.sampled_from([0.0, 0.3, 1.5, 6.0])
BEGINNINGS: list[list[Event]] = [
    [STARTED],
    [STARTED, ModelConnected(), CONFIRMED],
    [STARTED, ModelConnected(), CONFIRMED, LOST, DeadlineReached()],
]


@given(
    st.sampled_from([None, BRIEF, GREETS]),
    st.sampled_from(BEGINNINGS),
    st.lists(st.tuples(LATER, st.booleans(), st.sampled_from(EVENTS)), max_size=20),
)
def test_a_frame_of_the_caller_decides_nothing_but_what_time_does(
    brief: Brief | None, beginning: list[Event], happens: list[tuple[float, bool, Event]]
) -> None:
    quick = Dialogue(brief, retries=1, budget=Budget())
    thorough = Thorough(brief, retries=1, budget=Budget())

    def both(event: Event) -> None:
        assert quick.handle(event, now) == thorough.handle(event, now)
        assert quick.next_deadline() == thorough.next_deadline() == quick._earliest()

    now = 0.0
    for event in beginning:
        now += RETRY_PAUSE_S if isinstance(event, DeadlineReached) else 0.0
        both(event)
    for later_s, rings, event in happens:
        now += later_s
        if rings:
            both(DeadlineReached())
        both(FRAME)  # an alarm may be late
        both(event)
    assert quick.state is thorough.state
    for mine, theirs in zip(quick.conversations, thorough.conversations, strict=True):
        assert mine.counts == theirs.counts
        assert mine.session.counts == theirs.session.counts
    quick.close()
    assert quick.next_deadline() is None
