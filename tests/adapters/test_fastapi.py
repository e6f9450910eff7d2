"""FastAPI on a real server, beside routes of its own."""

from __future__ import annotations

import threading
from urllib.parse import urlencode

import pytest
from fastapi import Depends, FastAPI, HTTPException

from callengine import Agent, CallEngine, CallSummary, EndCause, StreamStarted
from callengine.adapters.fastapi import lifespan, router
from callengine.testing import Wait, WaitUntilHeard
from tests.edges.hosted import WAIT_S, hosted, uvicorn_thread
from tests.edges.twilio_signed import CALL, PUBLIC_URL, signed_headers

pytestmark = pytest.mark.realtime


def application(engine: CallEngine) -> FastAPI:
    app = FastAPI(lifespan=lifespan(engine))
    app.include_router(router(engine), prefix="/voice")

    @app.get("/voice/hours")
    def hours() -> dict[str, str]:
        return {"monday": "9-5"}

    return app


def test_a_call_beside_the_hosts_own_routes() -> None:
    with hosted(application) as host, uvicorn_thread(host.app) as port:
        record = host.dial(port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.1))
        assert record.heard
        assert not record.violations
        assert host.get(port, "/voice/hours") == (200, '{"monday":"9-5"}')
        assert host.get(port, "/voice/ready")[0] == 200
        assert host.get(port, "/voice/incoming")[0] == 405
        assert host.ask(port, "/voice/status", "POST", "", {})[0] == 403
        assert host.upgrade_status(port, "/voice/media", {}) == 403
        assert "callengine" not in host.get(port, "/openapi.json")[1]


def test_the_agent_may_be_chosen_by_the_numbers_and_the_host_hears_of_the_end() -> None:
    asked: list[StreamStarted] = []
    told: list[CallSummary] = []
    over = threading.Event()

    def choose(started: StreamStarted) -> Agent:
        asked.append(started)
        return Agent()

    def on_call(summary: CallSummary) -> None:
        told.append(summary)
        over.set()

    def make(engine: CallEngine) -> FastAPI:
        app = FastAPI()
        app.include_router(router(engine, agent=choose, on_call=on_call))
        return app

    with hosted(make) as host, uvicorn_thread(host.app) as port:
        host.dial(port, "", WaitUntilHeard(WAIT_S), Wait(0.1))
        assert over.wait(WAIT_S)
    [started], [summary] = asked, told
    assert (started.caller, started.called) == (CALL["From"], CALL["To"])
    assert not started.custom_parameters
    assert summary.end_cause is EndCause.CALLER_HUNG_UP


def test_behind_a_proxy_that_takes_a_prefix_away() -> None:
    """Twilio signs `/api/voice/incoming`, as it was told; the server is asked for `/voice/...`."""
    form = urlencode(CALL)
    headers = signed_headers(PUBLIC_URL + "/api/voice/incoming", CALL)
    with hosted(application) as host, uvicorn_thread(host.app, root_path="/api") as port:
        status, body = host.ask(port, "/voice/incoming", "POST", form, headers)
        assert status == 200
        assert 'url="wss://voice.example.com/api/voice/media"' in body
        signed = signed_headers("wss://voice.example.com/api/voice/media")
        assert host.upgrade_status(port, "/voice/media", signed) == 101
        unprefixed = signed_headers("wss://voice.example.com/voice/media")
        assert host.upgrade_status(port, "/voice/media", unprefixed) == 403


def test_a_login_for_the_whole_application_does_not_lock_twilio_out() -> None:
    def login() -> None:
        raise HTTPException(401)

    def make(engine: CallEngine) -> FastAPI:
        app = FastAPI(dependencies=[Depends(login)])
        app.include_router(router(engine), prefix="/voice")
        return app

    with hosted(make) as host, uvicorn_thread(host.app) as port:
        assert host.dial(port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.1)).heard
