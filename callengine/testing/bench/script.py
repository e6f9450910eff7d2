"""What the model sends, and when: a reply rendered once for the n-th response of every call.

Event names and shapes are those of the GA API; ids are unique within a session only, as they need
to be.
"""

from __future__ import annotations

import base64
import functools
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from callengine.testing.bench.codec import encode
from callengine.testing.bench.sounds import REPLY_MS, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

PACE: Final = 4.0
"""Audio is generated so many times faster than it plays."""

DELTA_MS: Final = (100, 120, 150, 160, 200)
WORD_MS: Final = 400
"""Of audio to a piece of its transcript, which runs ahead of it."""

TRANSCRIPT_LEAD: Final = 0.7
CONVERSATION_ID: Final = "conv_bench"
MODEL: Final = "gpt-realtime-2.1"

_dump: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Step:
    """What is sent `after_s` behind the beginning of a response, with so much audio in it."""

    after_s: float
    message: bytes
    audio_ms: int = 0


def event(kind: str, event_id: str, **body: Any) -> bytes:  # noqa: ANN401 - JSON
    """One event of the server in its WebSocket frame."""
    return encode(_dump({"type": kind, "event_id": event_id, **body}).encode(), masked=False)


def response_id(number: int) -> str:
    """The id of the n-th response of a session."""
    return f"resp_bench{number:04d}"


def item_id(number: int) -> str:
    """The id of what it says."""
    return f"item_bench_a{number:04d}"


@functools.cache
def steps(number: int) -> tuple[Step, ...]:
    """The n-th response from behind `response.created` to before `response.done`."""
    made = [*_opening(number), *_words(number), *_audio(number)]
    last_s = REPLY_MS / 1000 / PACE
    return (*sorted(made, key=lambda step: step.after_s), Step(last_s, _closing(number)))


def response(number: int, status: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The `response` object in one of its states."""
    output = [] if status == "in_progress" else [_item(number, status)]
    return {
        "object": "realtime.response",
        "id": response_id(number),
        "status": status,
        "status_details": None,
        "output": output,
        "conversation_id": CONVERSATION_ID,
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "marin"}},
        "usage": None if status == "in_progress" else _USAGE,
        "metadata": None,
        **more,
    }


def session() -> dict[str, Any]:
    """A session as it begins."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_bench",
        "model": MODEL,
        "output_modalities": ["audio"],
        "expires_at": 4_102_444_800,
        "audio": {
            "input": {"format": {"type": "audio/pcm", "rate": 24_000}},
            "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "marin"},
        },
    }


def merged(session: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """The session after an update: what it omits stays."""
    audio = {
        direction: {**part, **update.get("audio", {}).get(direction, {})}
        for direction, part in session["audio"].items()
    }
    return {**session, **update, "audio": audio}


_USAGE: Final = {
    "total_tokens": 420,
    "input_tokens": 120,
    "output_tokens": 300,
    "input_token_details": {"text_tokens": 60, "audio_tokens": 60, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 60, "audio_tokens": 240},
}


def _place(number: int) -> dict[str, Any]:
    return {
        "response_id": response_id(number),
        "item_id": item_id(number),
        "output_index": 0,
        "content_index": 0,
    }


def _item(number: int, status: str) -> dict[str, Any]:
    told = "completed" if status == "completed" else "incomplete"
    content = [{"type": "output_audio", "transcript": "word " * 30}]
    return {
        "id": item_id(number),
        "type": "message",
        "status": "in_progress" if status == "in_progress" else told,
        "role": "assistant",
        "content": [] if status == "in_progress" else content,
    }


def _opening(number: int) -> Iterator[Step]:
    where = {"response_id": response_id(number), "output_index": 0}
    item = _item(number, "in_progress")
    part = {"type": "audio", "transcript": ""}
    name = f"event_{number}_open"
    yield Step(
        0.0,
        event("response.output_item.added", f"{name}1", **where, item=item)
        + event("conversation.item.added", f"{name}2", previous_item_id=None, item=item)
        + event("response.content_part.added", f"{name}3", **_place(number), part=part),
    )


def _words(number: int) -> Iterator[Step]:
    pace = PACE / TRANSCRIPT_LEAD
    for n, at_ms in enumerate(range(0, REPLY_MS, WORD_MS)):
        kind = "response.output_audio_transcript.delta"
        message = event(kind, f"event_{number}_w{n}", **_place(number), delta="word ")
        yield Step(at_ms / 1000 / pace, message)


def _audio(number: int) -> Iterator[Step]:
    audio, rng, at_ms = reply(number), random.Random(number), 0
    while at_ms < REPLY_MS:
        piece_ms = min(rng.choice(DELTA_MS), REPLY_MS - at_ms)
        delta = base64.b64encode(audio[at_ms * 8 : (at_ms + piece_ms) * 8]).decode()
        name = f"event_{number}_a{at_ms}"
        message = event("response.output_audio.delta", name, **_place(number), delta=delta)
        yield Step(at_ms / 1000 / PACE, message, piece_ms)
        at_ms += piece_ms


def _closing(number: int) -> bytes:
    place, item = _place(number), _item(number, "completed")
    where = {"response_id": response_id(number), "output_index": 0}
    words = item["content"][0]["transcript"]
    part = {"type": "audio", "transcript": words}
    name = f"event_{number}_close"
    transcript = "response.output_audio_transcript.done"
    return (
        event("response.output_audio.done", f"{name}1", **place)
        + event(transcript, f"{name}2", **place, transcript=words)
        + event("response.content_part.done", f"{name}3", **place, part=part)
        + event("response.output_item.done", f"{name}4", **where, item=item)
        + event("conversation.item.done", f"{name}5", previous_item_id=None, item=item)
    )
