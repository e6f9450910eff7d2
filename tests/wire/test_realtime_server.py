from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.wire import realtime_events as ev
from callengine.wire.fault import Fault
from callengine.wire.realtime_server import decode as decode_message
from tests.openai_types import validate_server
from tests.wire.golden_frames import frames, paths, replaced, without

SERVER = frames("openai_ga", "server")

RESPONSE = "resp_sim0001"
ANSWER = "item_sim_a1"
QUESTION = "item_sim_u1"
PCMU = ev.AudioFormat("audio/pcmu", None)
USAGE = ev.Usage(90, 60, 150, 0, 30, 45)
CALL = ev.FunctionCall(RESPONSE, "item_sim_f1", "call_sim1", "book_slot", '{"day":"2026-12-01"}')


def decode(frame: object) -> ev.ServerEvent:
    return decode_message(json.dumps(frame))


def done(
    status: str,
    reason: str | None = None,
    *,
    error_code: str | None = None,
    usage: ev.Usage | None = USAGE,
    function_calls: tuple[ev.FunctionCall, ...] = (),
) -> ev.ResponseDone:
    return ev.ResponseDone(RESPONSE, status, reason, error_code, usage, function_calls)


def error(
    code: str | None, message: str, *, param: str | None = None, caused_by: str | None = None
) -> ev.ErrorReceived:
    return ev.ErrorReceived(code, "invalid_request_error", message, param, caused_by)


# Name of the example -> what it must decode to. Those not listed are noted under their `type`.
EXPECTED: dict[str, ev.ServerEvent] = {
    "session.created": ev.SessionCreated("sess_sim0001", 1795000000),
    "session.updated": ev.SessionUpdated(
        PCMU, PCMU, ev.TurnDetection("server_vad", True, True), "marin"
    ),
    "input_audio_buffer.speech_started": ev.SpeechStarted(QUESTION, 1180),
    "input_audio_buffer.speech_stopped": ev.SpeechStopped(QUESTION, 2620),
    "input_audio_buffer.committed": ev.InputCommitted(QUESTION),
    "conversation.item.input_audio_transcription.completed": ev.InputTranscript(
        QUESTION, "I would like to book a visit."
    ),
    "conversation.item.input_audio_transcription.completed_duration_usage": ev.InputTranscript(
        QUESTION, ""
    ),
    "conversation.item.input_audio_transcription.failed": ev.InputTranscriptFailed(
        QUESTION, "audio_unintelligible"
    ),
    "conversation.item.truncated": ev.ItemTruncated(ANSWER, 0, 820),
    "response.created": ev.ResponseCreated(RESPONSE, out_of_band=False),
    "response.created_with_metadata": ev.ResponseCreated(RESPONSE, False, answers="c-42"),
    "response.output_audio.delta": ev.AudioDelta(
        RESPONSE, ANSWER, 0, base64.b64decode(SERVER["response.output_audio.delta"]["delta"])
    ),
    "response.output_audio.done": ev.AudioDone(RESPONSE, ANSWER, 0),
    "response.output_audio_transcript.delta": ev.TranscriptDelta(RESPONSE, ANSWER, 0, "Good mor"),
    "response.output_audio_transcript.done": ev.TranscriptDone(
        RESPONSE, ANSWER, 0, "Good morning, how can I help?"
    ),
    "response.function_call_arguments.done": CALL,
    "response.output_item.done_function_call": CALL,
    "response.done_function_call": done("completed", function_calls=(CALL,)),
    "response.done_completed": done("completed"),
    "response.done_cancelled_turn_detected": done("cancelled", "turn_detected"),
    "response.done_cancelled_client": done("cancelled", "client_cancelled"),
    "response.done_cancelled_before_output": done("cancelled", "client_cancelled"),
    "response.done_incomplete_max_tokens": done("incomplete", "max_output_tokens"),
    "response.done_incomplete_content_filter": done("incomplete", "content_filter"),
    "response.done_failed_rate_limit": done("failed", error_code="rate_limit_exceeded", usage=None),
    "response.done_failed_server_error": done("failed", error_code="server_error", usage=None),
    "error_active_response": error(
        "conversation_already_has_active_response",
        "Conversation already has an active response in progress: resp_sim0001. "
        "Wait until the response is finished before creating a new one.",
    ),
    "error_beta_disabled": error(
        "beta_api_shape_disabled", "invented text: the beta shape is no longer served"
    ),
    "error_cancel_not_active": error(
        "response_cancel_not_active",
        "Cancellation failed: no active response found",
        caused_by="c-17",
    ),
    "error_commit_empty": error(
        "input_audio_buffer_commit_empty",
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
        "but buffer only has 0.00ms of audio.",
        caused_by="c-20",
    ),
    "error_invalid_audio": error(
        "invalid_value",
        "Invalid 'audio'. Expected base64-encoded audio bytes.",
        param="audio",
        caused_by="c-21",
    ),
    "error_missing_session_type": error(
        "missing_required_parameter",
        "Missing required parameter: 'session.type'.",
        param="session.type",
        caused_by="c-23",
    ),
    "error_retrieve_invalid": error(
        "item_retrieve_invalid_item_id", "invented text: no such item", caused_by="c-26"
    ),
    "error_server": ev.ErrorReceived(
        None, "server_error", "invented text: the server had an error", None, None
    ),
    "error_session_expired": error(
        "session_expired", "Your session hit the maximum duration of 60 minutes."
    ),
    "error_truncate_not_audio": error(
        "unsupported_content_type",
        "Only model output audio messages can be truncated",
        caused_by="c-19",
    ),
    "error_truncate_not_audio_older": error(
        None, "Only model output audio messages can be truncated", caused_by="c-19"
    ),
    "error_truncate_too_long": error(
        "invalid_value", "Audio content of 3700ms is already shorter than 3760ms", caused_by="c-18"
    ),
    "error_unknown_event": error(
        "invalid_value", "Invalid value: 'response.stop'.", param="type", caused_by="c-24"
    ),
    "error_unknown_parameter": error(
        "unknown_parameter",
        "Unknown parameter: 'session.voice'.",
        param="session.voice",
        caused_by="c-22",
    ),
    "error_voice_locked": error(
        "cannot_update_voice",
        "Cannot update a conversation's voice if assistant audio is present.",
        caused_by="c-25",
    ),
}

