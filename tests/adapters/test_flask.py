"""The voice site in a Flask application: under Werkzeug in this process, and under gunicorn."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import flask
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import QueuePool
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from werkzeug.serving import make_server

from callengine import Agent, CallEngine, CallSummary, EndCause, Tool
from callengine.adapters.flask import FlaskVoice
from callengine.edges.http import MAX_BODY_BYTES
from callengine.testing import (
    SendRaw,
    SimulatedCaller,
    SimulatedRealtime,
    Wait,
    WaitUntilHeard,
    said,
)
from callengine.testing.realtime.script import ToolCall
from callengine.testing.sockets import PeerServer, run_client
from callengine.testing.speech import clip
from callengine.wire.twilio import MAX_MESSAGE_BYTES
from tests.edges.hosted import CALL_S, WAIT_S, Callers
from tests.edges.twilio_signed import CALL, PUBLIC_URL, TOKEN, settings, signed_headers
from tests.hosts.servers import START_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callengine.messages import StreamStarted

pytestmark = pytest.mark.realtime

MEDIA = "/voice/media"
SIGNED = signed_headers("wss://voice.example.com" + MEDIA)
STEPS = (WaitUntilHeard(WAIT_S), Wait(0.1))


class Site(Callers):
    """A Flask application that is served by Werkzeug on a port of its own."""

    def __init__(self, app: flask.Flask, engine: CallEngine, port: int) -> None:
        self.app = app
        self.engine = engine
        self.port = port
        self.summaries: queue.SimpleQueue[CallSummary] = queue.SimpleQueue()

    @property
    def media_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{MEDIA}"

    def summary(self) -> CallSummary:
        return self.summaries.get(timeout=WAIT_S)


def model() -> SimulatedRealtime:
    return SimulatedRealtime([said("agent_greeting")])


@contextlib.contextmanager
def site(
    app: flask.Flask | None = None,
    make_model: Callable[[], SimulatedRealtime] = model,
    *,
    agent: Any = None,  # noqa: ANN401
    threaded: bool = True,
    **given: Any,  # noqa: ANN401
) -> Iterator[Site]:
    app = app or flask.Flask("host")
    summaries: queue.SimpleQueue[CallSummary] = queue.SimpleQueue()
    with (
        PeerServer(make_model) as models,
        CallEngine(settings(realtime_url=models.url, **given)) as engine,
    ):
        FlaskVoice(app, engine, agent=agent, on_call=summaries.put)
        server = make_server("127.0.0.1", 0, app, threaded=threaded)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        open_site = Site(app, engine, server.port)
        open_site.summaries = summaries
        try:
            yield open_site
        finally:
            engine.stop()
            server.shutdown()
            server.server_close()
            thread.join(WAIT_S)
    assert [t.name for t in threading.enumerate() if "callengine" in t.name] == []


def works(open_site: Site) -> None:
    record = open_site.dial(open_site.port, "/voice", *STEPS)
    assert record.heard
    assert not record.missed
    assert not record.violations
    assert open_site.summary().end_cause is EndCause.CALLER_HUNG_UP


# ---- calls


def test_a_call() -> None:
    with site() as open_site:
        works(open_site)
        works(open_site)


def test_the_model_hangs_up_and_the_caller_is_told_so() -> None:
    with site() as open_site:
        call = open_site.begin(open_site.port, "/voice", Wait(WAIT_S))
        open_site.engine.stop()
        record = call.join(WAIT_S)
    assert record.closed is not None
    assert (record.closed.code, record.closed.by) == (1001, "engine")


def test_a_message_over_the_cap_ends_the_call() -> None:
    huge = '{"event":"media","media":{"payload":"' + "A" * 1024 * 1024 + '"}}'
    with site() as open_site:
        record = open_site.dial(
            open_site.port, "/voice", WaitUntilHeard(WAIT_S), SendRaw(huge), Wait(WAIT_S)
        )
        summary = open_site.summary()
        works(open_site)
    assert record.closed is not None
    assert (record.closed.code, record.closed.by) == (1009, "engine")
    assert summary.end_cause is EndCause.CARRIER_LOST
    assert "1009" in summary.end_detail


def test_a_message_of_exactly_the_cap_is_read() -> None:
    full = '{"event":"' + "x" * (MAX_MESSAGE_BYTES - 12) + '"}'
    with site() as open_site:
        open_site.dial(open_site.port, "/voice", SendRaw(full), *STEPS)
        assert open_site.summary().inbound.unknown_messages == 1


def test_compression_is_declined() -> None:
    with (
        site() as open_site,
        connect(open_site.media_url, additional_headers=SIGNED, proxy=None) as plug,
    ):
        assert plug.protocol.extensions == []


def test_a_carrier_that_is_cut_off() -> None:
    with site() as open_site:
        twiml = open_site.webhook(open_site.port, "/voice")
        assert twiml
        with connect(open_site.media_url, additional_headers=SIGNED, proxy=None) as plug:
            plug.socket.shutdown(socket.SHUT_RDWR)
            with pytest.raises(ConnectionClosed):
                plug.recv()
        summary = open_site.summary()
    assert (summary.end_cause, summary.stream_sid) == (EndCause.CARRIER_LOST, "")
    assert "1006" in summary.end_detail


def test_a_carrier_that_never_answers_the_close_is_not_waited_for() -> None:
    with site() as open_site:
        plug = socket.create_connection(("127.0.0.1", open_site.port), timeout=WAIT_S)
        names = {**SIGNED, "Upgrade": "websocket", "Connection": "Upgrade", "Host": "x"}
        names |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        lines = [f"GET {MEDIA} HTTP/1.1", *(f"{k}: {v}" for k, v in names.items()), "", ""]
        plug.sendall("\r\n".join(lines).encode())
        assert b" 101 " in plug.recv(65_536)
        open_site.engine.stop()
        began = time.monotonic()
        while plug.recv(65_536):
            pass
        assert time.monotonic() - began < 4.0
        plug.close()


# ---- who is let in


def test_who_has_not_been_sent_by_twilio() -> None:
    with site() as open_site:
        port = open_site.port
        assert open_site.upgrade_status(port, MEDIA, {}) == 403
        assert open_site.upgrade_status(port, MEDIA, {"x-twilio-signature": "AAAA"}) == 403
        assert open_site.ask(port, "/voice/incoming", "POST", urlencode(CALL), {})[0] == 403
        assert open_site.ask(port, "/voice/status", "POST", urlencode(CALL), {})[0] == 403
        works(open_site)


def test_a_stream_without_a_ticket() -> None:
    caller = SimulatedCaller([Wait(WAIT_S)])
    with site() as open_site:
        run_client(caller, open_site.media_url, headers=SIGNED, deadline_s=CALL_S)
        assert open_site.summary().end_cause is EndCause.TICKET_REFUSED
    assert caller.record.closed is not None
    assert caller.record.closed.code == 1008


def test_a_full_house_says_so_before_it_accepts() -> None:
    with site(max_calls=1) as open_site:
        call = open_site.begin(open_site.port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.5))
        assert open_site.upgrade_status(open_site.port, MEDIA, SIGNED) == 503
        assert open_site.get(open_site.port, "/voice/ready")[0] == 503
        status, body = open_site.get(open_site.port, "/voice/health")
        assert (status, json.loads(body)["active_calls"]) == (200, 1)
        assert "<Reject" in open_site.webhook(open_site.port, "/voice")
        call.join(WAIT_S)
        open_site.summary()
        works(open_site)


def test_too_many_sockets_without_a_call() -> None:
    with (
        site(max_sockets_per_address=1) as open_site,
        connect(open_site.media_url, additional_headers=SIGNED, proxy=None),
    ):
        assert open_site.upgrade_status(open_site.port, MEDIA, SIGNED) == 429


def test_an_engine_that_drains() -> None:
    with site() as open_site:
        call = open_site.begin(open_site.port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.5))
        draining = threading.Thread(target=open_site.engine.drain, args=(WAIT_S,))
        draining.start()
        while open_site.get(open_site.port, "/voice/ready")[0] != 503:
            pass
        assert open_site.upgrade_status(open_site.port, MEDIA, SIGNED) == 503
        assert not call.join(WAIT_S).missed
        draining.join(WAIT_S)


@pytest.mark.parametrize("headers", [{}, {"Upgrade": "websocket", "Connection": "Upgrade"}])
def test_no_handshake_at_all(headers: dict[str, str]) -> None:
    """What was admitted and came to nothing is given back."""
    with site(max_sockets_per_address=1) as open_site:
        for _ in range(3):
            status, _ = open_site.ask(open_site.port, MEDIA, "GET", "", {**SIGNED, **headers})
            assert status == 400
        works(open_site)


# ---- webhooks


def post(client: Any, path: str, url: str, **more: Any) -> Any:  # noqa: ANN401
    return client.post(path, data=CALL, headers=signed_headers(url, CALL), **more)


def client_of(app: flask.Flask, **given: Any) -> Any:  # noqa: ANN401
    FlaskVoice(app, CallEngine(settings(**given)))
    return app.test_client()


def test_the_webhooks_of_an_application_under_test() -> None:
    client = client_of(flask.Flask("host"))
    answer = post(client, "/voice/incoming", f"{PUBLIC_URL}/voice/incoming")
    assert (answer.status_code, answer.content_type) == (200, "text/xml; charset=utf-8")
    assert 'url="wss://voice.example.com/voice/media"' in answer.text
    assert post(client, "/voice/status", f"{PUBLIC_URL}/voice/status").status_code == 204
    assert client.get("/voice/incoming").status_code == 405
    assert client.get("/voice/health").headers["Cache-Control"] == "no-store"
    assert client.get("/voice/nothing").status_code == 404


@pytest.mark.parametrize("path", ["/voice/incoming?a=1&b=%2F", "/voice/incoming?x=%20+"])
def test_a_query_is_signed_as_it_was_sent(path: str) -> None:
    client = client_of(flask.Flask("host"))
    assert post(client, path, PUBLIC_URL + path).status_code == 200


def test_a_form_that_the_application_has_read_before() -> None:
    """CSRF protection does so, for example."""
    app = flask.Flask("host")
    app.before_request(lambda: flask.request.form and None)
    client = client_of(app)
    path = "/voice/incoming"
    assert post(client, path, PUBLIC_URL + path).status_code == 200


def test_a_prefix_that_a_proxy_has_taken_away() -> None:
    client = client_of(flask.Flask("host"))
    url = f"{PUBLIC_URL}/api/voice/incoming"
    answer = post(client, "/voice/incoming", url, environ_overrides={"SCRIPT_NAME": "/api"})
    assert answer.status_code == 200
    assert 'url="wss://voice.example.com/api/voice/media"' in answer.text


def test_a_body_that_is_too_long() -> None:
    client = client_of(flask.Flask("host"))
    long = b"a=" + b"x" * MAX_BODY_BYTES
    assert client.post("/voice/incoming", data=long).status_code == 413


# ---- the application's context


def test_a_tool_that_needs_the_application_fails_alone() -> None:
    """What was "working outside of application context" costs the call nothing."""
    app = flask.Flask("host")
    app.config["GREETING"] = "hello"
    seen: list[object] = []

    def careless() -> object:
        return flask.current_app.config["GREETING"]

    def careful() -> object:
        with app.app_context():
            seen.append(flask.current_app.config["GREETING"])
        return seen[-1]

    def choose(started: StreamStarted) -> Agent:
        assert not flask.has_app_context()
        assert not flask.has_request_context()
        tools = tuple(Tool(f.__name__, "", {"type": "object"}, f) for f in (careless, careful))
        return Agent(tools=tools)

    greeting = said("agent_greeting")
    calls = (ToolCall("careless"), ToolCall("careful"))
    replies = [replace(greeting, function_calls=calls), said("agent_reply_1")]
    with site(app, lambda: SimulatedRealtime(replies), agent=choose) as open_site:
        record = open_site.dial(open_site.port, "/voice", *STEPS, Wait(2.0))
        summary = open_site.summary()
    assert record.heard
    assert not record.missed
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.context_errors == 1
    assert seen == ["hello"]


def test_a_call_holds_nothing_of_the_application() -> None:
    """A session that the application opens for every request would be kept for the whole call."""
    app = flask.Flask("host")
    pool = create_engine(
        "sqlite://",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    session = scoped_session(sessionmaker(pool))
    asked: list[str] = []

    @app.before_request
    def load_user() -> None:
        asked.append(flask.request.path)
        session.execute(text("SELECT 1"))

    @app.teardown_appcontext
    def remove(_: BaseException | None) -> None:
        session.remove()

    with site(app) as open_site:
        call = open_site.begin(open_site.port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.3))
        assert pool.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert open_site.get(open_site.port, "/voice/health")[0] == 200
        call.join(WAIT_S)
    assert asked == ["/voice/incoming", "/voice/health"]
    pool.dispose()


def test_what_the_application_is_told_of_a_call_is_told_outside_of_its_context() -> None:
    app, contexts = flask.Flask("host"), []

    def tell(_: CallSummary) -> None:
        contexts.append((flask.has_app_context(), flask.has_request_context()))

    with PeerServer(model) as models, CallEngine(settings(realtime_url=models.url)) as engine:
        FlaskVoice(app, engine, on_call=tell)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        Callers().dial(server.port, "/voice", *STEPS)
        server.shutdown()
        server.server_close()  # waits for the call's thread
        thread.join(WAIT_S)
    assert contexts == [(False, False)]


# ---- hosts that cannot hold calls


def test_a_server_with_one_thread(caplog: pytest.LogCaptureFixture) -> None:
    with site(threaded=False) as open_site:
        assert open_site.webhook(open_site.port, "/voice"), "an application under test has one"
        for _ in range(2):
            assert open_site.upgrade_status(open_site.port, MEDIA, SIGNED) == 503
    told = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert "flask run --with-threads" in told[0]


UNDER_GUNICORN = pytest.mark.timeout(60)
"""It has to start first, for which `START_S` are given."""


@contextlib.contextmanager
def gunicorn(*options: str, **variables: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Its port, and its process, which answers."""
    plug = socket.create_server(("127.0.0.1", 0))
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore::DeprecationWarning", "-m", "gunicorn"),
            *("--bind", f"fd://{plug.fileno()}", "--no-control-socket"),
            *options,
            "tests.adapters.flask_app:app",
        ],
        env={
            **os.environ,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "CALLENGINE_PUBLIC_URL": PUBLIC_URL,
            "CALLENGINE_MAX_CALLS": "4",
            **variables,
        },
        pass_fds=[plug.fileno()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    port = plug.getsockname()[1]
    try:
        wait_until_it_answers(port)
        yield port, process
    finally:
        plug.close()
        process.kill()
        process.communicate(timeout=WAIT_S)


def wait_until_it_answers(port: int) -> None:
    """Whoever comes while it starts waits in the backlog: its time to start is not the caller's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        assert connection.getresponse().status == 200


GTHREAD = ("--worker-class", "gthread", "--threads", "8")


@UNDER_GUNICORN
@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_gunicorn_with_threads_holds_calls(preload: tuple[str, ...]) -> None:
    """With --preload too, where the engine is made before the fork, and started after it."""
    with (
        PeerServer(model) as models,
        gunicorn(*GTHREAD, *preload, CALLENGINE_REALTIME_URL=models.url) as (port, process),
    ):
        calls = [Callers().begin(port, "/voice", *STEPS) for _ in range(2)]
        records = [call.join(WAIT_S) for call in calls]
        pid, ours = Callers().get(port, "/")[1].split()
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert int(pid) != process.pid
    assert int(ours) > 0
    assert all(record.heard and not record.missed for record in records)


@UNDER_GUNICORN
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--worker-class", "sync"), "a sync worker of gunicorn serves one request at a time"),
        (("--worker-class", "sync", "--preload"), "a sync worker of gunicorn"),
        (("--threads", "4"), "has 4 threads, and every call holds one: start gunicorn -k gthread"),
        (("--worker-class", "gevent"), "gevent has replaced this process's threads"),
    ],
)
def test_gunicorn_with_workers_that_hold_none(options: tuple[str, ...], told: str) -> None:
    callers = Callers()
    with gunicorn(*options) as (port, process):
        path = "/voice/incoming"
        headers = signed_headers(PUBLIC_URL + path, CALL)
        assert callers.ask(port, path, "POST", urlencode(CALL), headers)[0] == 503
        assert callers.upgrade_status(port, MEDIA, SIGNED) == 503
        assert callers.get(port, "/voice/ready")[0] == 503
        assert callers.get(port, "/voice/health")[0] == 200
        assert callers.get(port, "/")[0] == 200, "the rest of the application works"
        process.terminate()
        log, _ = process.communicate(timeout=WAIT_S)
    lines = [line for line in log.splitlines() if told in line]
    assert len(lines) == 1
    assert "callengine takes no calls here" in lines[0]


@UNDER_GUNICORN
def test_gunicorn_lets_calls_finish_before_it_ends() -> None:
    with (
        PeerServer(model) as models,
        gunicorn(*GTHREAD, CALLENGINE_REALTIME_URL=models.url) as (port, process),
    ):
        call = Callers().begin(port, "/voice", WaitUntilHeard(WAIT_S), Wait(1.5))
        process.send_signal(signal.SIGTERM)
        while Callers().get(port, "/voice/ready")[0] != 503:
            pass
        record = call.join(WAIT_S)
        assert process.wait(WAIT_S) == 0
    assert record.heard
    assert not record.missed
    assert record.closed is None or record.closed.by != "engine"


@UNDER_GUNICORN
def test_gunicorn_ends_calls_politely_when_their_time_is_up() -> None:
    """A graceful timeout of 11 s leaves calls one second, and ten for goodbyes."""
    options = (*GTHREAD, "--graceful-timeout", "11")
    short = replace(said("agent_greeting"), audio=clip("agent_greeting")[:8_000])
    with (
        PeerServer(lambda: SimulatedRealtime([short])) as models,
        gunicorn(*options, CALLENGINE_REALTIME_URL=models.url) as (port, process),
    ):
        call = Callers().begin(port, "/voice", Wait(10.0))
        process.send_signal(signal.SIGTERM)
        record = call.join(WAIT_S)
        assert process.wait(WAIT_S) == 0
    assert record.closed is not None
    assert (record.closed.code, record.closed.by) == (1000, "engine")
