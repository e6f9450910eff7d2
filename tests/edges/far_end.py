"""The far end of a WebSocket, which is `websockets` without its I/O over a socket pair; and frames.

The near end is whatever is tested.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Side

from tests.on_loop import PATIENCE_S

if TYPE_CHECKING:
    from websockets.protocol import Protocol


class FarEnd:
    """It waits for what it is to hear; what the protocol would have it answer it does not send."""

    def __init__(self, protocol: Protocol) -> None:
        self.near, self.far = socket.socketpair()
        self.far.settimeout(PATIENCE_S)
        self._protocol = protocol

    def says(self, *frames: Frame) -> None:
        """All of it at once."""
        mask = self._protocol.side is Side.CLIENT
        self.far.sendall(b"".join(frame.serialize(mask=mask) for frame in frames))

    def hears(self) -> Frame | None:
        """The next frame that comes; None at the end."""
        while not (frames := self._protocol.events_received()):
            data = self.far.recv(65_536)
            if not data:
                return None
            self._protocol.receive_data(data)
        first, *others = frames
        self._protocol.events.extend(others)
        assert isinstance(first, Frame)
        return first

    def hears_texts(self, count: int) -> list[str]:
        frames = [self.hears() for _ in range(count)]
        return [bytes(frame.data).decode() for frame in frames if frame is not None]

    def make_small(self) -> None:
        """A few messages fill the socket."""
        for plug in (self.near, self.far):
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)


def text(data: bytes, *, fin: bool = True) -> Frame:
    return Frame(Opcode.TEXT, data, fin)


def more(data: bytes, *, fin: bool = True) -> Frame:
    return Frame(Opcode.CONT, data, fin)


def close(code: int, reason: str = "") -> Frame:
    return Frame(Opcode.CLOSE, Close(code, reason).serialize())
