"""The voice site as one raw ASGI application: for bare servers, and to be mounted anywhere.

Imports no framework. A server's own limit on messages is higher than ours (uvicorn takes 16 MiB
into memory): run it with `--ws-max-size 65536`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, unquote

from callengine.edges.http import MAX_BODY_BYTES, HttpReply, HttpRequest, if_read, text_reply
from callengine.edges.signals import DRAIN_S, drain_on_sigterm
from callengine.edges.site import VoiceSite
from callengine.errors import EdgeClosed, EngineStopped
from callengine.wire.twilio import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

    from callengine.agent import Agent, AgentChoice
    from callengine.engine import CallEngine
    from callengine.summary import CallSummary

Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"

SEND_TIMEOUT_S: Final = 5.0
MAX_REASON_BYTES: Final = 123
"""RFC 6455 section 5.5: a control frame has 125 bytes, two of them the code."""


class AsgiEdge:
    """An `AsyncEdge` over a WebSocket that ASGI has accepted.

    A peer that reads nothing for `SEND_TIMEOUT_S` is gone.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._gone: EdgeClosed | None = None

    async def receive(self) -> str | bytes:
        """See `AsyncEdge.receive`; a message over 64 KiB closes the socket with 1009."""
        if self._gone is not None:
            raise self._gone
        event = await self._receive()
        if event["type"] != "websocket.receive":
            self._gone = self._gone or EdgeClosed(
                event.get("code") or 1005, event.get("reason") or ""
            )
            raise self._gone
        text = event.get("text")
        message: str | bytes = event.get("bytes") or b"" if text is None else text
        if len(message) > MAX_MESSAGE_BYTES:
            await self.close(1009, f"over {MAX_MESSAGE_BYTES} bytes")
            raise EdgeClosed(1009, f"over {MAX_MESSAGE_BYTES} bytes")
        return message

    async def send(self, message: str) -> None:
        """See `AsyncEdge.send`."""
        if self._gone is not None:
            raise self._gone
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._send({"type": "websocket.send", "text": message})
        except OSError:  # the peer is gone, as ASGI has it, or reads nothing (TimeoutError)
            self._gone = self._gone or EdgeClosed(1006)
            raise self._gone from None

    async def close(self, code: int, reason: str) -> None:
        """See `AsyncEdge.close`."""
        if self._gone is not None:
            return
        self._gone = EdgeClosed(code, reason)
        told = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        with suppress(OSError):
            await self._send({"type": "websocket.close", "code": code, "reason": told})


class HttpEndpoint:
    """One answer of a site as an ASGI application."""

    def __init__(self, answer: Callable[[HttpRequest], HttpReply]) -> None:
        self._answer = answer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await _body(receive)
        if body is not None:
            await _reply(self._answer(_request(scope, body)), send, scope["method"])


