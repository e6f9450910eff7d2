"""What becomes of the caller's messages between Twilio and the agent: on their way, or held back.

Knows audio from everything else, and nothing more of what a message says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callengine.testing.peer import Outgoing


class Outlet:
    """Collects what is to be sent. While it is held back, audio beyond `room_frames` is dropped."""

    def __init__(self) -> None:
        self._outgoing: list[Outgoing] = []
        self._held: list[Outgoing] = []
        self._room_frames: int | None = None
        self._held_frames = 0
        self.release_at: float | None = None
        """When what is held back leaves."""

    def put(self, message: Outgoing) -> None:
        """Send, in order."""
        (self._outgoing if self.release_at is None else self._held).append(message)

    def put_audio(self, message: str) -> bool:
        """Send audio; False if there is no room for it."""
        if self.release_at is not None:
            if self._held_frames == self._room_frames:
                return False
            self._held_frames += 1
        self.put(message)
        return True

    def hold_back(self, until: float, room_frames: int | None) -> None:
        """Let nothing leave before `until`."""
        self.release_at, self._room_frames = until, room_frames

    def release(self) -> None:
        """Let all that was held back leave at once."""
        self._outgoing += self._held
        self.drop_held()
        self.release_at = None

    def drop_held(self) -> None:
        """What was held back never leaves."""
        self._held.clear()
        self._held_frames = 0

    def take(self) -> list[Outgoing]:
        """What leaves now; each thing is handed out once."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing
