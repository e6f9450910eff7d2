"""A server of our own, for hosts without one: the media socket and the webhooks on one port.

It is also where gevent and uWSGI hosts put the media: in a process with real threads.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from callengine.actors.threads import Threads
from callengine.edges.asking import END_OF_HEAD, Asking, Other, request_of
from callengine.edges.carrier_stream import CarrierStream
from callengine.edges.http import HttpReply, HttpRequest, text_reply
from callengine.edges.site import VoiceSite
from callengine.errors import EngineStopped, SettingsError
from callengine.hosts import check_process, is_loopback
from callengine.wire.twilio import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from callengine.actors.loop import Loop
    from callengine.edges.admission import Admission
    from callengine.engine import CallEngine
    from callengine.settings import Settings
    from callengine.summary import CallSummary

MEDIA_PATH: Final = "/media-stream"
WEBHOOK_PATH: Final = "/voice/incoming"
STATUS_PATH: Final = "/voice/status"
HEALTH_PATH: Final = "/voice/health"
READY_PATH: Final = "/voice/ready"
HTTP_THREADS: Final = 32
MAX_OPENING: Final = 256
"""Connections that hold no call; more wait in the system's backlog."""
ACCEPT_AGAIN_S: Final = 0.1
STOP_TIMEOUT_S: Final = 5.0
MAX_PORT: Final = 65_535

FROM_ELSEWHERE: Final = frozenset({"forwarded", "x-twilio-signature"})
"""Headers of a request that a proxy or a tunnel brought, beside `X-Forwarded-...`."""


class StandaloneServer:
    """Serves an engine on one port; a context manager.

    Requests are answered on a few threads; media sockets are the loop's.

    `port` 0 takes a free one; the one it got is `port`. `public_url` is where Twilio reaches this
    server from outside (`https://voice.example.com`), by default that of the engine's settings.
    `on_call` is told the summary of each call, on a thread that may block.

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
        self._plug = plug
        self._lock = threading.Lock()
        self._stopping = False
        self._opening: set[socket.socket] = set()  # clients that hold no call, or not yet
        self._room = threading.Semaphore(MAX_OPENING)
        self._threads = Threads("callengine-http", HTTP_THREADS)
        self.host = host
        self.port: int = plug.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="callengine-server", daemon=True)

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
        with self._lock:
            self._stopping = True
            for plug in (self._plug, *self._opening):
                with suppress(OSError):  # shut, a socket that is waited on wakes who waits
                    plug.shutdown(socket.SHUT_RDWR)
        self._engine.stop()
        self._room.release()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        self._threads.stop(STOP_TIMEOUT_S)
        self._plug.close()

    # ---- without a port of its own

    def give_port(self) -> socket.socket:
        """Give the port to somebody who hands its connections to `adopt`; do not enter then."""
        return socket.socket(fileno=self._plug.detach())

    def adopt(self, plug: socket.socket, client: str, on_answered: Callable[[bool], None]) -> None:
        """Serve a connection that somebody else has accepted; waits while there are too many.

        `on_answered` is told whether it is a call now; if not, it is closed.
        """
        self._room.acquire()
        self._threads.run(lambda: self._open_adopted(plug, client, on_answered))

    def _open_adopted(
        self, plug: socket.socket, client: str, on_answered: Callable[[bool], None]
    ) -> None:
        is_call = False
        try:
            is_call = self._open(plug, client)
        finally:
            on_answered(is_call)

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

    # ---- connections

    def _accept(self) -> None:
        while True:
            self._room.acquire()
            try:
                connection, address = self._plug.accept()
            except OSError:
                if self._stopping:
                    return
                self._room.release()  # whoever asked is gone, or there are no more descriptors
                time.sleep(ACCEPT_AGAIN_S)
                continue
            self._threads.run(lambda plug=connection, asks=address[0]: self._open(plug, asks))  # type: ignore[misc]

    def _open(self, plug: socket.socket, client: str) -> bool:
        """Answer a request. If that made it a media socket the loop has it from then on."""
        with self._lock:
            turned_away = self._stopping
            self._opening.add(plug)
        is_medias = False
        try:
            is_medias = not turned_away and self._answer_first(plug, client)
        except OSError:
            pass  # whoever asked is gone, or never asked
        finally:
            if not is_medias:
                plug.close()
            with self._lock:
                self._opening.discard(plug)
            self._room.release()
        return is_medias

    def _answer_first(self, plug: socket.socket, client: str) -> bool:
        """Answer the request that a connection begins with; True if it is a WebSocket now."""
        asking = Asking(plug)
        head = asking.head()
        if head.startswith(b"GET "):
            return self._answer_upgrade(plug, client, head)
        Other(asking, client, self.answer)
        asking.end()
        return False

    def _answer_upgrade(self, plug: socket.socket, client: str, head: bytes) -> bool:
        protocol = ServerProtocol(max_size=MAX_MESSAGE_BYTES)
        asked_in, _, unread = head.partition(END_OF_HEAD)
        protocol.receive_data(asked_in + END_OF_HEAD)
        asked = next(iter(protocol.events_received()), None)
        admission = None
        if isinstance(asked, Request):
            admission = self._answer_get(protocol, asked, client)
        try:
            plug.sendall(b"".join(protocol.data_to_send()))
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            if admission is not None:
                admission.release()
            raise
        if admission is None:
            return False

        def connect(loop: Loop, on_stall: Callable[[], None]) -> CarrierStream:
            return CarrierStream(loop, plug, protocol, on_stall=on_stall, unread=unread)

        try:
            self._site.begin(connect, admission)
        except EngineStopped:  # the last slot was taken meanwhile
            admission.release()
            protocol.send_close(1013, "no room for another call")
            plug.sendall(b"".join(protocol.data_to_send()))
            return False
        return True

    def _answer_get(
        self, protocol: ServerProtocol, asked: Request, client: str
    ) -> Admission | None:
        """Leave the answer with `protocol`; an admission if it is one to come in."""
        request = request_of("GET", asked.path, asked.headers.raw_items(), client)
        answer = self._let_in(request)
        if isinstance(answer, HttpReply):
            protocol.send_response(_response(protocol, answer))
            return None
        response = protocol.accept(asked)
        protocol.send_response(response)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            return answer
        answer.release()
        return None

    def _let_in(self, request: HttpRequest) -> HttpReply | Admission:
        if request.path != self._media_path:
            return self.answer(request)
        if self._is_bench and (refusal := _refuse_at_bench(request)) is not None:
            return refusal
        return self._site.admit(request)


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


def _response(protocol: ServerProtocol, reply: HttpReply) -> Response:
    response = protocol.reject(HTTPStatus(reply.status), reply.body.decode())
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = reply.content_type
    for name, value in reply.headers:
        response.headers[name] = value
    return response
