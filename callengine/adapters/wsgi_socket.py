"""The carrier's socket under WSGI: what simple-websocket leaves to its users, done once.

Its `send` may write half a message, two threads may write at the same time, what was not read yet
has no bound, and a peer that never answers a close is waited for forever. Knows no framework.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from simple_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

from callengine.errors import EdgeClosed
from callengine.wire.twilio import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from simple_websocket import Server

SEND_TIMEOUT_S: Final = 5
CLOSE_TIMEOUT_S: Final = 2.0
"""A peer that has not answered our close by then is cut off."""
LINGER_S: Final = 1.0
"""Closing with bytes unread would throw away our close frame at the peer: they are read so long."""
MAX_WAITING: Final = 64
"""Messages that were read and not taken; at the bound no more is read, and TCP holds the peer."""
MAX_REASON_BYTES: Final = 123
"""RFC 6455 section 5.5: a control frame has 125 bytes, two of them the code."""


class Plug:
    """A connected socket as simple-websocket uses it: whole sends, bounded reads, orderly ends."""

    def __init__(self, plug: socket.socket) -> None:
        self.was_cut = False
        """The peer went without a close frame."""
        self._plug = plug
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: list[object] = []
        self._is_ending = False
        with contextlib.suppress(OSError):  # a socket of the file system, behind a proxy
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # gone already, as `recv` will tell
            wait = struct.pack("ll", SEND_TIMEOUT_S, 0)
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)

    def bound(self, waiting: list[object]) -> None:
        """Read nothing while this list has `MAX_WAITING` entries; `taken` tells of less."""
        self._waiting = waiting

    def taken(self) -> None:
        """There is room again."""
        with self._changed:
            self._changed.notify()

    def end_soon(self) -> None:
        """Nobody takes messages any more: read all there is, for the close frame among it."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()

    def recv(self, size: int) -> bytes:
        """See `socket.recv`."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_ending or len(self._waiting) < MAX_WAITING)
        try:
            data = self._plug.recv(size)
        except OSError:
            self.was_cut = True
            raise
        self.was_cut = not data
        return data

    def send(self, data: bytes) -> None:
        """All of it. A peer that reads nothing for `SEND_TIMEOUT_S` is cut off: OSError."""
        with self._sending:
            try:
                self._plug.sendall(data)
            except OSError:
                self.cut()
                raise

    def fileno(self) -> int:
        """See `socket.fileno`."""
        return self._plug.fileno()

    def cut(self) -> None:
        """End it now; a waiting `recv` returns."""
        with contextlib.suppress(OSError):
            self._plug.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say that no more is coming, and read until the peer says so too; the server closes it."""
        until = time.monotonic() + LINGER_S
        with contextlib.suppress(OSError):
            self._plug.shutdown(socket.SHUT_WR)
            while (left_s := until - time.monotonic()) > 0:
                self._plug.settimeout(left_s)
                if not self._plug.recv(65_536):
                    break


class Reader(threading.Thread):
    """The thread in which simple-websocket reads: ends with the process, and never unnoticed."""

    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=target, daemon=True)
        self._socket: Any = target.__self__  # type: ignore[attr-defined] # a method of the socket

    def run(self) -> None:
        """See `Thread.run`."""
        try:
            super().run()
        finally:
            self._socket.connected = False
            self._socket.event.set()


SOCKET_OPTIONS: Final = {"max_message_size": MAX_MESSAGE_BYTES, "thread_class": Reader}


class WsgiEdge:
    """An `Edge` over a `simple_websocket.Server` made with `SOCKET_OPTIONS` on a `Plug`."""

    def __init__(self, connection: Server, plug: Plug) -> None:
        self._connection = connection
        self._plug = plug
        self._lock = threading.Lock()
        self._closed: EdgeClosed | None = None
        plug.bound(connection.input_buffer)

    def receive(self) -> str | bytes:
        """See `Edge.receive`; a message over 64 KiB closes the socket with 1009."""
        while self._closed is None:
            try:
                message: str | bytes | None = self._connection.receive()
            except ConnectionClosed:
                break
            self._plug.taken()
            if message is not None:  # it was woken for nothing
                return message
        self._join()
        raise self._gone()

    def send(self, message: str) -> None:
        """See `Edge.send`."""
        if self._closed is not None:
            raise self._gone()
        try:
            self._connection.send(message)
        except (ConnectionClosed, LocalProtocolError):
            raise self._gone() from None
        except OSError:
            raise EdgeClosed(1006) from None

    def close(self, code: int, reason: str) -> None:
        """See `Edge.close`."""
        with self._lock:
            if self._closed is not None:
                return
            self._closed = EdgeClosed(code, reason)
        told = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        with contextlib.suppress(ConnectionClosed, LocalProtocolError, OSError):
            self._connection.close(code, told)
        self._join()

    def _join(self) -> None:
        """Wait until the peer has closed too, or cut it off."""
        self._plug.end_soon()
        reader: threading.Thread = self._connection.thread
        reader.join(CLOSE_TIMEOUT_S)
        if reader.is_alive():
            self._plug.cut()
            reader.join(LINGER_S)

    def _gone(self) -> EdgeClosed:
        if self._closed is not None:
            return self._closed
        if self._connection.incoming_message_len > MAX_MESSAGE_BYTES:
            return EdgeClosed(1009, f"over {MAX_MESSAGE_BYTES} bytes")
        if self._plug.was_cut:
            return EdgeClosed(1006)
        reason = self._connection.close_message or ""
        return EdgeClosed(int(self._connection.close_reason), reason)
