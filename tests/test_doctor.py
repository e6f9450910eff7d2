"""What the doctor finds: settings, databases, machines and command lines, good and bad."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import threading
import time
from contextlib import closing
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from callengine import Settings, SettingsError
from callengine.doctor import (
    Finding,
    Level,
    add_parser,
    as_json,
    as_table,
    configured,
    examine,
    machine,
)
from callengine.doctor import host as hosting
from callengine.testing import SimulatedRealtime, said
from callengine.testing.sockets import PeerServer, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sk-secret-secret"
TOKEN = "0123456789abcdef0123456789abcdef"
GOOD = {
    "openai_api_key": KEY,
    "twilio_auth_token": TOKEN,
    "public_url": "https://voice.example.com",
    "max_calls": 4,
}
LOCAL = "ws://127.0.0.1:9"


@pytest.fixture(autouse=True)
def punctual(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is as it is; nothing here waits for it."""
    monkeypatch.setattr(machine, "lateness_ms", lambda: [0.1] * 60)


def examined(*, online: bool = False, **given: Any) -> dict[str, Finding]:  # noqa: ANN401
    """By what they are about; the last one, if there are several."""
    options = {name: given.pop(name) for name in ("port", "gunicorn") if name in given}
    findings = examine(Settings(**{**GOOD, **given}), online=online, **options)
    return {finding.what: finding for finding in findings}


def level_of(what: str, **given: Any) -> Level:  # noqa: ANN401
    return examined(**given)[what].level


def test_a_good_set_up() -> None:
    findings = examined()
    assert {each.level for each in findings.values()} == {Level.OK}
    assert findings.keys() >= {
        "python",
        "model key",
        "twilio token",
        "public url",
        "database",
        "open files",
        "timers",
        "clock",
    }


def test_what_is_bad_says_what_to_do() -> None:
    findings = examine(Settings(), port=-1, gunicorn="gunicorn app", online=False)
    bad = [finding for finding in findings if finding.level is not Level.OK]
    assert len(bad) >= 5
    assert all(finding.fix for finding in bad)


def test_secrets_are_not_shown() -> None:
    settings = Settings(
        openai_api_key="bad key", twilio_auth_token="secret-token", database_url="x://me:hidden@y"
    )
    for given in (settings, Settings(**GOOD)):  # type: ignore[arg-type]
        told = as_json(examine(given, online=False))
        for secret in (KEY, TOKEN, "bad key", "secret-token", "hidden"):
            assert secret not in told


# ---- settings


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"openai_api_key": None}, Level.FAIL),
        ({"openai_api_key": "  "}, Level.FAIL),
        ({"openai_api_key": '"sk-quoted and spaced"'}, Level.FAIL),
        ({"openai_api_key": "sk-line\n"}, Level.FAIL),
        ({"openai_api_key": "pk-123"}, Level.WARN),
        ({"openai_api_key": "pk-123", "realtime_url": "wss://other.example.com"}, Level.OK),
        ({"openai_api_key": None, "realtime_url": LOCAL}, Level.OK),
    ],
)
def test_the_key_of_the_model(given: dict[str, Any], level: Level) -> None:
    assert level_of("model key", **given) is level


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"twilio_auth_token": None}, Level.FAIL),
        ({"twilio_auth_token": "ACxyz"}, Level.WARN),
        ({"validate_signatures": False}, Level.WARN),
        ({"twilio_auth_token": None, "public_url": None}, Level.FAIL),
        ({"twilio_auth_token": None, "realtime_url": LOCAL}, Level.FAIL),
        ({"twilio_auth_token": None, "public_url": None, "realtime_url": LOCAL}, Level.WARN),
    ],
)
def test_the_token_of_twilio(given: dict[str, Any], level: Level) -> None:
    assert level_of("twilio token", **given) is level


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"public_url": None}, Level.FAIL),
        ({"public_url": "https://localhost:8000"}, Level.FAIL),
        ({"public_url": None, "twilio_auth_token": None, "realtime_url": LOCAL}, Level.WARN),
    ],
)
def test_where_twilio_reaches_us(given: dict[str, Any], level: Level) -> None:
    assert level_of("public url", **given) is level


# ---- the database


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "calls.db"
    finding = examined(database_url=f"sqlite:///{file}")["database"]
    assert finding.level is Level.FAIL
    assert "db upgrade" in finding.fix
    assert not file.exists()


def test_a_database_without_tables_then_with_those_of_this_version(tmp_path: Path) -> None:
    from callengine.store import Store, upgrade

    url = f"sqlite:///{tmp_path / 'calls.db'}"
    with closing(Store.from_url(url)) as store:
        store.engine.connect().close()
        assert level_of("database", database_url=url) is Level.FAIL
        upgrade(store.engine)
    finding = examined(database_url=url)["database"]
    assert (finding.level, finding.detail) == (Level.OK, "answers, and is up to date")