NOTED = {
    "conversation.created",
    "conversation.item.added",
    "conversation.item.created",
    "conversation.item.deleted",
    "conversation.item.done",
    "conversation.item.done_assistant",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.segment",
    "conversation.item.retrieved",
    "input_audio_buffer.cleared",
    "input_audio_buffer.dtmf_event_received",
    "input_audio_buffer.timeout_triggered",
    "mcp_list_tools.completed",
    "mcp_list_tools.failed",
    "mcp_list_tools.in_progress",
    "output_audio_buffer.cleared",
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
    "rate_limits.updated",
    "rate_limits.updated_empty",
    "response.content_part.added",
    "response.content_part.done",
    "response.function_call_arguments.delta",
    "response.mcp_call.completed",
    "response.mcp_call.failed",
    "response.mcp_call.in_progress",
    "response.mcp_call_arguments.delta",
    "response.mcp_call_arguments.done",
    "response.output_item.added",
    "response.output_item.added_function_call",
    "response.output_item.done",
    "response.output_item.done_incomplete",
    "response.output_text.delta",
    "response.output_text.done",
}

_PART = ["response_id", "item_id", "content_index"]
REQUIRED = {
    "session.created": ["session"],
    "session.updated": ["session"],
    "input_audio_buffer.speech_started": ["item_id", "audio_start_ms"],
    "input_audio_buffer.speech_stopped": ["item_id", "audio_end_ms"],
    "input_audio_buffer.committed": ["item_id"],
    "conversation.item.input_audio_transcription.completed": ["item_id", "transcript"],
    "conversation.item.input_audio_transcription.failed": ["item_id"],
    "conversation.item.truncated": ["item_id", "content_index", "audio_end_ms"],
    "response.created": ["response", "response.id"],
    "response.output_audio.delta": [*_PART, "delta"],
    "response.output_audio.done": _PART,
    "response.output_audio_transcript.delta": [*_PART, "delta"],
    "response.output_audio_transcript.done": [*_PART, "transcript"],
    "response.function_call_arguments.done": [
        "response_id", "item_id", "call_id", "name", "arguments",
    ],
    "response.output_item.done_function_call": [
        "response_id", "item", "item.id", "item.call_id", "item.name", "item.arguments",
    ],
    "response.output_item.done": ["item"],
    "response.done": ["response", "response.id", "response.status"],
    "error": ["error"],
}  # fmt: skip

