"""The way out through a stream: what it takes leaves at once, the rest waits in a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callengine.edges.send_queue import Dropped, SendQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.edges.stream import Stream


class Outlet:
    """`frame` makes of a message what is written on `stream`. At the bound of the queue `on_stall`
    is told, once, and nothing is taken any more. `media_in_pairs`: audio waits for the audio behind
    it, or for whatever else is sent."""

    def __init__(
        self,
        stream: Stream,
        frame: Callable[[str], bytes],
        *,
        max_media: int,
        on_stall: Callable[[], None],
        media_in_pairs: bool = False,
    ) -> None:
        self._stream = stream
        self._write_media = stream.write_paired if media_in_pairs else stream.write
        self._frame = frame
        self._on_stall = on_stall
        self._queue = SendQueue(max_media)
        self._last: Callable[[], None] | None = None
        self._closing = False
        self._shut = False  # stalled or closing: nothing more is taken

    def send_media(self, message: str) -> None:
        """Send audio behind what is waiting."""
        if self._shut:
            return
        if not self._stream.blocked:
            self._write_media(self._frame(message))
        elif not self._queue.put_media(message):
            self._shut = True
            self._queue.clear()
            self._on_stall()

    def send(self, message: str) -> None:
        """Send anything else behind what is waiting."""
        if self._shut:
            return
        if self._stream.blocked:
            self._queue.put(message)
        else:
            self._stream.write(self._frame(message))

    def send_ahead(self, message: str) -> None:
        """Send this before everything that waits, but behind what was sent ahead before."""
        if self._shut:
            return
        if self._stream.blocked:
            self._queue.put_ahead(message)
        else:
            self._stream.write(self._frame(message))

    def send_first(self, message: str) -> Dropped:
        """Drop all that is waiting and send this; returns how much was dropped."""
        if self._shut or not self._stream.blocked:
            self.send(message)
            return Dropped(0, 0)
        return self._queue.put_first(message)

    def close(self, last: Callable[[], None]) -> None:
        """Do `last` behind what is waiting; a second call does nothing."""
        if self._closing:
            return
        self._closing = self._shut = True
        self._last = last
        if not self._stream.blocked:
            self._finish()

    def writable(self) -> None:
        """The stream takes more."""
        while self._queue and not self._stream.blocked:
            self._stream.write(self._frame(self._queue.take()))
        if not self._stream.blocked:
            self._finish()

    def _finish(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last()
