"""The `openai` package's types as the judge of Realtime frames, ours and a simulator's.

The types allow any extra key and check no content, so undeclared keys, base64 and modalities are
judged here. The real server refuses a client frame with an unknown key: none is allowed there.
"""

from __future__ import annotations

import base64
import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER_EXTRAS: Final = frozenset(
    {"session.id", "session.object", "session.expires_at", "obfuscation"}
)
"""Keys of real traffic that the types do not declare."""

_BASE64_KEYS: Final = {
    "response.output_audio.delta": "delta",
    "input_audio_buffer.append": "audio",
}


def validate_server(frame: dict[str, Any]) -> None:
    """AssertionError naming the problem, unless `frame` is a GA server event."""
    _validate(frame, _adapter(RealtimeServerEvent), SERVER_EXTRAS)


def validate_client(frame: dict[str, Any]) -> None:
    """AssertionError naming the problem, unless `frame` is a GA client event."""
    _validate(frame, _adapter(RealtimeClientEvent), frozenset())


@functools.cache
def _adapter(annotated_union: object) -> TypeAdapter[BaseModel]:
    # The package marks its unions for itself only; this gives pydantic the discriminator.
    members = get_args(get_args(annotated_union)[0])
    union = functools.reduce(operator.or_, members)
    discriminated: Any = Annotated[union, Field(discriminator="type")]
    return TypeAdapter(discriminated)


def _validate(
    frame: dict[str, Any], adapter: TypeAdapter[BaseModel], allowed: frozenset[str]
) -> None:
    kind = frame.get("type")
    try:
        event = adapter.validate_python(frame, strict=True)
    except ValidationError as error:
        raise AssertionError(f"{kind}: {error}") from None
    extras = set(_undeclared(event)) - allowed
    assert not extras, f"{kind}: undeclared keys {sorted(extras)}"
    _check_base64(frame)
    _check_modalities(frame)


def _undeclared(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from (f"{path}{key}" for key in value.model_extra or ())
        for name in value.model_fields_set & type(value).model_fields.keys():
            yield from _undeclared(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for entry in value:
            yield from _undeclared(entry, path)


def _check_base64(frame: dict[str, Any]) -> None:
    key = _BASE64_KEYS.get(frame["type"])
    if key is not None:
        try:
            base64.b64decode(frame[key], validate=True)
        except ValueError as error:
            raise AssertionError(f"{frame['type']}: {key} is not base64: {error}") from None


def _check_modalities(frame: dict[str, Any]) -> None:
    for part in ("session", "response"):
        modalities = frame.get(part, {}).get("output_modalities")
        assert modalities in (None, ["audio"], ["text"]), (
            f"{frame['type']}: {part}.output_modalities is {modalities}, not one of audio, text"
        )
