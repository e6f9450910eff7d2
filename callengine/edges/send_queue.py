"""What waits for a socket that cannot take it yet: in order, bounded, with ways to overtake.

Bound: `max_media` messages of audio. A peer that has not read for that long is as good as gone;
what is done about that is up to whoever empties the queue.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Dropped(NamedTuple):
    """What a queue threw away."""

    media: int
    others: int


class SendQueue:
    """Messages on their way to a socket. Not for two threads at once."""

    def __init__(self, max_media: int) -> None:
        self._max_media = max_media
        self._ahead: deque[str] = deque()
        self._waiting: deque[tuple[bool, str]] = deque()  # is it media, and the message
        self._media = 0

    def __bool__(self) -> bool:
        return bool(self._ahead or self._waiting)

    def put_media(self, message: str) -> bool:
        """Leave audio behind what is waiting; False if there is too much of it."""
        if self._media >= self._max_media:
            return False
        self._media += 1
        self._waiting.append((True, message))
        return True

    def put(self, message: str) -> None:
        """Leave anything else behind what is waiting."""
        self._waiting.append((False, message))

    def put_ahead(self, message: str) -> None:
        """Leave this before everything that waits, but behind what was left ahead before."""
        self._ahead.append(message)

    def put_first(self, message: str) -> Dropped:
        """Drop all that is waiting and leave this; returns how much was dropped."""
        dropped = Dropped(self._media, len(self._waiting) - self._media)
        self._media = 0
        self._waiting.clear()
        self._waiting.append((False, message))
        return dropped

    def take(self) -> str:
        """The next message. Raises IndexError if there is none."""
        if self._ahead:
            return self._ahead.popleft()
        is_media, message = self._waiting.popleft()
        self._media -= is_media
        return message

    def clear(self) -> None:
        """Drop all."""
        self._ahead.clear()
        self._waiting.clear()
        self._media = 0
