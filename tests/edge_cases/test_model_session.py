"""The model's session: refused, late, echoed wrongly, over too soon, or slow."""

from __future__ import annotations

import pytest

from callengine import EndCause
from callengine.audio.g711 import SILENCE_BYTE
from callengine.machines.onsets import Outcome
from callengine.machines.session import DEADLINE_S, State
from callengine.testing import BargeIn, Behaviour, Say
from callengine.testing.caller.script import HangUp, Wait, WaitUntilQuiet
from callengine.testing.held import Held, noise, reply
from callengine.testing.realtime.faults import (
    After,
    AtResponse,
    CloseSocket,
    DelaySessionCreated,
    DelaySessionUpdated,
    EchoOther,
    EchoOtherFormat,
    Fault,
    RefuseSessionUpdate,
    SendRaw,
    delta_message,
    error_message,
    session_expired,
)
from tests.edge_cases.model_calls import (
    ASK,
    FAREWELL,
    QUESTION,
    REPLIES,
    STOP,
    YES,
    call,
    check,
    errors,
    heard,
)

ON_THE_LINE = [Wait(40.0)]


def closed_at(held: Held) -> float:
    """When we hung up, as it must have been us."""
    assert held.caller.closed is not None
    assert (held.caller.closed.by, held.caller.closed.code) == ("engine", 1000)
    return held.caller.closed.at


# ---- the handshake


@pytest.mark.edge_case(54)
@pytest.mark.parametrize(
    "code",
    ["unknown_parameter", "missing_required_parameter", "invalid_value", "cannot_update_voice"],
)
@pytest.mark.parametrize("audio_continues", [False, True])
def test_a_session_that_is_refused_is_never_listened_to(code: str, audio_continues: bool) -> None:
    """It is still on 24 kHz PCM, open, and may even speak: that would be noise to the caller."""
    odd: list[Fault] = [RefuseSessionUpdate(code)]
    if audio_continues:
        static = delta_message("resp_x", "item_x", noise(1.0, 5))
        odd += [SendRaw(After(at / 10), static) for at in range(1, 9)]
    held = call(ON_THE_LINE, REPLIES, *odd)
    assert held.summary.end_cause is EndCause.SESSION_REFUSED
    assert code in held.summary.end_detail
    assert heard(held) == FAREWELL
    assert closed_at(held) < 2.0
    assert held.model.appended == b""
    assert held.model.creates == []


@pytest.mark.edge_case(54)
@pytest.mark.parametrize("code", [None, "server_error", "rate_limit_exceeded"])
def test_an_error_instead_of_a_confirmation_is_a_refusal(code: str | None) -> None:
    odd = DelaySessionUpdated(None), SendRaw(After(0.2), error_message(code, "No.", "server_error"))
    held = call(ON_THE_LINE, REPLIES, *odd)
    assert held.summary.end_cause is EndCause.SESSION_REFUSED
    assert heard(held) == FAREWELL
    assert closed_at(held) < 2.0


@pytest.mark.edge_case(54)
def test_an_update_that_is_confirmed_with_another_format_is_a_refusal() -> None:
    held = call(ON_THE_LINE, REPLIES, EchoOtherFormat())
    assert held.summary.end_cause is EndCause.SESSION_REFUSED
    assert "audio.input.format is audio/pcm, not audio/pcmu" in held.summary.end_detail
    assert heard(held) == FAREWELL


@pytest.mark.edge_case(54)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("audio.output.voice", "cedar"),
        ("audio.input.turn_detection.type", "semantic_vad"),
        ("audio.output.voice", None),
        ("instructions", "Be rude."),
    ],
)
def test_an_update_that_is_confirmed_with_other_values_is_lived_with(
    path: str, value: str | None
) -> None:
    held = call(ASK, REPLIES, EchoOther(path, value))
    check(held)
    compared = value is not None and path != "instructions"
    assert bool(held.summary.session.session_mismatches) is compared


