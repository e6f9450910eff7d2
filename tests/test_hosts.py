"""Processes that cannot hold calls: as they look from within, and real ones."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker

from callengine import hosts
from callengine.errors import LocalError, StartedBeforeFork, UnsupportedHost
from callengine.hosts import ForkGuard, Workers

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 15.0


@pytest.mark.parametrize(
    ("name", "is_local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("voice.example.com", False),
        ("127.0.0.1.example.com", False),
        ("", False),
        (None, False),
    ],
)
def test_what_can_be_reached_from_this_machine_alone(name: str | None, is_local: bool) -> None:
    assert hosts.is_loopback(name) is is_local


# ---- the process


@pytest.mark.parametrize(
    ("module", "asks", "library"),
    [
        ("gevent.monkey", "is_module_patched", "gevent"),
        ("eventlet.patcher", "is_monkey_patched", "eventlet"),
    ],
)
def test_a_process_whose_threads_are_not_threads(
    monkeypatch: pytest.MonkeyPatch, module: str, asks: str, library: str
) -> None:
    patched = True
    fake = types.SimpleNamespace(**{asks: lambda what: patched and what.startswith("thread")})
    monkeypatch.setitem(sys.modules, module, fake)
    with pytest.raises(UnsupportedHost, match=f"^{library} .* python -m callengine serve$"):
        hosts.check_process()
    with pytest.raises(UnsupportedHost):
        ForkGuard().started()
    patched = False
    hosts.check_process()


def test_nothing_is_imported_to_find_out() -> None:
    code = (
        "import sys; from callengine import hosts\n"
        "hosts.check_process(); hosts.gunicorn_workers()\n"
        "print({'gevent', 'eventlet', 'gunicorn'} & sys.modules.keys())"
    )
    assert python(code).stdout == "set()\n"


def test_an_engine_that_was_started_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = ForkGuard()
    guard.check()
    guard.started()
    guard.check()
    monkeypatch.setattr("os.getpid", lambda: -7)
    with pytest.raises(StartedBeforeFork, match=r"used in -7, .* without --preload"):
        guard.check()
    guard.stopped()
    guard.check()


def test_both_are_the_hosts_to_mend() -> None:
    assert issubclass(UnsupportedHost, LocalError)
    assert issubclass(StartedBeforeFork, LocalError)


# ---- gunicorn


def workers(**settings: Any) -> Workers:  # noqa: ANN401
    config = Config()
    for name, value in settings.items():
        config.set(name, value)
    return Workers.of(config)


def test_what_gunicorn_does_unless_it_is_told_otherwise() -> None:
    assert workers() == Workers("sync", 1, 1, False, 30, 0)


@pytest.mark.parametrize(
    ("worker_class", "kind"),
    [
        ("sync", "sync"),
        ("gunicorn.workers.sync.SyncWorker", "sync"),
        ("gthread", "gthread"),
        ("gunicorn.workers.gthread.ThreadWorker", "gthread"),
        ("gevent", "gevent"),
        ("gunicorn.workers.ggevent.GeventWorker", "gevent"),
        ("egg:gunicorn#gevent", "gevent"),
        ("asgi", "asgi"),
        ("uvicorn.workers.UvicornWorker", "uvicorn"),
        ("uvicorn_worker.UvicornWorker", "uvicorn_worker"),
    ],
)
def test_a_class_of_workers_has_one_name(worker_class: str, kind: str) -> None:
    assert workers(worker_class=worker_class).kind == kind


def test_sync_workers_with_threads_are_threaded_ones() -> None:
    assert workers(threads=8).kind == "gthread"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, r"^a sync worker .* --threads 14, or hold the calls in a process of their own"),
        ({"worker_class": "gevent"}, r"^gevent workers have no real threads: .* --threads 14"),
        ({"threads": 13}, r"has 13 threads, .* --threads 14 .* CALLENGINE_MAX_CALLS=9$"),
        ({"threads": 4}, r"has 4 threads, .* --threads 14 \(max_calls and 4 more\)$"),
        ({"worker_class": "gthread"}, r"has 1 threads"),
    ],
)
def test_workers_that_cannot_hold_ten_calls(given: dict[str, Any], told: str) -> None:
    reason = workers(**given).why_unfit(max_calls=10)
    assert reason is not None
    assert re.search(told, reason)


@pytest.mark.parametrize("given", [{"threads": 14}, {"worker_class": "asgi"}])
def test_workers_that_can(given: dict[str, Any]) -> None:
    assert workers(**given).why_unfit(max_calls=10) is None


@pytest.fixture
def own_signals() -> Iterator[None]:
    names = (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGABRT)
    before = {name: signal.getsignal(name) for name in names}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("taken", [(), (signal.SIGTERM, signal.SIGQUIT)])
def test_a_worker_of_gunicorn_knows_itself(taken: tuple[int, ...]) -> None:
    """Even if the application handles some of the signals."""
    assert hosts.gunicorn_workers() is None
    worker = SyncWorker.__new__(SyncWorker)
    worker.cfg = Config()
    signal.signal(signal.SIGTERM, worker.handle_exit)
    signal.signal(signal.SIGQUIT, worker.handle_quit)
    signal.signal(signal.SIGUSR1, worker.handle_usr1)
    for number in taken:
        signal.signal(number, lambda *_: None)
    assert hosts.gunicorn_workers() == workers()
    with pytest.raises(UnsupportedHost, match="sync worker"):
        hosts.check_wsgi(1)


@pytest.mark.usefixtures("own_signals")
def test_a_worker_with_enough_threads() -> None:
    worker = ThreadWorker.__new__(ThreadWorker)
    worker.cfg = Config()
    worker.cfg.set("threads", 14)
    signal.signal(signal.SIGTERM, worker.handle_exit)
    hosts.check_wsgi(10)
    with pytest.raises(UnsupportedHost, match="--threads 15"):
        hosts.check_wsgi(11)


def test_a_server_with_one_thread_or_without_sockets() -> None:
    threaded = {"wsgi.multithread": True}
    with pytest.raises(UnsupportedHost, match="one thread"):
        hosts.check_wsgi_socket({"wsgi.multithread": False, "werkzeug.socket": 1})
    with pytest.raises(UnsupportedHost, match="hands its sockets to no application"):
        hosts.check_wsgi_socket(threaded)
    hosts.check_wsgi_socket({**threaded, "werkzeug.socket": 1})
    hosts.check_wsgi_socket({**threaded, "gunicorn.socket": 1})


# ---- real processes

ONE_CALL = """
from callengine import CallEngine, EdgeClosed, LocalError, Settings
class Nobody:
    def receive(self): raise EdgeClosed(1000)
    def send(self, message): pass
    def close(self, code, reason): pass
