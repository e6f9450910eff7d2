"""What a client may say to the simulated server, and how it is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from callengine.audio import g711
from callengine.testing.realtime.script import Behaviour, Reply, ToolCall
from tests.testing.realtime.rig import LONG_REPLY, Talk
from tests.wire.golden_frames import frames


def spoken(talk: Talk) -> str:
    """Let the talk's first reply be spoken to its end; the id of its item."""
    talk.say("response.create")
    talk.wait(4)
    return talk.record.responses[0].items[0].id


# --- events that are none


@pytest.mark.parametrize("message", ["{", "[]", "null", b"\x00\xff", '"text"', "[" * 100_000])
def test_what_is_no_json_object_is_refused_and_kept(message: str | bytes) -> None:
    talk = Talk()
    talk.say_raw(message)
    assert talk.error_codes() == ["invalid_json"]
    assert talk.record.unreadable == [message]


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({}, "missing_required_parameter", "type"),
        ({"type": "response.stop"}, "invalid_value", "type"),
        ({"type": 7}, "invalid_value", "type"),
        ({"type": "output_audio_buffer.clear"}, "invalid_value", "type"),
        ({"type": "response.cancel", "id": "x"}, "unknown_parameter", "id"),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": None}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "a-_="}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "é"}, "invalid_value", "audio"),
        (
            {"type": "response.create", "response": {"modalities": ["audio"]}},
            "unknown_parameter",
            "response.modalities",
        ),
        (
            {"type": "response.create", "response": {"metadata": {"tries": 1}}},
            "invalid_value",
            "response.metadata",
        ),
        (
            {"type": "conversation.item.create", "item": {"type": "message", "role": "user"}},
            "missing_required_parameter",
            "item.content",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "text", "text": "beta"}],
                },
            },
            "invalid_value",
            "item.content[0].type",
        ),
    ],
)
def test_a_wrong_event_is_refused_by_name(event: dict[str, Any], code: str, param: str) -> None:
    talk = Talk()
    talk.say_raw(json.dumps({**event, "event_id": "c-24"}))
    error = talk.last("error")["error"]
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "c-24")
    assert talk.record.errors[0].code == code
    assert talk.record.appends_received == 0


@pytest.mark.edge_case(61)
def test_an_append_of_more_than_15_mib_is_refused() -> None:
    talk = Talk()
    talk.append(bytes(15 * 1024 * 1024 + 1))
    assert talk.last("error")["error"]["param"] == "audio"
    assert not talk.record.appended


@pytest.mark.parametrize(("name", "event"), frames("openai_ga", "client").items())
def test_known_good_events_are_never_called_malformed(name: str, event: dict[str, Any]) -> None:
    talk = Talk((Reply(function_calls=(ToolCall("book_slot", call_id="call_sim1"),)),))
    spoken(talk)
    talk.say_raw(json.dumps(event))
    formal = {"unknown_parameter", "missing_required_parameter", "invalid_json"}
    assert formal.isdisjoint(talk.error_codes()), name


# --- the input buffer by hand


