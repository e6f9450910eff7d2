from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.machines.session import (
    CONFIGURE_EVENT_ID,
    DEADLINE_S,
    MAX_HELD_BYTES,
    TRANSITIONS,
    SendAppend,
    SendSessionUpdate,
    SendTurnDetection,
    Session,
    State,
)
from callengine.messages import CallEnding, DeadlineReached, EndCause, ModelClosed, ModelConnected
from callengine.wire.realtime_events import (
    AudioFormat,
    ErrorReceived,
    SessionUpdated,
    TurnDetection,
)
from tests.machines.conversation_rig import CONFIG, CONFIRMED, PCMU, error

if TYPE_CHECKING:
    from callengine.machines.session import Action, Event

LOST = ModelClosed(EndCause.MODEL_LOST, "1006")
EVENTS: list[Event] = [
    ModelConnected(),
    LOST,
    CONFIRMED,
    ErrorReceived("unknown_parameter", None, "", None, None),
    DeadlineReached(),
]


def in_state(state: State, *, interrupt_response: bool = True) -> Session:
    session = Session(CONFIG, interrupt_response=interrupt_response, now=0.0)
    steps: dict[State, list[Event]] = {
        State.CONNECTING: [],
        State.CONFIGURING: [ModelConnected()],
        State.LIVE: [ModelConnected(), CONFIRMED],
        State.CLOSED: [LOST],
    }
    for event in steps[state]:
        session.handle(event, 0.0)
    assert session.state is state
    return session


def causes(actions: list[Action]) -> list[EndCause]:
    return [action.cause for action in actions if isinstance(action, CallEnding)]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State)
def test_every_pair_moves_as_the_table_says_or_not_at_all(state: State, event: Event) -> None:
    session = in_state(state)
    actions = session.handle(event, session.next_deadline() or 0.0)
    assert session.state is TRANSITIONS.get((state, type(event)), state)
    closed = state is not State.CLOSED and session.state is State.CLOSED
    assert len(causes(actions)) == closed
    if closed:
        assert session.next_deadline() is None


def test_the_table_names_no_event_that_is_not_tested() -> None:
    assert {kind for _, kind in TRANSITIONS} <= {type(event) for event in EVENTS}


def test_the_handshake() -> None:
    session = Session(CONFIG, interrupt_response=False, now=5.0)
    assert session.next_deadline() == 5.0 + DEADLINE_S[State.CONNECTING]
    assert session.handle(ModelConnected(), 6.0) == [
        SendSessionUpdate(CONFIGURE_EVENT_ID, CONFIG, interrupt_response=False)
    ]
    assert session.next_deadline() == 6.0 + DEADLINE_S[State.CONFIGURING]
    assert session.handle(CONFIRMED, 7.0) == []
    assert session.next_deadline() is None


def test_a_socket_that_opens_twice_is_configured_once() -> None:
    assert in_state(State.CONFIGURING).handle(ModelConnected(), 0.0) == []


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (State.CONNECTING, EndCause.MODEL_UNREACHABLE),
        (State.CONFIGURING, EndCause.SESSION_REFUSED),
    ],
)
def test_what_never_comes_ends_the_call_at_its_deadline(state: State, cause: EndCause) -> None:
    """C-A 54, 55: never; and late is not never."""
    session = in_state(state)
    deadline = session.next_deadline()
    assert deadline is not None
    assert session.handle(DeadlineReached(), deadline - 0.1) == []
    assert causes(session.handle(DeadlineReached(), deadline)) == [cause]


def test_a_late_confirmation_is_in_time_until_the_deadline() -> None:
    session = in_state(State.CONFIGURING)
    session.handle(CONFIRMED, DEADLINE_S[State.CONFIGURING] - 0.1)
    assert session.state is State.LIVE


def test_an_update_before_the_socket_is_open_confirms_nothing() -> None:
    """C-A 55."""
    session = in_state(State.CONNECTING)
    assert session.handle(CONFIRMED, 0.0) == []
    assert session.state is State.CONNECTING


@pytest.mark.parametrize(
    ("param", "told"),
    [
        (None, "the model refused session.update: unknown_parameter"),
        (
            "session.audio.output.voice",
            "the model refused session.update: unknown_parameter (session.audio.output.voice)",
        ),
    ],
)
def test_a_refused_update_ends_the_call_and_names_the_field(param: str | None, told: str) -> None:
    """C-A 54: nothing was applied, everything after would be static."""
    refusal = ErrorReceived("unknown_parameter", "x", "", param, CONFIGURE_EVENT_ID)
    assert in_state(State.CONFIGURING).handle(refusal, 0.0) == [
        CallEnding(EndCause.SESSION_REFUSED, told)
    ]


def test_a_refusal_without_a_code_is_told_by_its_type() -> None:
    (ending,) = in_state(State.CONFIGURING).handle(error(None, kind="server_error"), 0.0)
    assert isinstance(ending, CallEnding)
    assert ending.detail == "the model refused session.update: server_error"


