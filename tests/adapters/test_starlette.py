"""Starlette on a real server: routes below a mount, and the whole application mounted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from callengine.adapters.starlette import lifespan, routes
from callengine.edges.asgi import VoiceApp
from callengine.testing import Wait, WaitUntilHeard
from tests.edges.hosted import WAIT_S, hosted, uvicorn_thread

if TYPE_CHECKING:
    from callengine import CallEngine

pytestmark = pytest.mark.realtime


def with_routes(engine: CallEngine) -> Starlette:
    return Starlette(routes=[Mount("/tel/voice", routes=routes(engine))], lifespan=lifespan(engine))


def with_the_application(engine: CallEngine) -> Starlette:
    return Starlette(routes=[Mount("/tel", VoiceApp(engine))], lifespan=lifespan(engine))


def with_the_application_at_its_prefix(engine: CallEngine) -> Starlette:
    return Starlette(routes=[Mount("/tel/voice", VoiceApp(engine, prefix="/tel/voice"))])


@pytest.mark.parametrize(
    "make_app", [with_routes, with_the_application, with_the_application_at_its_prefix]
)
def test_a_call(make_app: type[Starlette]) -> None:
    with hosted(make_app) as host, uvicorn_thread(host.app) as port:
        assert json.loads(host.get(port, "/tel/voice/health")[1])["active_calls"] == 0
        stream = ElementTree.fromstring(host.webhook(port, "/tel/voice"))[0][0]
        assert stream.attrib == {
            "url": "wss://voice.example.com/tel/voice/media",
            "statusCallback": "https://voice.example.com/tel/voice/status",
        }
        record = host.dial(port, "/tel/voice", WaitUntilHeard(WAIT_S), Wait(0.1))
        assert record.heard
        assert not record.violations
        assert host.upgrade_status(port, "/tel/voice/media", {}) == 403
        assert host.get(port, "/tel/voice/incoming")[0] == 405


def test_the_engine_stops_with_the_application() -> None:
    with hosted(with_routes) as host:
        with uvicorn_thread(host.app) as port:
            assert host.get(port, "/tel/voice/ready")[0] == 200
        assert not host.engine.ready