def test_a_commit_makes_an_item_and_no_response() -> None:
    talk = Talk()
    talk.say(
        "session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    )
    talk.append(LONG_REPLY.audio[:800])
    talk.say("input_audio_buffer.commit")
    talk.wait(3)
    assert "input_audio_buffer.speech_started" not in talk.types()
    item = talk.last("conversation.item.done")["item"]
    assert (item["role"], item["id"]) == (
        "user",
        talk.last("input_audio_buffer.committed")["item_id"],
    )
    assert talk.record.responses == []


@pytest.mark.edge_case(62)
def test_a_commit_of_less_than_100_ms_or_twice_is_refused() -> None:
    talk = Talk()
    talk.append(g711.silence(99))
    talk.say("input_audio_buffer.commit")
    talk.append(g711.silence(1))
    talk.say("input_audio_buffer.commit")
    talk.say("input_audio_buffer.commit")
    assert talk.error_codes() == ["input_audio_buffer_commit_empty"] * 2
    assert "99.00ms" in talk.all_of("error")[0]["error"]["message"]


@pytest.mark.edge_case(62)
def test_clear_drops_what_was_not_committed() -> None:
    talk = Talk()
    talk.append(g711.silence(200))
    talk.say("input_audio_buffer.clear")
    talk.say("input_audio_buffer.commit")
    assert talk.types()[-2:] == ["input_audio_buffer.cleared", "error"]


def test_clear_forgets_the_speech_under_way() -> None:
    talk = Talk()
    talk.speak(LONG_REPLY.audio[:1_600])
    talk.say("input_audio_buffer.clear")
    talk.speak(g711.silence(1_000))
    assert "input_audio_buffer.speech_stopped" not in talk.types()


# --- items


def user_text(text: str, **keys: object) -> dict[str, Any]:
    return {
        "item": {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
            **keys,
        }
    }


def test_items_are_put_where_they_are_wanted() -> None:
    talk = Talk()
    talk.say("conversation.item.create", **user_text("b", id="item_b"))
    talk.say("conversation.item.create", previous_item_id="root", **user_text("a", id="item_a"))
    talk.say("conversation.item.create", previous_item_id="item_a", **user_text("c", id="item_c"))
    talk.say("conversation.item.create", previous_item_id=None, **user_text("d"))
    told = [
        (event["previous_item_id"], event["item"]["id"])
        for event in talk.all_of("conversation.item.done")
    ]
    assert told[:3] == [(None, "item_b"), (None, "item_a"), ("item_a", "item_c")]
    assert told[3][0] == "item_b"
    assert len(talk.all_of("conversation.item.added")) == 4


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({**user_text("x"), "previous_item_id": "gone"}, "item_create_invalid_previous_item_id"),
        (user_text("x", id="item_a"), "item_create_invalid_item_id"),
        (
            {"item": {"type": "function_call_output", "call_id": "call_9", "output": "{}"}},
            "invalid_tool_call_id",
        ),
    ],
)
def test_an_item_that_cannot_be_added_is_refused(event: dict[str, Any], code: str) -> None:
    talk = Talk()
    talk.say("conversation.item.create", **user_text("a", id="item_a"))
    talk.say("conversation.item.create", **event)
    assert talk.error_codes() == [code]
    assert len(talk.all_of("conversation.item.added")) == 1
    assert talk.record.function_outputs == []


def test_the_output_of_a_restored_function_call_is_taken() -> None:
    talk = Talk()
    call = {"type": "function_call", "name": "f", "call_id": "call_9", "arguments": "{}"}
    talk.say("conversation.item.create", item=call)
    output = {"type": "function_call_output", "call_id": "call_9", "output": "{}"}
    talk.say("conversation.item.create", item=output)
    assert talk.error_codes() == []
    assert talk.record.function_outputs[0].call_id == "call_9"


def test_items_are_retrieved_and_deleted_once() -> None:
    talk = Talk()
    item_id = spoken(talk)
    talk.say("conversation.item.retrieve", item_id=item_id)
    assert talk.last("conversation.item.retrieved")["item"]["content"][0]["transcript"]
    talk.say("conversation.item.delete", item_id=item_id)
    assert talk.last("conversation.item.deleted")["item_id"] == item_id
    talk.say("conversation.item.delete", item_id=item_id)
    talk.say("conversation.item.retrieve", item_id=item_id)
    assert talk.error_codes() == ["item_delete_invalid_item_id", "item_retrieve_invalid_item_id"]


def test_an_item_deleted_while_it_is_spoken_does_no_harm() -> None:
    talk = Talk((LONG_REPLY,))
    talk.say("response.create")
    talk.wait(0.5)
    talk.say("conversation.item.delete", item_id=talk.record.responses[0].items[0].id)
    talk.wait(4)
    assert talk.last("response.done")["response"]["status"] == "completed"


# --- truncation


def truncate(talk: Talk, item_id: str, audio_end_ms: object, content_index: int = 0) -> None:
    talk.say(
        "conversation.item.truncate",
        event_id="c-6",
        item_id=item_id,
        content_index=content_index,
        audio_end_ms=audio_end_ms,
    )


