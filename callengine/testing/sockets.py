"""Runs any `Peer` on a real WebSocket: as a client (`run_client`), behind a port (`PeerServer`).

Decides nothing about what is said: it carries messages, closes and the time, promptly. One thread
per connection.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from callengine.testing.peer import Close, Outgoing, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from websockets.sync.connection import Connection

OPEN_DEADLINE_S: Final = 10.0
CLOSE_DEADLINE_S: Final = 2.0
"""The other side has this long to answer our close frame; then TCP is closed."""
SEND_DEADLINE_S: Final = 5.0
"""If the other side reads nothing for this long, the connection is lost (1006). POSIX only."""
MAX_QUEUED_MESSAGES: Final = 1024
"""Received and not yet handed to the peer; beyond this TCP holds the sender back."""


class _ReadToTheEnd:
    """For a connection of `websockets`, which stops reading where sending fails: of a peer that is
    gone, what it said before is still to be read, and why it went. That it is gone, reading tells.
    """

    def send_data(self) -> None:
        """Write what is to be sent, if anybody is there."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().send_data()  # type: ignore[misc]


class _Client(_ReadToTheEnd, ClientConnection):
    pass


class _Server(_ReadToTheEnd, ServerConnection):
    pass


class CannotConnectError(ConnectionError):
    """No WebSocket could be opened; `status` is the HTTP status that refused it, if one came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def run_client(
    peer: Peer,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    deadline_s: float,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Connect `peer` to `url` and run it until either side has closed.

    `headers` are added to the upgrade request (a signature, say). `on_progress` is called in this
    thread on every turn of the loop, about 50 times per second for a simulated caller, with the
    seconds since the connection opened.

    Raises `CannotConnectError` if no WebSocket comes about, and `TimeoutError` if the connection is
    still open after `deadline_s`: it is then cut, and the peer is told with code 1006.
    """
    ends_at = time.monotonic() + deadline_s
    with _connect(url, headers, deadline_s) as connection:
        finished = _drive(peer, connection, ends_at=ends_at, on_progress=on_progress)
    if not finished:
        raise TimeoutError(
            f"the connection to {url} was still open after {deadline_s:g} s and was cut; "
            "raise deadline_s if the script is meant to take that long"
        )


