"""The Realtime API's server events: their JSON to `realtime_events`.

Decides whether an event is well-formed; knows nothing of sessions, responses in progress or
order. A field the engine cannot do without is required; any other reads None when it is absent
or wrong, because losing `response.done` over an odd usage figure would hang the call.
Facts: OpenAI Realtime API reference, server events; `openai.types.realtime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callengine.wire import realtime_events as ev
from callengine.wire.fault import Fault
from callengine.wire.json_object import BadField, JsonObject, clipped, parse_object
from callengine.wire.realtime_client import CREATE_ID

if TYPE_CHECKING:
    from collections.abc import Callable

_UNFINISHED: Final = frozenset({"in_progress", "incomplete"})


def decode(message: str | bytes) -> ev.ServerEvent:
    """One WebSocket message from the model. Never raises: what cannot be read is `Malformed`.

    No size limit: a delta may be mebibytes. Bytes are taken as UTF-8 text, as some sockets
    hand text over undecoded.
    """
    kind = ""
    try:
        fields = parse_object(message if isinstance(message, str) else _utf8(message))
        kind = fields.text("type")
        read = _READERS.get(kind)
        if read:
            return read(fields)
        return ev.Noted(kind) if kind in _NOTED else ev.Unknown(clipped(kind))
    except BadField as bad:
        return ev.Malformed(bad.fault, clipped(kind), bad.path)


def _utf8(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise BadField(Fault.NOT_JSON, "utf-8") from None


def _session_created(fields: JsonObject) -> ev.SessionCreated:
    session = fields.child("session")
    return ev.SessionCreated(session.text_or_none("id"), session.integer_or_none("expires_at"))


def _session_updated(fields: JsonObject) -> ev.SessionUpdated:
    audio = fields.child("session").child_or_empty("audio")
    heard, spoken = audio.child_or_empty("input"), audio.child_or_empty("output")
    return ev.SessionUpdated(
        input_format=_audio_format(heard.child_or_empty("format")),
        output_format=_audio_format(spoken.child_or_empty("format")),
        turn_detection=_turn_detection(heard.child_or_empty("turn_detection")),
        # A voice is a name, or an object with the id of a custom one.
        voice=spoken.text_or_none("voice") or spoken.child_or_empty("voice").text_or_none("id"),
    )


def _audio_format(fields: JsonObject) -> ev.AudioFormat | None:
    kind = fields.text_or_none("type")
    return None if kind is None else ev.AudioFormat(kind, fields.integer_or_none("rate"))


def _turn_detection(fields: JsonObject) -> ev.TurnDetection | None:
    kind = fields.text_or_none("type")
    if kind is None:
        return None
    return ev.TurnDetection(
        type=kind,
        create_response=fields.flag_or_none("create_response"),
        interrupt_response=fields.flag_or_none("interrupt_response"),
    )


def _speech_started(fields: JsonObject) -> ev.SpeechStarted:
    return ev.SpeechStarted(fields.identifier("item_id"), fields.integer("audio_start_ms"))


def _speech_stopped(fields: JsonObject) -> ev.SpeechStopped:
    return ev.SpeechStopped(fields.identifier("item_id"), fields.integer("audio_end_ms"))


def _input_committed(fields: JsonObject) -> ev.InputCommitted:
    return ev.InputCommitted(fields.identifier("item_id"))


def _input_transcript(fields: JsonObject) -> ev.InputTranscript:
    return ev.InputTranscript(fields.identifier("item_id"), fields.text("transcript"))


def _input_transcript_failed(fields: JsonObject) -> ev.InputTranscriptFailed:
    error = fields.child_or_empty("error")
    return ev.InputTranscriptFailed(fields.identifier("item_id"), _error_code(error))


def _error_code(error: JsonObject) -> str | None:
    # `code` is null for some errors whose `type` says enough to act on, as for server_error.
    return error.word_or_none("code") or error.word_or_none("type")


def _response_created(fields: JsonObject) -> ev.ResponseCreated:
    response = fields.child("response")
    answers = response.child_or_empty("metadata").text_or_none(CREATE_ID)
    return ev.ResponseCreated(response.identifier("id"), _is_out_of_band(response), answers)


def _is_out_of_band(response: JsonObject) -> bool:
    # A null conversation alone is no proof: the types let any response have none. Who asks for
    # an out-of-band response marks it with metadata, to know it again; ours are all in band.
    members = response.members
    no_conversation = "conversation_id" in members and members["conversation_id"] is None
    metadata = response.child_or_empty("metadata").members
    return no_conversation and bool(metadata) and CREATE_ID not in metadata


def _audio_delta(fields: JsonObject) -> ev.AudioDelta:
    return ev.AudioDelta(
        fields.identifier("response_id"),
        fields.identifier("item_id"),
        fields.count("content_index"),
        fields.audio("delta"),
    )


def _audio_done(fields: JsonObject) -> ev.AudioDone:
    return ev.AudioDone(
        fields.identifier("response_id"),
        fields.identifier("item_id"),
        fields.count("content_index"),
    )


def _transcript_delta(fields: JsonObject) -> ev.TranscriptDelta:
    return ev.TranscriptDelta(
        fields.identifier("response_id"),
        fields.identifier("item_id"),
        fields.count("content_index"),
        fields.text("delta"),
    )


def _transcript_done(fields: JsonObject) -> ev.TranscriptDone:
    return ev.TranscriptDone(
        fields.identifier("response_id"),
        fields.identifier("item_id"),
        fields.count("content_index"),
        fields.text("transcript"),
    )


def _arguments_done(fields: JsonObject) -> ev.FunctionCall:
    return _function_call(fields, fields.identifier("response_id"), fields.identifier("item_id"))


def _output_item_done(fields: JsonObject) -> ev.FunctionCall | ev.Noted:
    item = fields.child("item")
    if not _is_finished_call(item):
        return ev.Noted("response.output_item.done")
    return _function_call(item, fields.identifier("response_id"), item.identifier("id"))


def _is_finished_call(item: JsonObject) -> bool:
    if item.text_or_none("type") != "function_call":
        return False
    return item.text_or_none("status") not in _UNFINISHED


def _function_call(fields: JsonObject, response_id: str, item_id: str) -> ev.FunctionCall:
    return ev.FunctionCall(
        response_id=response_id,
        item_id=item_id,
        call_id=fields.identifier("call_id"),
        name=fields.identifier("name"),
        arguments=fields.text("arguments"),
    )


def _response_done(fields: JsonObject) -> ev.ResponseDone:
    response = fields.child("response")
    response_id = response.identifier("id")
    details = response.child_or_empty("status_details")
    return ev.ResponseDone(
        response_id=response_id,
        status=response.identifier("status"),
        reason=details.text_or_none("reason"),
        error_code=_error_code(details.child_or_empty("error")),
        usage=_usage(response.child_or_empty("usage")),
        function_calls=_finished_calls(response, response_id),
    )


def _finished_calls(response: JsonObject, response_id: str) -> tuple[ev.FunctionCall, ...]:
    calls = []
    for item in response.children("output"):
        if not _is_finished_call(item):
            continue
        try:
            calls.append(_function_call(item, response_id, item.identifier("id")))
        except BadField:
            # The same item in response.output_item.done was reported as Malformed. Refusing
            # response.done for it would leave the response slot taken.
            continue
    return tuple(calls)


def _usage(fields: JsonObject) -> ev.Usage | None:
    if not fields.members:
        return None
    heard = fields.child_or_empty("input_token_details")
    spoken = fields.child_or_empty("output_token_details")
    return ev.Usage(
        input_tokens=fields.count_or_none("input_tokens") or 0,
        output_tokens=fields.count_or_none("output_tokens") or 0,
        total_tokens=fields.count_or_none("total_tokens") or 0,
        cached_tokens=heard.count_or_none("cached_tokens") or 0,
        input_audio_tokens=heard.count_or_none("audio_tokens") or 0,
        output_audio_tokens=spoken.count_or_none("audio_tokens") or 0,
    )


def _item_truncated(fields: JsonObject) -> ev.ItemTruncated:
    return ev.ItemTruncated(
        fields.identifier("item_id"),
        fields.count("content_index"),
        fields.integer("audio_end_ms"),
    )


def _error(fields: JsonObject) -> ev.ErrorReceived:
    error = fields.child("error")
    return ev.ErrorReceived(
        code=error.word_or_none("code"),
        error_type=error.word_or_none("type"),
        message=error.text_or_none("message") or "",
        param=error.word_or_none("param"),
        caused_by=error.text_or_none("event_id"),
    )


_READERS: Final[dict[str, Callable[[JsonObject], ev.ServerEvent]]] = {
    "response.output_audio.delta": _audio_delta,
    "response.output_audio_transcript.delta": _transcript_delta,
    "response.output_audio.done": _audio_done,
    "response.output_audio_transcript.done": _transcript_done,
    "session.created": _session_created,
    "session.updated": _session_updated,
    "input_audio_buffer.speech_started": _speech_started,
    "input_audio_buffer.speech_stopped": _speech_stopped,
    "input_audio_buffer.committed": _input_committed,
    "conversation.item.input_audio_transcription.completed": _input_transcript,
    "conversation.item.input_audio_transcription.failed": _input_transcript_failed,
    "conversation.item.truncated": _item_truncated,
    "response.created": _response_created,
    "response.function_call_arguments.done": _arguments_done,
    "response.output_item.done": _output_item_done,
    "response.done": _response_done,
    "error": _error,
}

_NOTED: Final = frozenset(
    {
        "conversation.created",
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.deleted",
        "conversation.item.done",
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
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.output_item.added",
        "response.output_text.delta",
        "response.output_text.done",
    }
)