@pytest.mark.edge_case(52)
@pytest.mark.parametrize("heard_ms", [0, 820, 1_000])
def test_truncation_cuts_the_audio_and_deletes_the_whole_transcript(heard_ms: int) -> None:
    talk = Talk()
    item_id = spoken(talk)
    truncate(talk, item_id, heard_ms)
    told = talk.last("conversation.item.truncated")
    assert (told["item_id"], told["audio_end_ms"], told["content_index"]) == (item_id, heard_ms, 0)
    talk.say("conversation.item.retrieve", item_id=item_id)
    assert talk.last("conversation.item.retrieved")["item"]["content"][0]["transcript"] is None
    (kept,) = talk.record.truncates
    assert (kept.accepted, kept.audio_end_ms) == (True, heard_ms)


@pytest.mark.edge_case(52)
def test_more_than_was_generated_cannot_be_left() -> None:
    talk = Talk()
    item_id = spoken(talk)
    truncate(talk, item_id, 1_001)
    error = talk.last("error")["error"]
    assert error["code"] == "invalid_value"
    assert error["message"] == "Audio content of 1000ms is already shorter than 1001ms"
    assert error["event_id"] == "c-6"
    assert [kept.accepted for kept in talk.record.truncates] == [False]
    truncate(talk, item_id, 300)
    truncate(talk, item_id, 400)
    assert talk.last("error")["error"]["message"].startswith("Audio content of 300ms")
    truncate(talk, item_id, 200)
    assert [kept.accepted for kept in talk.record.truncates] == [False, True, False, True]


@pytest.mark.edge_case(52)
@pytest.mark.parametrize("wrong", [-1, 820.0, "820", None, True])
def test_the_end_of_a_truncation_is_a_whole_number(wrong: object) -> None:
    talk = Talk()
    truncate(talk, spoken(talk), wrong)
    error = talk.last("error")["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "audio_end_ms")
    assert "conversation.item.truncated" not in talk.types()


@pytest.mark.edge_case(52)
def test_only_the_first_content_part_is_audio() -> None:
    talk = Talk()
    truncate(talk, spoken(talk), 100, content_index=1)
    assert talk.last("error")["error"]["param"] == "content_index"


@pytest.mark.edge_case(52)
def test_only_assistant_audio_can_be_truncated() -> None:
    talk = Talk((Reply(transcript="Silent.", function_calls=(ToolCall("f"),)),))
    spoken(talk)
    talk.say("conversation.item.create", **user_text("x", id="item_x"))
    for item_id in ["item_x", *(item.id for item in talk.record.responses[0].items)]:
        truncate(talk, item_id, 0)
    assert talk.error_codes() == ["unsupported_content_type"] * 3
    truncate(talk, "item_gone", 0)
    assert talk.error_codes()[-1] == "item_truncate_invalid_item_id"


@pytest.mark.edge_case(53)
def test_a_response_may_be_truncated_while_it_is_generated() -> None:
    talk = Talk((LONG_REPLY,), Behaviour(pace=2.0))
    talk.say("response.create")
    talk.wait(1.31)
    made = talk.record.responses[0]
    sent_ms = made.audio_ms_sent
    truncate(talk, made.items[0].id, sent_ms + 1)
    truncate(talk, made.items[0].id, 1_000)
    talk.wait(6)
    assert [kept.accepted for kept in talk.record.truncates] == [False, True]
    assert 1_500 < sent_ms < 3_000
    done = talk.last("response.done")["response"]
    assert done["output"][0]["content"][0]["transcript"] is None
    truncate(talk, made.items[0].id, 1_001)
    assert [kept.accepted for kept in talk.record.truncates] == [False, True, False]


def test_audio_is_base64_on_its_own_in_every_delta() -> None:
    talk = Talk()
    spoken(talk)
    for event in talk.all_of("response.output_audio.delta"):
        base64.b64decode(event["delta"], validate=True)
