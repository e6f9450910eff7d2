"""What the responses of the explored world sound like: every byte tells where it is from."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from callengine.audio.g711 import FRAME_BYTES, SILENCE_BYTE

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS: Final = ("a", "a", "b")
"""A whole response is three deltas of one frame each: two of its first item, one of its second."""

MAX_RESPONSES: Final = 31


class Run(NamedTuple):
    """Consecutive bytes of one frame of one response."""

    response: int
    frame: int
    size_bytes: int


def response_id(number: int) -> str:
    """The name of the n-th response."""
    return f"r{number}"


def item_id(number: int, frame: int) -> str:
    """The name of the item that a frame of the n-th response belongs to."""
    return f"i{number}{PARTS[frame]}"


def frame_of(number: int, frame: int) -> bytes:
    """One frame of audio."""
    assert number < MAX_RESPONSES, "the byte of silence is taken"
    return bytes([number * 8 + frame]) * FRAME_BYTES


def runs(audio: bytes | bytearray) -> Iterator[Run]:
    """Where audio is from, piece by piece; padding is nobody's."""
    for value, run in groupby(audio):
        if value != SILENCE_BYTE[0]:
            yield Run(value >> 3, value & 7, len(list(run)))
