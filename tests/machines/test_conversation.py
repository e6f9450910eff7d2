from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine.machines.conversation import (
    ANSWER_GRACE_S,
    FATAL_CODES,
    MAX_ERROR_CODES,
    MAX_OUT_OF_BAND,
    MAX_TURN_S,
    UNHEARD_GRACE_S,
)
from callengine.machines.conversation_terms import SendFunctionOutput
from callengine.machines.presence import ALIVE_REPORT_S, SendProbe
from callengine.machines.response import (
    CANCEL_DEADLINE_S,
    PROGRESS_S,
    REQUEST_DEADLINE_S,
    RETRY_DELAY_S,
    Purpose,
    SendCancel,
    SendCreate,
    State,
    Wanted,
)
from callengine.machines.response_terms import CONTINUE
from callengine.machines.session import SendAppend, SendSessionUpdate, SendTurnDetection
from callengine.machines.tools import MAX_PENDING, TOOL_DEADLINE_S
from callengine.machines.unheard import SendTruncate
from callengine.messages import (
    AgentSaid,
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallEnding,
    CallerFrame,
    CallerSaid,
    CallerSpoke,
    EndCause,
    HeardItem,
    Interrupted,
    ModelAlive,
    ModelClosed,
    ModelConnected,
    ModelHeardSpeech,
    Owner,
    PlayAudio,
    Refusal,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    ResponseHeard,
    StateChanged,
    ToolCalled,
    ToolReturned,
)
from callengine.wire import realtime_events as wire
from callengine.wire.fault import Fault
from tests.machines.conversation_rig import (
    CONFIG,
    CONFIRMED,
    GREETING,
    Rig,
    created,
    delta,
    done,
    error,
    function_call,
    only,
)

if TYPE_CHECKING:
    from callengine.machines import conversation


def live() -> Rig:
    """A live session without a greeting."""
    rig = Rig()
    rig.live()
    return rig


def generating(*events: conversation.Event) -> Rig:
    """A response r1 of the server's own is under way."""
    rig = live()
    rig(created("r1"), *events)
    return rig


def greeted(*, protected: bool = True) -> Rig:
    """The greeting r1 is under way, half a second of it has come."""
    rig = Rig(GREETING, protected=protected)
    rig.live()
    rig(created("r1", "create-1"), delta("r1", ms=500))
    return rig


def purposes(actions: list[conversation.Action]) -> list[Purpose]:
    return [create.wanted.purpose for create in only(SendCreate, actions)]


# ---- session and greeting


def test_the_greeting_is_asked_for_as_soon_as_the_session_is_live_before_caller_audio() -> None:
    rig = Rig(GREETING)
    assert rig(CallerFrame(b"early")) == []
    assert only(SendSessionUpdate, rig(ModelConnected())) == [
        SendSessionUpdate("session-1", CONFIG, interrupt_response=False)
    ]
    assert rig(CONFIRMED) == [
        SendCreate("create-1", Wanted(Purpose.GREETING, GREETING)),
        SendAppend(b"early"),
    ]
    assert rig(CONFIRMED) == []  # a second confirmation greets nobody twice
    assert rig(CallerFrame(b"later")) == [SendAppend(b"later")]


def test_without_a_greeting_the_caller_speaks_first_and_the_server_may_interrupt() -> None:
    rig = Rig()
    update, *rest = rig.live()
    assert update == SendSessionUpdate("session-1", CONFIG, interrupt_response=True)
    assert rest == []


@pytest.mark.parametrize("protected", [False, True])
def test_l9_the_server_may_not_interrupt_a_protected_greeting(protected: bool) -> None:
    rig = Rig(GREETING, protected=protected)
    update = rig.live()[0]
    assert isinstance(update, SendSessionUpdate)
    assert update.interrupt_response is not protected


def test_l9_audio_of_the_greeting_is_marked_as_protected_and_no_other() -> None:
    rig = greeted()
    assert [p.protected for p in only(PlayAudio, rig(delta("r1")))] == [True]
    rig(done("r1"), created("r2"))
    assert [p.protected for p in only(PlayAudio, rig(delta("r2")))] == [False]


def test_l9_the_server_may_interrupt_once_the_caller_has_heard_the_greeting() -> None:
    rig = greeted()
    assert rig(done("r1")) == [AudioComplete("r1")]
    assert rig(ResponseHeard("r1")) == [
        SendTurnDetection("session-2", CONFIG, interrupt_response=True)
    ]
    assert rig(ResponseHeard("r1")) == []


@pytest.mark.parametrize("status", ["failed", "completed"])
def test_l9_the_server_may_interrupt_once_the_greeting_has_come_to_nothing(status: str) -> None:
    """Failed or silent, twice: C-A 44, 64."""
    rig = Rig(GREETING)
    rig.live()
    assert only(SendTurnDetection, rig(created("r1", "create-1"), done("r1", status))) == []
    assert purposes(rig.after(RETRY_DELAY_S)) == [Purpose.GREETING]
    actions = rig(created("r2", "create-2"), done("r2", status))
    assert len(only(SendTurnDetection, actions)) == 1


def test_l9_the_server_may_interrupt_once_the_greeting_has_timed_out() -> None:
    rig = Rig(GREETING)
    rig.live()
    assert purposes(rig.after(REQUEST_DEADLINE_S)) == [Purpose.GREETING]
    assert len(only(SendTurnDetection, rig.after(REQUEST_DEADLINE_S))) == 1


@pytest.mark.edge_case(46)
def test_l9_a_greeting_with_nothing_but_an_empty_delta_is_silent_and_holds_up_nothing() -> None:
    """C-A 46."""
    rig = Rig(GREETING)
    rig.live()
    assert rig(created("r1", "create-1"), delta("r1", ms=0)) == []
    rig(done("r1"))
    rig.after(RETRY_DELAY_S)
    actions = rig(created("r2", "create-2"), delta("r2", ms=0), done("r2"))
    assert len(only(SendTurnDetection, actions)) == 1
    assert rig.machine.counts.silent_responses == 2


@pytest.mark.parametrize("event", [Interrupted(1, 1, "r0"), CallerSpoke(1)])
def test_l9_a_protected_greeting_is_neither_cancelled_nor_truncated(
    event: Interrupted | CallerSpoke,
) -> None:
    rig = greeted()
    assert rig(event) == []
    play = only(PlayAudio, rig(delta("r1")))
    assert [(p.protected, p.generation) for p in play] == [(True, 1)]
    assert rig(done("r1"), BargeInConfirmed(1, ())) == [AudioComplete("r1")]