class MediaEndpoint:
    """The media socket of a site as an ASGI application."""

    def __init__(self, site: VoiceSite) -> None:
        self._site = site

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one socket."""
        await receive()  # `websocket.connect`
        admitted = self._site.admit(_request(scope))
        if isinstance(admitted, HttpReply):
            await _refuse_upgrade(scope, admitted, send)
            return
        try:
            await send({"type": "websocket.accept"})
            await self._site.aserve(AsgiEdge(receive, send), admitted)
        except (EngineStopped, OSError):
            pass  # the last slot was taken meanwhile, and the socket closed; or nobody is there
        finally:
            admitted.release()


class VoiceApp:
    """`POST incoming`, `POST status`, `GET health`, `GET ready` and the socket `media`.

    All are below `prefix`, seen from the root or from where the application is mounted. A bare
    server's lifespan is served too, see `serving`.
    """

    def __init__(
        self,
        engine: CallEngine,
        *,
        agent: Agent | AgentChoice | None = None,
        prefix: str = "/voice",
        on_call: Callable[[CallSummary], None] | None = None,
        drain_s: float = DRAIN_S,
    ) -> None:
        self.site = VoiceSite(engine, agent=agent, on_call=on_call)
        self._prefix = prefix.rstrip("/")
        self._lifespan = LifespanEndpoint(engine, drain_s)
        self._media = MediaEndpoint(self.site)
        self._http = http_endpoints(self.site)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request, a socket, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        name = self._name(scope)
        if scope["type"] == "http":
            await self._http.get(name, _NOT_FOUND)(scope, receive, send)
        elif name == "media":
            await self._media(scope, receive, send)
        else:
            await receive()
            await _refuse_upgrade(scope, _not_found(), send)

    def _name(self, scope: Message) -> str:
        """What is asked for: the path below the prefix, or nothing."""
        for each in (path_below_root(scope), unquote(_public_path(scope))):
            if each.startswith(f"{self._prefix}/"):
                return str(each[len(self._prefix) + 1 :])
        return ""


class LifespanEndpoint:
    """The life of an engine as the lifespan of an ASGI application: see `serving`."""

    def __init__(self, engine: CallEngine, drain_s: float) -> None:
        self._engine = engine
        self._drain_s = drain_s

    async def __call__(self, _scope: Message, receive: Receive, send: Send) -> None:
        """Return when the server has stopped."""
        await receive()  # `lifespan.startup`
        async with serving(self._engine, drain_s=self._drain_s):
            await send({"type": "lifespan.startup.complete"})
            await receive()  # `lifespan.shutdown`
        await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def serving(engine: CallEngine, *, drain_s: float = DRAIN_S) -> AsyncIterator[None]:
    """While a server runs: calls have `drain_s` to finish at SIGTERM; in the end, stop the engine.

    When a server ends its lifespan it has closed its sockets: there is nothing left to drain.
    """
    take_back = drain_on_sigterm(engine, drain_s)
    try:
        yield
    finally:
        take_back()
        await asyncio.to_thread(engine.stop)


def http_endpoints(site: VoiceSite) -> dict[str, HttpEndpoint]:
    """What a site answers over HTTP, by the last part of the path."""
    return {
        "incoming": HttpEndpoint(site.incoming),
        "status": HttpEndpoint(site.status),
        "health": HttpEndpoint(partial(if_read, site.health)),
        "ready": HttpEndpoint(partial(if_read, site.ready)),
    }


def _not_found(_: HttpRequest | None = None) -> HttpReply:
    return text_reply(404, "not found")


_NOT_FOUND: Final = HttpEndpoint(_not_found)


def _request(scope: Message, body: bytes = b"") -> HttpRequest:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return HttpRequest(
        method=scope.get("method", "GET"),
        path=_public_path(scope),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        body=body,
        client=(scope.get("client") or ("",))[0],
    )


def path_below_root(scope: Message) -> str:
    """The path, seen from where the application is mounted."""
    path, root = str(scope["path"]), scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def _public_path(scope: Message) -> str:
    """The path as Twilio wrote it.

    `raw_path` is that, if the server tells it, whatever a mount made of `path`. Both should begin
    with `root_path`, and do not when a proxy has taken that away, or a mount has.
    """
    raw = (scope.get("raw_path") or b"").decode("latin-1").partition("?")[0]
    path, root = raw or quote(scope["path"]), scope.get("root_path", "").rstrip("/")
    return path if unquote(path).startswith(f"{root}/") else quote(root) + path


async def _body(receive: Receive) -> bytes | None:
    """The body, or one byte too many of it; None if the client is gone."""
    body = b""
    while len(body) <= MAX_BODY_BYTES:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event.get("body", b"")
        if not event.get("more_body", False):
            break
    return body


async def _reply(reply: HttpReply, send: Send, method: str, kind: str = "http.response") -> None:
    fields = (
        ("content-type", reply.content_type),
        ("content-length", str(len(reply.body))),
        *reply.headers,
    )
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    if not reply.body:
        headers = headers[2:]
    body = b"" if method == "HEAD" else reply.body
    await send({"type": f"{kind}.start", "status": reply.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


async def _refuse_upgrade(scope: Message, reply: HttpReply, send: Send) -> None:
    """With the answer itself if the server can send one before 101; else it says 403."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await _reply(reply, send, "GET", "websocket.http.response")
        await asyncio.sleep(0)  # uvicorn 0.54 reports an error unless it notices its close first
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