def test_a_database_whose_tables_the_host_has_made(tmp_path: Path) -> None:
    from callengine.store import Store, metadata

    url = f"sqlite:///{tmp_path / 'calls.db'}"
    with closing(Store.from_url(url)) as store:
        metadata.create_all(store.engine)
    finding = examined(database_url=url)["database"]
    assert (finding.level, finding.detail) == (Level.OK, "answers; the host made its tables")


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "postgresql://u:hidden@127.0.0.1:9/x"])
def test_a_database_that_cannot_be_used(url: str) -> None:
    finding = examined(database_url=url)["database"]
    assert finding.level is Level.FAIL
    assert "hidden" not in str(finding)


# ---- this machine


def test_a_port_that_is_free_taken_or_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        taken = examined(port=port)["port"]
    assert (taken.level, taken.detail) == (
        Level.FAIL,
        f"{port} cannot be had: Address already in use",
    )
    assert level_of("port", port=port) is Level.OK
    assert level_of("port", port=65_536) is Level.FAIL


def test_more_calls_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (463, 463))
    finding = examined(max_calls=100)["open files"]
    assert finding.level is Level.FAIL
    assert "ulimit -n 464" in finding.fix
    monkeypatch.setattr(resource, "getrlimit", lambda _: (464, 464))
    assert level_of("open files", max_calls=100) is Level.OK
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert level_of("open files", max_calls=10_000) is Level.OK


@pytest.mark.parametrize(
    ("late_ms", "level"), [(20.0, Level.OK), (21.0, Level.WARN), (101.0, Level.FAIL)]
)
def test_a_machine_that_wakes_its_threads_late(
    monkeypatch: pytest.MonkeyPatch, late_ms: float, level: Level
) -> None:
    monkeypatch.setattr(machine, "lateness_ms", lambda: [0.1] * 59 + [late_ms])
    assert level_of("timers", lead_ms=100) is level


def test_one_late_wake_in_a_hundred_is_not_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "lateness_ms", lambda: [0.1] * 99 + [500.0])
    assert level_of("timers") is Level.OK


@pytest.mark.realtime
def test_lateness_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    began = time.monotonic()
    late = machine.lateness_ms()
    assert 0.29 < time.monotonic() - began < 3.0
    assert late == sorted(late)
    assert late[0] >= 0


def test_a_clock_with_long_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = argparse.Namespace(resolution=0.0156)
    monkeypatch.setattr(time, "get_clock_info", lambda _: coarse)
    assert level_of("timers") is Level.FAIL


def test_a_clock_that_was_never_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert level_of("clock") is Level.FAIL


def test_what_cannot_be_looked_at_keeps_nothing_else_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: int) -> Finding:
        raise OSError("with a secret")

    monkeypatch.setattr(machine, "open_files", broken)
    findings = examined()
    assert findings["open files"] == Finding(
        Level.FAIL, "open files", "cannot be looked at: OSError"
    )
    assert findings["clock"].level is Level.OK


# ---- online


@pytest.mark.realtime
def test_a_model_that_answers() -> None:
    with PeerServer(lambda: SimulatedRealtime([said("agent_greeting")])) as server:
        findings = examined(realtime_url=server.url, online=True)
        [request] = [each for each in server.requests if "model=" in each.path]
    assert findings["model"].level is Level.OK
    assert request.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.realtime
def test_a_model_that_refuses_the_key() -> None:
    with PeerServer(lambda: SimulatedRealtime([]), check_request=lambda _: refusal(401)) as server:
        finding = examined(realtime_url=server.url, online=True)["model"]
    assert finding.level is Level.FAIL
    assert "HTTP 401; check OPENAI_API_KEY" in finding.detail


@pytest.mark.realtime
def test_a_model_that_is_not_there() -> None:
    finding = examined(realtime_url=LOCAL, online=True)["model"]
    assert (finding.level, finding.detail) == (
        Level.FAIL,
        "127.0.0.1: no connection to the model: ConnectionRefusedError",
    )


@pytest.mark.realtime
def test_a_model_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "CONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(machine, "DATE_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        findings = examined(realtime_url=url, online=True)
    assert findings["model"].detail == "127.0.0.1: no answer"
    assert findings["clock"].level is Level.OK, "there is nothing to compare it with"


@pytest.fixture(name="clock")
def clock_of_another_machine() -> Iterator[tuple[str, list[float]]]:
    """A server that is off by so many seconds."""
    off = [0.0]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plug, _ = listener.accept()
                except OSError:
                    return
                with plug:
                    plug.recv(65_536)
                    date = formatdate(time.time() - off[0], usegmt=True)
                    plug.sendall(f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\n\r\n".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}", off
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5.0)


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("off_s", "level"), [(0.0, Level.OK), (12.0, Level.OK), (20.0, Level.FAIL), (-20.0, Level.FAIL)]
)
def test_a_clock_that_others_would_not_agree_with(
    clock: tuple[str, list[float]], off_s: float, level: Level
) -> None:
    url, off = clock
    off[0] = off_s
    assert machine.clock(url).level is level


# ---- gunicorn


