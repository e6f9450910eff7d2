"""SIGTERM: calls finish first. With the signal itself, in this process and in a real server's."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from callengine.edges import signals
from callengine.edges.signals import DRAIN_S, ECHO_S, drain_on_sigterm
from callengine.testing import SimulatedRealtime, Wait, WaitUntilHeard, said
from callengine.testing.sockets import PeerServer
from tests.edges.hosted import WAIT_S, Callers
from tests.edges.twilio_signed import CALL, PUBLIC_URL, TOKEN, signed_headers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Draining:
    """An engine whose calls last until `finish` is set."""

    def __init__(self) -> None:
        self.deadlines: queue.SimpleQueue[float] = queue.SimpleQueue()
        self.finish = threading.Event()
        self.fails = False

    def drain(self, deadline_s: float) -> None:
        self.deadlines.put(deadline_s)
        self.finish.wait(WAIT_S)
        if self.fails:
            raise ZeroDivisionError


class Server:
    """What a server does at SIGTERM. It waits as an event loop does: a signal that comes just
    before the wait ends it, which Python promises of no lock."""

    def __init__(self, wakeup: socket.socket) -> None:
        self.told: list[threading.Thread] = []
        self._wakeup = wakeup

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        self.told.append(threading.current_thread())

    def is_told(self) -> bool:
        """Within `WAIT_S`."""
        until = time.monotonic() + WAIT_S
        while not self.told and (left_s := until - time.monotonic()) > 0:
            if select.select([self._wakeup], [], [], left_s)[0]:
                self._wakeup.recv(1)
        return bool(self.told)


@pytest.fixture(name="server")
def server_of_this_process() -> Iterator[Server]:
    ours, pythons = socket.socketpair()
    with ours, pythons:
        pythons.setblocking(False)
        server = Server(ours)
        before = signal.signal(signal.SIGTERM, server)
        woken = signal.set_wakeup_fd(pythons.fileno())
        yield server
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGTERM, before)


def drain_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "callengine-drain"]


def test_the_server_is_told_when_the_calls_are_over(server: Server) -> None:
    engine = Draining()
    drain_on_sigterm(engine, 7.0)
    signal.raise_signal(signal.SIGTERM)
    assert engine.deadlines.get(timeout=WAIT_S) == 7.0
    assert not server.told
    engine.finish.set()
    assert server.is_told()
    assert server.told == [threading.main_thread()]
    assert signal.getsignal(signal.SIGTERM) is server


def test_a_second_sigterm_is_obeyed_at_once_and_the_first_is_then_forgotten(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "ECHO_S", 0.0)
    engine = Draining()
    drain_on_sigterm(engine)
    signal.raise_signal(signal.SIGTERM)
    assert engine.deadlines.get(timeout=WAIT_S) == DRAIN_S
    signal.raise_signal(signal.SIGTERM)
    assert len(server.told) == 1
    engine.finish.set()
    for thread in drain_threads():
        thread.join(WAIT_S)
    assert len(server.told) == 1


def test_a_sigterm_that_everybody_in_the_group_got_and_the_parent_passes_on_is_one(
    server: Server,
) -> None:
    engine = Draining()
    drain_on_sigterm(engine)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert engine.deadlines.get(timeout=WAIT_S) == DRAIN_S
    assert not server.told
    assert engine.deadlines.empty()
    engine.finish.set()
    assert server.is_told(), "however soon it is drained"
    assert len(server.told) == 1


def test_a_drain_that_fails_holds_no_server_up(server: Server) -> None:
    engine = Draining()
    engine.fails = True
    engine.finish.set()
    drain_on_sigterm(engine)
    signal.raise_signal(signal.SIGTERM)
    assert server.is_told()


def test_a_signal_that_was_ignored_is_ignored_after_the_drain(server: Server) -> None:
    engine = Draining()
    engine.finish.set()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    drain_on_sigterm(engine)
    signal.raise_signal(signal.SIGTERM)
    engine.deadlines.get(timeout=WAIT_S)
    for thread in drain_threads():
        thread.join(WAIT_S)
    signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_taken_back_it_leaves_everything_as_it_was(server: Server) -> None:
    drain_on_sigterm(Draining())()
    assert signal.getsignal(signal.SIGTERM) is server
    take_back = drain_on_sigterm(Draining())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_back()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "somebody else's"


def test_in_another_thread_it_does_nothing(server: Server) -> None:
    thread = threading.Thread(target=drain_on_sigterm, args=(Draining(),))
    thread.start()
    thread.join(WAIT_S)
    assert signal.getsignal(signal.SIGTERM) is server


def test_a_handler_that_is_not_pythons_is_left_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be given back."""
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda _: None)
        drain_on_sigterm(Draining())()
    assert signal.getsignal(signal.SIGTERM) is server


