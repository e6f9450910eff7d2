"""One TCP connection that is passed on, byte by byte, as well or as badly as it is told to.

Everything here runs on the thread of whoever owns the selector.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


class Side(Enum):
    """The two ends of a connection: who opened it, and who was called."""

    CLIENT = "client"
    SERVER = "server"


class Stream:
    """One direction of a connection: what was read on one side and not yet written on the other."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.waiting = bytearray()
        self.allowance: int | None = None
        """Bytes that may pass now; None if there is no limit."""
        self.ended = False
        self.told_end = False

    @property
    def may_write(self) -> bool:
        """Something waits, and may pass."""
        return bool(self.waiting) and self.allowance != 0

    def write(self) -> None:
        """Write what the sink takes."""
        sent = self.sink.send(memoryview(self.waiting)[: self.allowance])
        del self.waiting[:sent]
        if self.allowance is not None:
            self.allowance -= sent

    def pass_on_end(self) -> None:
        """Tell the sink of the end of the source, behind everything else."""
        if self.ended and not self.waiting and not self.told_end:
            self.told_end = True
            with contextlib.suppress(OSError):
                self.sink.shutdown(socket.SHUT_WR)


class Relay:
    """A connection between two sockets. `on_close` is told when both are closed."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        selector: selectors.BaseSelector,
        buffer_bytes: int,
        on_close: Callable[[Relay], None],
    ) -> None:
        self._selector = selector
        self._buffer_bytes = buffer_bytes
        self._on_close = on_close
        self._swallowing = False
        self._streams = {
            Side.SERVER: Stream(client, server),
            Side.CLIENT: Stream(server, client),
        }
        self._plugs = {client: 0, server: 0}  # and the events each is watched for
        for plug in self._plugs:
            plug.setblocking(False)
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def cut(self) -> None:
        """Reset both sides."""
        for plug in list(self._plugs):
            self._drop(plug, reset)

    def swallow(self) -> None:
        """Let nothing through any more, not even an end."""
        self._swallowing = True
        for stream in self._streams.values():
            stream.waiting.clear()
        self._watch()

    def grant(self, towards: Side, size_bytes: int | None) -> None:
        """Let so many bytes pass, no more; None for all there are."""
        self._streams[towards].allowance = size_bytes
        self._watch()

    def _watch(self) -> None:
        """Wait for what each socket can do for us now."""
        for plug, watched in self._plugs.items():
            events = self._wanted(plug)
            if events == watched:
                continue
            self._plugs[plug] = events
            if not watched:
                self._selector.register(plug, events, lambda got, plug=plug: self._ready(plug, got))
            elif events:
                key = self._selector.get_key(plug)
                self._selector.modify(plug, events, key.data)
            else:
                self._selector.unregister(plug)

    def _wanted(self, plug: socket.socket) -> int:
        events = 0
        for stream in self._streams.values():
            if stream.source is plug and not stream.ended:
                has_room = len(stream.waiting) < self._buffer_bytes
                events |= selectors.EVENT_READ if has_room else 0
            if stream.sink is plug and stream.may_write:
                events |= selectors.EVENT_WRITE
        return events

    def _ready(self, plug: socket.socket, events: int) -> None:
        if plug not in self._plugs:
            return  # dropped by what was handled just before
        try:
            for stream in self._streams.values():
                if stream.source is plug and events & selectors.EVENT_READ:
                    self._read(stream)
                if stream.sink is plug and events & selectors.EVENT_WRITE and stream.may_write:
                    stream.write()
        except BlockingIOError:
            pass
        except OSError:
            self._broken(plug)
        self._settle()

    def _read(self, stream: Stream) -> None:
        data = stream.source.recv(self._buffer_bytes)
        if not data:
            stream.ended = True
        elif not self._swallowing:
            stream.waiting += data

    def _broken(self, plug: socket.socket) -> None:
        """One side has reset: so does the other, if it is to hear of anything."""
        if not self._swallowing:
            self.cut()
            return
        for stream in self._streams.values():
            stream.ended |= stream.source is plug
        self._drop(plug, reset)

    def _settle(self) -> None:
        if not self._swallowing:
            for stream in self._streams.values():
                stream.pass_on_end()
        over = all(stream.ended and not stream.waiting for stream in self._streams.values())
        if over:
            for plug in list(self._plugs):
                self._drop(plug, socket.socket.close)
        else:
            self._watch()

    def _drop(self, plug: socket.socket, close: Callable[[socket.socket], None]) -> None:
        if self._plugs.pop(plug):
            self._selector.unregister(plug)
        close(plug)
        if not self._plugs:
            self._on_close(self)


def reset(plug: socket.socket) -> None:
    """Close at once, so that the other side sees a reset."""
    with contextlib.suppress(OSError):
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    plug.close()
