"""The caller's audio on its way into messages: of which size, in which order, how often.

Decides no time: it is given 20 ms of audio when they were said.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from callengine.audio.g711 import FRAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.testing.caller.stream import TwilioStream


class Frames:
    """Makes `media` messages of `sizes_bytes` in turn. What is asked for strikes the next ones."""

    def __init__(self, stream: TwilioStream, sizes_bytes: Sequence[int]) -> None:
        self._stream = stream
        self._sizes = itertools.cycle(sizes_bytes)
        self._size = next(self._sizes)
        self._said = bytearray()
        self._to_lose = 0
        self._to_repeat = 0
        self._to_swap = False
        self._overtaken: str | None = None

    def lose(self, count: int) -> None:
        """Make so many messages that never leave."""
        self._to_lose += count

    def repeat(self, times: int) -> None:
        """Let one message leave so many more times."""
        self._to_repeat += times

    def swap(self) -> None:
        """Let two messages leave in reverse order."""
        self._to_swap = True

    def say(self, audio: bytes, slot: int) -> list[str]:
        """Take the audio of one slot; returns the messages that leave with it."""
        self._said += audio
        messages: list[str] = []
        while len(self._said) >= self._size:
            begin = slot + 1 - len(self._said) / FRAME_BYTES
            message = self._stream.media(bytes(self._said[: self._size]), begin)
            del self._said[: self._size]
            self._size = next(self._sizes)
            messages += self._leaving(message)
        return messages

    def _leaving(self, message: str) -> list[str]:
        if self._to_lose:
            self._to_lose -= 1
            return []
        if self._to_swap:
            self._to_swap, self._overtaken = False, message
            return []
        times, self._to_repeat = 1 + self._to_repeat, 0
        overtaken, self._overtaken = self._overtaken, None
        return [message] * times + ([overtaken] if overtaken else [])