JUNK: list[object] = [True, -1, 2**70, 1.5, "", "x" * 500, [], [[]], {}, {"a": []}]


def fields_of(name: str) -> list[str]:
    return [path for path in paths(SERVER[name]) if path != "type"]


def required_of(name: str) -> list[str]:
    return REQUIRED.get(name, REQUIRED.get(SERVER[name]["type"], []))


def test_every_example_is_a_valid_server_event() -> None:
    for frame in SERVER.values():
        validate_server(frame)


def test_every_example_has_its_expected_event() -> None:
    assert set(SERVER) == set(EXPECTED) | NOTED
    noted = {name: ev.Noted(SERVER[name]["type"]) for name in NOTED}
    assert {name: decode(frame) for name, frame in SERVER.items()} == EXPECTED | noted


@pytest.mark.edge_case(70)
@pytest.mark.parametrize("name", SERVER)
def test_a_deleted_or_null_field_is_named_if_required_and_harmless_if_not(name: str) -> None:
    kind, required = SERVER[name]["type"], required_of(name)
    for path in fields_of(name):
        deleted, nulled = without(SERVER[name], path), replaced(SERVER[name], path, None)
        if path in required:
            assert decode(deleted) == ev.Malformed(Fault.MISSING_FIELD, kind, path)
            assert decode(nulled) == ev.Malformed(Fault.WRONG_TYPE, kind, path)
        else:
            assert isinstance(decode(deleted), without_optional(name, path))
            assert isinstance(decode(nulled), without_optional(name, path))


def without_optional(name: str, path: str) -> type:
    # What makes an item a function call to be executed is its type: without, it is only noted.
    if name == "response.output_item.done_function_call" and path == "item.type":
        return ev.Noted
    return type(decode(SERVER[name]))


@pytest.mark.edge_case(70)
@pytest.mark.parametrize("name", SERVER)
def test_a_field_of_any_other_type_never_raises_and_blames_only_a_required_one(name: str) -> None:
    for path, junk in itertools.product(fields_of(name), JUNK):
        decoded = decode(replaced(SERVER[name], path, junk))
        assert isinstance(decoded, ev.ServerEvent)
        assert not isinstance(decoded, ev.Unknown)
        if isinstance(decoded, ev.Malformed):
            assert decoded.detail in required_of(name), (path, junk)


@pytest.mark.parametrize("field", ["audio_start_ms", "item_id"])
@pytest.mark.parametrize("wrong", ["text" * 100, 1.5, True, [0], {}, 10**400, ""])
def test_a_required_field_of_the_wrong_type_is_named(field: str, wrong: object) -> None:
    decoded = decode(replaced(SERVER["input_audio_buffer.speech_started"], field, wrong))
    if field == "item_id" and wrong == "text" * 100:
        assert decoded == ev.SpeechStarted("text" * 100, 1180)
        return
    empty_identifier = field == "item_id" and wrong == ""
    assert decoded == ev.Malformed(
        Fault.MISSING_FIELD if empty_identifier else Fault.WRONG_TYPE,
        "input_audio_buffer.speech_started",
        field,
    )


@pytest.mark.parametrize("number", [-1, -(2**53) + 1, 2**53])
def test_a_content_index_is_a_place_in_a_list(number: int) -> None:
    """What the model gives is given back in a truncate, which has no negative one."""
    decoded = decode({**SERVER["response.output_audio.delta"], "content_index": number})
    assert decoded == ev.Malformed(Fault.WRONG_TYPE, "response.output_audio.delta", "content_index")


