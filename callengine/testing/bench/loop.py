"""One thread, one epoll: sockets, appointments, and the 20 ms grid on which callers send.

It knows nothing of calls. How late it is itself it keeps as a histogram: that is what its own
figures are worth.
"""

from __future__ import annotations

import errno
import heapq
import select
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from callengine.audio.g711 import FRAME_S

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    Action = Callable[[float], None]

READ_BYTES: Final = 32_768

BEAT_S: Final = 0.001
"""It looks at its sockets and its clock so often, and sleeps between: to wake for every message
would cost more than the messages, here and in the engine that has to wake it. Whatever arrives is
seen so much later at most."""


class Reader(Protocol):
    """Who is told what a socket received."""

    def received(self, data: bytes, now: float) -> None:
        """Bytes came; none of them when the other end has closed."""


class Ticking(Protocol):
    """Who has something to send every 20 ms."""

    def tick(self, now: float) -> None:
        """It is time."""


class Wire:
    """A socket of the loop: what cannot be written at once waits."""

    def __init__(self, plug: socket.socket, loop: Loop, reader: Reader) -> None:
        plug.setblocking(False)
        self.plug = plug
        self.reader = reader
        self._loop = loop
        self._waiting = bytearray()
        self.open = True
        loop.add(self)

    def send(self, data: bytes) -> None:
        """Write, or keep until the other end reads."""
        if self._waiting:
            self._waiting += data
            return
        if not self.open:
            return
        try:
            sent = self.plug.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                self._waiting.clear()
                return  # the reader will be told
            sent = 0
        if sent < len(data):
            self._waiting += data[sent:]
            self._loop.wants_to_write(self, wants=True)

    def writable(self) -> None:
        """Some of what waits may be written."""
        try:
            sent = self.plug.send(self._waiting)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._waiting)
        del self._waiting[:sent]
        if not self._waiting:
            self._loop.wants_to_write(self, wants=False)

    def readable(self, now: float) -> None:
        """Hand on what came."""
        try:
            data = self.plug.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.reader.received(data, now)

    def close(self) -> None:
        """Be done with it."""
        if self.open:
            self.open = False
            self._loop.remove(self)
            self.plug.close()


class Loop:
    """Runs until told to stop."""

    def __init__(self) -> None:
        self.lateness_ms: Counter[int] = Counter()
        self._epoll = select.epoll()
        self._wires: dict[int, Wire] = {}
        self._accepting: dict[int, tuple[socket.socket, Callable[[socket.socket], None]]] = {}
        self._agenda: list[tuple[float, int, Action]] = []
        self._made = 0
        self._ring: list[Ticking | None] = []
        self._ring_at = 0
        self._next_tick_at = float("inf")
        self._step_s = FRAME_S
        self._stopped = False

    # ---- sockets

    def add(self, wire: Wire) -> None:
        """Watch a socket."""
        self._wires[wire.plug.fileno()] = wire
        self._epoll.register(wire.plug.fileno(), select.EPOLLIN)

    def remove(self, wire: Wire) -> None:
        """Watch it no more."""
        del self._wires[wire.plug.fileno()]
        self._epoll.unregister(wire.plug.fileno())

    def wants_to_write(self, wire: Wire, *, wants: bool) -> None:
        """Tell it when it can write."""
        if wire.open:
            events = select.EPOLLIN | (select.EPOLLOUT if wants else 0)
            self._epoll.modify(wire.plug.fileno(), events)

    def accept(self, plug: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        """Take all connections of a listening socket."""
        plug.setblocking(False)
        self._accepting[plug.fileno()] = plug, accepted
        self._epoll.register(plug.fileno(), select.EPOLLIN)

    # ---- time

    def at(self, when: float, action: Action) -> None:
        """Call `action` with the time once `when` has come."""
        self._made += 1
        heapq.heappush(self._agenda, (when, self._made, action))

    def tick_for(self, count: int, now: float) -> None:
        """Make a grid of `count` places, spread evenly over each 20 ms."""
        self._ring = [None] * count
        self._step_s = FRAME_S / count
        self._next_tick_at = now
        self._ring_at = 0

    def take_place(self, place: int, who: Ticking | None) -> None:
        """Somebody ticks from now on, or nobody any more."""
        self._ring[place] = who

    # ---- running

    def stop(self) -> None:
        """Return from `run`."""
        self._stopped = True

    def run(self) -> None:
        """Do what is due, beat by beat, until stopped."""
        self._stopped = False
        beat_at = time.monotonic()
        while not self._stopped:
            self._tick(time.monotonic())
            self._keep_appointments(time.monotonic())
            for number, events in self._epoll.poll(0):
                self._happened(number, events, time.monotonic())
            now = time.monotonic()
            beat_at = max(beat_at + BEAT_S, now)
            time.sleep(beat_at - now)

    def close(self) -> None:
        """Give back what it holds; the sockets are the others'."""
        for plug, _ in self._accepting.values():
            self._epoll.unregister(plug.fileno())
        for wire in list(self._wires.values()):
            wire.close()
        self._epoll.close()

    def _keep_appointments(self, now: float) -> None:
        while self._agenda and self._agenda[0][0] <= now:
            _, _, action = heapq.heappop(self._agenda)
            action(now)

    def _tick(self, now: float) -> None:
        """Everybody whose time has come, and how late that is."""
        ring, size = self._ring, len(self._ring)
        while self._next_tick_at <= now:
            now = time.monotonic()
            self.lateness_ms[int((now - self._next_tick_at) * 1000)] += 1
            who = ring[self._ring_at]
            if who is not None:
                who.tick(now)
            self._ring_at = (self._ring_at + 1) % size
            self._next_tick_at += self._step_s

    def _happened(self, number: int, events: int, now: float) -> None:
        wire = self._wires.get(number)
        if wire is None:
            self._accept(number)
            return
        if events & select.EPOLLOUT:
            wire.writable()
        if events & ~select.EPOLLOUT and wire.open:
            wire.readable(now)

    def _accept(self, number: int) -> None:
        listening = self._accepting.get(number)
        if listening is None:
            return  # closed by what happened before it in the same round
        plug, accepted = listening
        try:
            connected, _ = plug.accept()
        except OSError:
            return
        accepted(connected)
