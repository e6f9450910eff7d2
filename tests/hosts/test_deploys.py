"""A new version goes live in the middle of calls: two generations of a real server behind a proxy,
and the old one is told to end. No call is lost, and the old process ends by itself.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from callengine.testing import BargeIn, Say, SimulatedRealtime, Wait, WaitUntilQuiet
from callengine.testing.held import reply
from callengine.testing.network.proxy import TroubledProxy
from callengine.testing.sockets import PeerServer
from callengine.testing.speech import clip
from tests.hosts.apps import AGENT
from tests.hosts.phone import Phone, heard
from tests.hosts.servers import Server, serving, why_not

if TYPE_CHECKING:
    from callengine.testing.caller.record import CallRecord

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(90)]

CALLS = 20
LATER = 3
"""Calls that come in when the new generation is there."""

GREETING = reply(4.0, 1)
ANSWERS = (reply(2.5, 2), reply(2.0, 3))
PATIENCE_S = 20.0
SCRIPT = (
    BargeIn(clip("caller_barge_in_1"), after_heard_s=0.6, timeout_s=PATIENCE_S),
    WaitUntilQuiet(0.7, PATIENCE_S),
    Say(clip("caller_question_4")),
    WaitUntilQuiet(0.7, PATIENCE_S),
)
"""About ten seconds."""

ENDS_WITH = {
    "gunicorn gthread, Flask": 0,
    "gunicorn asgi, FastAPI": 0,
    "standalone": 0,
    # When it has shut down in good order, uvicorn dies of the signal that it was sent.
    "uvicorn": -signal.SIGTERM,
}
ROOM = {"CALLENGINE_MAX_CALLS": "28"}


def options(host: str, drain_s: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """Of the server and in its environment, so that calls have so long to finish."""
    if host == "gunicorn gthread, Flask":
        return ("--graceful-timeout", str(drain_s + 10)), ROOM  # ten are for goodbyes
    graceful = ("--graceful-timeout", str(drain_s + 30)) if host.startswith("gunicorn") else ()
    return graceful, {**ROOM, "DRAIN_S": str(drain_s)}


def was_held_to_its_end(record: CallRecord) -> None:
    assert not record.missed
    assert not record.violations
    assert record.closed is not None
    assert record.closed.by == "caller", record.closed
    said = heard(record)
    assert all(answer.audio in said for answer in ANSWERS), "whole, and without a gap"


def told(server: Server, count: int) -> dict[str, dict[str, Any]]:
    """The summaries of so many calls, by their sid."""
    return {each["call_sid"]: each for each in (server.summary() for _ in range(count))}


@pytest.fixture(params=ENDS_WITH)
def host(request: pytest.FixtureRequest) -> str:
    if (reason := why_not(request.param)) is not None:
        pytest.skip(reason)
    name: str = request.param
    return name


def test_a_deploy_in_the_middle_of_calls_loses_none(host: str) -> None:
    server_options, variables = options(host, drain_s=40)
    with (
        PeerServer(lambda: SimulatedRealtime([GREETING, *ANSWERS])) as models,
        serving(host, models.url, *server_options, **variables) as old,
        TroubledProxy(("127.0.0.1", old.port)) as proxy,
    ):
        phone = Phone(proxy.port)
        calls = [phone.begin(phone.line(), *SCRIPT) for _ in range(CALLS)]
        for call in calls:
            call.wait_until_heard()
        with serving(host, models.url, *server_options, **variables) as new:
            proxy.turn_to(("127.0.0.1", new.port))
            old.terminate()
            calls += [phone.begin(phone.line(), *SCRIPT) for _ in range(LATER)]
            for call in calls:
                was_held_to_its_end(call.join())
            by_old, by_new = told(old, CALLS), told(new, LATER)
            assert old.exit_status() == ENDS_WITH[host]
            assert phone.ready()["status"] == 200
    assert len(by_old) == CALLS
    assert len(by_new) == LATER
    ends = {each["end_cause"] for each in (*by_old.values(), *by_new.values())}
    assert ends == {"caller_hung_up"}


def test_a_call_whose_webhook_another_process_answered_is_taken() -> None:
    """They share the auth token, and need no more to know each other's tickets."""
    with (
        PeerServer(lambda: SimulatedRealtime([reply(1.0, 1)])) as models,
        serving("uvicorn", models.url, DRAIN_S="0") as old,
        serving("uvicorn", models.url) as new,
    ):
        line = Phone(old.port).line()
        assert Phone(new.port).hold(line, WaitUntilQuiet(0.5, PATIENCE_S)).frames
        (summary,) = told(new, 1).values()
    assert (summary["call_sid"], summary["end_cause"]) == (line.call_sid, "caller_hung_up")


@pytest.mark.parametrize("workers", ["uvicorn", "gunicorn gthread, Flask"])
def test_workers_that_are_told_twice_in_a_moment_to_end_cut_no_call(workers: str) -> None:
    """By whoever signals the whole group (systemd does), and by their parent."""
    server_options, variables = options(workers, drain_s=30)
    with (
        PeerServer(lambda: SimulatedRealtime([reply(2.0, 1)])) as models,
        serving(workers, models.url, "--workers", "2", *server_options, **variables) as server,
    ):
        phone = Phone(server.port)
        calls = [phone.begin(phone.line(), WaitUntilQuiet(1.0, PATIENCE_S)) for _ in range(2)]
        for call in calls:
            call.wait_until_heard()
        os.killpg(server.process.pid, signal.SIGTERM)
        for call in calls:
            record = call.join()
            assert record.closed is not None
            assert record.closed.by == "caller", record.closed
            assert not record.missed


def test_who_still_talks_at_the_deadline_is_shown_out_politely(host: str) -> None:
    server_options, variables = options(host, drain_s=2)
    with (
        PeerServer(lambda: SimulatedRealtime([reply(1.0, 1)])) as models,
        serving(host, models.url, *server_options, **variables) as server,
    ):
        phone = Phone(server.port)
        calls = [phone.begin(phone.line(), Wait(40.0)) for _ in range(3)]
        for call in calls:
            call.wait_until_heard()
        server.terminate()
        for call in calls:
            record = call.join()
            assert record.closed is not None
            assert (record.closed.code, record.closed.by) == (1000, "engine")
            assert AGENT.farewell_audio() in heard(record)
            assert not record.unheard_bytes
        ends = {each["end_cause"] for each in told(server, 3).values()}
        assert server.exit_status() == ENDS_WITH[host]
    assert ends == {"drained"}