@pytest.mark.edge_case(70)
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("response.created", "response.id"),
        ("response.output_audio.delta", "item_id"),
        ("response.function_call_arguments.done", "call_id"),
    ],
)
def test_an_identifier_is_kept_and_therefore_of_limited_length(name: str, path: str) -> None:
    longest = replaced(SERVER[name], path, "i" * 512)
    assert isinstance(decode(longest), type(EXPECTED[name]))
    too_long = replaced(SERVER[name], path, "i" * 513)
    assert decode(too_long) == ev.Malformed(Fault.TOO_LONG, name, path)


@pytest.mark.edge_case(46)
@pytest.mark.parametrize("size", [0, 1, 159, 160, 161, 1000, 4133, 65_536, 3 * 2**20])
def test_a_delta_of_any_size_keeps_every_byte(size: int) -> None:
    audio = bytes(index % 251 for index in range(size))
    frame = {**SERVER["response.output_audio.delta"], "delta": base64.b64encode(audio).decode()}
    assert decode(frame) == ev.AudioDelta(RESPONSE, ANSWER, 0, audio)


@pytest.mark.edge_case(46)
@pytest.mark.parametrize("delta", ["%%%", "_-8=", "//8", "//8=\n", "é==="])
def test_a_delta_that_is_not_base64_is_refused(delta: str) -> None:
    decoded = decode({**SERVER["response.output_audio.delta"], "delta": delta})
    assert decoded == ev.Malformed(Fault.BAD_BASE64, "response.output_audio.delta", "delta")


def test_text_delivered_as_bytes_is_read_as_utf8() -> None:
    frame = {**SERVER["response.output_audio_transcript.delta"], "delta": "Grüß ☎"}
    message = json.dumps(frame, ensure_ascii=False).encode()
    assert decode_message(message) == ev.TranscriptDelta(RESPONSE, ANSWER, 0, "Grüß ☎")


@pytest.mark.edge_case(70)
@pytest.mark.parametrize("message", [b"\xff", b'{"type":"\xc3"}', '{"a":1}'.encode("utf-16")])
def test_bytes_that_are_not_utf8_are_malformed(message: bytes) -> None:
    assert decode_message(message) == ev.Malformed(Fault.NOT_JSON, "", "utf-8")


def test_lone_surrogates_are_replaced_so_that_text_can_be_stored() -> None:
    frame = {**SERVER["response.output_audio_transcript.delta"], "delta": "a\ud83dz"}
    decoded = decode(frame)
    assert decoded == ev.TranscriptDelta(RESPONSE, ANSWER, 0, "a?z")


@pytest.mark.edge_case(70)
@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("", Fault.NOT_JSON),
        ("not json", Fault.NOT_JSON),
        ('{"type":"error","error":', Fault.NOT_JSON),
        ('{"type":"error","x":NaN}', Fault.NOT_JSON),
        ('{"a":' * 200_000, Fault.NOT_JSON),
        ("[" * 200_000, Fault.NOT_JSON),
        ("1" * 5000, Fault.NOT_JSON),
        ("[]", Fault.NOT_AN_OBJECT),
        ("null", Fault.NOT_AN_OBJECT),
        ("{}", Fault.MISSING_FIELD),
        ('{"type":null}', Fault.WRONG_TYPE),
        ('{"type":["error"]}', Fault.WRONG_TYPE),
    ],
)
def test_a_message_that_is_no_event_is_malformed_without_a_kind(message: str, fault: Fault) -> None:
    decoded = decode_message(message)
    assert isinstance(decoded, ev.Malformed)
    assert (decoded.fault, decoded.kind) == (fault, "")


@pytest.mark.edge_case(71, 72)
@pytest.mark.parametrize(
    "kind",
    [
        "response.cancelled",  # no such event, though a guide names it: done carries the status
        "response.output_item.created",
        "response.audio.delta",
        "response.audio_transcript.delta",
        "response.text.delta",
        "",
    ],
)
def test_nonexistent_and_beta_names_are_unknown(kind: str) -> None:
    frame = {**SERVER["response.output_audio.delta"], "type": kind}
    assert decode(frame) == ev.Unknown(kind)