def told_of(command: str, **given: Any) -> list[Finding]:  # noqa: ANN401
    findings = examine(Settings(**{**GOOD, **given}), gunicorn=command, online=False)
    return [finding for finding in findings if finding.what == "gunicorn"]


GTHREAD = "gunicorn -k gthread --threads 8 --graceful-timeout 3600 app:app"


@pytest.mark.parametrize(
    "command",
    [
        GTHREAD,
        GTHREAD.removeprefix("gunicorn "),
        GTHREAD.replace("gunicorn ", "/venv/bin/python3 -m gunicorn "),
        GTHREAD.replace("gunicorn ", "/venv/bin/gunicorn "),
        "gunicorn -k asgi --graceful-timeout 3600 app:app",
        "gunicorn --threads 8 --graceful-timeout 3600 --max-requests 9 'a b:app(\"x\")'",
    ],
)
def test_a_command_line_that_is_fit(command: str) -> None:
    assert [finding.level for finding in told_of(command)] == [Level.OK]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("gunicorn app:app", "sync worker"),
        ("gunicorn -k gevent app:app", "gevent workers"),
        ("gunicorn --threads 7 app:app", "7 threads"),
        ("gunicorn --threads 8 --max-requests 1000 app:app", "after 1000 requests"),
        ("gunicorn --threads many app:app", "cannot use this command line: .*many"),
        ("gunicorn -c nowhere.py app:app", "cannot use this command line: .*nowhere.py"),
        ("gunicorn 'app:app", "cannot use this command line: No closing quotation"),
    ],
)
def test_a_command_line_that_is_not(command: str, told: str) -> None:
    bad = [finding for finding in told_of(command) if finding.level is Level.FAIL]
    assert len(bad) == 1
    assert re.search(told, bad[0].detail)
    assert bad[0].fix


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("gunicorn --threads 8 app:app", "cuts calls after 30 s"),
        (GTHREAD + " --preload", "--preload"),
        ("gunicorn -k uvicorn.workers.UvicornWorker app:app", "cut calls at once"),
        ("gunicorn -k uvicorn_worker.UvicornWorker app:app", "cut calls at once"),
    ],
)
def test_a_command_line_under_which_deploys_cut_calls(command: str, told: str) -> None:
    levels = {finding.level: finding.detail for finding in told_of(command)}
    assert levels.keys() == {Level.OK, Level.WARN}
    assert told in levels[Level.WARN]


def test_calls_that_are_short_need_no_long_graceful_timeout() -> None:
    assert [each.level for each in told_of("gunicorn --threads 8 app", max_call_s=30)] == [Level.OK]


def test_gunicorns_configuration_file_and_environment_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("threads = 8\nworkers = 3\ngraceful_timeout = 1\n")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--graceful-timeout 3600")
    [finding] = told_of(f"gunicorn -c {tmp_path / 'mine.py'} app:app")
    assert (finding.level, finding.detail) == (Level.OK, "3 gthread worker(s): 12 calls at most")


def test_reading_a_command_line_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    before = list(sys.argv), list(sys.path), os.getcwd()  # noqa: PTH109
    hosting.read_gunicorn(f"gunicorn --chdir {tmp_path} app:app")
    assert (list(sys.argv), list(sys.path), os.getcwd()) == before  # noqa: PTH109


# ---- the command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    options = parser.parse_args(["doctor", *arguments])
    status = options.run(options)
    return status, capsys.readouterr().out


@pytest.fixture(name="environment")
def environment_of_a_good_set_up(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for variable in ("OPENAI_API_KEY", "TWILIO_AUTH_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(f"CALLENGINE_{name.upper()}", str(value))
    return monkeypatch


def test_a_healthy_set_up_exits_with_0(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = run(capsys)
    assert status == 0
    assert told.splitlines()[-1].endswith(" ok, 0 warn, 0 fail")
    status, told = run(capsys, "--json")
    assert status == 0
    assert json.loads(told)["ok"] is True


def test_anything_that_failed_exits_with_1(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("CALLENGINE_PUBLIC_URL")
    status, told = run(capsys, "--json", "--gunicorn", "gunicorn app:app")
    assert status == 1
    report = json.loads(told)
    assert report["ok"] is False
    failed = {each["what"] for each in report["findings"] if each["level"] == "fail"}
    assert failed == {"public url", "gunicorn"}
    status, told = run(capsys)
    assert status == 1
    assert "fail  public url" in told
    assert "-> set CALLENGINE_PUBLIC_URL" in told


def test_settings_that_cannot_be_read(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("CALLENGINE_MAX_CALLS", "many")
    with pytest.raises(SettingsError, match="CALLENGINE_MAX_CALLS"):
        run(capsys)


def test_a_table_says_what_to_do_where_something_is_wrong() -> None:
    findings = [Finding(Level.OK, "a", "fine", "nothing"), Finding(Level.WARN, "b", "hm", "mend")]
    assert as_table(findings).splitlines() == [
        "ok    a             fine",
        "warn  b             hm",
        "                    -> mend",
        "1 ok, 1 warn, 0 fail",
    ]