def test_a_process_that_would_have_died_dies_after_the_drain() -> None:
    program = (
        "import signal, threading\n"
        "from callengine.edges.signals import drain_on_sigterm\n"
        "class Engine:\n"
        "    def drain(self, deadline_s):\n"
        "        print('drained', flush=True)\n"
        "drain_on_sigterm(Engine())\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "threading.Event().wait(10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=15, check=False
    )
    assert done.stdout == b"drained\n"
    assert done.returncode == -signal.SIGTERM


# ---- a real uvicorn


@contextlib.contextmanager
def uvicorn_process(
    lifespan: str = "on", drain_s: float = WAIT_S
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Its port, and itself."""
    with (
        PeerServer(lambda: SimulatedRealtime([said("agent_greeting")])) as models,
        socket.create_server(("127.0.0.1", 0)) as plug,
    ):
        environ = {
            **os.environ,
            "CALLENGINE_REALTIME_URL": models.url,
            "CALLENGINE_PUBLIC_URL": PUBLIC_URL,
            "TWILIO_AUTH_TOKEN": TOKEN,
        }
        descriptor = plug.fileno()
        command = ["-m", "tests.edges.uvicorn_process", str(descriptor), lifespan, str(drain_s)]
        process = subprocess.Popen([sys.executable, *command], env=environ, pass_fds=[descriptor])
        try:
            yield plug.getsockname()[1], process
        finally:
            process.kill()
            process.wait(WAIT_S)


@pytest.mark.realtime
def test_uvicorn_lets_a_call_finish_and_sends_new_ones_elsewhere() -> None:
    callers = Callers()
    with uvicorn_process() as (port, process):
        call = callers.begin(port, "/voice", WaitUntilHeard(WAIT_S), Wait(2.0))
        process.send_signal(signal.SIGTERM)
        while callers.get(port, "/voice/ready")[0] == 200:
            pass
        path = "/voice/incoming"
        headers = signed_headers(PUBLIC_URL + path, CALL)
        body = "CallSid=CA1&From=%2B15550100&To=%2B15550199&Blank="
        assert callers.ask(port, path, "POST", body, headers)[0] == 503
        assert callers.get(port, "/voice/health")[0] == 200
        record = call.join(WAIT_S)
        process.wait(WAIT_S)
    assert record.closed is not None
    assert record.closed.by == "caller"
    assert record.heard


@pytest.mark.realtime
def test_without_it_uvicorn_cuts_the_call() -> None:
    """The trap: if this ever fails, uvicorn has learned to wait."""
    callers = Callers()
    with uvicorn_process(lifespan="off") as (port, process):
        call = callers.begin(port, "/voice", WaitUntilHeard(WAIT_S), Wait(5.0))
        process.send_signal(signal.SIGTERM)
        record = call.join(WAIT_S)
    assert record.closed is not None
    assert (record.closed.code, record.closed.by) == (1012, "engine")


@pytest.mark.realtime
def test_uvicorn_told_twice_stops_at_once() -> None:
    callers = Callers()
    with uvicorn_process() as (port, process):
        call = callers.begin(port, "/voice", WaitUntilHeard(WAIT_S), Wait(5.0))
        process.send_signal(signal.SIGTERM)
        time.sleep(ECHO_S)
        process.send_signal(signal.SIGTERM)
        record = call.join(WAIT_S)
        process.wait(WAIT_S)
    assert record.closed is not None
    assert (record.closed.code, record.closed.by) == (1012, "engine")


@pytest.mark.realtime
def test_whoever_talks_past_the_deadline_is_shown_out_politely() -> None:
    callers = Callers()
    with uvicorn_process(drain_s=0.3) as (port, process):
        call = callers.begin(port, "/voice", WaitUntilHeard(WAIT_S), Wait(WAIT_S))
        process.send_signal(signal.SIGTERM)
        record = call.join(WAIT_S)
        process.wait(WAIT_S)
    assert record.closed is not None
    assert record.closed.by == "engine"
    assert record.closed.code == 1000