def test_an_unknown_kind_is_cut_to_a_loggable_length() -> None:
    assert decode({"type": "k" * 5000}) == ev.Unknown("k" * 80)


@pytest.mark.edge_case(70)
def test_extra_fields_are_ignored_at_every_level() -> None:
    for frame in SERVER.values():
        extended = {**frame, "obfuscation": "x7Q", "newer": {"a": [1]}}
        for key in ("session", "response", "item", "error"):
            if key in frame:
                extended[key] = {**frame[key], "newer": {"a": [1]}}
        assert decode(extended) == decode(frame)


@pytest.mark.edge_case(63)
@pytest.mark.parametrize(
    ("changes", "out_of_band"),
    [
        ({"conversation_id": None, "metadata": {"purpose": "summary"}}, True),
        ({"conversation_id": None, "metadata": {}}, False),
        ({"conversation_id": None, "metadata": {"client_event_id": "c-1"}}, False),
        ({"conversation_id": None, "metadata": None}, False),
        ({"conversation_id": None, "metadata": "purpose"}, False),
        ({"conversation_id": "", "metadata": {"purpose": "summary"}}, False),
        ({"conversation_id": "conv_1", "metadata": {"purpose": "summary"}}, False),
    ],
)
def test_out_of_band_needs_a_null_conversation_and_metadata(
    changes: dict[str, object], out_of_band: bool
) -> None:
    frame = SERVER["response.created"]
    for key, value in changes.items():
        frame = replaced(frame, f"response.{key}", value)
    event = decode(frame)
    assert isinstance(event, ev.ResponseCreated)
    assert event.out_of_band is out_of_band


def test_an_absent_conversation_is_not_out_of_band() -> None:
    frame = replaced(SERVER["response.created"], "response.metadata", {"purpose": "summary"})
    assert decode(without(frame, "response.conversation_id")) == ev.ResponseCreated(RESPONSE, False)


@pytest.mark.parametrize("status", ["incomplete", "in_progress"])
def test_a_function_call_that_was_interrupted_is_not_offered_for_execution(status: str) -> None:
    item_done = replaced(SERVER["response.output_item.done_function_call"], "item.status", status)
    assert decode(item_done) == ev.Noted("response.output_item.done")
    item = {**SERVER["response.done_function_call"]["response"]["output"][0], "status": status}
    response_done = replaced(SERVER["response.done_function_call"], "response.output", [item])
    assert decode(response_done) == done("completed")


def test_response_done_tells_all_finished_calls_in_order_beside_speech() -> None:
    call = SERVER["response.done_function_call"]["response"]["output"][0]
    speech = SERVER["response.done_completed"]["response"]["output"][0]
    second = {**call, "id": "item_2", "call_id": "call_2"}
    frame = replaced(
        SERVER["response.done_function_call"], "response.output", [speech, call, second]
    )
    expected = ev.FunctionCall(RESPONSE, "item_2", "call_2", CALL.name, CALL.arguments)
    assert decode(frame) == done("completed", function_calls=(CALL, expected))


@pytest.mark.edge_case(50)
@pytest.mark.parametrize("field", ["id", "call_id", "name", "arguments"])
def test_a_bad_function_call_does_not_cost_the_end_of_the_response(field: str) -> None:
    call = SERVER["response.done_function_call"]["response"]["output"][0]
    broken = {**call, field: None}
    frame = replaced(SERVER["response.done_function_call"], "response.output", [broken, call, 7])
    assert decode(frame) == done("completed", function_calls=(CALL,))


@pytest.mark.parametrize("arguments", ["", "{not json", '"' * 100_000])
def test_arguments_are_passed_on_as_the_text_they_are(arguments: str) -> None:
    frame = {**SERVER["response.function_call_arguments.done"], "arguments": arguments}
    decoded = decode(frame)
    assert isinstance(decoded, ev.FunctionCall)
    assert decoded.arguments == arguments


def test_usage_takes_zero_for_what_is_not_given() -> None:
    frame = replaced(SERVER["response.done_completed"], "response.usage", {"output_tokens": 5})
    assert decode(frame) == done("completed", usage=ev.Usage(0, 5, 0, 0, 0, 0))


