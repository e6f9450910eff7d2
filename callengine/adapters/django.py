"""Django: the voice site as urls, and the media socket beside Django in `asgi.py`.

    urlpatterns = [path("voice/", include(urls(engine)))]  # urls.py
    application = media_app(get_asgi_application(), engine, agent=agent)  # asgi.py

Needs an ASGI server; Channels are not needed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from django.http import HttpResponse
from django.urls import path as url_path
from django.views.decorators.csrf import csrf_exempt

from callengine.edges.asgi import LifespanEndpoint, MediaEndpoint, path_below_root
from callengine.edges.http import HttpReply, HttpRequest, if_read
from callengine.edges.signals import DRAIN_S
from callengine.edges.site import VoiceSite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest as DjangoRequest
    from django.urls import URLPattern

    from callengine.agent import Agent, AgentChoice
    from callengine.edges.asgi import Message, Receive, Send
    from callengine.engine import CallEngine
    from callengine.summary import CallSummary

    AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]


def urls(engine: CallEngine) -> list[URLPattern]:
    """`POST incoming`, `POST status`, `GET health`, `GET ready`, for `include()`.

    The webhook sends the media to `media` beside itself: give `media_app` that path.
    """
    site = VoiceSite(engine)
    answers: dict[str, Callable[[HttpRequest], HttpReply]] = {
        "incoming": site.incoming,
        "status": site.status,
        "health": partial(if_read, site.health),
        "ready": partial(if_read, site.ready),
    }
    return [
        url_path(name, _view(answer), name=f"callengine-{name}") for name, answer in answers.items()
    ]


def media_app(
    django_asgi: AsgiApp,
    engine: CallEngine,
    *,
    agent: Agent | AgentChoice | None = None,
    path: str = "/voice/media",
    on_call: Callable[[CallSummary], None] | None = None,
    drain_s: float = DRAIN_S,
) -> AsgiApp:
    """Django's application, with the media socket at `path` and the lifespan Django has none of.

    At SIGTERM calls have `drain_s` to finish before the server hears of it, and closes all sockets;
    in the end the engine is stopped.
    """
    media = MediaEndpoint(VoiceSite(engine, agent=agent, on_call=on_call))
    lifespan = LifespanEndpoint(engine, drain_s)

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
        elif scope["type"] == "websocket" and path_below_root(scope) == path:
            await media(scope, receive, send)
        else:
            await django_asgi(scope, receive, send)

    return application


def _view(answer: Callable[[HttpRequest], HttpReply]) -> Callable[[DjangoRequest], HttpResponse]:
    def view(request: DjangoRequest) -> HttpResponse:
        reply = answer(_request(request))
        response = HttpResponse(reply.body, reply.content_type, reply.status)
        for name, value in reply.headers:
            response[name] = value
        return response

    exempt: Callable[[DjangoRequest], HttpResponse] = csrf_exempt(view)
    return exempt


def _request(request: DjangoRequest) -> HttpRequest:
    return HttpRequest(
        method=request.method or "",
        path=quote(request.path),
        query=request.META.get("QUERY_STRING", ""),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.body,
        client=request.META.get("REMOTE_ADDR") or "",
    )
