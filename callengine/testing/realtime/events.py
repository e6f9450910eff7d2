"""What a client of the Realtime API may say: the eleven client events, read and checked.

Anything else is refused with the error the API gives; what an event leads to is not decided here.
"""

from __future__ import annotations

import json
from typing import Any, Final

from callengine.testing.realtime.rules import (
    Refusal,
    Rule,
    anything,
    by_type,
    fields,
    list_of,
    nullable,
    one_of,
    text,
    whole,
)
from callengine.testing.realtime.session import RESPONSE

_ENVELOPE: Final[dict[str, Rule]] = {"type": anything, "event_id": text}


def _event(required: dict[str, Rule], optional: dict[str, Rule] | None = None) -> Rule:
    return fields({**_ENVELOPE, **required, **(optional or {})}, tuple(required))


def _part(**keys: Rule) -> Rule:
    return fields({"type": anything, **keys}, tuple(keys))


_INPUT_TEXT: Final = _part(text=text)
_CONTENT: Final = {
    "system": by_type({"input_text": _INPUT_TEXT}),
    "user": by_type(
        {
            "input_text": _INPUT_TEXT,
            "input_audio": fields(
                {"type": anything, "audio": text, "transcript": nullable(text)}, ("audio",)
            ),
            "input_image": fields({"type": anything, "image_url": text, "detail": text}),
        }
    ),
    "assistant": by_type(
        {
            "output_text": _part(text=text),
            "output_audio": fields({"type": anything, "audio": text, "transcript": text}),
        }
    ),
}
_ITEM_KEYS: Final[dict[str, Rule]] = {
    "type": anything,
    "id": text,
    "object": one_of("realtime.item"),
    "status": one_of("completed", "incomplete", "in_progress"),
}


def _message(role: str) -> Rule:
    keys = {**_ITEM_KEYS, "role": anything, "content": list_of(_CONTENT[role])}
    return fields(keys, ("role", "content"))


_ITEM: Final = by_type(
    {
        "message": by_type({role: _message(role) for role in _CONTENT}, "role"),
        "function_call": fields(
            {**_ITEM_KEYS, "name": text, "call_id": text, "arguments": text},
            ("name", "arguments"),
        ),
        "function_call_output": fields(
            {**_ITEM_KEYS, "call_id": text, "output": text}, ("call_id", "output")
        ),
    }
)
_CLIENT_EVENT: Final = by_type(
    {
        "session.update": _event({"session": anything}),
        "input_audio_buffer.append": _event({"audio": text}),
        "input_audio_buffer.commit": _event({}),
        "input_audio_buffer.clear": _event({}),
        "output_audio_buffer.clear": _event({}),
        "conversation.item.create": _event({"item": _ITEM}, {"previous_item_id": nullable(text)}),
        "conversation.item.delete": _event({"item_id": text}),
        "conversation.item.retrieve": _event({"item_id": text}),
        "conversation.item.truncate": _event(
            {"item_id": text, "content_index": whole(0), "audio_end_ms": whole(0)}
        ),
        "response.create": _event({}, {"response": RESPONSE}),
        "response.cancel": _event({}, {"response_id": text}),
    }
)


def read(message: str | bytes) -> dict[str, Any]:
    """The JSON object of a message. Raises `Refusal` if it is none."""
    try:
        body = json.loads(message) if isinstance(message, str) else None
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refusal("invalid_json", "The message is not a JSON object in a text frame.")
    return body


def check(event: dict[str, Any]) -> None:
    """Raise `Refusal` unless it is a client event with the right keys and values."""
    _CLIENT_EVENT(event, "")
