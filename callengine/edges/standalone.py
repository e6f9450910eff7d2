"""A server of our own, for hosts without one: the media socket and the webhooks on one port.

It is also where gevent and uWSGI hosts put the media: in a process with real threads.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from callengine.edges.http import MAX_BODY_BYTES, HttpReply, HttpRequest, text_reply
from callengine.edges.site import VoiceSite
from callengine.errors import EdgeClosed, EngineStopped, SettingsError
from callengine.hosts import check_process, is_loopback
from callengine.wire.twilio import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from websockets.http11 import Request, Response

    from callengine.edges.admission import Admission
    from callengine.engine import CallEngine
    from callengine.settings import Settings
    from callengine.summary import CallSummary

MEDIA_PATH: Final = "/media-stream"
WEBHOOK_PATH: Final = "/voice/incoming"
STATUS_PATH: Final = "/voice/status"
HEALTH_PATH: Final = "/voice/health"
READY_PATH: Final = "/voice/ready"
SEND_TIMEOUT_S: Final = 5
HTTP_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 5.0
MAX_PORT: Final = 65_535

FROM_ELSEWHERE: Final = frozenset({"forwarded", "x-twilio-signature"})
"""Headers of a request that a proxy or a tunnel brought, beside `X-Forwarded-...`."""


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
    server from outside (`https://voice.example.com`), by default that of the engine's settings.
    `on_call` is told the summary of each call, on its thread.

    Twilio's signatures are validated, with one exception: a server on loopback, with its model on
    loopback and neither a public URL nor an auth token, is a test bench. It asks for no signature
    (which is a warning in the log), takes calls from this machine only, and none that came through
    a proxy, and has no webhook.

    Raises SettingsError if the port cannot be had, or signatures cannot be validated, and
    UnsupportedHost in a process that has no real threads.
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
        check_process()
        settings = engine.settings
        if public_url is not None:
            settings = replace(settings, public_url=public_url)
        self._is_bench = _is_bench(settings, host)
        if self._is_bench:
            settings = replace(settings, validate_signatures=False)
        self._engine = engine
        self._media_path = media_path
        plug = _listen(host, port)
        try:
            self._site = VoiceSite(
                engine,
                media_path=media_path,
                on_call=on_call,
                settings=settings,
                local_only=self._is_bench,
            )
        except SettingsError:
            plug.close()
            raise
        self._server = serve(
            self._hold_call,
            sock=plug,
            process_request=self._admit,
            max_size=MAX_MESSAGE_BYTES,
            compression=None,
            close_timeout=2,
        )
        self._serve_websocket = self._server.handler
        self._server.handler = self._serve_any
        self._lock = threading.Lock()
        self._stopping = False
        self._opening: set[socket.socket] = set()  # clients that hold no call, or not yet
        self._serving: set[threading.Thread] = set()
        self._admissions: dict[threading.Thread, Admission] = {}
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

    def drain(self, deadline_s: float) -> None:
        """Be no longer ready, let calls finish as `CallEngine.drain` does, then stop."""
        self._engine.drain(deadline_s)
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

    def answer(self, request: HttpRequest) -> HttpReply:
        """What anything is answered that is not the media socket."""
        if self._is_bench and (refusal := _refuse_at_bench(request)) is not None:
            return refusal
        if request.path in {HEALTH_PATH, READY_PATH}:
            if request.method != "GET":
                return text_reply(405, "only GET", Allow="GET")
            return self._site.health() if request.path == HEALTH_PATH else self._site.ready()
        if request.path not in {WEBHOOK_PATH, STATUS_PATH}:
            return text_reply(404, f"media is at {self._media_path}")
        if request.method == "POST" and self._site.settings.public_url is None:
            return text_reply(503, "set CALLENGINE_PUBLIC_URL")
        incoming = request.path == WEBHOOK_PATH
        return self._site.incoming(request) if incoming else self._site.status(request)

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
        if (unused := self._admissions.pop(me, None)) is not None:
            unused.release()  # the handshake failed after all
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

    def _admit(self, connection: ServerConnection, asked: Request) -> Response | None:
        client = connection.remote_address[0]
        request = _request("GET", asked.path, asked.headers.raw_items(), client)
        if request.path != self._media_path:
            return _response(connection, self.answer(request))
        if self._is_bench and (refusal := _refuse_at_bench(request)) is not None:
            return _response(connection, refusal)
        admitted = self._site.admit(request)
        if isinstance(admitted, HttpReply):
            return _response(connection, admitted)
        self._admissions[threading.current_thread()] = admitted
        return None

    def _hold_call(self, connection: ServerConnection) -> None:
        with self._lock:
            self._opening.discard(connection.socket)
        admission = self._admissions.pop(threading.current_thread())
        with suppress(EngineStopped):  # the last slot was taken meanwhile, and the socket closed
            self._site.serve(SyncEdge(connection), admission)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= MAX_PORT:
        raise SettingsError(f"port {port} on {host} cannot be had: ports end at {MAX_PORT}")
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise SettingsError(f"port {port} on {host} cannot be had: {error.strerror}") from None


# ---- the test bench


def _is_bench(settings: Settings, host: str) -> bool:
    return (
        settings.validate_signatures
        and settings.public_url is None
        and not settings.twilio_auth_token
        and is_loopback(host)
        and is_loopback(urlsplit(settings.realtime_url).hostname)
    )


def _refuse_at_bench(request: HttpRequest) -> HttpReply | None:
    if not is_loopback(request.client):
        return text_reply(403, "this is a test bench, for callers on its machine only")
    names, origin = request.headers.keys(), request.headers.get("origin")
    proxied = any(name in FROM_ELSEWHERE or name.startswith("x-forwarded-") for name in names)
    # A browser names the page that asks; so do some clients, with the address they connect to.
    if proxied or (origin is not None and not _is_of_this_machine(origin)):
        return text_reply(
            403,
            "this is a test bench, and this request came from elsewhere:"
            " set TWILIO_AUTH_TOKEN and CALLENGINE_PUBLIC_URL",
        )
    return None


def _is_of_this_machine(origin: str) -> bool:
    try:
        return is_loopback(urlsplit(origin).hostname)
    except ValueError:
        return False


# ---- HTTP


def _request(
    method: str, target: str, fields: Iterable[tuple[str, str]], client: str, body: bytes = b""
) -> HttpRequest:
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for each, value in fields:
        name = each.lower()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return HttpRequest(method, path, query, headers, body, client)


def _response(connection: ServerConnection, reply: HttpReply) -> Response:
    response = connection.respond(HTTPStatus(reply.status), reply.body.decode())
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = reply.content_type
    for name, value in reply.headers:
        response.headers[name] = value
    return response


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
        body = self.rfile.read(int(length))
        fields = self.headers.items()
        reply = self.server.answer(
            _request("POST", self.path, fields, self.client_address[0], body)
        )
        self.send_response(reply.status)
        if reply.body:
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature
        """Say nothing: paths and addresses are the host's to log."""