def test_usage_only_ever_adds_up() -> None:
    frame = replaced(SERVER["response.done_completed"], "response.usage.input_tokens", -90)
    assert decode(frame) == done("completed", usage=ev.Usage(0, 60, 150, 0, 30, 45))


def test_each_usage_count_comes_from_its_own_field() -> None:
    frame = SERVER["response.done_completed"]
    for count, path in enumerate(
        ["input_tokens", "output_tokens", "total_tokens", "input_token_details.cached_tokens",
         "input_token_details.audio_tokens", "output_token_details.audio_tokens"],
        start=1,
    ):  # fmt: skip
        frame = replaced(frame, f"response.usage.{path}", count)
    assert decode(frame) == done("completed", usage=ev.Usage(1, 2, 3, 4, 5, 6))


@pytest.mark.edge_case(65)
@pytest.mark.parametrize("body", [None, "server broke", [], 7])
def test_an_error_that_is_no_object_is_malformed(body: object) -> None:
    decoded = decode({"type": "error", "event_id": "event_1", "error": body})
    assert decoded == ev.Malformed(Fault.WRONG_TYPE, "error", "error")


def test_an_error_keeps_its_code_though_all_else_is_missing() -> None:
    frame = {"type": "error", "error": {"code": "response_cancel_not_active"}}
    assert decode(frame) == ev.ErrorReceived("response_cancel_not_active", None, "", None, None)


@pytest.mark.parametrize("field", ["code", "type", "param"])
def test_the_words_of_an_error_are_cut_to_a_loggable_length(field: str) -> None:
    error = {"type": "t", "code": "c", "param": "p", field: "k" * 5000}
    decoded = decode({"type": "error", "error": error})
    assert isinstance(decoded, ev.ErrorReceived)
    words = {"code": decoded.code, "type": decoded.error_type, "param": decoded.param}
    assert words == {"code": "c", "type": "t", "param": "p", field: "k" * 80}


def test_the_echoed_session_shows_where_it_differs() -> None:
    path = "session.audio"
    frame = replaced(SERVER["session.updated"], f"{path}.input.format", {
        "type": "audio/pcm", "rate": 24000,
    })  # fmt: skip
    frame = replaced(frame, f"{path}.output.format", "g711_ulaw")
    frame = replaced(frame, f"{path}.output.voice", {"id": "voice_1"})
    frame = replaced(frame, f"{path}.input.turn_detection", {
        "type": "semantic_vad", "create_response": False, "interrupt_response": "no",
    })  # fmt: skip
    assert decode(frame) == ev.SessionUpdated(
        input_format=ev.AudioFormat("audio/pcm", 24000),
        output_format=None,
        turn_detection=ev.TurnDetection("semantic_vad", False, None),
        voice="voice_1",
    )


def test_a_session_without_audio_has_nothing_to_show() -> None:
    frame = without(SERVER["session.updated"], "session.audio")
    assert decode(frame) == ev.SessionUpdated(None, None, None, None)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("response.output_audio.delta", "delta"),
        ("response.output_audio_transcript.delta", "delta"),
        ("response.output_audio_transcript.done", "transcript"),
        ("response.function_call_arguments.done", "arguments"),
        ("conversation.item.input_audio_transcription.completed", "transcript"),
    ],
)
def test_what_was_said_stays_out_of_repr(name: str, path: str) -> None:
    assert "4539" not in repr(decode(replaced(SERVER[name], path, "4539")))


@given(st.text(st.characters()) | st.binary())
def test_no_text_and_no_bytes_make_decode_raise(message: str | bytes) -> None:
    assert isinstance(decode_message(message), ev.ServerEvent)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_no_junk_in_any_fields_makes_decode_raise(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SERVER)))
    frame = SERVER[name]
    for path in data.draw(st.sets(st.sampled_from(sorted(frame)), min_size=1, max_size=3)):
        frame = replaced(frame, path, data.draw(JSON))
    decoded = decode(frame)
    assert isinstance(decoded, ev.ServerEvent)
    if isinstance(decoded, ev.Malformed):
        assert len(decoded.detail) <= 80
        assert len(decoded.kind) <= 80
