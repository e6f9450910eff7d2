"""A connected socket on a loop: bytes that came, bytes to go. It never waits.

Knows neither WebSockets nor calls. All of it is for the loop's thread.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from callengine.actors.loop import READ, WRITE

if TYPE_CHECKING:
    from callengine.actors.loop import Loop

READ_BYTES: Final = 16_384
"""Read at once: what this holds is handled before anything else is read, of any call."""

_NOT_NOW: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class StreamUser(Protocol):
    """Whoever reads and writes a stream."""

    def received(self, data: bytes) -> None:
        """Bytes that came."""

    def writable(self) -> None:
        """All that was written has left."""

    def lost(self, why: str) -> None:
        """The peer has closed the connection, or it broke; the stream is closed."""


class Stream:
    """One TCP or TLS connection. What the system does not take is kept, and follows.

    It is not bounded: a user writes nothing while the stream is `blocked`, except a few bytes of
    protocol.
    """

    def __init__(self, loop: Loop, plug: socket.socket, user: StreamUser) -> None:
        self._loop = loop
        self._plug = plug
        # TLS may have decrypted more than was read: of that no selector tells.
        self._tls = plug if isinstance(plug, ssl.SSLSocket) else None
        self._user = user
        self._kept = b""
        self._rest = bytearray()
        self._open = True
        self._ends = False
        self._watched = False
        plug.setblocking(False)

    def start(self) -> None:
        """Begin to read."""
        if self._open:
            self._watched = True
            self._loop.watch(self._plug, READ | WRITE if self._rest else READ, self._ready)
            if self._tls is not None and self._tls.pending():  # since it was being connected
                self._loop.call_soon(self._read)

    @property
    def blocked(self) -> bool:
        """Something that was written waits to leave."""
        return bool(self._rest)

    @property
    def open(self) -> bool:
        """It is not closed."""
        return self._open

    def write(self, data: bytes) -> None:
        """Send, now or as soon as possible. Nothing happens if the stream is closed."""
        if not self._open or self._ends:
            return
        if self._kept:
            data, self._kept = self._kept + data, b""
        if self._rest:
            self._rest += data
            return
        try:
            sent = self._plug.send(data)
        except _NOT_NOW:
            sent = 0
        except OSError:
            return  # the peer is gone, as reading will tell, behind what it sent before
        if sent < len(data):
            self._rest += data[sent:]
            if self._watched:
                self._loop.rewatch(self._plug, READ | WRITE, self._ready)

    def write_paired(self, data: bytes) -> None:
        """Send with what is written next: a call of the system costs more than its bytes."""
        if self._kept:
            self.write(data)
        else:
            self._kept = data

    def end(self) -> None:
        """Write no more, and tell the peer so behind what was written. Reading goes on until the
        peer ends too: closed at once, what it still sends would destroy what we sent last."""
        if not self._ends:
            if self._kept:
                self.write(b"")
            self._ends = True
            if not self._rest:
                self._half_close()

    def close(self) -> None:
        """Close now; a second call does nothing."""
        if self._open:
            self._open = False
            self._rest.clear()
            if self._watched:
                self._loop.unwatch(self._plug)
            self._plug.close()

    def _ready(self, events: int) -> None:
        if events & WRITE and self._open:  # the user of another socket may have closed this one
            self._flush()
        if events & READ:
            self._read()

    def _flush(self) -> None:
        try:
            sent = self._plug.send(self._rest)
        except _NOT_NOW:
            return
        except OSError as error:
            self._lose(type(error).__name__)
            return
        del self._rest[:sent]
        if not self._rest:
            self._loop.rewatch(self._plug, READ, self._ready)
            if self._ends:
                self._half_close()
            else:
                self._user.writable()

    def _half_close(self) -> None:
        if self._open:
            with suppress(OSError):  # gone, as reading will tell
                # Not the method of an SSLSocket: that one could decrypt nothing more.
                socket.socket.shutdown(self._plug, socket.SHUT_WR)

    def _read(self) -> None:
        while self._open:
            try:
                data = self._plug.recv(READ_BYTES)
            except _NOT_NOW:
                return
            except OSError as error:
                self._lose(type(error).__name__)
                return
            if not data:
                self._lose("the connection was closed")
                return
            if len(data) == READ_BYTES:
                self._loop.look_again()
            self._user.received(data)
            if self._tls is None or not self._tls.pending():
                return

    def _lose(self, why: str) -> None:
        self.close()
        self._user.lost(why)