def test_a_greeting_that_is_not_protected_is_cancelled_and_truncated() -> None:
    rig = greeted(protected=False)
    assert only(SendCancel, rig(Interrupted(1, 1, "r1"))) == [SendCancel("cancel-2", "r1")]
    heard = HeardItem("i1", 0, 120)
    assert rig(BargeInConfirmed(1, (heard,))) == [SendTruncate("i1", 0, 120)]


@pytest.mark.edge_case(40)
@pytest.mark.parametrize("stray", ["r1", "r0"])
def test_l9_a_created_that_is_repeated_does_not_unprotect_the_greeting(stray: str) -> None:
    """C-A 40."""
    rig = Rig(GREETING)
    rig.live()
    rig(done("r0", "failed"))
    rig.after(RETRY_DELAY_S)
    rig(created("r1", "create-2"))
    rig(created(stray))
    assert [p.protected for p in only(PlayAudio, rig(delta("r1")))] == [True]
    assert only(SendTurnDetection, rig(done("r1"))) == []


def test_l9_what_the_caller_said_during_the_greeting_is_answered_after_it() -> None:
    """The server's own create fails while the greeting is under way; the answer is owed."""
    rig = greeted()
    rig(wire.InputCommitted("u1"))
    rig.after(3.0)
    rig(done("r1"))
    assert rig.machine.counts.answers_asked_for == 0
    assert purposes(rig.after(ANSWER_GRACE_S)) == [Purpose.ANSWER]
    assert rig.machine.counts.answers_asked_for == 1
    rig(created("r2", "create-2"), delta("r2", "i2"), done("r2"))
    assert rig.after(60.0) == []


def test_an_answer_the_server_gives_by_itself_is_not_asked_for() -> None:
    rig = live()
    rig(wire.InputCommitted("u1"))
    rig.after(ANSWER_GRACE_S - 0.1)
    rig(created("r1"), delta("r1"), done("r1"))
    assert rig.after(60.0) == []


@pytest.mark.edge_case(39)
def test_an_answer_is_owed_even_if_a_response_came_that_was_cancelled_at_once() -> None:
    """L13, C-A 39: it answered nobody."""
    rig = live()
    rig(function_call("c1", "r0"), ToolReturned("c1", "{}"))
    rig(CallerSpoke(1), wire.InputCommitted("u1"))
    rig(created("r1", "create-1"), done("r1", "cancelled"))
    assert purposes(rig.after(ANSWER_GRACE_S)) == [Purpose.ANSWER]


@pytest.mark.edge_case(40)
def test_an_answer_is_owed_even_if_the_created_of_an_old_response_is_repeated() -> None:
    """L13, C-A 40."""
    rig = generating(delta("r1"))
    rig(done("r1"), wire.InputCommitted("u1"), created("r1"))
    assert purposes(rig.after(ANSWER_GRACE_S)) == [Purpose.ANSWER]


def test_the_answer_is_owed_later_if_the_slot_is_busy_meanwhile() -> None:
    rig = generating(delta("r1"))
    rig(wire.InputCommitted("u1"))
    assert rig.machine.next_deadline() is None
    assert rig.after(10.0) == []
    rig(done("r1"))
    assert rig.machine.next_deadline() == rig.now + ANSWER_GRACE_S


# ---- responses


def test_audio_is_played_under_the_generation_last_heard_of() -> None:
    rig = live()
    rig(created("r1"))
    assert rig(delta("r1", "i1", 20, index=1)) == [
        PlayAudio("r1", "i1", 1, b"\x00" * 160, generation=0)
    ]
    rig(Interrupted(1, 7, "r1"), done("r1", "cancelled"), created("r2"))
    assert [p.generation for p in only(PlayAudio, rig(delta("r2", "i2")))] == [7]


def test_progress_of_a_response_is_reported_to_the_watchdog() -> None:
    rig = live()
    rig(created("r1"))
    changes = [a for a in rig.machine.handle(delta("r1"), rig.now) if isinstance(a, StateChanged)]
    assert [(c.owner, c.state) for c in changes] == [(Owner.RESPONSE, "speaking")]


@pytest.mark.edge_case(44, 64)
@pytest.mark.parametrize("status", ["completed", "failed", "incomplete"])
def test_l13_a_silent_response_is_asked_for_once_more(status: str) -> None:
    """C-A 44, 64."""
    rig = generating()
    rig(done("r1", status))
    assert rig.after(RETRY_DELAY_S - 0.1) == []
    assert purposes(rig.after(0.1)) == [Purpose.ANSWER]
    rig(created("r2", "create-1"), done("r2", status))
    assert rig.after(60.0) == []
    counts = rig.machine.counts
    assert (counts.failed_responses, counts.silent_responses) == (
        (2, 0) if status == "failed" else (0, 2)
    )


@pytest.mark.edge_case(64)
def test_a_response_that_failed_after_it_was_audible_is_not_repeated() -> None:
    """C-A 64."""
    rig = generating(delta("r1"))
    rig(done("r1", "failed"))
    assert rig.after(60.0) == []


def test_a_response_the_server_cancelled_in_silence_is_not_repeated() -> None:
    rig = generating()
    rig(done("r1", "cancelled"))
    assert rig.after(60.0) == []
    assert rig.machine.counts.silent_responses == 0


def test_usage_is_added_up() -> None:
    rig = generating(delta("r1"))
    rig(done("r1"), created("r2"), delta("r2"), done("r2"), created("r3"), done("r3", "cancelled"))
    assert (rig.machine.counts.input_tokens, rig.machine.counts.output_tokens) == (14, 6)


def test_the_transcripts_are_told() -> None:
    rig = generating()
    assert rig(wire.InputTranscript("u1", "a visit")) == [CallerSaid("u1", "a visit")]
    assert rig(wire.TranscriptDone("r1", "i1", 0, "hello")) == [AgentSaid("i1", "hello")]


@pytest.mark.edge_case(43)
def test_late_transcripts_are_told_too() -> None:
    """C-A 43."""
    rig = generating(delta("r1"))
    rig(done("r1"))
    assert rig(wire.InputTranscript("u1", "")) == [CallerSaid("u1", "")]
    assert rig(wire.InputTranscriptFailed("u2", "x")) == []


