"""Everything a script can make go wrong on the connection."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from callengine.audio import g711
from callengine.testing.peer import Close
from callengine.testing.realtime.faults import (
    After,
    AtAppend,
    AtResponse,
    AtResponseDone,
    CloseSocket,
    DelaySessionCreated,
    DelaySessionUpdated,
    DuplicateEvents,
    EchoOther,
    EchoOtherFormat,
    FailResponse,
    GoSilent,
    IgnoreCreate,
    NoCreated,
    NoDone,
    RefuseSessionUpdate,
    RefuseTruncate,
    RenameEvents,
    SendRaw,
    StallAudio,
    StopHearing,
    Unstoppable,
    beta_names,
    beta_shape_refused,
    delta_message,
    error_message,
    event_message,
    key_refused,
    session_expired,
)
from callengine.testing.realtime.record import CancelOutcome
from callengine.testing.realtime.script import Behaviour, Ending, Reply, Speech
from tests.testing.realtime.rig import LONG_REPLY, PHONE_SESSION, SHORT_REPLY, Talk

if TYPE_CHECKING:
    from callengine.testing.realtime.faults import Fault, Trigger

PCM_24K = {"type": "audio/pcm", "rate": 24_000}


def talk_with(*faults: Fault, behaviour: Behaviour | None = None) -> Talk:
    return Talk((LONG_REPLY, SHORT_REPLY), behaviour, faults)


def create(talk: Talk, seconds: float = 4) -> Talk:
    talk.say("response.create")
    talk.wait(seconds)
    return talk


# --- moments


@pytest.mark.parametrize(
    ("at", "seen_last"),
    [
        (After(0), []),
        (After(0.2), ["response.created"]),
        (AtResponse(1), ["response.created"]),
        (AtResponse(1, 500), ["response.output_audio.delta"]),
        (AtResponseDone(1), ["response.done"]),
    ],
)
def test_the_socket_closes_at_its_moment_and_nothing_follows(
    at: Trigger, seen_last: list[str]
) -> None:
    talk = create(talk_with(CloseSocket(at, 1012, "restart")))
    assert talk.closes == [Close(1012, "restart")]
    assert talk.types()[-1:] == seen_last
    assert talk.record.closed is not None
    assert talk.record.closed[:2] == (1012, "restart")
    assert talk.record.audio_bytes_sent == len(talk.audio())


def test_a_trigger_counts_audio_of_its_response_only() -> None:
    talk = create(talk_with(CloseSocket(AtResponse(2, 500))))
    assert talk.closes == []
    create(talk)
    assert 4_000 <= len(talk.audio("resp_sim0002")) < 8_200


def test_a_trigger_counts_appends() -> None:
    talk = talk_with(CloseSocket(AtAppend(3), abrupt=True))
    for _ in range(2):
        talk.append(g711.silence(20))
    assert talk.closes == []
    talk.append(g711.silence(20))
    assert talk.closes == [Close(1011, "", abrupt=True)]


def test_a_close_travels_as_slowly_as_everything_else() -> None:
    talk = talk_with(CloseSocket(After(1)), behaviour=Behaviour(latency_s=0.5))
    talk.wait(1.4)
    assert talk.closes == []
    talk.wait(0.2)
    assert talk.closes == [Close(1011)]


def test_a_silent_server_still_listens() -> None:
    talk = create(talk_with(GoSilent(AtResponse(1, 1_000))))
    assert "response.done" not in talk.types()
    assert talk.closes == []
    talk.say("response.cancel")
    assert talk.record.types_received()[-1] == "response.cancel"
    assert talk.record.audio_bytes_sent == len(talk.audio()) < len(LONG_REPLY.audio)
    assert talk.record.errors == []


@pytest.mark.parametrize(
    "message", ["not json", "[]", b"\x00", '{"type":"response.cancelled"}', '{"type":"x"}' * 2]
)
def test_anything_can_be_sent_raw(message: str | bytes) -> None:
    talk = create(talk_with(SendRaw(AtResponse(1, 100), message)))
    assert talk.raw.count(message) == 1
    assert talk.last("response.done")["response"]["status"] == "completed"
    is_event = message == '{"type":"response.cancelled"}'
    assert ("response.cancelled" in talk.record.types_sent()) is is_event


def test_a_late_delta_can_be_sent_after_the_end_of_its_response() -> None:
    late = {
        "type": "response.output_audio.delta",
        "event_id": "event_late",
        "response_id": "resp_sim0001",
        "item_id": "item_sim_a1",
        "output_index": 0,
        "content_index": 0,
        "delta": "//8=",
    }
    talk = create(talk_with(SendRaw(AtResponseDone(1), json.dumps(late))))
    done = talk.types().index("response.done")
    assert talk.events[done + 1] == late
    assert talk.all_of("response.output_audio.delta")[0]["item_id"] == late["item_id"]


def test_a_silent_socket_can_still_be_closed_but_only_once() -> None:
    talk = talk_with(
        GoSilent(After(1)),
        SendRaw(After(2), "x"),
        CloseSocket(After(3), 1012),
        CloseSocket(After(4)),
    )
    create(talk, 8)
    assert talk.closes == [Close(1012)]
    assert "x" not in talk.raw


def test_what_was_not_sent_is_not_recorded_as_sent() -> None:
    talk = talk_with(GoSilent(After(0.1)))
    create(talk)
    talk.say("response.create")
    talk.wait(4)
    first, second = talk.record.responses
    assert first.created_at is not None
    assert (first.status, first.done_at) == ("in_progress", None)
    assert second.created_at is None
    talk.ask()
    assert talk.record.speech_started == talk.record.speech_stopped == []
    assert talk.record.audio_bytes_sent == talk.record.deltas_sent == 0


# --- the session


@pytest.mark.parametrize(("seconds", "comes"), [(5, True), (None, False)])
def test_session_created_can_be_late_or_never_come(seconds: float | None, comes: bool) -> None:
    talk = talk_with(DelaySessionCreated(seconds))
    assert talk.types() == ["session.updated"]
    talk.wait(6)
    assert ("session.created" in talk.types()) is comes


@pytest.mark.parametrize(("seconds", "takes"), [(3, True), (None, False)])
def test_a_late_update_takes_effect_late(seconds: float | None, takes: bool) -> None:
    talk = talk_with(DelaySessionUpdated(seconds))
    talk.append(g711.silence(20))
    assert talk.record.misread_bytes == 160
    talk.wait(4)
    talk.append(g711.silence(20))
    assert ("session.updated" in talk.types()) is takes
    assert talk.record.misread_bytes == (160 if takes else 320)


def test_only_the_named_update_is_refused() -> None:
    talk = talk_with(RefuseSessionUpdate("invalid_value", number=2))
    talk.say("session.update", event_id="c-2", session={"type": "realtime", "instructions": "No."})
    talk.say("session.update", session={"type": "realtime"})
    error = talk.last("error")["error"]
    assert (error["code"], error["event_id"]) == ("invalid_value", "c-2")
    updates = talk.all_of("session.updated")
    assert len(updates) == 2
    assert updates[1]["session"]["instructions"] != "No."


def test_a_session_can_stay_on_pcm_and_say_so() -> None:
    talk = create(talk_with(EchoOtherFormat()))
    audio = talk.last("session.updated")["session"]["audio"]
    assert audio["input"]["format"] == audio["output"]["format"] == PCM_24K
    assert audio["input"]["turn_detection"]["silence_duration_ms"] == 500
    assert len(talk.audio()) > 5 * len(LONG_REPLY.audio)


# --- responses


def test_audio_can_stall_in_mid_sentence() -> None:
    talk = create(talk_with(StallAudio(1, 2_000, 3.0)), 8)
    deltas = [
        at
        for at, event in zip(talk.times, talk.events, strict=True)
        if event["type"] == "response.output_audio.delta"
    ]
    pauses = [later - earlier for earlier, later in pairwise(deltas)]
    assert max(pauses) == pytest.approx(3.0, abs=0.2)
    before = pauses.index(max(pauses)) + 1
    sizes = [len(event["delta"]) * 3 // 4 for event in talk.all_of("response.output_audio.delta")]
    assert sum(sizes[:before]) == pytest.approx(16_000, abs=4_300)
    assert talk.audio() == LONG_REPLY.audio


def test_a_stall_behind_the_end_changes_nothing() -> None:
    stalled = create(talk_with(StallAudio(1, 60_000, 3.0), StallAudio(2, 0, 3.0)))
    assert stalled.times == create(talk_with()).times


@pytest.mark.parametrize("after_ms", [0, 1_000, 60_000])
def test_a_response_can_fail_on_its_way(after_ms: int) -> None:
    talk = create(talk_with(FailResponse(1, Ending.RATE_LIMIT_EXCEEDED, after_ms)))
    done = talk.last("response.done")["response"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["code"] == "rate_limit_exceeded"
    assert talk.audio() == LONG_REPLY.audio[: after_ms * 8]
    assert bool(done["output"]) is (after_ms > 0)
    assert create(talk).last("response.done")["response"]["status"] == "completed"


def test_a_response_of_two_items_can_fail_in_either() -> None:
    reply = Reply(b"\x10" * 800, "One.", more_speech=(Speech(b"\x20" * 800, "Two."),))
    cuts = {50: [400], 150: [800, 400]}
    for after_ms, sizes in cuts.items():
        talk = create(Talk((reply,), faults=(FailResponse(1, after_ms=after_ms),)))
        assert [len(item.audio) for item in talk.record.responses[0].items] == sizes


def test_a_response_can_end_without_ever_having_been_created() -> None:
    talk = create(talk_with(NoCreated(1)))
    assert "response.created" not in talk.types()
    assert talk.last("response.done")["response"]["id"] == "resp_sim0001"
    create(talk)
    assert talk.types().count("response.created") == 1


def test_the_end_of_a_response_can_stay_untold() -> None:
    talk = create(create(talk_with(NoDone(1))))
    assert [event["response"]["id"] for event in talk.all_of("response.done")] == ["resp_sim0002"]
    assert talk.audio() == LONG_REPLY.audio
    assert talk.record.responses[0].done_at is not None, "to the server it is over"


def test_a_response_can_be_unstoppable() -> None:
    faults = (Unstoppable(1), StallAudio(1, 500, 3_600.0))
    talk = create(talk_with(*faults), seconds=2)
    talk.say("response.cancel", response_id="resp_sim0001")
    talk.ask()
    assert talk.record.cancels[0].outcome is CancelOutcome.IGNORED
    assert "response.done" not in talk.types()
    assert talk.error_codes() == ["conversation_already_has_active_response"], "that of the turn"
    assert create(talk).error_codes() == ["conversation_already_has_active_response"] * 2


def test_only_the_named_response_is_unstoppable() -> None:
    talk = create(create(talk_with(Unstoppable(1))), seconds=0.4)
    talk.say("response.cancel")
    talk.wait(1)
    assert talk.done(1)["status"] == "completed"
    assert talk.done(2)["status"] == "cancelled"


def test_a_create_can_be_ignored() -> None:
    talk = create(talk_with(IgnoreCreate(1)))
    assert "response.created" not in talk.types()
    assert talk.error_codes() == []
    assert [made.response_id for made in create(talk).record.creates] == [None, "resp_sim0001"]


def test_a_server_can_stop_hearing_and_answer_all_the_same() -> None:
    talk = talk_with(StopHearing(After(1)))
    talk.wait(2)
    talk.ask()
    assert talk.record.speech_started == []
    assert len(talk.record.appended) > 8_000
    assert create(talk).last("response.done")["response"]["status"] == "completed"


def test_a_server_that_stops_hearing_in_a_turn_never_ends_it() -> None:
    talk = talk_with(StopHearing(AtAppend(60)))
    talk.ask()
    assert len(talk.record.speech_started) == 1
    assert talk.record.speech_stopped == []


def test_events_of_one_response_can_come_twice() -> None:
    talk = create(create(talk_with(DuplicateEvents(1))))
    ids = [event["response"]["id"] for event in talk.all_of("response.done")]
    assert ids == ["resp_sim0001", "resp_sim0001", "resp_sim0002"]
    assert talk.types().count("response.created") == 3
    assert talk.audio() == LONG_REPLY.audio


def test_events_can_go_out_under_the_names_of_an_old_server() -> None:
    renamed = RenameEvents((("response.output_audio.delta", "response.audio.delta"),))
    talk = create(talk_with(renamed))
    assert "response.output_audio.delta" not in talk.types()
    assert "response.audio.delta" in talk.types()
    assert "response.output_audio.done" in talk.types()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("audio.input.turn_detection.create_response", False),
        ("audio.output.voice", "cedar"),
        ("instructions", "Something else."),
    ],
)
def test_an_update_can_be_confirmed_with_another_value(path: str, value: str | bool) -> None:
    talk = talk_with(EchoOther(path, value))
    echoed = talk.last("session.updated")["session"]
    for name in path.split("."):
        echoed = echoed[name]
    assert echoed == value


def test_the_value_that_was_not_asked_for_is_in_force() -> None:
    talk = talk_with(EchoOther("audio.input.turn_detection.create_response", False))
    talk.ask()
    assert "input_audio_buffer.committed" in talk.types()
    assert "response.created" not in talk.types()


@pytest.mark.parametrize("code", ["invalid_value", None])
def test_only_the_named_truncate_is_refused(code: str | None) -> None:
    talk = create(talk_with(RefuseTruncate(2, code, "No.")))
    item_id = talk.record.responses[0].items[0].id
    for heard_ms in (900, 800, 700):
        talk.say(
            "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=heard_ms
        )
    assert [truncate.accepted for truncate in talk.record.truncates] == [True, False, True]
    assert talk.error_codes() == [code]
    assert len(talk.all_of("conversation.item.truncated")) == 2


def test_a_server_can_speak_the_language_of_the_beta() -> None:
    talk = create(talk_with(*beta_names()))
    assert "response.audio.delta" in talk.types()
    assert "response.audio_transcript.done" in talk.types()
    assert not [name for name in talk.types() if "output_audio" in name]


def test_any_event_can_be_put_into_words() -> None:
    told = event_message("response.hologram", light=1)
    assert json.loads(told) == {"type": "response.hologram", "event_id": "event_simraw", "light": 1}
    delta = delta_message("resp_sim0001", "item_sim_a1", b"\x00\xff")
    talk = create(talk_with(SendRaw(AtResponseDone(1), delta)))
    assert talk.audio() == LONG_REPLY.audio + b"\x00\xff"


# --- refusals of the whole session


def test_a_bad_key_and_the_beta_header_close_the_socket_before_anything_else() -> None:
    refused = Talk(faults=key_refused(), session=None)
    assert refused.closes == [Close(3000, "invalid_request_error.invalid_api_key")]
    assert refused.events == []
    beta = Talk(faults=beta_shape_refused(), session=None)
    assert beta.error_codes() == ["beta_api_shape_disabled"]
    assert beta.closes == [Close(4000, "invalid_request_error.beta_api_shape_disabled")]


def test_a_session_expires_with_an_error_and_close_1001() -> None:
    talk = create(talk_with(*session_expired(AtResponse(1, 500))))
    assert talk.error_codes() == ["session_expired"]
    (close,) = talk.closes
    assert close.code == 1001
    assert close.reason == talk.last("error")["error"]["message"]


def test_an_error_of_the_server_s_own_can_be_put_into_words() -> None:
    body = json.loads(error_message(None, "The server had an error", "server_error"))
    assert body["error"]["type"] == "server_error"
    assert body["error"]["code"] is body["error"]["event_id"] is None


def test_the_phone_session_itself_has_no_fault() -> None:
    assert Talk(session=PHONE_SESSION).error_codes() == []