def refusal(status: int, text: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """An HTTP answer with which `check_request` refuses an upgrade: 401, 429 with Retry-After..."""
    body = text.encode()
    fields = Headers({"Content-Type": "text/plain; charset=utf-8", "Connection": "close"})
    fields["Content-Length"] = str(len(body))
    for name, value in (headers or {}).items():
        fields[name] = value
    return Response(status, HTTPStatus(status).phrase, fields, body)


class PeerServer:
    """A WebSocket server on loopback: a context manager with a fresh peer for each connection.

    `port` 0 takes a free one. With a `path`, requests for any other path get 404. `check_request`
    may look at each upgrade request and return an HTTP response to refuse it (see `refusal`), None
    to let it in; it runs in the connection's thread, so it may also block to play a server that is
    slow to answer.

    `peers` lists the peers in the order their connections opened; `requests` every upgrade request
    seen, refused ones included (`.path` has the query, `.headers` ignores case). What a peer raised
    ends its connection with 1011 and is raised, grouped, by `stop`.
    """

    def __init__(
        self,
        make_peer: Callable[[], Peer],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        path: str | None = None,
        check_request: Callable[[Request], Response | None] | None = None,
    ) -> None:
        self.peers: list[Peer] = []
        self.requests: list[Request] = []
        self._make_peer = make_peer
        self._address = (host, port)
        self._path = path
        self._check_request = check_request
        self._connections: dict[ServerConnection, threading.Thread] = {}
        self._lock = threading.Lock()
        self._failures: list[Exception] = []
        self._running: tuple[Server, threading.Thread] | None = None

    @property
    def port(self) -> int:
        """The port listened on. Raises RuntimeError before `start` and after `stop`."""
        if self._running is None:
            raise RuntimeError(
                "the PeerServer has no port: it is not running; use it in a with block"
            )
        name: tuple[str, int] = self._running[0].socket.getsockname()
        return name[1]

    @property
    def url(self) -> str:
        """Where to connect: `ws://host:port/path`."""
        return f"ws://{self._address[0]}:{self.port}{self._path or '/'}"

    def start(self) -> Self:
        """Listen, and accept connections in a thread. Raises OSError if the port is taken."""
        host, port = self._address
        server = serve(
            self._serve_connection,
            host,
            port,
            process_request=self._process_request,
            create_connection=_Server,
            **_connection_options(),
        )
        thread = threading.Thread(target=server.serve_forever, name="peer-server")
        thread.start()
        self._running = (server, thread)
        return self

    def stop(self) -> None:
        """Close the port and every connection (1001), wait for the threads. Idempotent.

        Raises an ExceptionGroup if peers raised.
        """
        if self._running is None:
            return
        (server, accepting), self._running = self._running, None
        server.shutdown()
        accepting.join()
        with self._lock:
            left = dict(self._connections)
        for connection in left:
            connection.close(1001)
        for thread in left.values():
            thread.join()
        if self._failures:
            raise ExceptionGroup("simulated peers failed", self._failures)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _process_request(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if self._path is not None and urlsplit(request.path).path != self._path:
            return refusal(404, f"only {self._path} is served here\n")
        return self._check_request(request) if self._check_request is not None else None

    def _serve_connection(self, connection: ServerConnection) -> None:
        with self._lock:
            self._connections[connection] = threading.current_thread()
        try:
            peer = self._make_peer()
            self.peers.append(peer)
            _bound_sending(connection)
            _drive(peer, connection)
        except Exception as failure:  # noqa: BLE001  a peer is user code; stop() raises what it raised
            self._failures.append(failure)
            connection.close(1011)
        finally:
            with self._lock:
                del self._connections[connection]


def _connection_options() -> dict[str, Any]:
    """Alike on both sides. Keepalive pings are off: silence must not end a simulated call."""
    return {
        "compression": None,
        "max_size": None,
        "max_queue": MAX_QUEUED_MESSAGES,
        "ping_interval": None,
        "close_timeout": CLOSE_DEADLINE_S,
    }


def _connect(url: str, headers: Mapping[str, str] | None, deadline_s: float) -> ClientConnection:
    try:
        connection: ClientConnection = connect(
            url,
            create_connection=_Client,
            additional_headers=dict(headers or {}),
            proxy=None,
            open_timeout=min(OPEN_DEADLINE_S, deadline_s),
            **_connection_options(),
        )
    except InvalidStatus as refused:
        status = refused.response.status_code
        raise CannotConnectError(
            f"{url} answered HTTP {status} instead of opening a WebSocket; "
            "check the path, the signature and what the server logged",
            status,
        ) from refused
    except (OSError, WebSocketException) as failure:
        raise CannotConnectError(
            f"cannot open a WebSocket to {url}: {failure or type(failure).__name__}; "
            "check that the server is running and listens on that address"
        ) from failure
    _bound_sending(connection)
    return connection


def _bound_sending(connection: Connection) -> None:
    """Let a send fail after SEND_DEADLINE_S. The socket's own timeout cannot: it would end idle
    receiving too.
    """
    if os.name == "posix":
        seconds = struct.pack("@ll", int(SEND_DEADLINE_S), 0)
        with contextlib.suppress(OSError):  # gone already, as the first `recv` will tell
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)


def _drive(
    peer: Peer,
    connection: Connection,
    *,
    ends_at: float = math.inf,
    on_progress: Callable[[float], None] | None = None,
) -> bool:
    """Run the peer until either side has closed; False if `ends_at` came first and the connection
    was cut.
    """
    opened_at = time.monotonic()
    peer.opened(opened_at)
    while True:
        now = time.monotonic()
        peer.advance(now)
        if _send(peer.take_outgoing(), connection):
            return True
        if now >= ends_at:
            _cut(connection)
            peer.closed(1006, "cut at the deadline of the run", now)
            return False
        if on_progress is not None:
            on_progress(now - opened_at)
        wake_at = min(ends_at, _or_never(peer.next_deadline()))
        try:
            message = connection.recv(_timeout_s(wake_at))
        except TimeoutError:
            continue
        except ConnectionClosed:
            code = connection.close_code
            reason = connection.close_reason or ""
            peer.closed(1006 if code is None else code, reason, time.monotonic())
            return True
        peer.received(message, time.monotonic())


def _or_never(deadline: float | None) -> float:
    return math.inf if deadline is None else deadline


def _timeout_s(wake_at: float) -> float | None:
    return None if wake_at == math.inf else max(0.0, wake_at - time.monotonic())


def _send(outgoing: list[Outgoing], connection: Connection) -> bool:
    """Send in order; True if the peer closed the connection.

    A connection found gone is not reported here: what it delivered before is still to be read, then
    `recv` tells.
    """
    for message in outgoing:
        if isinstance(message, Close):
            _close(connection, message)
            return True
        with contextlib.suppress(ConnectionClosed):
            connection.send(message)
    return False


def _close(connection: Connection, close: Close) -> None:
    if close.abrupt:
        _cut(connection)
    elif close.code == 1005:
        no_code: Any = None  # what the protocol layer takes for a close frame without a code
        connection.close(no_code)
    else:
        connection.close(close.code, close.reason)


def _cut(connection: Connection) -> None:
    with contextlib.suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)