def test_the_models_vad_is_told_to_the_pacer() -> None:
    assert live()(wire.SpeechStarted("u1", 0), wire.SpeechStopped("u1", 9)) == [ModelHeardSpeech()]


@pytest.mark.edge_case(70, 71)
def test_what_is_not_understood_is_counted() -> None:
    """C-A 70, 71."""
    rig = live()
    assert rig(wire.Unknown("response.cancelled"), wire.Malformed(Fault.NOT_JSON, "", "")) == []
    assert rig(wire.Noted("rate_limits.updated"), wire.SessionCreated("s", None)) == []
    assert (rig.machine.counts.unknown_events, rig.machine.counts.malformed_events) == (1, 1)


# ---- out of band: C-A 63


@pytest.mark.edge_case(63)
def test_an_out_of_band_response_is_neither_played_nor_told_nor_in_the_way() -> None:
    rig = live()
    rig(created("o1", apart=True), created("r1"))
    assert rig(delta("o1", "x"), wire.TranscriptDone("o1", "x", 0, "secret")) == []
    assert rig(function_call("c1", "o1")) == []
    assert len(only(PlayAudio, rig(delta("r1")))) == 1
    assert rig(done("o1", calls=(function_call("c1", "o1"),))) == []
    assert rig.machine.slot.accepts("r1")
    assert rig.machine.counts.dropped_out_of_band_bytes == 800
    rig(delta("o1"))  # after its end it is unknown
    assert rig.machine.counts.dropped_unknown_bytes == 800


@pytest.mark.edge_case(63)
def test_out_of_band_responses_that_never_end_are_forgotten() -> None:
    rig = live()
    for number in range(MAX_OUT_OF_BAND + 1):
        rig(created(f"o{number}", apart=True))
    rig(delta("o0"), delta("o1"))
    assert rig.machine.counts.dropped_unknown_bytes == 800
    assert rig.machine.counts.dropped_out_of_band_bytes == 800


@pytest.mark.edge_case(36, 40)
def test_audio_that_does_not_count_is_dropped_by_cause() -> None:
    """L11; C-A 40: unknown, finished; 36: cancelled."""
    rig = generating(delta("r1"))
    assert rig(delta("r9")) == []
    rig(Interrupted(1, 1, "r1"), BargeInConfirmed(1, ()))
    assert rig(delta("r1", ms=50)) == []
    rig(done("r1", "cancelled"))
    assert rig(delta("r1")) == []
    counts = rig.machine.counts
    assert counts.dropped_unknown_bytes == 1600
    assert counts.dropped_cancelled_bytes == 400
    assert (counts.audio_bytes, counts.audio_deltas) == (800 + 800 + 400 + 800, 4)


# ---- interruption: design 3.1


def test_interrupted_while_generating_cancels_by_id_and_truncates_when_confirmed() -> None:
    rig = generating(delta("r1", "i1", 400))
    assert rig(Interrupted(1, 1, "r1")) == [SendCancel("cancel-1", "r1")]
    assert rig.machine.slot.cancelled[-1].barge_in == 1
    actions = rig(BargeInConfirmed(1, (HeardItem("i1", 0, 230),)))
    assert actions == [SendTruncate("i1", 0, 230)]
    assert rig.machine.counts.truncates_sent == 1
    assert rig(done("r1", "cancelled")) == [AudioComplete("r1")]


def test_l6_interrupted_after_the_model_is_done_truncates_without_a_cancel() -> None:
    """C-X 77: the most common one."""
    rig = generating(delta("r1", "i1", 4000))
    rig(done("r1"))
    assert rig(Interrupted(1, 1, "r1")) == []
    actions = rig(BargeInConfirmed(1, (HeardItem("i1", 0, 1500),)))
    assert actions == [SendTruncate("i1", 0, 1500)]


def test_nothing_is_truncated_that_was_heard_to_its_end() -> None:
    """C-X 76."""
    rig = generating(delta("r1", "i1", 400))
    rig(done("r1"), ResponseHeard("r1"))
    assert rig(CallerSpoke(1)) == []


def test_l3_a_truncate_is_never_longer_than_what_was_received() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(Interrupted(1, 1, "r1"))
    assert rig(BargeInConfirmed(1, (HeardItem("i1", 0, 401),))) == [SendTruncate("i1", 0, 400)]


@pytest.mark.edge_case(48)
def test_l3_items_that_were_not_reached_are_truncated_to_nothing() -> None:
    """C-A 48."""
    rig = generating(delta("r1", "i1", 400), delta("r1", "i2"), delta("r1", "i1"))
    rig(Interrupted(1, 1, "r1"))
    assert rig(BargeInConfirmed(1, (HeardItem("i1", 0, 500),))) == [
        SendTruncate("i1", 0, 500),
        SendTruncate("i2", 0, 0),
    ]


def test_l3_an_item_that_comes_after_the_cancel_is_truncated_to_nothing_once() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(Interrupted(1, 1, "r1"), BargeInConfirmed(1, (HeardItem("i1", 0, 200),)))
    assert rig(delta("r1", "i1"), delta("r1", "i2"), delta("r1", "i2")) == []
    assert rig(done("r1", "cancelled")) == [AudioComplete("r1"), SendTruncate("i2", 0, 0)]
    assert rig(CallerSpoke(2)) == []


def test_l3_an_item_that_comes_between_cancel_and_confirmation_waits_for_it() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(Interrupted(1, 1, "r1"), delta("r1", "i2"))
    assert rig(done("r1", "cancelled")) == [AudioComplete("r1")]
    assert rig(BargeInConfirmed(1, (HeardItem("i1", 0, 200),))) == [
        SendTruncate("i1", 0, 200),
        SendTruncate("i2", 0, 0),
    ]


def test_l3_a_response_cancelled_before_anything_was_played_is_truncated_to_nothing() -> None:
    """Confirmed speech while nothing was audible: what was under way is not played any more."""
    rig = generating(delta("r1", "i1", 400))
    assert rig(CallerSpoke(1)) == [SendCancel("cancel-1", "r1"), SendTruncate("i1", 0, 0)]
    assert rig(delta("r1", "i1"), delta("r1", "i2")) == []
    assert rig(done("r1", "cancelled")) == [AudioComplete("r1"), SendTruncate("i2", 0, 0)]