@pytest.mark.parametrize("state", [State.CONFIGURING, State.LIVE])
@pytest.mark.parametrize("got", [None, AudioFormat("audio/pcm", 24000)])
@pytest.mark.parametrize("side", ["input", "output"])
def test_another_format_than_asked_ends_the_call(
    state: State, got: AudioFormat | None, side: str
) -> None:
    """C-A 54."""
    heard, spoken = (got, PCMU) if side == "input" else (PCMU, got)
    session = in_state(state)
    (ending,) = session.handle(SessionUpdated(heard, spoken, None, None), 0.0)
    assert isinstance(ending, CallEnding)
    assert ending.cause is EndCause.SESSION_REFUSED
    assert f"audio.{side}.format" in ending.detail
    assert session.state is State.CLOSED
    assert session.next_deadline() is None


@pytest.mark.edge_case(54)
def test_other_differences_are_counted_and_cost_nothing() -> None:
    session = in_state(State.CONFIGURING)
    other = TurnDetection("semantic_vad", create_response=True, interrupt_response=False)
    assert session.handle(SessionUpdated(PCMU, PCMU, other, "cedar"), 0.0) == []
    assert session.state is State.LIVE
    assert session.counts.session_mismatches == 3  # the detection, who interrupts, the voice


def test_a_lost_socket_tells_its_cause_once() -> None:
    session = in_state(State.LIVE)
    assert session.handle(LOST, 0.0) == [CallEnding(EndCause.MODEL_LOST, "1006")]
    assert session.handle(LOST, 0.0) == []


# ---- caller audio


@pytest.mark.edge_case(61)
@pytest.mark.parametrize("state", [State.CONNECTING, State.CONFIGURING])
def test_caller_audio_is_held_until_the_session_is_confirmed(state: State) -> None:
    """C-A 61: sent earlier, it would be taken for 24 kHz PCM."""
    session = in_state(state)
    assert session.caller_audio(b"one") == []
    session.handle(ModelConnected(), 0.0)
    assert session.caller_audio(b"two") == []
    assert session.handle(CONFIRMED, 0.0) == [SendAppend(b"onetwo")]
    assert session.caller_audio(b"three") == [SendAppend(b"three")]
    assert session.counts.appended_bytes == 11


def test_a_second_confirmation_releases_nothing_again() -> None:
    session = in_state(State.CONFIGURING)
    session.caller_audio(b"one")
    session.handle(CONFIRMED, 0.0)
    assert session.handle(CONFIRMED, 0.0) == []


@pytest.mark.edge_case(61)
def test_caller_audio_after_the_end_goes_nowhere() -> None:
    """C-A 61."""
    session = in_state(State.CLOSED)
    assert session.caller_audio(b"one") == []
    assert session.counts.appended_bytes == session.counts.held_dropped_bytes == 0


@settings(deadline=None)
@given(st.lists(st.integers(1, 30_000), max_size=12))
def test_l11_held_audio_is_bounded_and_what_is_dropped_is_the_oldest_and_counted(
    sizes: list[int],
) -> None:
    session = in_state(State.CONFIGURING)
    payloads = [bytes([number]) * size for number, size in enumerate(sizes)]
    for payload in payloads:
        session.caller_audio(payload)
    sent = [a.payload for a in session.handle(CONFIRMED, 0.0) if isinstance(a, SendAppend)]
    kept, everything = b"".join(sent), b"".join(payloads)
    assert everything.endswith(kept)
    assert len(kept) <= MAX_HELD_BYTES
    assert session.counts.held_dropped_bytes == len(everything) - len(kept)
    assert session.counts.appended_bytes == len(kept)
    if len(everything) <= MAX_HELD_BYTES:
        assert kept == everything
    else:
        assert len(kept) > MAX_HELD_BYTES - max(sizes)


# ---- who interrupts


def test_l9_the_server_is_let_interrupt_once() -> None:
    session = in_state(State.LIVE, interrupt_response=False)
    update = SendTurnDetection("session-2", CONFIG, interrupt_response=True)
    assert session.let_server_interrupt() == [update]
    assert session.let_server_interrupt() == []


@pytest.mark.parametrize("state", [s for s in State if s is not State.LIVE])
def test_the_server_is_not_told_before_or_after_the_session(state: State) -> None:
    assert in_state(state, interrupt_response=False).let_server_interrupt() == []


def test_a_server_that_may_interrupt_is_not_told_again() -> None:
    assert in_state(State.LIVE).let_server_interrupt() == []


@pytest.mark.edge_case(56)
def test_only_the_refusal_of_the_latest_update_is_counted() -> None:
    session = in_state(State.LIVE, interrupt_response=False)
    session.let_server_interrupt()
    assert session.handle(error("invalid_value", "session-1"), 0.0) == []
    assert session.counts.session_updates_refused == 0
    assert session.handle(error("invalid_value", "session-2"), 0.0) == []
    assert session.counts.session_updates_refused == 1
    assert session.state is State.LIVE
