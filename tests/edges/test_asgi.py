"""The ASGI application, driven message by message; and by uvicorn, with a caller on the line."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest

from callengine import CallEngine, CallSummary, EndCause
from callengine.edges.asgi import AsgiEdge, VoiceApp
from callengine.edges.http import MAX_BODY_BYTES
from callengine.errors import EdgeClosed
from callengine.testing import BargeIn, SendRaw, Wait, WaitUntilHeard
from callengine.testing.speech import clip
from callengine.wire.twilio import MAX_MESSAGE_BYTES
from tests.edges.hosted import WAIT_S, hosted, uvicorn_thread
from tests.edges.twilio_signed import CALL, PUBLIC_URL, settings, signed_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT = {"type": "websocket.connect"}
HTTP_ANSWER: dict[str, Any] = {"websocket.http.response": {}}


class Server:
    """A server of one request: `told` is what the application hears, `said` what it answers."""

    def __init__(self, *told: dict[str, Any], send_fails: BaseException | None = None) -> None:
        self._told = list(told)
        self._send_fails = send_fails
        self.said: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if not self._told:
            await asyncio.Event().wait()  # for ever
        return self._told.pop(0)

    async def send(self, message: Any) -> None:  # noqa: ANN401
        if self._send_fails is not None:
            raise self._send_fails
        self.said.append(dict(message))

    def run(self, app: VoiceApp, scope: dict[str, Any]) -> list[dict[str, Any]]:
        asyncio.run(asyncio.wait_for(app(scope, self.receive, self.send), WAIT_S))
        return self.said


def headers_of(names: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in names.items()]


def http(path: str, method: str = "POST", **scope: Any) -> dict[str, Any]:  # noqa: ANN401
    """An HTTP scope, signed for `url` or for the path on the public origin."""
    url = scope.pop("url", PUBLIC_URL + path)
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": headers_of(signed_headers(url, CALL)),
        "client": ("203.0.113.7", 1234),
        **scope,
    }


def websocket(path: str, **scope: Any) -> dict[str, Any]:  # noqa: ANN401
    headers = headers_of(signed_headers("wss://voice.example.com" + path))
    return {
        "type": "websocket",
        "path": path,
        "query_string": b"",
        "headers": headers,
        "client": None,
        "extensions": HTTP_ANSWER,
        **scope,
    }


def form(content: bytes | None = None) -> dict[str, Any]:
    return {
        "type": "http.request",
        "body": urlencode(CALL).encode() if content is None else content,
        "more_body": False,
    }


def status_of(said: list[dict[str, Any]], kind: str = "http.response") -> int:
    assert [each["type"] for each in said] == [f"{kind}.start", f"{kind}.body"]
    return int(said[0]["status"])


def media_url(said: list[dict[str, Any]]) -> str:
    assert status_of(said) == 200
    return ElementTree.fromstring(said[1]["body"])[0][0].attrib["url"]


@pytest.fixture(name="app")
def app_of_a_fresh_engine() -> Iterator[VoiceApp]:
    with CallEngine(settings()) as engine:
        yield VoiceApp(engine)


# ---- requests


def test_the_webhook(app: VoiceApp) -> None:
    said = Server(form()).run(app, http("/voice/incoming"))
    assert media_url(said) == "wss://voice.example.com/voice/media"
    headers = dict(said[0]["headers"])
    assert headers[b"content-type"] == b"text/xml; charset=utf-8"
    assert headers[b"content-length"] == str(len(said[1]["body"])).encode()


def test_a_body_in_pieces(app: VoiceApp) -> None:
    content = urlencode(CALL).encode()
    pieces = [{"type": "http.request", "body": content[i : i + 7], "more_body": True}
              for i in range(0, len(content), 7)]  # fmt: skip
    assert (
        status_of(Server(*pieces, {"type": "http.request"}).run(app, http("/voice/incoming")))
        == 200
    )


def test_no_more_of_a_body_is_read_than_needed_to_refuse_it(app: VoiceApp) -> None:
    piece = {"type": "http.request", "body": b"x" * 40_000, "more_body": True}
    server = Server(piece, piece, piece)
    assert MAX_BODY_BYTES < 2 * 40_000
    assert status_of(server.run(app, http("/voice/incoming"))) == 413
    assert len(server._told) == 1


def test_a_client_that_is_gone_gets_no_answer(app: VoiceApp) -> None:
    half = {"type": "http.request", "body": b"Call", "more_body": True}
    gone = {"type": "http.disconnect"}
    assert Server(half, gone).run(app, http("/voice/incoming")) == []


def test_status_callbacks_have_no_content_to_answer(app: VoiceApp) -> None:
    said = Server(form()).run(app, http("/voice/status"))
    assert status_of(said) == 204
    assert said[0]["headers"] == []
    assert app.site.status_events == Counter(other=1)


@pytest.mark.parametrize("name", ["health", "ready"])
def test_health_and_readiness(app: VoiceApp, name: str) -> None:
    said = Server(form(b"")).run(app, http(f"/voice/{name}", "GET"))
    assert status_of(said) == 200
    assert json.loads(said[1]["body"])["active_calls"] == 0
    head = Server(form(b"")).run(app, http(f"/voice/{name}", "HEAD"))
    assert head[0] == said[0]
    assert head[1]["body"] == b""
    wrong = Server(form(b"")).run(app, http(f"/voice/{name}", "POST"))
    assert status_of(wrong) == 405
    assert dict(wrong[0]["headers"])[b"allow"] == b"GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/", "/voice", "/voice/", "/voice/media", "/incoming", "/voice/incoming/", "/x", ""]
)
def test_anything_else_is_not_found(app: VoiceApp, path: str) -> None:
    assert status_of(Server(form()).run(app, http(path))) == 404


@pytest.mark.parametrize(
    ("scope", "signed"),
    [
        # Bare, and below a mount as ASGI has it: `path` begins with `root_path`.
        ({"path": "/voice/incoming"}, "/voice/incoming"),
        ({"path": "/tel/voice/incoming", "root_path": "/tel"}, "/tel/voice/incoming"),
        ({"path": "/voice/incoming", "root_path": "/voice"}, "/voice/incoming"),
        # A proxy took the prefix away, and the server was told so.
        ({"path": "/voice/incoming", "root_path": "/tel"}, "/tel/voice/incoming"),
        # A mount that cuts `path` short.
        ({"path": "/incoming", "root_path": "/voice"}, "/voice/incoming"),
        (
            {"path": "/voice/incoming", "raw_path": b"/a%20b/voice/incoming?x=1"},
            "/a%20b/voice/incoming",
        ),
        # Not ASCII, with and without the path as it came.
        (
            {"path": "/é/voice/incoming", "root_path": "/é", "raw_path": b"/%c3%a9/voice/incoming"},
            "/%c3%a9/voice/incoming",
        ),
        ({"path": "/é/voice/incoming", "root_path": "/é"}, "/%C3%A9/voice/incoming"),
    ],
)
def test_the_path_that_is_signed_is_the_one_outside(
    app: VoiceApp, scope: dict[str, Any], signed: str
) -> None:
    said = Server(form()).run(app, http(url=PUBLIC_URL + signed, **scope))
    media = signed.removesuffix("/incoming") + "/media"
    assert media_url(said) == "wss://voice.example.com" + media


def test_the_query_is_signed_too(app: VoiceApp) -> None:
    url = PUBLIC_URL + "/voice/incoming?shop=7&x=%20"
    scope = http("/voice/incoming", query_string=b"shop=7&x=%20", url=url)
    assert status_of(Server(form()).run(app, scope)) == 200


def test_a_prefix_of_ones_own() -> None:
    with CallEngine(settings()) as engine:
        app = VoiceApp(engine, prefix="/")
        assert status_of(Server(form()).run(app, http("/incoming"))) == 200


def test_a_doubled_header_is_no_signature(app: VoiceApp) -> None:
    scope = http("/voice/incoming")
    scope["headers"] *= 2
    assert status_of(Server(form()).run(app, scope)) == 403


# ---- the upgrade


@pytest.mark.edge_case(19)
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/voice/media", [], 403), ("/voice/incoming", None, 404), ("/voice/media/", None, 404)],
)
def test_a_refused_upgrade_is_answered_before_101(
    app: VoiceApp, path: str, headers: list[Any] | None, status: int
) -> None:
    scope = websocket(path)
    if headers is not None:
        scope["headers"] = headers
    assert status_of(Server(CONNECT).run(app, scope), "websocket.http.response") == status
    closed = Server(CONNECT).run(app, {**scope, "extensions": None})
    assert [each["type"] for each in closed] == ["websocket.close"]


def test_a_full_engine_answers_503_before_101() -> None:
    with CallEngine(settings()) as engine:
        app = VoiceApp(engine)
        engine.stop()
        said = Server(CONNECT).run(app, websocket("/voice/media"))
        assert status_of(said, "websocket.http.response") == 503
        assert dict(said[0]["headers"])[b"retry-after"] == b"5"


def test_a_socket_is_accepted_served_and_counted_out(app: VoiceApp) -> None:
    server = Server(CONNECT, {"type": "websocket.disconnect", "code": 1006})
    said = server.run(app, websocket("/voice/media"))
    assert [each["type"] for each in said] == ["websocket.accept"]
    assert len(app.site._sockets) == 0


def test_whoever_is_gone_before_the_accept_is_counted_out(app: VoiceApp) -> None:
    assert Server(CONNECT, send_fails=OSError()).run(app, websocket("/voice/media")) == []
    assert len(app.site._sockets) == 0
    with pytest.raises(RuntimeError):
        Server(CONNECT, send_fails=RuntimeError()).run(app, websocket("/voice/media"))
    assert len(app.site._sockets) == 0


def test_an_engine_that_was_stopped_meanwhile(app: VoiceApp) -> None:
    server = Server(CONNECT)

    async def send(message: Any) -> None:  # noqa: ANN401
        app.site.engine.stop()
        await Server.send(server, message)

    server.send = send  # type: ignore[method-assign]
    said = server.run(app, websocket("/voice/media"))
    assert [each["type"] for each in said] == ["websocket.accept", "websocket.close"]
    assert said[1]["code"] == 1013


# ---- the edge


def text(message: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": message}


def test_an_edge_takes_text_and_bytes() -> None:
    told = [
        text("a"),
        {"type": "websocket.receive", "text": None, "bytes": b"b"},
        {"type": "websocket.receive", "bytes": b"", "text": ""},
        {"type": "websocket.disconnect", "code": 4000, "reason": "why"},
    ]
    server = Server(*told)
    edge = AsgiEdge(server.receive, server.send)

    async def use() -> list[str | bytes]:
        got = [await edge.receive() for _ in range(3)]
        await edge.send("c")
        for _ in range(2):
            with pytest.raises(EdgeClosed, match="4000: why"):
                await edge.receive()
        with pytest.raises(EdgeClosed, match="4000"):
            await edge.send("d")
        await edge.close(1000, "bye")
        return got

    assert asyncio.run(use()) == ["a", b"b", ""]
    assert server.said == [{"type": "websocket.send", "text": "c"}], "nothing after the end"


def test_a_disconnect_without_a_code() -> None:
    server = Server({"type": "websocket.disconnect"})
    with pytest.raises(EdgeClosed) as closed:
        asyncio.run(AsgiEdge(server.receive, server.send).receive())
    assert (closed.value.code, closed.value.reason) == (1005, "")


def test_an_edge_closes_once_and_sends_nothing_more() -> None:
    server = Server({"type": "websocket.disconnect", "code": 1005})
    edge = AsgiEdge(server.receive, server.send)

    async def use() -> None:
        await edge.close(1008, "é" * 100)
        await edge.close(1000, "")
        for use in (edge.send("a"), edge.receive()):
            with pytest.raises(EdgeClosed, match="1008"):
                await use

    asyncio.run(use())
    [close] = server.said
    assert close["code"] == 1008
    assert len(close["reason"].encode()) <= 123


@pytest.mark.parametrize("failure", [OSError(), TimeoutError()])
def test_a_peer_that_is_gone_while_sending(failure: OSError) -> None:
    server = Server(send_fails=failure)
    edge = AsgiEdge(server.receive, server.send)

    async def use() -> None:
        for _ in range(2):
            with pytest.raises(EdgeClosed, match="1006"):
                await edge.send("a")
        await edge.close(1000, "")

    asyncio.run(use())


def test_a_peer_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callengine.edges.asgi.SEND_TIMEOUT_S", 0)

    async def use() -> None:
        async def stuck(_: Any) -> None:  # noqa: ANN401
            await asyncio.Event().wait()

        with pytest.raises(EdgeClosed, match="1006"):
            await AsgiEdge(Server().receive, stuck).send("a")

    asyncio.run(use())


@pytest.mark.edge_case(14)
@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_a_message_over_the_cap_closes_the_socket(kind: str) -> None:
    full: Any = "x" * MAX_MESSAGE_BYTES if kind == "text" else b"x" * MAX_MESSAGE_BYTES
    server = Server(
        *({"type": "websocket.receive", kind: each} for each in (full, full + full[:1]))
    )
    edge = AsgiEdge(server.receive, server.send)

    async def use() -> None:
        assert await edge.receive() == full
        with pytest.raises(EdgeClosed, match="1009"):
            await edge.receive()

    asyncio.run(use())
    assert [(each["type"], each["code"]) for each in server.said] == [("websocket.close", 1009)]


# ---- lifespan


def test_the_engine_stops_with_the_server(app: VoiceApp) -> None:
    told = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    said = Server(*told).run(app, {"type": "lifespan"})
    assert [each["type"] for each in said] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert not app.site.engine.ready


# ---- for real


@pytest.mark.realtime
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning"
)  # of uvicorn's oldest implementation
@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio", "wsproto"])
def test_a_call_under_uvicorn(ws: str) -> None:
    told: list[CallSummary] = []
    over = threading.Event()

    def on_call(summary: CallSummary) -> None:
        told.append(summary)
        over.set()

    with hosted(lambda engine: VoiceApp(engine, on_call=on_call)) as host:
        with uvicorn_thread(host.app, ws=ws) as port:
            record = host.dial(
                port, "/voice", WaitUntilHeard(WAIT_S), BargeIn(clip("caller_barge_in_1"), 0.3)
            )
            assert over.wait(WAIT_S)
        assert record.heard
        assert not record.violations
        [summary] = told
        assert summary.end_cause is EndCause.CALLER_HUNG_UP
        assert summary.stream_sid == record.stream_sid


@pytest.mark.realtime
def test_a_full_house_and_a_forged_upgrade_under_uvicorn() -> None:
    with hosted(VoiceApp, max_calls=1) as host, uvicorn_thread(host.app) as port:
        assert host.upgrade_status(port, "/voice/media", {}) == 403
        assert host.upgrade_status(port, "/nothing", {}) == 404
        call = host.begin(port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.5))
        signed = signed_headers("wss://voice.example.com/voice/media")
        assert host.upgrade_status(port, "/voice/media", signed) == 503
        assert host.get(port, "/voice/ready")[0] == 503
        assert host.get(port, "/voice/health")[0] == 200
        call.join(WAIT_S)


@pytest.mark.realtime
@pytest.mark.edge_case(14)
def test_a_message_over_the_cap_under_uvicorn() -> None:
    huge = json.dumps({"event": "x" * MAX_MESSAGE_BYTES})
    with hosted(VoiceApp) as host, uvicorn_thread(host.app) as port:
        record = host.dial(port, "/voice", WaitUntilHeard(WAIT_S), SendRaw(huge), Wait(5.0))
        assert record.closed is not None
        assert (record.closed.code, record.closed.by) == (1009, "engine")


@pytest.mark.realtime
def test_a_used_ticket_opens_no_second_stream_under_uvicorn() -> None:
    with hosted(VoiceApp) as host, uvicorn_thread(host.app) as port:
        twiml = host.webhook(port, "/voice")
        first = host.dial(port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.1), twiml=twiml)
        again = host.dial(port, "/voice", Wait(5.0), twiml=twiml)
        assert first.heard
        assert not again.frames
        assert again.closed is not None
        assert (again.closed.code, again.closed.by) == (1008, "engine")