@pytest.mark.edge_case(39)
def test_the_created_before_cancel_race_is_silent_and_leaves_nothing() -> None:
    """Design 3.1.6, C-A 39."""
    rig = live()
    rig(function_call("c1"), ToolReturned("c1", "{}"))
    assert rig(CallerSpoke(1)) == []
    rig(wire.SpeechStarted("u9", 0))
    assert rig(created("r2", "create-1")) == [SendCancel("cancel-2", "r2")]
    assert rig(delta("r2", "i2")) == []
    assert rig(done("r2", "cancelled")) == [AudioComplete("r2"), SendTruncate("i2", 0, 0)]
    assert rig.after(MAX_TURN_S - 0.1) == []


def test_a_wanted_response_waits_for_the_end_of_the_cancel() -> None:
    """Design 3.1.4 and 3.1.5, L5."""
    rig = generating(delta("r1"))
    rig(function_call("c1"), Interrupted(1, 1, "r1"), BargeInConfirmed(1, ()))
    assert rig(ToolReturned("c1", "{}")) == [SendFunctionOutput("c1", "{}")]
    assert purposes(rig(done("r1", "cancelled"))) == [Purpose.TOOL_RESULT]


def test_l4_a_cancel_nobody_answers_is_over_at_its_deadline() -> None:
    rig = generating(delta("r1"))
    rig(Interrupted(1, 1, "r1"))
    assert rig.after(CANCEL_DEADLINE_S) == [AudioComplete("r1"), SendProbe("probe-1")]
    assert rig.machine.slot.state is State.IDLE


def test_the_caller_is_the_one_who_cancels_what_the_server_answered_too_early() -> None:
    """What was confirmed is forgotten: the next false alarm continues nothing of it."""
    rig = generating(delta("r1"))
    rig(Interrupted(1, 1, "r1"), BargeInConfirmed(1, ()), done("r1", "cancelled"))
    rig(Interrupted(2, 2, "r1"))
    assert rig(BargeInDismissed()) == []


def test_a_create_the_caller_overtook_is_not_wanted_again_by_a_later_false_alarm() -> None:
    rig = generating(delta("r1", "i1", 4000), function_call("c1"))
    rig(done("r1"), ToolReturned("c1", "{}"))
    rig(Interrupted(1, 1, "r1"), BargeInConfirmed(1, ()))
    rig(created("r2", "create-1"), done("r2", "cancelled"))
    rig(created("r3"), delta("r3", "i3"), done("r3"))
    rig(Interrupted(2, 2, "r3"))
    assert rig(BargeInDismissed()) == []
    assert rig.after(60.0) == []


# ---- false alarm: design 3.1.7


def test_a_false_alarm_after_the_model_was_done_changes_nothing() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(done("r1"), Interrupted(1, 1, "r1"))
    assert rig(BargeInDismissed()) == []
    assert rig(ResponseHeard("r1"), CallerSpoke(2)) == []


def test_a_false_alarm_that_cut_the_model_short_is_continued() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(Interrupted(1, 1, "r1"), done("r1", "cancelled"))
    assert rig(BargeInDismissed()) == [
        SendCreate("create-2", Wanted(Purpose.CONTINUATION, CONTINUE))
    ]
    assert rig(created("r2", "create-2"), done("r2", "cancelled")) == [AudioComplete("r2")]


def test_a_false_alarm_is_continued_once_the_cancel_is_over() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(Interrupted(1, 1, "r1"))
    assert rig(BargeInDismissed()) == []
    assert purposes(rig(done("r1", "cancelled"))) == [Purpose.CONTINUATION]


@pytest.mark.edge_case(38)
def test_a_cancel_that_lost_against_the_end_of_the_response_continues_nothing() -> None:
    """C-A 38: nothing was cut short."""
    rig = generating(delta("r1", "i1", 400))
    rig(Interrupted(1, 1, "r1"), done("r1"))
    rig(error("response_cancel_not_active", "cancel-1"))
    assert rig(BargeInDismissed()) == []
    assert rig.after(60.0) == []


def test_resumed_then_interrupted_again_truncates_what_was_resumed() -> None:
    rig = generating(delta("r1", "i1", 4000))
    rig(done("r1"), Interrupted(1, 1, "r1"), BargeInDismissed())
    assert rig(Interrupted(2, 2, "r1")) == []
    actions = rig(BargeInConfirmed(2, (HeardItem("i1", 0, 2000),)))
    assert actions == [SendTruncate("i1", 0, 2000)]


def test_resumed_then_interrupted_again_for_real_continues_nothing() -> None:
    """The continuation still waited for the cancel; the caller has overtaken it."""
    rig = generating(delta("r1", "i1", 4000))
    rig(Interrupted(1, 1, "r1"), BargeInDismissed())
    rig(Interrupted(2, 2, "r1"), wire.SpeechStarted("u9", 0))
    rig(BargeInConfirmed(2, (HeardItem("i1", 0, 2000),)))
    assert purposes(rig(done("r1", "cancelled"))) == []
    assert rig.after(MAX_TURN_S - 0.1) == []


def test_two_false_alarms_in_a_row_are_continued_once() -> None:
    rig = generating(delta("r1", "i1", 4000))
    rig(Interrupted(1, 1, "r1"), BargeInDismissed())
    rig(Interrupted(2, 2, "r1"), BargeInDismissed())
    assert purposes(rig(done("r1", "cancelled"))) == [Purpose.CONTINUATION]
    rig(created("r2", "create-2"), delta("r2", "i2"), done("r2"))
    assert rig.after(60.0) == []


@pytest.mark.parametrize("created_first", [False, True])
def test_l13_a_false_alarm_while_a_create_is_out_does_not_lose_what_was_wanted(
    created_first: bool,
) -> None:
    """The model says a sentence, runs a tool, and the caller coughs while its result is asked."""
    rig = generating(delta("r1", "i1", 4000), function_call("c1"))
    rig(done("r1"), ToolReturned("c1", "{}"))
    assert rig.machine.slot.state is State.REQUESTED
    rig(Interrupted(1, 1, "r1"))
    if created_first:
        assert len(only(SendCancel, rig(created("r2", "create-1")))) == 1
        assert rig(BargeInDismissed()) == []
    else:
        assert rig(BargeInDismissed()) == []
        assert len(only(SendCancel, rig(created("r2", "create-1")))) == 1
    assert purposes(rig(done("r2", "cancelled"))) == [Purpose.TOOL_RESULT]
    rig(created("r3", "create-3"), delta("r3", "i3"), done("r3"))
    assert rig.after(60.0) == []


