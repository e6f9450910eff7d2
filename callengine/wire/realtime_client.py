"""Our side of the Realtime API: what we send, exactly as the GA shape wants it.

Decides the spelling of frames and whether the session's echo matches what was asked; never when
to send. The server refuses a whole `session.update` for one unknown key, so only keys that are
valid together are written. Facts: OpenAI Realtime API reference, client events.
"""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING, Final, Literal

from callengine.values import dataclass
from callengine.wire.json_object import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from callengine.wire.realtime_events import AudioFormat, SessionUpdated

CREATE_ID: Final = "client_event_id"
"""The metadata key that carries a create's event id; the server echoes metadata, never the id."""

_PCMU: Final = "audio/pcmu"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function the model may call; `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class VadConfig:
    """The server's turn detection. `eagerness` (low, medium, high, auto) is for semantic_vad."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    eagerness: str = "auto"


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What we ask of the session beside the audio format, which is always mu-law. None: omit."""

    instructions: str
    voice: str
    vad: VadConfig = VadConfig()
    transcription_model: str | None = None
    language: str | None = None
    """ISO 639-1, a hint to the transcription; unused without a transcription model."""
    tools: tuple[ToolSpec, ...] = ()
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The session runs with something else than asked. Fatal: the caller would hear static."""

    field: str
    asked: str
    got: str
    fatal: bool


def encode_session_update(event_id: str, config: SessionConfig, *, interrupt_response: bool) -> str:
    """The whole configuration. `interrupt_response`: the server cancels on the caller's speech."""
    session: dict[str, object] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": config.instructions,
        "tools": [_tool(tool) for tool in config.tools],
        "audio": {
            "input": _input(config, interrupt_response=interrupt_response),
            "output": {"format": {"type": _PCMU}, "voice": config.voice},
        },
    }
    if config.max_output_tokens is not None:
        session["max_output_tokens"] = config.max_output_tokens
    return _frame("session.update", event_id, session=session)


def encode_turn_detection_update(event_id: str, vad: VadConfig, *, interrupt_response: bool) -> str:
    """Turn detection alone; all else in the session stays as it is."""
    turn_detection = _turn_detection(vad, interrupt_response=interrupt_response)
    session = {"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}}
    return _frame("session.update", event_id, session=session)


def encode_session_query(event_id: str) -> str:
    """An update that changes nothing: omitted fields stay, the session in force is the answer."""
    return _frame("session.update", event_id, session={"type": "realtime"})


def encode_append(audio: bytes) -> str:
    """The caller's audio in the session's input format. ValueError when empty."""
    if not audio:
        raise ValueError("audio is empty")
    text = binascii.b2a_base64(audio, newline=False).decode("ascii")
    return f'{{"type":"input_audio_buffer.append","audio":"{text}"}}'


def encode_response_create(event_id: str, instructions: str | None) -> str:
    """Ask for a response; `response.created` will name `event_id` in its metadata."""
    response: dict[str, object] = {"metadata": {CREATE_ID: event_id}}
    if instructions is not None:
        response["instructions"] = instructions
    return _frame("response.create", event_id, response=response)


def encode_response_cancel(event_id: str, response_id: str) -> str:
    """Cancel that response. ValueError without an id: it would cancel whichever is running."""
    _refuse_empty(response_id=response_id)
    return _frame("response.cancel", event_id, response_id=response_id)


def encode_truncate(event_id: str, item_id: str, content_index: int, audio_end_ms: int) -> str:
    """Cut an assistant item to what was heard. ValueError on no id or a negative number."""
    _refuse_empty(item_id=item_id)
    if content_index < 0 or audio_end_ms < 0:
        raise ValueError(f"negative {content_index=} or {audio_end_ms=}")
    return _frame(
        "conversation.item.truncate",
        event_id,
        item_id=item_id,
        content_index=content_index,
        audio_end_ms=audio_end_ms,
    )


def encode_turn(event_id: str, role: Literal["user", "assistant"], text: str) -> str:
    """What was said before this session began. It makes no response by itself."""
    kind = "input_text" if role == "user" else "output_text"
    item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return _frame("conversation.item.create", event_id, item=item)


def encode_function_output(event_id: str, call_id: str, output: str) -> str:
    """A tool's result, as text. It makes no response by itself. ValueError without a call id."""
    _refuse_empty(call_id=call_id)
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return _frame("conversation.item.create", event_id, item=item)


def mismatches(
    echoed: SessionUpdated, config: SessionConfig, *, interrupt_response: bool
) -> tuple[Mismatch, ...]:
    """Where the session in force differs from what was asked; empty when all is well.

    A format that is absent counts as wrong; any other field that is absent is not reported.
    """
    return (
        *_format_mismatch("audio.input.format", echoed.input_format),
        *_format_mismatch("audio.output.format", echoed.output_format),
        *_turn_detection_mismatches(echoed, config, interrupt_response=interrupt_response),
        *_difference("audio.output.voice", config.voice, echoed.voice),
    )


def _format_mismatch(name: str, got: AudioFormat | None) -> Iterator[Mismatch]:
    if got is None:
        yield Mismatch(name, _PCMU, "absent", fatal=True)
    elif got.type != _PCMU:
        yield Mismatch(name, _PCMU, clipped(got.type), fatal=True)


def _turn_detection_mismatches(
    echoed: SessionUpdated, config: SessionConfig, *, interrupt_response: bool
) -> Iterator[Mismatch]:
    got = echoed.turn_detection
    if got is None:
        return
    path = "audio.input.turn_detection"
    yield from _difference(f"{path}.type", config.vad.type, got.type)
    yield from _difference(f"{path}.create_response", True, got.create_response)
    yield from _difference(f"{path}.interrupt_response", interrupt_response, got.interrupt_response)


def _difference(name: str, asked: str | bool, got: str | bool | None) -> Iterator[Mismatch]:
    if got is not None and got != asked:
        yield Mismatch(name, str(asked), clipped(str(got)), fatal=False)


def _input(config: SessionConfig, *, interrupt_response: bool) -> dict[str, object]:
    settings: dict[str, object] = {
        "format": {"type": _PCMU},
        "turn_detection": _turn_detection(config.vad, interrupt_response=interrupt_response),
    }
    if config.transcription_model is not None:
        transcription = {"model": config.transcription_model}
        if config.language is not None:
            transcription["language"] = config.language
        settings["transcription"] = transcription
    return settings


def _turn_detection(vad: VadConfig, *, interrupt_response: bool) -> dict[str, object]:
    shared = {"create_response": True, "interrupt_response": interrupt_response}
    if vad.type == "semantic_vad":
        return {"type": vad.type, "eagerness": vad.eagerness, **shared}
    return {
        "type": vad.type,
        "threshold": vad.threshold,
        "prefix_padding_ms": vad.prefix_padding_ms,
        "silence_duration_ms": vad.silence_duration_ms,
        **shared,
    }


def _tool(tool: ToolSpec) -> dict[str, object]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }


def _frame(kind: str, event_id: str, **members: object) -> str:
    _refuse_empty(event_id=event_id)
    frame = {"type": kind, "event_id": event_id, **members}
    return json.dumps(frame, separators=(",", ":"), allow_nan=False)


def _refuse_empty(**values: str | bytes) -> None:
    for name, value in values.items():
        if not value:
            raise ValueError(f"{name} is empty")