@pytest.mark.edge_case(54, 55, 61)
@pytest.mark.parametrize(
    "late",
    [
        (DelaySessionUpdated(3.0),),
        (DelaySessionCreated(3.0),),
        (DelaySessionCreated(None),),
        (DelaySessionCreated(5.0), DelaySessionUpdated(5.0)),
    ],
    ids=["updated late", "created late", "created never", "both late"],
)
def test_what_the_caller_says_before_the_session_is_there_is_not_lost(
    late: tuple[Fault, ...],
) -> None:
    """The update does not wait for `session.created`; the caller's voice waits for the update."""
    held = call([Say(YES), *ASK], REPLIES, *late)
    check(held)
    assert held.model.types_received()[0] == "session.update"
    said = YES.rstrip(SILENCE_BYTE)
    assert said[800:-800] in held.model.appended, "and not one byte as PCM: see `call`"
    assert held.summary.session.held_dropped_bytes == 0
    updated = [event.at for event in held.model.sent if event.type == "session.updated"]
    appended = [e.at for e in held.model.received if e.type == "input_audio_buffer.append"]
    assert updated[0] <= appended[0]


@pytest.mark.edge_case(54, 75)
def test_a_session_that_is_never_confirmed_is_waited_for_in_bounds() -> None:
    held = call(ON_THE_LINE, REPLIES, DelaySessionUpdated(None))
    assert held.summary.end_cause is EndCause.SESSION_REFUSED
    assert held.summary.end_detail == "the model did not confirm session.update"
    assert heard(held) == FAREWELL
    assert closed_at(held) < DEADLINE_S[State.CONFIGURING] + 2.0
    assert held.model.appended == b""


@pytest.mark.edge_case(56)
@pytest.mark.parametrize("code", ["cannot_update_voice", "invalid_value"])
def test_a_later_update_that_is_refused_costs_only_what_it_asked_for(code: str) -> None:
    """We never ask for another voice: the only later update is about who interrupts."""
    held = call(ASK, REPLIES, RefuseSessionUpdate(code, number=2))
    check(held)
    assert held.summary.session.session_updates_refused == 1
    assert errors(held) == [code]
    first, second = (e.body["session"] for e in held.model.received if e.type == "session.update")
    assert "voice" in first["audio"]["output"]
    assert set(second["audio"]) == {"input"}
    assert set(second["audio"]["input"]) == {"turn_detection"}


# ---- appends


@pytest.mark.edge_case(61)
def test_the_model_hears_the_caller_while_it_speaks_and_nothing_after_the_end() -> None:
    """Every byte once and in order, valid base64 of at most 15 MiB: the server refuses nothing."""
    script = [*ASK[:2], BargeIn(STOP, 0.5), WaitUntilQuiet(2.0, 20.0), HangUp()]
    held = call(script, [reply(1.0, 1), reply(5.0, 2), reply(1.0, 3)])
    check(held)
    assert len(held.model.appended) == held.summary.session.appended_bytes
    for clip in (QUESTION, STOP):
        assert clip[1_600:-1_600] in held.model.appended
    assert held.model.closed is not None
    appended = [e.at for e in held.model.received if e.type == "input_audio_buffer.append"]
    assert max(appended) <= held.model.closed[2]
    assert set(errors(held)) <= {"response_cancel_not_active"}, "the model's ear was quicker"


@pytest.mark.edge_case(61)
@pytest.mark.parametrize("bad", ["Invalid 'audio'. Expected base64.", "At most 15 MiB."])
def test_an_append_that_is_refused_is_counted(bad: str) -> None:
    held = call(ASK, REPLIES, SendRaw(AtResponse(2, 500), error_message("invalid_value", bad)))
    check(held)
    assert held.summary.conversation.errors == {"invalid_value": 1}