def test_a_false_alarm_leaves_no_gap() -> None:
    """Design 3.1.7: either all that came is played, or the model is told that it was not."""
    rig = generating(delta("r1", "i1", 400))
    rig(Interrupted(1, 1, "r1"))
    actions = rig(delta("r1", "i1", 300), BargeInDismissed(), done("r1", "cancelled"))
    played = sum(len(play.audio) for play in only(PlayAudio, actions)) == 300 * 8
    assert played or SendTruncate("i1", 0, 400) in actions


def test_l13_an_answer_cancelled_for_noise_is_asked_for_again() -> None:
    rig = live()
    rig(wire.InputCommitted("u1"), created("r1"), delta("r1"))
    rig(CallerSpoke(1), done("r1", "cancelled"))
    assert purposes(rig.after(4.0)) == [Purpose.ANSWER]


def test_l13_what_the_model_heard_too_is_not_noise() -> None:
    rig = live()
    rig(wire.InputCommitted("u1"), created("r1"), delta("r1"))
    rig(CallerSpoke(1), wire.SpeechStarted("u2", 0), done("r1", "cancelled"))
    assert purposes(rig.after(4.0)) == []


def test_l13_an_answer_interrupted_by_noise_is_asked_for_again() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(done("r1"), Interrupted(1, 1, "r1"), BargeInConfirmed(1, (HeardItem("i1", 0, 200),)))
    assert purposes(rig.after(UNHEARD_GRACE_S - 0.1)) == []
    assert purposes(rig.after(0.2)) == [Purpose.ANSWER]


@pytest.mark.edge_case(36)
def test_c36_deltas_after_the_server_heard_speech_are_not_played() -> None:
    rig = generating()
    assert rig(wire.SpeechStarted("u1", 0)) == [ModelHeardSpeech(), SendCancel("cancel-1", "r1")]
    assert only(PlayAudio, rig(delta("r1"))) == []


def test_a_cancel_that_the_model_caused_belongs_to_the_barge_in_that_follows() -> None:
    rig = generating(delta("r1"))
    rig(wire.SpeechStarted("u1", 0))
    assert rig(Interrupted(1, 1, "r1")) == []
    assert rig.machine.slot.cancelled[-1].barge_in == 1


def test_l13_a_response_that_fails_twice_does_not_leave_silence() -> None:
    rig = generating()
    rig(done("r1", "failed"))
    rig.after(RETRY_DELAY_S)
    rig(created("r2", "create-1"))
    assert only(CallEnding, [*rig(done("r2", "failed")), *rig.after(30.0)])


# ---- tools: C-A 49 to 51


@pytest.mark.edge_case(50)
def test_a_function_call_told_three_times_is_run_once() -> None:
    """C-A 50."""
    rig = generating()
    call = function_call("c1")
    assert only(ToolCalled, rig(call, call, done("r1", calls=(call,)))) == [
        ToolCalled("c1", "book", '{"day":1}')
    ]


def test_a_function_call_told_only_at_the_end_is_run() -> None:
    rig = generating()
    assert len(only(ToolCalled, rig(done("r1", calls=(function_call("c1"),))))) == 1
    assert rig.after(1.0) == []  # and the response was not fruitless


@pytest.mark.edge_case(40, 50)
def test_a_function_call_told_by_a_done_without_created_is_not_asked_for_again() -> None:
    """C-A 40."""
    rig = live()
    rig(wire.InputCommitted("u1"))
    rig.after(ANSWER_GRACE_S)
    actions = rig(done("r1", calls=(function_call("c1"),)))
    assert len(only(ToolCalled, actions)) == 1
    assert rig.after(RETRY_DELAY_S) == []


@pytest.mark.edge_case(49)
def test_a_response_with_nothing_but_a_function_call_is_not_silent() -> None:
    """C-A 49."""
    rig = generating()
    rig(function_call("c1"), done("r1"))
    assert rig.machine.counts.silent_responses == 0
    assert rig.after(1.0) == []


def test_function_calls_of_a_cancelled_response_are_not_run() -> None:
    rig = generating(delta("r1"))
    rig(Interrupted(1, 1, "r1"))
    assert only(ToolCalled, rig(done("r1", "cancelled", (function_call("c1"),)))) == []


def test_a_function_call_that_was_interrupted_is_not_run() -> None:
    rig = generating()
    rig(Interrupted(1, 1, "r1"))
    half = wire.FunctionCall("r1", "i1", "c1", "hang_up", "")
    assert only(ToolCalled, rig(half, done("r1", "cancelled"))) == []


def test_a_result_is_told_and_then_a_response_is_asked_for() -> None:
    rig = generating()
    rig(function_call("c1"), done("r1"))
    assert rig(ToolReturned("c1", '"ok"')) == [
        SendFunctionOutput("c1", '"ok"'),
        SendCreate("create-1", Wanted(Purpose.TOOL_RESULT)),
    ]


@pytest.mark.edge_case(49)
@pytest.mark.parametrize("order", [("c1", "c2"), ("c2", "c1")])
def test_two_calls_at_once_make_one_create_after_the_last_result(order: tuple[str, str]) -> None:
    """C-A 49."""
    rig = generating()
    rig(function_call("c1"), function_call("c2"), done("r1"))
    assert rig(ToolReturned(order[0], "1")) == [SendFunctionOutput(order[0], "1")]
    assert rig(ToolReturned(order[1], "2")) == [
        SendFunctionOutput(order[1], "2"),
        SendCreate("create-1", Wanted(Purpose.TOOL_RESULT)),
    ]
    rig(created("r2", "create-1"), delta("r2"), done("r2"))
    assert rig.after(60.0) == []


def test_a_tool_that_returns_before_the_next_is_called_waits_for_it() -> None:
    rig = generating()
    rig(function_call("c1"))
    assert rig(ToolReturned("c1", "1")) == [SendFunctionOutput("c1", "1")]
    rig(function_call("c2"))
    assert purposes(rig(done("r1"))) == []
    assert purposes(rig(ToolReturned("c2", "2"))) == [Purpose.TOOL_RESULT]
    rig(created("r2", "create-1"), delta("r2"), done("r2"))
    assert rig.after(60.0) == []


@pytest.mark.edge_case(51)
def test_a_result_that_comes_while_another_turn_is_answered_waits_for_the_slot() -> None:
    """C-A 51."""
    rig = generating()
    rig(function_call("c1"), done("r1"), created("r2"), delta("r2"))
    assert rig(ToolReturned("c1", "1")) == [SendFunctionOutput("c1", "1")]
    assert purposes(rig(done("r2"))) == [Purpose.TOOL_RESULT]


