"""How far the reader of a socket may run ahead of the actor that handles its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FLOW_MESSAGES: Final = 64
"""The reader waits for the actor after this many messages; TCP then holds the peer back. Twilio
drops the caller's audio in that case, and says so (error 31930)."""


class Flow:
    """Counts what a reader has told; `wait` returns when all of it has been handled."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self._unhandled = 0

    def told(self) -> None:
        """One message more; waits if it is one too many."""
        self._unhandled += 1
        if self._unhandled >= FLOW_MESSAGES:
            self._wait()
            self._unhandled = 0
