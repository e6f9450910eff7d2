"""FastAPI: the voice site as a router, and the engine's life as a lifespan.

app = FastAPI(lifespan=lifespan(engine))
app.include_router(router(engine, agent=agent), prefix="/voice")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from callengine.adapters.starlette import lifespan, routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.agent import Agent, AgentChoice
    from callengine.engine import CallEngine
    from callengine.summary import CallSummary

__all__ = ["lifespan", "router"]


def router(
    engine: CallEngine,
    *,
    agent: Agent | AgentChoice | None = None,
    on_call: Callable[[CallSummary], None] | None = None,
) -> APIRouter:
    """`POST /incoming`, `POST /status`, `GET /health`, `GET /ready` and the socket `/media`.

    They answer Twilio and load balancers, not people: they are in no schema, and dependencies of
    the application (a login, say) do not apply to them; signatures do.
    """
    return APIRouter(routes=routes(engine, agent=agent, on_call=on_call))
