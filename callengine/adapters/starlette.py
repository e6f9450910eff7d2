"""Starlette: the voice site as routes, and the engine's life as a lifespan.

app = Starlette(
    routes=[Mount("/voice", routes=routes(engine, agent=agent))], lifespan=lifespan(engine)
)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route, WebSocketRoute

from callengine.edges.asgi import MediaEndpoint, http_endpoints, serving
from callengine.edges.signals import DRAIN_S
from callengine.edges.site import VoiceSite

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.routing import BaseRoute

    from callengine.agent import Agent, AgentChoice
    from callengine.engine import CallEngine
    from callengine.summary import CallSummary


def routes(
    engine: CallEngine,
    *,
    agent: Agent | AgentChoice | None = None,
    on_call: Callable[[CallSummary], None] | None = None,
) -> list[BaseRoute]:
    """`POST /incoming`, `POST /status`, `GET /health`, `GET /ready` and the socket `/media`."""
    site = VoiceSite(engine, agent=agent, on_call=on_call)
    answers = http_endpoints(site).items()
    return [
        *(
            Route(f"/{name}", answer, name=f"callengine-{name}", include_in_schema=False)
            for name, answer in answers
        ),
        WebSocketRoute("/media", MediaEndpoint(site), name="callengine-media"),
    ]


def lifespan(
    engine: CallEngine, *, drain_s: float = DRAIN_S
) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """For `lifespan=` of an application; inside one's own: `async with lifespan(engine)(app):`.

    At SIGTERM calls have `drain_s` to finish before the server hears of it, and closes all sockets;
    in the end the engine is stopped.
    """
    return lambda _app: serving(engine, drain_s=drain_s)
