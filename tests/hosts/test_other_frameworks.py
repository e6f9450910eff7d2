"""Frameworks without an adapter: the raw application in front of them, as docs/hosts.md says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from callengine.edges.asgi import VoiceApp, serving
from callengine.testing import Wait, WaitUntilHeard
from tests.edges.hosted import WAIT_S, hosted, uvicorn_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from callengine import CallEngine

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the frameworks' own
]


def in_front_of(app: Any, engine: CallEngine) -> Any:  # noqa: ANN401 - ASGI
    voice = VoiceApp(engine)

    async def application(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        mine = scope["type"] != "lifespan" and scope["path"].startswith("/voice/")
        await (voice if mine else app)(scope, receive, send)

    return application


def quart(engine: CallEngine) -> Any:  # noqa: ANN401 - ASGI
    framework = pytest.importorskip("quart")
    app = framework.Quart("host")

    @app.get("/")
    async def home() -> str:
        return "own"

    @app.while_serving
    async def calls() -> AsyncIterator[None]:
        async with serving(engine):
            yield

    return in_front_of(app, engine)


def litestar(engine: CallEngine) -> Any:  # noqa: ANN401 - ASGI
    framework = pytest.importorskip("litestar")

    @framework.get("/", media_type="text/plain", sync_to_thread=False)
    def home() -> str:
        return "own"

    return in_front_of(framework.Litestar([home], lifespan=[lambda _app: serving(engine)]), engine)


@pytest.mark.parametrize("make_app", [quart, litestar])
def test_a_call_beside_the_frameworks_own_pages(make_app: Any) -> None:  # noqa: ANN401
    with hosted(make_app) as host:
        with uvicorn_thread(host.app) as port:
            assert host.dial(port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.1)).heard
            assert host.get(port, "/") == (200, "own")
        assert not host.engine.ready, "the engine stops with the server"
