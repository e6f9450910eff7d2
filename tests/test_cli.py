"""`python -m callengine` as a user meets it: another process, its output and its exit status."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from typing import TYPE_CHECKING, Any

import pytest

from callengine.testing import (
    SimulatedCaller,
    SimulatedRealtime,
    Wait,
    WaitUntilHeard,
    said,
)
from callengine.testing.prove.command import SEEDS_THAT_FAILED
from callengine.testing.sockets import PeerServer, run_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from callengine.testing.realtime.record import Record

pytestmark = pytest.mark.realtime

WAIT_S = 15.0
POLITE_S = 2.0
UNSIGNED = "signatures are not validated"
TIMING_ROWS = {"tx_late_frames", "tx_schedule_resets", "onset to silence (ms)"}
"""Rows that a busy machine may fail; they are judged where nothing else runs."""


def environment(**variables: str) -> dict[str, str]:
    ours = ("CALLENGINE_", "OPENAI_API_KEY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONUNBUFFERED": "1", **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "callengine", *arguments]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


@contextlib.contextmanager
def running(
    *arguments: str, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*arguments),
        env=environment(**(variables or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_S)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def line_with(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line
    raise AssertionError(f"it ended without saying {word!r}: {process.communicate()}")


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, str]:
    """Send the signal; what it still said, which must not take long."""
    began = time.monotonic()
    process.send_signal(number)
    out, error = process.communicate(timeout=WAIT_S)
    assert time.monotonic() - began < POLITE_S
    assert "Traceback" not in error
    return out, error


# ---- what cannot be tried


LOCAL = ("--realtime-url", "ws://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("arguments", "variables", "told"),
    [
        (("serve", *LOCAL), {}, "no port to listen on: give --port or set CALLENGINE_PORT"),
        (("serve", *LOCAL), {"CALLENGINE_PORT": "http"}, "CALLENGINE_PORT is 'http'"),
        (("serve", *LOCAL), {"CALLENGINE_PORT": "\u00b2"}, "must be a whole number"),
        (("serve", *LOCAL, "--port", "65536"), {}, "port 65536 on 127.0.0.1 cannot be had"),
        (("serve", "--port", "0"), {}, "set OPENAI_API_KEY, or point --realtime-url"),
        (("serve", "--port", "0", "--realtime-url", "http://x"), {}, "must begin with ws://"),
        (("serve", *LOCAL, "--port", "0"), {"CALLENGINE_LEAD_MS": "much"}, "CALLENGINE_LEAD_MS"),
        (("serve", *LOCAL, "--port", "0"), {"CALLENGINE_HOST_THREADS": "0"}, "host_threads is 0"),
        (("call", "--openai"), {}, "set OPENAI_API_KEY"),
        (("call", "--seconds", "10"), {}, "a call takes 36 or more"),
        (("call", "--out", "/dev/null/report"), {}, "--out /dev/null/report cannot be made"),
    ],
)
def test_what_cannot_be_tried_is_said_in_one_line(
    arguments: tuple[str, ...], variables: dict[str, str], told: str
) -> None:
    done = run(*arguments, **variables)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.startswith("callengine: ")
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = run("serve", *LOCAL, "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.startswith(f"callengine: port {port} on 127.0.0.1 cannot be had: Address")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("serve", "--port", "many"), ("dance",)])
def test_a_command_line_that_makes_no_sense(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m callengine")


def test_a_model_that_is_not_there_is_named_in_the_table(tmp_path: Path) -> None:
    done = run("call", *LOCAL, "--out", str(tmp_path))
    assert done.returncode == 1
    assert "model_unreachable: no connection to the model: ConnectionRefusedError" in done.stdout
    assert done.stderr == ""


# ---- serve


def model() -> SimulatedRealtime:
    return SimulatedRealtime([said("agent_greeting")])


def hold(caller: SimulatedCaller, url: str) -> threading.Thread:
    """Call on a thread of its own; returns when the AI is heard."""
    heard = threading.Event()

    def progress(_: float) -> None:
        if caller.record.frames:
            heard.set()

    thread = threading.Thread(
        target=run_client,
        args=(caller, url),
        kwargs={"deadline_s": WAIT_S, "on_progress": progress},
    )
    thread.start()
    assert heard.wait(WAIT_S)
    return thread


def media_url(process: subprocess.Popen[str]) -> str:
    return line_with(process, "media ").split()[1]


def sent_by(record: Record, kind: str) -> list[dict[str, Any]]:
    return [event.body for event in record.received if event.type == kind]


def test_serve_with_options_until_ctrl_c_in_the_middle_of_a_call() -> None:
    with PeerServer(model) as server:
        options = ("--port", "0", "--realtime-url", server.url, "--realtime-model", "gpt-other")
        words = ("--instructions", "You sell bicycles.", "--greeting", "Say hello.")
        with running("serve", *options, *words, "--media-path", "/m") as process:
            url = media_url(process)
            assert url.endswith("/m")
            assert "webhook  off: set --public-url" in line_with(process, "webhook")
            caller = SimulatedCaller([Wait(WAIT_S)])
            call = hold(caller, url)
            out, error = interrupt(process)
            call.join(WAIT_S)
    assert process.returncode == 0
    assert [UNSIGNED in line for line in error.splitlines()] == [True]
    assert caller.record.closed is not None
    assert (caller.record.closed.code, caller.record.closed.by) == (1001, "engine")
    assert caller.record.violations == []
    assert f"call {caller.record.call_sid} end_cause=shutdown" in out
    [request] = server.requests
    assert "model=gpt-other" in request.path
    record: Record = server.peers[0].record  # type: ignore[attr-defined]
    session = sent_by(record, "session.update")[0]["session"]
    assert session["instructions"] == "You sell bicycles."
    assert session["audio"]["input"]["turn_detection"]["interrupt_response"] is False
    [create] = sent_by(record, "response.create")
    assert create["response"]["instructions"] == "Say hello."
    assert record.closed is not None
    assert record.closed[0] == 1000


def test_serve_with_environment_variables_until_it_is_terminated() -> None:
    with PeerServer(model) as server:
        variables = {
            "CALLENGINE_PORT": "0",
            "CALLENGINE_HOST": "127.0.0.1",
            "CALLENGINE_MEDIA_PATH": "/from-the-environment",
            "CALLENGINE_PUBLIC_URL": "https://voice.example.com",
            "CALLENGINE_REALTIME_URL": server.url,
            "CALLENGINE_REALTIME_MODEL": "gpt-environment",
            "CALLENGINE_VALIDATE_SIGNATURES": "false",
            "OPENAI_API_KEY": "sk-environment",
        }
        with running("serve", "--open-greeting", variables=variables) as process:
            url = media_url(process)
            assert url.endswith("/from-the-environment")
            line = line_with(process, "webhook")
            assert line == "webhook  https://voice.example.com/voice/incoming\n"
            caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(0.1)])
            run_client(caller, url, deadline_s=WAIT_S)
            told = line_with(process, caller.record.call_sid)
            out, error = interrupt(process, signal.SIGTERM)
    assert process.returncode == 0
    assert out == ""
    assert [UNSIGNED in line for line in error.splitlines()] == [True]
    assert "end_cause=caller_hung_up" in told
    assert "sk-environment" not in told
    [request] = server.requests
    assert "model=gpt-environment" in request.path
    assert request.headers["Authorization"] == "Bearer sk-environment"
    record: Record = server.peers[0].record  # type: ignore[attr-defined]
    session = sent_by(record, "session.update")[0]["session"]
    assert session["audio"]["input"]["turn_detection"]["interrupt_response"] is True


def test_serve_without_a_greeting_waits_for_the_caller_to_speak() -> None:
    with PeerServer(model) as server:
        options = ("--port", "0", "--realtime-url", server.url, "--no-greeting")
        with running("serve", *options) as process:
            caller = SimulatedCaller([Wait(0.5)])
            run_client(caller, media_url(process), deadline_s=WAIT_S)
            line_with(process, caller.record.call_sid)
            interrupt(process)
    assert caller.record.frames == []
    record: Record = server.peers[0].record  # type: ignore[attr-defined]
    assert record.creates == []
    assert record.appends_received > 0


def test_an_option_goes_before_its_variable() -> None:
    with running("serve", *LOCAL, "--port", "0", variables={"CALLENGINE_PORT": "1"}) as process:
        assert media_url(process).startswith("ws://127.0.0.1:")
        interrupt(process)
    assert process.returncode == 0


def test_serve_ends_at_once_with_idle_guests_on_the_line() -> None:
    with running("serve", *LOCAL, "--port", "0") as process:
        url = media_url(process)
        port = int(url.split(":")[2].split("/")[0])
        line_with(process, "Ctrl-C")
        post = b"POST /voice/incoming HTTP/1.1\r\nContent-Length: 3\r\n\r\na=1"
        with (
            socket.create_connection(("127.0.0.1", port)),
            socket.create_connection(("127.0.0.1", port)) as asking,
        ):
            asking.settimeout(WAIT_S)
            asking.sendall(post)
            assert b" 503 " in asking.recv(65_536)
            interrupt(process)
    assert process.returncode == 0


# ---- call


@pytest.mark.timeout(90)
def test_a_call_leaves_a_report_and_passes_its_own_checks(tmp_path: Path) -> None:
    """The one test that takes as long as the shortest test call."""
    folder = tmp_path / "a" / "report"
    done = subprocess.run(
        command("call", "--seconds", "36", "--seed", "3", "--out", str(folder)),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    assert done.stderr == ""
    table = re.findall(r"^(.+?) {2,}.*  (pass|FAIL)$", done.stdout, re.MULTILINE)
    rows = dict(table)
    assert len(rows) == len(table) >= 15
    assert rows.keys() >= TIMING_ROWS
    failed = {name for name, result in rows.items() if result == "FAIL"}
    assert failed <= TIMING_ROWS, done.stdout
    assert done.returncode == (1 if failed else 0)

    assert sorted(path.name for path in folder.iterdir()) == [
        "call.html",
        "call.wav",
        "summary.json",
    ]
    assert all(str(path) in done.stdout for path in folder.iterdir())
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["end_cause"] == "caller_hung_up"
    assert summary["barge_in_events"] == 2
    with wave.open(str(folder / "call.wav")) as sound:
        assert sound.getnchannels() == 2
        assert sound.getnframes() / sound.getframerate() == pytest.approx(36, abs=1)
    page = (folder / "call.html").read_text("utf-8")
    assert all(name in page for name in ("Local call, seed 3", "caller hears", "first_chunk_bytes"))


@pytest.mark.parametrize("at_s", [0, 5], ids=["as it begins", "while the AI speaks"])
def test_ctrl_c_in_the_middle_of_a_call(at_s: int, tmp_path: Path) -> None:
    with running("call", "--out", str(tmp_path)) as process:
        line_with(process, f" {at_s} of 60 s")
        _, error = interrupt(process)
    assert process.returncode == 130
    assert error == "\ncallengine: interrupted\n"
    assert list(tmp_path.iterdir()) == []


# ---- prove and explore


def test_a_proof_says_what_it_held_and_found() -> None:
    done = run("prove", "--calls", "3", "--seed", "5", "--processes", "1")
    assert done.returncode == 0, done.stderr
    assert f"calls        {3 + len(SEEDS_THAT_FAILED)}," in done.stdout
    assert "violations   0 calls" in done.stdout


def test_a_replay_is_the_same_every_time() -> None:
    once, again = (run("prove", "--replay", "5") for _ in range(2))
    assert once.returncode == 0, once.stderr
    assert "no law is broken" in once.stdout
    assert once.stdout == again.stdout


def test_an_exploration_says_how_many_states_it_saw() -> None:
    done = run("explore", "--depth", "1")
    assert done.returncode == 0, done.stderr
    assert " states, " in done.stdout
    assert "0 violations" in done.stdout


@pytest.mark.parametrize("wrong", ["0", "-3", "many"])
def test_a_number_of_calls_is_at_least_one(wrong: str) -> None:
    done = run("prove", "--calls", wrong)
    assert done.returncode == 2
    assert "--calls" in done.stderr
