"""A model that is lost: another session takes its place, knows what was said, and greets nobody."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from callengine import EndCause
from callengine.edges import realtime
from callengine.machines.dialogue import MAX_OUTAGES
from callengine.testing import Behaviour, Reply, SimulatedRealtime, Wait
from callengine.testing.realtime import faults
from callengine.testing.realtime.faults import AtAppend, AtResponse, AtResponseDone, CloseSocket
from callengine.testing.realtime.script import Transcription
from tests.house import house
from tests.test_fallback import (
    AGENT,
    BACK,
    FALLBACK,
    FAREWELL,
    GREETING,
    PROMISED_S,
    QUESTION,
    SORRY,
    another,
    asks,
    call,
    heard_at,
    silences_s,
    whole_frames,
)

# ---- he waits while the model is lost

LOSSES = {
    "cut in mid-sentence": (CloseSocket(AtResponse(2, 500), abrupt=True),),
    "closed in mid-sentence": (CloseSocket(AtResponse(2, 500)),),
    "while an answer is owed": (CloseSocket(AtResponse(2, 0)),),
    "expired": faults.session_expired(AtResponse(2, 0)),
}


@pytest.mark.edge_case(66, 69, 74)
@pytest.mark.parametrize("lost", LOSSES.values(), ids=LOSSES)
def test_a_model_that_is_lost_is_followed_by_another_before_the_caller_wonders(
    lost: tuple[faults.Fault, ...],
) -> None:
    told = call(*asks(Wait(8.0)), broken=lost, others=[another()])
    said = told.models[0].responses[1].audio
    assert told.heard == GREETING.audio + whole_frames(said) + BACK.audio
    assert max(silences_s(told.caller, until=heard_at(told, BACK))) <= 1.2
    assert told.summary.fallbacks == 0, "there was no need"
    assert told.summary.model_reconnects == 1
    assert told.summary.end_cause is EndCause.CALLER_HUNG_UP


@pytest.mark.edge_case(66, 69, 74)
@pytest.mark.parametrize("lost", LOSSES.values(), ids=LOSSES)
def test_while_the_session_that_follows_is_slow_the_fallback_is_heard(
    lost: tuple[faults.Fault, ...],
) -> None:
    told = call(*asks(Wait(12.0)), broken=lost, others=[another(first_audio_s=5.0)])
    said = told.models[0].responses[1].audio
    assert told.heard == GREETING.audio + whole_frames(said) + FALLBACK + BACK.audio
    assert max(silences_s(told.caller, until=heard_at(told, BACK))) <= PROMISED_S


@pytest.mark.edge_case(66, 69, 74)
@pytest.mark.parametrize("lost", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(
    "again", [(CloseSocket(AtResponse(1, 0)),), (faults.DelaySessionUpdated(None),)]
)
def test_when_that_session_is_lost_too_the_caller_hears_the_farewell(
    again: tuple[faults.Fault, ...], lost: tuple[faults.Fault, ...]
) -> None:
    told = call(*asks(Wait(60.0)), broken=lost, others=[another(broken=again)])
    said = told.models[0].responses[1].audio
    waited = FALLBACK * told.summary.fallbacks
    assert told.heard == GREETING.audio + whole_frames(said) + waited + FAREWELL
    assert max(silences_s(told.caller)) <= PROMISED_S
    expired = lost == LOSSES["expired"]
    cause = EndCause.SESSION_EXPIRED if expired else EndCause.MODEL_LOST
    assert told.summary.end_cause is cause, "the first is the cause"
    assert told.caller.closed is not None
    assert (told.caller.closed.code, told.caller.closed.by) == (1000, "engine")
    assert told.summary.model_reconnects == 1


@pytest.mark.edge_case(44)
def test_a_session_in_which_the_model_says_only_written_words_is_left_for_another() -> None:
    written = Reply(b"", "From nine to five.")
    told = call(*asks(Wait(9.0)), replies=[GREETING, written, written], others=[another()])
    assert told.heard == GREETING.audio + BACK.audio
    assert told.summary.conversation.silent_responses == 2
    assert told.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert max(silences_s(told.caller, until=heard_at(told, BACK))) <= PROMISED_S


@pytest.mark.edge_case(72)
def test_a_server_that_speaks_the_language_of_the_beta_is_left_for_another() -> None:
    """Nothing of its greeting was heard: the other one greets."""
    told = call(*asks(Wait(20.0)), broken=faults.beta_names(), others=[another()])
    assert told.heard == FALLBACK + BACK.audio
    (greet,) = told.again.creates
    assert greet.response["instructions"] == AGENT.greeting
    assert max(silences_s(told.caller, until=heard_at(told, BACK))) <= PROMISED_S


@pytest.mark.edge_case(74)
def test_a_model_that_is_lost_when_nothing_is_owed_is_not_noticed() -> None:
    """The caller has heard all of it, says nothing, and then asks the other one."""
    lost = CloseSocket(AtResponseDone(1))
    told = call(*asks(Wait(6.0)), broken=[lost], others=[another()])
    assert told.heard == GREETING.audio + BACK.audio
    assert told.again.responses[0].automatic, "to his question, and not for us"
    assert QUESTION[1_600:-1_600] in bytes(told.again.appended)


@pytest.mark.edge_case(74)
def test_what_the_caller_says_between_two_sessions_is_heard_by_the_second() -> None:
    lost = CloseSocket(AtAppend(150))
    slow = faults.DelaySessionUpdated(2.0)
    told = call(*asks(Wait(8.0)), broken=[lost], others=[another(broken=[slow])])
    (asked,) = told.caller.said
    assert told.again.closed is not None
    assert told.models[0].closed is not None
    assert asked.onset_at < told.models[0].closed[2] < asked.end_at, "in the middle of it"
    assert QUESTION[-4_800:-1_600] in bytes(told.again.appended)
    assert told.heard == GREETING.audio + BACK.audio


@pytest.mark.edge_case(74)
def test_a_model_that_is_lost_over_and_over_is_given_up_although_it_speaks_each_time() -> None:
    cut = CloseSocket(AtResponse(1, 300))
    others = [another(broken=[cut]) for _ in range(MAX_OUTAGES)]
    told = call(Wait(60.0), broken=[cut], others=others)
    assert told.summary.model_reconnects == MAX_OUTAGES
    assert told.summary.end_cause is EndCause.MODEL_LOST
    assert told.heard.endswith(FAREWELL)


# ---- what the other session is told


@pytest.mark.edge_case(74)
@pytest.mark.parametrize("lost", LOSSES.values(), ids=LOSSES)
def test_the_other_session_is_told_what_was_said_and_asked_to_apologise(
    lost: tuple[faults.Fault, ...],
) -> None:
    quick = Behaviour(transcriptions=(Transcription("Are you open?", after_s=0.0),))
    told = call(*asks(Wait(8.0)), broken=lost, others=[another()], behaviour=quick)
    first, again = told.models[0], told.again
    update, greeted, asked, create, *rest = (event.body for event in again.received)
    assert update["type"] == "session.update"
    (configured,) = [e.body for e in first.received if e.type == "session.update"][:1]
    for same in ("instructions", "tools"):
        assert update["session"].get(same) == configured["session"].get(same)
    assert [each["type"] for each in (greeted, asked)] == ["conversation.item.create"] * 2
    assert [(each["item"]["role"], each["item"]["content"]) for each in (greeted, asked)] == [
        ("assistant", [{"type": "output_text", "text": GREETING.transcript}]),
        ("user", [{"type": "input_text", "text": "Are you open?"}]),
    ]
    assert create["type"] == "response.create"
    assert f'word for word: "{SORRY}"' in create["response"]["instructions"]
    assert create["response"]["instructions"].startswith(AGENT.instructions)
    assert "response.create" not in {event["type"] for event in rest}, "nobody is greeted again"
    assert again.errors == []


@pytest.mark.edge_case(74)
def test_a_greeting_that_was_not_heard_is_said_by_the_other_session_and_only_once() -> None:
    told = call(Wait(6.0), broken=[CloseSocket(AtResponse(1, 0))], others=[another()])
    (greet,) = told.again.creates
    assert AGENT.greeting is not None
    assert greet.response["instructions"] == AGENT.greeting
    assert told.heard == BACK.audio


@pytest.mark.edge_case(74)
def test_a_greeting_that_was_cut_is_not_begun_again() -> None:
    told = call(Wait(6.0), broken=[CloseSocket(AtResponse(1, 500))], others=[another()])
    (create,) = told.again.creates
    assert SORRY in create.response["instructions"]
    assert "Greet the caller." not in create.response["instructions"]


@pytest.mark.edge_case(74)
def test_an_agent_without_words_of_apology_is_asked_for_none() -> None:
    agent = replace(AGENT, fallback_text=None)
    lost = CloseSocket(AtResponse(2, 0))
    told = call(*asks(Wait(8.0)), broken=[lost], others=[another()], agent=agent)
    (create,) = told.again.creates
    assert "word for word" not in create.response["instructions"]
    assert told.heard == GREETING.audio + BACK.audio


# ---- over real sockets


@pytest.mark.realtime
@pytest.mark.edge_case(66, 74, 75)
def test_a_real_model_that_dies_in_mid_sentence_is_followed_by_a_slow_one() -> None:
    dies = CloseSocket(AtResponse(1, 500), abrupt=True)
    models = iter(
        [
            SimulatedRealtime([GREETING], faults=[dies]),
            another(first_audio_s=5.0),
        ]
    )
    with house(lambda: next(models), replace(AGENT, greeting_protected=False)) as open_house:
        record = open_house.call(Wait(9.0))
        summary = open_house.summary()
        first, again = open_house.model(0), open_house.model(1)
    heard = b"".join(span.payload for span in record.heard)
    assert heard == whole_frames(first.responses[0].audio) + FALLBACK + BACK.audio
    fallback_at = next(span.at for span in record.heard if FALLBACK[:1_600] in span.payload)
    assert max(silences_s(record, until=fallback_at + 0.1)) <= PROMISED_S
    assert SORRY in again.creates[0].response["instructions"]
    assert again.types_received()[0] == "session.update"
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert (summary.model_reconnects, summary.fallbacks) == (1, 1)
    assert summary.audio.balance_bytes == 0
    assert first.closed is not None
    assert again.closed is not None
    assert again.closed[0] == 1000


@pytest.mark.realtime
@pytest.mark.edge_case(67, 75)
def test_a_real_model_that_cannot_be_reached_costs_a_fallback_and_a_farewell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(realtime, "CONNECT_TIMEOUT_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # which accepts for us, and waits
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        with house(agent=AGENT, realtime_url=url) as open_house:
            record = open_house.call(Wait(11.0))
            summary = open_house.summary()
    heard = b"".join(span.payload for span in record.heard)
    assert heard == FALLBACK + FAREWELL
    assert max(silences_s(record, until=record.heard[0].at)) <= PROMISED_S
    assert summary.end_cause is EndCause.MODEL_UNREACHABLE
    assert summary.model_reconnects == 1
