"""A server of our own, for hosts without one: the media socket and the voice webhook on one port.

It is also where gevent and uWSGI hosts put the media: in a process with real threads.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from callengine.edges.twiml import connect_stream
from callengine.errors import EdgeClosed, EngineStopped, SettingsError
from callengine.wire.twilio import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from websockets.http11 import Request, Response

    from callengine.engine import CallEngine
    from callengine.summary import CallSummary

MEDIA_PATH: Final = "/media-stream"
WEBHOOK_PATH: Final = "/voice/incoming"
SEND_TIMEOUT_S: Final = 5
HTTP_TIMEOUT_S: Final = 10.0
MAX_BODY_BYTES: Final = 65_536
STOP_TIMEOUT_S: Final = 5.0
MAX_PORT: Final = 65_535


class SyncEdge:
    """An `Edge` over a `websockets.sync` connection.

    A peer that reads nothing for `SEND_TIMEOUT_S` is gone: no thread waits for it any longer.
    """

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        plug, wait = connection.socket, struct.pack("ll", SEND_TIMEOUT_S, 0)
        with suppress(OSError):  # gone already, as `receive` will tell
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)

    def receive(self) -> str | bytes:
        """See `Edge.receive`."""
        try:
            return self._connection.recv()
        except ConnectionClosed as closed:
            raise _gone(closed) from None

    def send(self, message: str) -> None:
        """See `Edge.send`."""
        try:
            self._connection.send(message)
        except ConnectionClosed as closed:
            raise _gone(closed) from None

    def close(self, code: int, reason: str) -> None:
        """See `Edge.close`."""
        self._connection.close(code, reason)


def _gone(closed: ConnectionClosed) -> EdgeClosed:
    got = closed.rcvd or closed.sent
    return EdgeClosed(got.code, got.reason) if got else EdgeClosed(1006)


class StandaloneServer:
    """Serves an engine on one port; a context manager.

    `port` 0 takes a free one; the one it got is `port`. `public_url` is where Twilio reaches this
    server from outside (`https://voice.example.com`): without it the webhook cannot tell Twilio
    where the media goes, and says so. `on_call` is told the summary of each call, on its thread.

    Raises SettingsError if the port cannot be had.
    """

    def __init__(
        self,
        engine: CallEngine,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        media_path: str = MEDIA_PATH,
        public_url: str | None = None,
        on_call: Callable[[CallSummary], None] | None = None,
    ) -> None:
        self._engine = engine
        self._media_path = media_path
        self._public_url = public_url
        self._on_call = on_call
        if not media_path.startswith("/"):
            raise SettingsError(f"the media path is {media_path!r}; it must begin with a slash")
        if not 0 <= port <= MAX_PORT:
            raise SettingsError(f"port {port} on {host} cannot be had: ports end at {MAX_PORT}")
        try:
            self._server = serve(
                self._hold_call,
                host,
                port,
                process_request=self._admit,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                close_timeout=2,
            )
        except OSError as error:
            raise SettingsError(f"port {port} on {host} cannot be had: {error.strerror}") from None
        self._serve_websocket = self._server.handler
        self._server.handler = self._serve_any
        self._lock = threading.Lock()
        self._stopping = False
        self._opening: set[socket.socket] = set()  # clients that hold no call, or not yet
        self._serving: set[threading.Thread] = set()
        self.host = host
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="callengine-server", daemon=True
        )

    @property
    def media_url(self) -> str:
        """Where a caller on this machine connects."""
        return f"ws://{self.host}:{self.port}{self._media_path}"

    def __enter__(self) -> StandaloneServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take no new call, end the ones in progress, close the port."""
        self._engine.stop()
        with self._lock:
            self._stopping = True
            for plug in self._opening:
                with suppress(OSError):
                    plug.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._thread.join(STOP_TIMEOUT_S)
        with self._lock:
            serving = list(self._serving)
        for thread in serving:
            thread.join(STOP_TIMEOUT_S)

    # ---- requests

    def _serve_any(self, connection: socket.socket, address: Any) -> None:  # noqa: ANN401
        """websockets only speaks GET, and Twilio's webhooks are POSTs on the same port."""
        me = threading.current_thread()
        with self._lock:
            self._serving.add(me)
            self._opening.add(connection)
            turned_away = self._stopping
        if turned_away or self._answers_post(connection, address):
            connection.close()
        # A closed one too: `shutdown` waits until this handler has seen every thread off.
        self._serve_websocket(connection, address)
        with self._lock:
            self._opening.discard(connection)
            self._serving.discard(me)

    def _answers_post(self, connection: socket.socket, address: Any) -> bool:  # noqa: ANN401
        """Answer a POST; False if it is none, and nothing was read."""
        try:
            connection.settimeout(HTTP_TIMEOUT_S)
            if connection.recv(4, socket.MSG_PEEK) != b"POST":
                connection.settimeout(None)
                return False
            _Post(connection, address, self)  # type: ignore[arg-type]
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # whoever asked is gone, or never asked
        return True

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if _without_query(request.path) == self._media_path:
            if self._engine.full:
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "no room for a call\n")
            return None
        status, kind, body = self.answer_http(request.path)
        response = connection.respond(status, body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = kind
        return response

    def answer_http(self, target: str) -> tuple[HTTPStatus, str, str]:
        """Status, content type and body for anything that is not the media socket."""
        text = "text/plain; charset=utf-8"
        if _without_query(target) != WEBHOOK_PATH:
            return HTTPStatus.NOT_FOUND, text, f"media is at {self._media_path}\n"
        if self._public_url is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, text, "set CALLENGINE_PUBLIC_URL\n"
        origin = self._public_url.rstrip("/").replace("https://", "wss://", 1)
        try:
            body = connect_stream(origin + self._media_path)
        except SettingsError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, text, f"{error}\n"
        return HTTPStatus.OK, "text/xml; charset=utf-8", body

    def _hold_call(self, connection: ServerConnection) -> None:
        with self._lock:
            self._opening.discard(connection.socket)
        try:
            summary = self._engine.serve(SyncEdge(connection))
        except EngineStopped:
            return
        if self._on_call is not None:
            self._on_call(summary)


def _without_query(target: str) -> str:
    return target.partition("?")[0]


class _Post(BaseHTTPRequestHandler):
    """One POST on a connection that is not a WebSocket."""

    protocol_version = "HTTP/1.1"
    server: StandaloneServer  # type: ignore[assignment]

    def do_POST(self) -> None:
        """Read the form and answer."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self.rfile.read(int(length))
        status, kind, body = self.server.answer_http(self.path)
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature
        """Say nothing: paths and addresses are the host's to log."""
