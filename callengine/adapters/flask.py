"""The voice site in a Flask application, under a server with threads: gunicorn's `gthread`.

Webhooks are a blueprint. The media socket is taken before the application sees it: a call may last
an hour, and would hold whatever the application attaches to a request, such as a session of its
database, for as long. So nothing of the engine ever runs in a context of the application.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

from flask import Blueprint, Flask, Response, request
from flask_sock import Sock
from wsproto.utilities import ProtocolError

from callengine.adapters.wsgi_socket import SOCKET_OPTIONS, Plug, WsgiEdge
from callengine.edges.http import MAX_BODY_BYTES, HttpReply, HttpRequest, text_reply
from callengine.edges.signals import drain_on_sigterm
from callengine.edges.site import VoiceSite
from callengine.errors import EngineStopped, LocalError, UnsupportedHost
from callengine.hosts import check_wsgi, check_wsgi_socket, gunicorn_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from simple_websocket import Server

    from callengine.agent import Agent, AgentChoice
    from callengine.edges.admission import Admission
    from callengine.engine import CallEngine
    from callengine.summary import CallSummary

ADMISSION: Final = "callengine.admission"
PLUG: Final = "callengine.plug"
SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")
GOODBYE_S: Final = 10.0
"""Of gunicorn's graceful timeout, what is left to calls that did not end by themselves."""


class FlaskVoice:
    """`POST incoming`, `POST status`, `GET health`, `GET ready` and the socket `media`.

    All are below `url_prefix`. `on_call` is told the summary of each call. In a worker of gunicorn,
    SIGTERM drains the engine first: calls have the worker's graceful timeout, less `GOODBYE_S`.

    Code of the application that is called from a call (tools, `on_event`, `on_call`, an `agent`
    that is a function) has no application context: what needs one says `with app.app_context():`.

    A process that cannot hold calls answers 503, and the application's log says what to do.
    `blueprint` is for those who exempt it from something, CSRF protection for example.
    """

    def __init__(
        self,
        app: Flask,
        engine: CallEngine,
        *,
        agent: Agent | AgentChoice | None = None,
        url_prefix: str = "/voice",
        on_call: Callable[[CallSummary], None] | None = None,
    ) -> None:
        self.site = VoiceSite(engine, agent=agent, on_call=on_call)
        self.blueprint = Blueprint("callengine", __name__, url_prefix=url_prefix)
        self._app = app
        self._max_calls = engine.settings.max_calls
        self._told = False
        self._add_routes()
        app.register_blueprint(self.blueprint)
        self._divert(app, f"{url_prefix}/media")
        if (workers := gunicorn_workers()) is not None:
            drain_on_sigterm(engine, max(workers.graceful_timeout_s - GOODBYE_S, 0.0))

    # ---- webhooks

    def _add_routes(self) -> None:
        add = self.blueprint.add_url_rule
        add("/incoming", "incoming", self._incoming, methods=["POST"])
        add("/status", "status", lambda: _response(self.site.status(_post())), methods=["POST"])
        add("/health", "health", lambda: _response(self.site.health()))
        add("/ready", "ready", self._ready)

    def _incoming(self) -> Response:
        return self._refuse_process() or _response(self.site.incoming(_post()))

    def _ready(self) -> Response:
        return self._refuse_process() or _response(self.site.ready())

    def _refuse_process(self) -> Response | None:
        try:
            check_wsgi(self._max_calls)
        except UnsupportedHost as error:
            return self._refuse(error)
        return None

    def _refuse(self, error: LocalError) -> Response:
        if not self._told:
            self._told = True
            self._app.logger.error("callengine takes no calls here: %s", error)
        return _response(text_reply(503, "this server cannot hold calls; its log says why"))

    # ---- the media socket

    def _divert(self, app: Flask, path: str) -> None:
        media = Flask("callengine.media", static_folder=None)
        media.config["SOCK_SERVER_OPTIONS"] = SOCKET_OPTIONS
        media.before_request(self._admit)
        media.teardown_request(_release)
        media.register_error_handler(ProtocolError, _bad_handshake)
        Sock(media).route(path)(self._hold)
        onward = app.wsgi_app

        def divert(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
            to = media if environ.get("PATH_INFO") == path else onward
            return to(environ, start_response)

        app.wsgi_app = divert  # type: ignore[method-assign]

    def _admit(self) -> Response | None:
        """Before the socket is accepted, so that a refusal is an HTTP answer."""
        environ = request.environ
        try:
            check_wsgi(self._max_calls)
            check_wsgi_socket(environ)
        except UnsupportedHost as error:
            return self._refuse(error)
        admitted = self.site.admit(_request())
        if isinstance(admitted, HttpReply):
            return _response(admitted)
        name = next(name for name in SOCKETS if name in environ)
        environ[ADMISSION] = admitted
        environ[PLUG] = environ[name] = Plug(environ[name])
        # Compression is not worth its time, and its state is not made for two threads.
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        return None

    def _hold(self, connection: Server) -> None:
        environ = request.environ
        edge = WsgiEdge(connection, environ[PLUG])
        admission: Admission = environ[ADMISSION]
        try:
            contextvars.Context().run(self.site.serve, edge, admission)
        except EngineStopped:
            pass  # the last slot was taken meanwhile, and the socket closed
        except LocalError as error:
            self._refuse(error)
            edge.close(1011, "this server cannot hold calls")


def _release(_: BaseException | None) -> None:
    """An admission of which nothing came, because the handshake failed."""
    admission: Admission | None = request.environ.pop(ADMISSION, None)
    if admission is not None:
        admission.release()


def _bad_handshake(_: ProtocolError) -> Response:
    return _response(text_reply(400, "no WebSocket handshake"))


# ---- requests and answers


def _post() -> HttpRequest:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return _request(bytes(MAX_BODY_BYTES + 1))
    body = request.stream.read(MAX_BODY_BYTES + 1)
    if not body and request.form:  # somebody in the application has read it
        body = urlencode(list(request.form.items(multi=True))).encode()
    return _request(body)


def _request(body: bytes = b"") -> HttpRequest:
    return HttpRequest(
        method=request.method,
        path=_public_path(request.environ),
        query=request.environ.get("QUERY_STRING", ""),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        client=request.remote_addr or "",
    )


def _public_path(environ: dict[str, Any]) -> str:
    """The path as Twilio wrote it: undecoded, and with what a proxy has taken from its front."""
    root = quote(environ.get("SCRIPT_NAME", "").rstrip("/"), encoding="latin-1")
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    path = raw.partition("?")[0] if raw.startswith("/") else urlsplit(raw).path
    path = path or root + quote(environ.get("PATH_INFO", ""), encoding="latin-1")
    return path if path.startswith(f"{root}/") else root + path


def _response(reply: HttpReply) -> Response:
    headers = [("Content-Type", reply.content_type), *reply.headers]
    return Response(reply.body, reply.status, headers)