@pytest.mark.edge_case(51)
def test_l13_tools_that_do_not_return_are_answered_for_together() -> None:
    """C-A 51."""
    rig = generating()
    rig(function_call("c1"), function_call("c2"), done("r1"))
    actions = rig.after(TOOL_DEADLINE_S)
    assert [type(action) for action in actions] == [
        SendFunctionOutput,
        SendFunctionOutput,
        SendCreate,
    ]
    rig(created("r2", "create-1"), delta("r2"), done("r2"))
    assert rig.after(60.0) == []
    assert rig(ToolReturned("c1", "late")) == []
    assert rig.machine.tools.counts.tool_results_late == 1


def test_a_tool_beyond_the_bound_is_answered_at_once() -> None:
    rig = generating()
    for number in range(MAX_PENDING):
        rig(function_call(f"c{number}"))
    outputs = only(SendFunctionOutput, rig(function_call("one too many")))
    assert [output.call_id for output in outputs] == ["one too many"]
    assert purposes(rig(done("r1"))) == []


# ---- errors: B7, C-A 65


@pytest.mark.edge_case(65)
@pytest.mark.parametrize("code", sorted(FATAL_CODES))
@pytest.mark.parametrize("is_live", [False, True])
def test_fatal_errors_end_the_call(code: str, is_live: bool) -> None:
    rig = live() if is_live else Rig()
    assert [end.cause for end in only(CallEnding, rig(error(code)))] == [EndCause.MODEL_REFUSED]


@pytest.mark.edge_case(69)
def test_an_expired_session_ends_the_call() -> None:
    """C-A 69."""
    ends = only(CallEnding, live()(error("session_expired")))
    assert [end.cause for end in ends] == [EndCause.SESSION_EXPIRED]


@pytest.mark.edge_case(54)
@pytest.mark.parametrize(
    "code",
    [
        "unknown_parameter",
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        None,
    ],
)
def test_any_error_while_configuring_is_the_refusal_of_the_session(code: str | None) -> None:
    """C-A 54."""
    rig = Rig(GREETING)
    rig(ModelConnected())
    ends = only(CallEnding, rig(error(code)))
    assert [end.cause for end in ends] == [EndCause.SESSION_REFUSED]


@pytest.mark.edge_case(52, 65)
@pytest.mark.parametrize(
    "code",
    [
        "invalid_value",
        "unsupported_content_type",
        "item_retrieve_invalid_item_id",
        "input_audio_buffer_commit_empty",
        "cannot_update_voice",
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        None,
    ],
)
def test_l3_other_errors_are_counted_and_cost_nothing(code: str | None) -> None:
    rig = generating(delta("r1"))
    assert rig(error(code, "truncate-i1"), error(code)) == []
    assert rig.machine.slot.accepts("r1")
    assert rig.machine.counts.errors == {code or "x": 2}


def test_an_error_without_code_and_type_has_a_name_too() -> None:
    rig = live()
    rig(wire.ErrorReceived(None, None, "", None, None))
    assert rig.machine.counts.errors == {"unnamed": 1}


def test_error_codes_are_bounded() -> None:
    rig = live()
    for number in range(MAX_ERROR_CODES + 5):
        rig(error(f"code-{number}"))
    rig(error("code-0"))
    assert len(rig.machine.counts.errors) == MAX_ERROR_CODES + 1
    assert rig.machine.counts.errors["other"] == 5
    assert rig.machine.counts.errors["code-0"] == 2


@pytest.mark.edge_case(41)
def test_a_create_refused_for_an_active_response_is_repeated() -> None:
    """C-A 41."""
    rig = live()
    rig(function_call("c1"), ToolReturned("c1", "1"))
    rig(error("conversation_already_has_active_response", "create-1"))
    assert purposes(rig.after(RETRY_DELAY_S)) == [Purpose.TOOL_RESULT]


def test_a_create_refused_for_anything_else_is_repeated_once() -> None:
    rig = live()
    rig(function_call("c1"), ToolReturned("c1", "1"))
    rig(error("server_error", "create-1"))
    assert purposes(rig.after(RETRY_DELAY_S)) == [Purpose.TOOL_RESULT]
    rig(error("server_error", "create-2"))
    assert rig.after(60.0) == []


@pytest.mark.edge_case(38)
def test_a_cancel_refused_as_not_active_is_over() -> None:
    """C-A 38."""
    rig = generating(delta("r1"))
    rig(Interrupted(1, 1, "r1"))
    assert rig(error("response_cancel_not_active", "cancel-1")) == [AudioComplete("r1")]
    assert rig.machine.slot.state is State.IDLE


def test_a_refused_change_of_turn_detection_is_counted() -> None:
    rig = greeted()
    rig(done("r1"), ResponseHeard("r1"))
    assert rig(error("invalid_value", "session-2")) == []
    assert rig.machine.session.counts.session_updates_refused == 1


def test_a_session_that_turns_to_another_format_ends_the_call() -> None:
    rig = live()
    ends = only(CallEnding, rig(wire.SessionUpdated(None, None, None, None)))
    assert [end.cause for end in ends] == [EndCause.SESSION_REFUSED]


# ---- end and watchdog


@pytest.mark.edge_case(66)
def test_a_lost_socket_ends_the_call() -> None:
    """C-A 66."""
    assert only(CallEnding, live()(ModelClosed(EndCause.MODEL_LOST, "1006"))) == [
        CallEnding(EndCause.MODEL_LOST, "1006")
    ]


@pytest.mark.edge_case(54, 67)
def test_a_session_that_never_comes_ends_the_call() -> None:
    """C-A 54, 67."""
    rig = Rig()
    ends = only(CallEnding, rig.after(60.0))
    assert [end.cause for end in ends] == [EndCause.MODEL_UNREACHABLE]


def alive(rig: Rig, event: conversation.Event) -> list[StateChanged]:
    actions = rig.machine.handle(event, rig.now)
    return [a for a in actions if isinstance(a, StateChanged) and a.owner is Owner.MODEL]