@pytest.mark.edge_case(62)
def test_we_never_commit_or_clear_what_the_caller_says() -> None:
    """Turn detection does; its errors about it would be counted like any other."""
    refused = error_message("input_audio_buffer_commit_empty", "buffer too small")
    held = call(ASK, REPLIES, SendRaw(AtResponse(2, 500), refused))
    check(held)
    sent = set(held.model.types_received())
    assert not sent & {"input_audio_buffer.commit", "input_audio_buffer.clear"}
    assert held.summary.conversation.errors == {"input_audio_buffer_commit_empty": 1}


# ---- the end of a session


@pytest.mark.edge_case(69)
@pytest.mark.parametrize("with_error", [True, False])
@pytest.mark.parametrize("audio_ms", [0, 1_000])
def test_a_session_that_expires_ends_the_call_politely_once(
    audio_ms: int, with_error: bool
) -> None:
    error, close = session_expired(AtResponse(2, audio_ms))
    odd = (error, close) if with_error else (close,)
    behaviour = Behaviour(expires_at=1, first_audio_s=0.3)  # long ago, and nothing is made of it
    held = call(ASK, REPLIES, *odd, behaviour=behaviour)
    assert held.summary.end_cause is EndCause.SESSION_EXPIRED
    told = held.model.responses[0].audio + held.model.responses[1].audio
    padded = told + SILENCE_BYTE * (-len(told) % 160)
    assert heard(held) == padded + FAREWELL
    assert closed_at(held) > 0


@pytest.mark.edge_case(74)
@pytest.mark.parametrize("at", [AtResponse(1, 1_000), AtResponse(2, 500)])
def test_without_retries_a_session_that_is_lost_is_not_begun_again(at: AtResponse) -> None:
    """With them: see tests/test_second_sessions.py."""
    held = call(ASK, REPLIES, CloseSocket(at, 1012, "restart"))
    assert held.summary.end_cause is EndCause.MODEL_LOST
    greetings = [create for create in held.model.creates if "instructions" in create.response]
    assert len(greetings) == 1
    assert held.model.types_received().count("session.update") <= 2
    assert heard(held).endswith(FAREWELL)


# ---- a slow one


@pytest.mark.edge_case(75)
def test_a_slow_model_is_waited_for_and_may_be_interrupted_all_the_same() -> None:
    """Here without a fallback, which has tests of its own: tests/test_fallback.py."""
    patient = WaitUntilQuiet(1.0, 30.0)
    held = call(
        [patient, Say(QUESTION), BargeIn(STOP, 1.0, timeout_s=20.0), patient],
        [reply(2.0, 1), reply(6.0, 2), reply(1.5, 3)],
        DelaySessionCreated(5.0),
        DelaySessionUpdated(5.0),
        behaviour=Behaviour(first_audio_s=8.0),
    )
    check(held)
    assert held.caller.missed == []
    assert held.summary.stuck_recoveries == held.summary.response.retries == 0
    (entry,) = held.interruptions
    assert entry.outcome is Outcome.ACTED
    assert [truncate.item_id for truncate in held.model.truncates] == [
        held.model.responses[1].items[0].id
    ]


@pytest.mark.edge_case(75)
def test_a_caller_who_speaks_before_a_slow_model_does_is_answered_once() -> None:
    held = call(
        [Wait(9.0), Say(QUESTION), Wait(3.0), Say(YES), Wait(12.0), WaitUntilQuiet(4.0, 30.0)],
        REPLIES,
        DelaySessionUpdated(5.0),
        behaviour=Behaviour(first_audio_s=8.0),
    )
    check(held)
    spoken = [response for response in held.model.responses if held.was_heard(response)]
    assert len(spoken) == 2, "the greeting, and the answer to what he said last"


@pytest.mark.edge_case(75)
def test_a_model_that_thinks_for_too_long_is_not_waited_for() -> None:
    """Ten seconds without a sign of life are too many; one that is never quicker is given up."""
    held = call([*ASK[:2], Wait(60.0)], REPLIES, behaviour=Behaviour(first_audio_s=14.0))
    assert held.summary.stuck_recoveries > 0
    assert held.summary.end_cause is EndCause.MODEL_FAILED
    assert heard(held) == FAREWELL
