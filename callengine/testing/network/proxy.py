"""A network in trouble: a TCP proxy that can cut, swallow or slow down what goes through it.

It knows bytes and connections, no protocol. One thread serves all connections of a proxy.
"""

from __future__ import annotations

import heapq
import itertools
import math
import selectors
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from callengine.testing.network.relay import Relay, Side, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

CONNECT_TIMEOUT_S: Final = 2.0
TICK_S: Final = 0.05
"""A slow direction gets its bytes in portions, this far apart."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Both sides get a TCP reset, `after_s` seconds into the connection."""

    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Swallow:
    """From then on everything is taken and nothing arrives, neither data nor the end of it.

    To both sides the connection looks open: it is what a NAT leaves that has forgotten it.
    """

    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Slow:
    """What goes `towards` one side passes at `bytes_per_s` for a time; 0 holds it.

    The proxy takes no more than it can pass on, so that the sender's buffers fill: to the sender
    the other side reads slowly, or not at all.
    """

    towards: Side
    bytes_per_s: int = 0
    after_s: float = 0.0
    for_s: float = math.inf


Trouble = Cut | Swallow | Slow


class TroubledProxy:
    """Passes TCP connections on to `target`, and gets them into trouble; a context manager.

    `troubles(n)` tells what the n-th connection, from 0, will meet; `strike` does something to the
    connections that are open. `buffer_bytes` is the most that one direction holds inside the proxy,
    and the size its receive buffers are asked to have.

        with TroubledProxy(("127.0.0.1", server.port)) as proxy:
            ...  # connect to proxy.url(server.url)
            proxy.strike(Cut())
    """

    def __init__(
        self,
        target: tuple[str, int],
        troubles: Callable[[int], Sequence[Trouble]] = lambda _: (),
        *,
        buffer_bytes: int = 65_536,
    ) -> None:
        self._target = target
        self._troubles = troubles
        self._buffer_bytes = buffer_bytes
        self._links: set[Relay] = set()
        self._taken = 0
        self._orders: deque[Callable[[], None]] = deque()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._listener.setblocking(False)
        self._address: tuple[str, int] = self._listener.getsockname()
        self._waker, self._woken = socket.socketpair()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="troubled-proxy")

    @property
    def port(self) -> int:
        """Where the proxy listens on 127.0.0.1."""
        return self._address[1]

    @property
    def taken(self) -> int:
        """Connections taken so far."""
        return self._taken

    @property
    def open(self) -> int:
        """Connections of which either side is still open."""
        return len(self._links)

    def url(self, url: str) -> str:
        """`url` by way of this proxy."""
        return urlsplit(url)._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    def turn_to(self, target: tuple[str, int]) -> None:
        """Pass on to another server from now on; connections that are open stay where they are."""
        self._target = target

    def strike(self, trouble: Trouble) -> None:
        """Get every open connection into trouble, `trouble.after_s` from now."""

        def arrange() -> None:
            for link in self._links:
                self._arrange(link, trouble)

        self._do(arrange)

    def stop(self) -> None:
        """Cut what is open, close the port, end the thread. Idempotent."""
        if self._thread.is_alive():
            self._do(self._stop)
            self._thread.join()
        self._selector.close()
        for each in (self._listener, self._waker, self._woken):
            each.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # ---- the loop; everything below runs on its thread

    def _do(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self._waker.send(b"!")

    def _stop(self) -> None:
        self._stopping = True

    def _at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), do))

    def _run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._obey)
        while not self._stopping:
            for key, events in self._selector.select(self._patience_s()):
                key.data(events)
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()
        for link in self._links.copy():
            link.cut()

    def _patience_s(self) -> float | None:
        return max(self._due[0][0] - time.monotonic(), 0.0) if self._due else None

    def _obey(self, _: int) -> None:
        self._woken.recv(4096)
        while self._orders:
            self._orders.popleft()()

    def _accept(self, _: int) -> None:
        try:
            client, _address = self._listener.accept()
        except OSError:
            return  # it has gone again
        server = self._connect()
        troubles = self._troubles(self._taken)
        self._taken += 1
        if server is None:
            reset(client)
            return
        link = Relay(client, server, self._selector, self._buffer_bytes, self._links.discard)
        self._links.add(link)
        for trouble in troubles:
            self._arrange(link, trouble)

    def _connect(self) -> socket.socket | None:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        server.settimeout(CONNECT_TIMEOUT_S)
        try:
            server.connect(self._target)
        except OSError:
            server.close()
            return None
        return server

    def _arrange(self, link: Relay, trouble: Trouble) -> None:
        now = time.monotonic()
        match trouble:
            case Cut(after_s):
                self._at(now + after_s, link.cut)
            case Swallow(after_s):
                self._at(now + after_s, link.swallow)
            case Slow(towards, bytes_per_s, after_s, for_s):
                begin = now + after_s
                self._at(begin, lambda: self._feed(link, towards, bytes_per_s, begin + for_s))

    def _feed(self, link: Relay, towards: Side, bytes_per_s: int, until: float) -> None:
        """Grant the next portion, and come back for the one after it."""
        now = time.monotonic()
        if now >= until:
            link.grant(towards, None)
        elif link in self._links:
            link.grant(towards, round(bytes_per_s * TICK_S))
            following = now + TICK_S if bytes_per_s else until
            if following < math.inf:
                self._at(following, lambda: self._feed(link, towards, bytes_per_s, until))
