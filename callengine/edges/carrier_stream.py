"""A carrier's WebSocket on the loop: for servers of our own, where no host owns the socket.

The protocol is that of `websockets` without its I/O: bytes in, frames out, and the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]
from websockets.protocol import State

from callengine.edges.carrier import MAX_MEDIA
from callengine.edges.outlet import Outlet
from callengine.edges.stream import Stream
from callengine.wire.text_frame import FrameReader, server_frame
from callengine.wire.twilio import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from websockets.server import ServerProtocol

    from callengine.actors.loop import Loop
    from callengine.edges.edge import Inbox
    from callengine.wire.text_frame import Bytes

CLOSE_TIMEOUT_S: Final = 2.0
"""A carrier that has not taken what is waiting and answered our close by then is cut off."""

_BAD_DATA: Final = 1007
_CUT: Final = 1006


class CarrierStream:
    """A `LoopEdge` over a socket whose upgrade `protocol` has answered.

    It can be made on any thread, and closed; the rest is for the loop's.
    """

    def __init__(
        self,
        loop: Loop,
        plug: socket.socket,
        protocol: ServerProtocol,
        *,
        on_stall: Callable[[], None],
        unread: bytes = b"",
    ) -> None:
        self._loop = loop
        self._protocol = protocol
        self._inbox: Inbox | None = None
        self._pieces = bytearray()  # of a message that comes in several frames
        self._is_text = True
        self.received = FrameReader(
            self._take_text,
            self._take_other,
            masked=True,
            max_bytes=MAX_MESSAGE_BYTES,
            unread=unread,
        ).feed
        self._stream = Stream(loop, plug, self)
        # It shuts before our close, and the stream ends with theirs: nothing is written behind.
        outlet = Outlet(self._stream, server_frame, max_media=MAX_MEDIA, on_stall=on_stall)
        self.send_media = outlet.send_media
        self.send = outlet.send
        self.send_first = outlet.send_first
        self.writable = outlet.writable
        self._outlet = outlet

    def open(self, inbox: Inbox) -> None:
        """Begin to tell what comes, and what came with the upgrade."""
        self._inbox = inbox
        self._stream.start()
        self.received(b"")

    def close(self, code: int, reason: str) -> None:
        """Close the socket once what is waiting has been sent. Any thread may."""
        self._loop.call_soon(lambda: self._close(code, reason))

    def _close(self, code: int, reason: str) -> None:
        self._loop.call_at(self._loop.now() + CLOSE_TIMEOUT_S, self._cut)
        self._outlet.close(lambda: self._send_close(code, reason))

    def _send_close(self, code: int, reason: str) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()

    def _cut(self) -> None:
        if self._stream.open:
            self._stream.close()
            self.lost("it did not close")

    # ---- the stream

    def lost(self, why: str) -> None:
        """See `StreamUser.lost`."""
        self._tell_closed(why)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._stream.write(data)
            else:  # nothing more is to be sent: both sides have closed, or the peer broke the rules
                self._stream.end()
                self._loop.call_at(self._loop.now() + CLOSE_TIMEOUT_S, self._cut)

    # ---- frames

    def _take_text(self, payload: Bytes, mask: Bytes) -> None:
        self._tell_text(apply_mask(payload, mask))

    def _take_other(self, data: Bytes) -> None:
        self._protocol.receive_data(data)
        if self._inbox is None:
            return
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame), "the upgrade is over"
            self._take(frame, self._inbox)
        self._flush()
        protocol = self._protocol
        if protocol.state is not State.OPEN and (protocol.close_rcvd or protocol.parser_exc):
            self._tell_closed("")

    def _take(self, frame: Frame, inbox: Inbox) -> None:
        if frame.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._pieces += frame.data
        if frame.fin:
            message, self._pieces = bytes(self._pieces), bytearray()
            if self._is_text:
                self._tell_text(message)
            else:
                inbox.received(message)

    def _tell_text(self, data: bytes) -> None:
        inbox = self._inbox
        if inbox is None:
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            if self._protocol.state is State.OPEN:
                self._protocol.fail(_BAD_DATA, "not UTF-8")
                self._flush()
            self._tell_closed("not UTF-8")
        else:
            inbox.received(text)

    def _tell_closed(self, why: str) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is None:
            return
        close = self._protocol.close_rcvd or self._protocol.close_sent
        inbox.carrier_closed(close.code if close else _CUT, close.reason if close else why)