engine = CallEngine(Settings(realtime_url="ws://127.0.0.1:9"))
def call(who):
    try: print(who, engine.serve(Nobody()).end_cause, flush=True)
    except LocalError as error: print(who, type(error).__name__, error, flush=True)
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )


@pytest.mark.realtime
def test_under_gevent_no_call_is_held() -> None:
    told = python(f"from gevent import monkey\nmonkey.patch_all()\n{ONE_CALL}\ncall('x')").stdout
    assert told.startswith("x UnsupportedHost gevent has replaced this process's threads")
    assert "python -m callengine serve" in told


@pytest.mark.realtime
def test_gevent_that_patches_nothing_is_no_hindrance() -> None:
    assert "Unsupported" not in python(f"import gevent.monkey\n{ONE_CALL}\ncall('x')").stdout


@pytest.mark.realtime
def test_an_engine_that_held_a_call_before_the_fork() -> None:
    fork = "import os\nif os.fork(): os.wait(); call('parent')\nelse: call('child'); os._exit(0)"
    told = python(f"{ONE_CALL}\ncall('parent')\n{fork}").stdout.splitlines()
    assert [line.split()[0] for line in told] == ["parent", "child", "parent"]
    assert told[1].startswith("child StartedBeforeFork the engine was started in process ")
    assert "StartedBeforeFork" not in told[2], "where it was started it works on"


@pytest.mark.realtime
def test_an_engine_that_was_only_made_before_the_fork() -> None:
    fork = "import os\nif os.fork(): os.wait()\nelse: call('child'); engine.stop(); os._exit(0)"
    told = python(f"{ONE_CALL}\n{fork}").stdout
    assert told.startswith("child ")
    assert "Fork" not in told