@pytest.mark.parametrize(
    "event", [ModelAlive(), CONFIRMED, wire.Noted("x"), wire.Unknown("y"), delta("r9")]
)
def test_a_model_that_says_anything_is_alive_and_says_so_every_five_seconds(
    event: conversation.Event,
) -> None:
    rig = live()
    assert alive(rig, event) == []
    rig.after(ALIVE_REPORT_S)
    assert alive(rig, event) == [StateChanged(Owner.MODEL, "open", 2)]


def test_a_reset_of_the_response_goes_to_the_slot() -> None:
    """L10."""
    rig = generating()
    version = rig.machine.slot.version
    request = ResetRequest(Owner.RESPONSE, ResetReason.SILENT_RESPONSE, version)
    assert rig(request) == [
        SendCancel("cancel-1", "r1"),
        ResetGranted(Owner.RESPONSE, ResetReason.SILENT_RESPONSE),
    ]
    assert rig(request) == [
        ResetRefused(Owner.RESPONSE, ResetReason.SILENT_RESPONSE, Refusal.CANCEL_PENDING)
    ]


@pytest.mark.parametrize(
    ("reason", "version", "why"),
    [
        (ResetReason.MODEL_SILENT, 0, Refusal.VERSION_MOVED),
        (ResetReason.STUCK_RESPONSE, 1, Refusal.NOT_STUCK),
    ],
)
def test_l10_a_reset_of_the_model_is_refused(
    reason: ResetReason, version: int, why: Refusal
) -> None:
    request = ResetRequest(Owner.MODEL, reason, version)
    assert live()(request) == [ResetRefused(Owner.MODEL, reason, why)]


@pytest.mark.edge_case(68)
def test_a_dead_model_is_given_up() -> None:
    """C-A 68."""
    rig = live()
    reason = ResetReason.MODEL_SILENT
    granted, ending = rig(ResetRequest(Owner.MODEL, reason, 1))
    assert granted == ResetGranted(Owner.MODEL, reason)
    assert isinstance(ending, CallEnding)
    assert ending.cause is EndCause.MODEL_SILENT


# ---- nobody is talked over


def test_no_response_is_asked_for_while_the_model_hears_the_caller() -> None:
    rig = generating(delta("r1"))
    rig(function_call("c1"), done("r1"), wire.SpeechStarted("u1", 0))
    assert purposes(rig(ToolReturned("c1", "1"))) == []
    rig(wire.SpeechStopped("u1", 900))
    assert purposes(rig.after(0.01)) == [Purpose.TOOL_RESULT]


@pytest.mark.edge_case(57)
def test_a_turn_whose_end_is_never_told_does_not_mute_the_call() -> None:
    rig = generating(delta("r1"))
    rig(function_call("c1"), done("r1"), wire.SpeechStarted("u1", 0), ToolReturned("c1", "1"))
    assert purposes(rig.after(MAX_TURN_S - 0.1)) == []
    assert purposes(rig.after(0.2)) == [Purpose.TOOL_RESULT]


def test_a_retry_waits_until_the_caller_has_finished() -> None:
    rig = generating()
    rig(done("r1", "failed"), wire.SpeechStarted("u1", 0))
    assert purposes(rig.after(RETRY_DELAY_S + 0.1)) == []


def test_a_response_that_began_while_nobody_was_sure_is_cancelled_when_it_was_the_caller() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(done("r1"), Interrupted(1, 1, "r1"), created("r2"), delta("r2", "i2"))
    actions = rig(BargeInConfirmed(2, (HeardItem("i1", 0, 200),)))
    assert [type(a) for a in actions] == [SendCancel, SendTruncate, SendTruncate]
    assert SendTruncate("i2", 0, 0) in actions


def test_after_the_close_nothing_counts() -> None:
    rig = generating(delta("r1"))
    rig.machine.close()
    assert rig(delta("r1"), wire.SpeechStarted("u1", 0)) == []
    assert rig.machine.next_deadline() is None
    assert rig.machine.counts.audio_deltas == 1


def test_half_a_sentence_that_fails_twice_does_not_end_the_call() -> None:
    rig = generating(delta("r1", "i1", 400))
    rig(Interrupted(1, 1, "r1"), BargeInDismissed(), done("r1", "cancelled"))
    rig(created("r2", "create-2"), done("r2", "failed"))
    rig.after(RETRY_DELAY_S)
    assert only(CallEnding, rig(created("r3", "create-3"), done("r3", "failed"))) == []


# ---- what nobody hears of


def test_a_turn_whose_end_is_never_told_is_answered() -> None:
    rig = live()
    rig(wire.SpeechStarted("u1", 0))
    assert rig.after(MAX_TURN_S - 0.1) == []
    assert purposes(rig.after(0.2)) == [Purpose.ANSWER]


def test_as_long_as_the_caller_is_heard_to_go_on_his_turn_is_not_answered() -> None:
    rig = live()
    rig(wire.SpeechStarted("u1", 0))
    for generation in range(1, 9):
        assert purposes(rig.after(MAX_TURN_S - 1.0)) == []
        rig(CallerSpoke(generation))
    assert purposes(rig.after(MAX_TURN_S)) == [Purpose.ANSWER]


def test_a_turn_whose_end_was_never_told_does_not_count_as_heard_for_ever() -> None:
    rig = live()
    rig(wire.SpeechStarted("u1", 0))
    rig.after(MAX_TURN_S)
    rig(created("r1", "create-1"), delta("r1"), done("r1"))
    rig(CallerSpoke(1))
    assert rig.after(UNHEARD_GRACE_S) == [SendProbe("probe-1")]


def test_a_model_that_does_not_hear_what_we_hear_is_asked_whether_it_is_there() -> None:
    rig = live()
    rig(CallerSpoke(1))
    assert rig.after(UNHEARD_GRACE_S - 0.01) == []
    assert rig.after(0.02) == [SendProbe("probe-1")]
    assert rig.machine.counts.probes_sent == 1


@pytest.mark.parametrize("event", [wire.SpeechStarted("u1", 0), wire.Noted("x"), delta("r9")])
def test_one_that_says_anything_meanwhile_is_not_asked(event: conversation.Event) -> None:
    rig = live()
    rig(CallerSpoke(1), event)
    assert only(SendProbe, rig.after(UNHEARD_GRACE_S)) == []


def test_one_that_hears_the_caller_already_is_not_asked() -> None:
    rig = live()
    rig(wire.SpeechStarted("u1", 0), CallerSpoke(1))
    assert rig.after(UNHEARD_GRACE_S) == []


