"""Every example runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from callengine.store import Store, upgrade
from callengine.testing import (
    BargeIn,
    Reply,
    Say,
    SimulatedRealtime,
    ToolCall,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.held import reply
from callengine.testing.sockets import PeerServer
from callengine.testing.speech import clip
from tests.hosts.phone import Phone, heard
from tests.hosts.servers import running

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.realtime
@pytest.mark.timeout(60)
def test_the_local_call_tells_what_it_saw() -> None:
    ran = subprocess.run(
        [sys.executable, EXAMPLES / "local_call.py"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert "1 interruption; the AI was silent" in ran.stdout
    assert ran.stderr == ""


def test_the_agent_test_passes() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


# ---- the hosts: each is started as its first lines say, and called

UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--ws-max-size", "65536")
DJANGO = (*UVICORN, "practice.asgi:application", "--app-dir", "examples/django_project")
FASTAPI = ("examples/fastapi_app.py",)
WEB = pytest.mark.parametrize(
    "command",
    [
        pytest.param(("examples/flask_app.py",), id="flask"),
        pytest.param(FASTAPI, id="fastapi"),
        pytest.param(DJANGO, id="django"),
        pytest.param(("examples/standalone.py",), id="standalone"),
    ],
)
PATIENCE_S = 15.0
WORDS, INTERRUPTED, LAST_WORDS = reply(1.0, 1), reply(5.0, 2), reply(1.0, 3)
LOOKS_UP = Reply(function_calls=(ToolCall("free_slots", '{"day": "Saturday"}'),))


@pytest.mark.realtime
@pytest.mark.timeout(60)
@WEB
def test_a_host_answers_uses_its_tool_and_is_interrupted(command: tuple[str, ...]) -> None:
    models: list[SimulatedRealtime] = []

    def model() -> SimulatedRealtime:
        models.append(SimulatedRealtime([WORDS, LOOKS_UP, INTERRUPTED, LAST_WORDS]))
        return models[-1]

    with (
        PeerServer(model) as server,
        running((sys.executable, *command), server.url) as host,
    ):
        phone = Phone(host.port)
        line = phone.line()
        record = phone.hold(
            line,
            WaitUntilQuiet(0.5, PATIENCE_S),
            Say(clip("caller_question_1")),
            BargeIn(clip("caller_barge_in_1"), after_heard_s=0.6, timeout_s=PATIENCE_S),
            WaitUntilQuiet(0.7, PATIENCE_S),
        )
        told = host.line(f"{line.call_sid}: ")
        assert phone.upgrade_status(line.path, {"x-twilio-signature": "AAAA"}) == 403
        assert phone.ready()["status"] == 200
    assert "caller_hung_up" in told
    assert not record.missed
    assert not record.violations
    (looked_up,) = models[0].record.function_outputs
    assert json.loads(looked_up.output) == ["09:15"]
    said = heard(record)
    assert len(record.clears) == 1
    assert INTERRUPTED.audio not in said
    assert WORDS.audio in said
    assert LAST_WORDS.audio in said


@pytest.mark.realtime
@pytest.mark.timeout(60)
def test_the_called_number_decides_who_answers_and_calls_are_written_down(tmp_path: Path) -> None:
    models: list[SimulatedRealtime] = []

    def model() -> SimulatedRealtime:
        models.append(SimulatedRealtime([WORDS]))
        return models[-1]

    url = f"sqlite:///{tmp_path}/calls.db"
    numbers = ["+15550188", "+15550199", "+15550100"]
    with closing(Store.from_url(url)) as store, PeerServer(model) as server:
        upgrade(store.engine)
        command = (sys.executable, *FASTAPI)
        with running(command, server.url, CALLENGINE_DATABASE_URL=url) as host:
            phone = Phone(host.port)
            for called in numbers:
                phone.hold(phone.line(called=called), WaitUntilHeard(PATIENCE_S))
            assert phone.get("/")[1] == '"your own pages are here"'
            host.terminate()
            host.exit_status()
        calls = sorted(store.calls(), key=lambda each: each.began_at)
    told = [json.dumps([event.body for event in each.record.received]) for each in models]
    assert ["Hill Garage" in each for each in told] == [True, False, False]
    assert [each.called for each in calls] == numbers
    assert {each.end_cause for each in calls} == {"caller_hung_up"}


@pytest.mark.parametrize("module", ["flask_app", "fastapi_app", "standalone"])
def test_without_an_auth_token_a_host_says_what_to_set(module: str) -> None:
    names = ("TWILIO_AUTH_TOKEN", "CALLENGINE_TWILIO_AUTH_TOKEN", "CALLENGINE_PUBLIC_URL")
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{module}.py"],
        env={name: value for name, value in os.environ.items() if name not in names},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "set TWILIO_AUTH_TOKEN" in done.stderr.splitlines()[-1]