def test_nobody_is_asked_before_there_is_a_session() -> None:
    rig = Rig()
    rig(ModelConnected(), CallerSpoke(1))
    assert rig.after(UNHEARD_GRACE_S) == []


def speaking_at(rig: Rig, event: conversation.Event) -> bool:
    """The response is reported to be moving because of this."""
    rig.after(PROGRESS_S)
    actions = rig.machine.handle(event, rig.now)
    changes = [a for a in actions if isinstance(a, StateChanged) and a.owner is Owner.RESPONSE]
    return bool(changes)


def test_words_and_the_arguments_of_tools_are_progress_of_a_response() -> None:
    arguments = wire.Noted("response.function_call_arguments.delta")
    rig = generating(delta("r1"))
    assert speaking_at(rig, wire.TranscriptDelta("r1", "i1", 0, "Hm"))
    assert speaking_at(rig, arguments)
    assert rig.machine.handle(arguments, rig.now) == [], "at most once a second"


def test_what_belongs_to_no_response_of_the_conversation_is_no_progress() -> None:
    rig = generating(created("apart", apart=True))
    assert not speaking_at(rig, wire.Noted("rate_limits.updated"))
    assert not speaking_at(rig, wire.TranscriptDelta("apart", "i9", 0, "Hm"))
    rig(done("r1"))
    assert not speaking_at(rig, wire.Noted("response.output_item.added"))


@pytest.mark.parametrize("first", [True, False])
def test_what_was_said_completely_before_the_cancel_is_not_continued(first: bool) -> None:
    """The false alarm is known before the end is, or after."""
    for end in (error("response_cancel_not_active", "cancel-1"), done("r1")):
        rig = generating(delta("r1", "i1", 400))
        told: list[conversation.Event] = [end, BargeInDismissed()]
        rig(Interrupted(1, 1, "r1"), *(told if first else told[::-1]))
        assert purposes(rig.after(60.0)) == []


def test_l5_one_response_is_asked_for_about_results_of_which_one_was_refused_before() -> None:
    """The server's own response crosses our create, and calls another tool."""
    rig = generating(function_call("c1"), done("r1"), ToolReturned("c1", "{}"))
    rig(created("auto"), function_call("c2", "auto"))
    rig(error("conversation_already_has_active_response", "create-1"), ToolReturned("c2", "{}"))
    assert purposes(rig(done("auto"))) == [Purpose.TOOL_RESULT]
    rig(created("r2", "create-2"), delta("r2", "i2"))
    assert purposes(rig(done("r2"))) == []
    assert rig.after(60.0) == []


def test_l3_audio_after_a_cancel_was_refused_is_told_to_be_unheard() -> None:
    """The server had heard the caller before it read our cancel, and has audio under way."""
    rig = generating(delta("r1", "i1"))
    rig(Interrupted(1, 1, "r1"), error("response_cancel_not_active", "cancel-1"))
    rig(delta("r1", "i2"), BargeInConfirmed(1, (HeardItem("i1", 0, 40),)))
    assert rig(done("r1", "cancelled")) == []
    assert rig.machine.counts.truncates_sent == 2


def test_l3_audio_of_nobodys_response_is_told_to_be_unheard_when_that_is_over() -> None:
    rig = live()
    assert rig(delta("r9", "i9")) == []
    assert rig(done("r9")) == [SendTruncate("i9", 0, 0)]


def test_l3_audio_after_a_reset_is_told_to_be_unheard_once_the_rest_was_heard() -> None:
    rig = generating(delta("r1", "i1"))
    rig(ResetRequest(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, rig.machine.slot.version))
    rig(delta("r1", "i1", 300), delta("r1", "i2"))
    assert only(SendTruncate, rig(done("r1", "cancelled"))) == [SendTruncate("i2", 0, 0)]
    assert rig(ResponseHeard("r1")) == [SendTruncate("i1", 0, 100)]


def put_off() -> Rig:
    """A false alarm seems to interrupt r1; the create for a tool's result is out meanwhile."""
    rig = generating(delta("r1", "i1", 4000), function_call("c1"))
    rig(done("r1"), ToolReturned("c1", "{}"), Interrupted(1, 1, "r1"))
    return rig


def test_l3_a_response_that_was_cancelled_as_it_began_is_not_played_after_a_false_alarm() -> None:
    rig = put_off()
    rig(created("r2", "create-1"))
    assert rig(delta("r2", "i2")) == []
    rig(done("r2", "cancelled"))
    actions = rig(BargeInDismissed())
    assert only(SendTruncate, actions) == [SendTruncate("i2", 0, 0)]
    assert purposes(actions) == [Purpose.TOOL_RESULT], "it is asked for again"


@pytest.mark.parametrize("told", ["done", "not active"])
def test_l13_a_continuation_that_ended_before_its_cancel_is_asked_for_again(told: str) -> None:
    """It was cancelled as it began, so that nothing of it was heard."""
    rig = generating(delta("r1", "i1", 4000))
    rig(Interrupted(1, 1, "r1"), done("r1", "cancelled"), BargeInDismissed())
    rig(Interrupted(2, 2, "r1"), created("r2", "create-2"), delta("r2", "i2"))
    if told == "done":
        rig(done("r2"), BargeInDismissed())
    else:
        rig(BargeInDismissed(), error("response_cancel_not_active", "cancel-3"))
    assert rig.machine.slot.wants(Purpose.CONTINUATION)


def test_l13_what_is_called_off_only_after_the_false_alarm_is_over_is_wanted_again() -> None:
    """Only the refusal tells that the response that was cut was the server's own."""
    rig = generating(function_call("c1"), done("r1"), ToolReturned("c1", "{}"))
    rig(created("auto"), delta("auto", "i2"), Interrupted(1, 1, "auto"), BargeInDismissed())
    rig(error("conversation_already_has_active_response"))
    actions = rig(done("auto", "cancelled"))
    assert purposes(actions) == [Purpose.CONTINUATION]
    rig(created("r2", "create-3"), delta("r2", "i3"))
    assert purposes(rig(done("r2"))) == [Purpose.TOOL_RESULT]


def test_l13_a_caller_who_takes_the_place_of_a_continuation_is_answered() -> None:
    """Noise for the model, or he would be answered in the ordinary way."""
    rig = generating(delta("r1"))
    rig(ResetRequest(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, rig.machine.slot.version))
    rig(CallerSpoke(1), done("r1", "cancelled"))
    assert purposes(rig.after(UNHEARD_GRACE_S)) == [Purpose.ANSWER]
