"""Processes that cannot hold calls, and the way out of each. Looks at what is loaded and running,
imports nothing of it, and changes nothing.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from callengine.errors import StartedBeforeFork, UnsupportedHost

if TYPE_CHECKING:
    from collections.abc import Mapping

HTTP_THREADS: Final = 4
"""Threads a worker needs beside those that hold calls: webhooks and health checks."""

ELSEWHERE: Final = "hold the calls in a process of their own: python -m callengine serve"


def is_loopback(host: str | None) -> bool:
    """The name or address is of this machine and reachable from it alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


# ---- the process


def check_process() -> None:
    """Raise UnsupportedHost in a process whose threads are not threads.

    Under gevent or eventlet one thread carries all calls: while anything in it computes, or waits
    in C, nobody is sent any audio; and a timeout meant for one request stops every actor.
    """
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        raise _patched("gevent")
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise _patched("eventlet")


def _patched(library: str) -> UnsupportedHost:
    return UnsupportedHost(
        f"{library} has replaced this process's threads, and calls need real ones: run the"
        f" application on gunicorn -k gthread without {library}, or {ELSEWHERE}"
    )


class ForkGuard:
    """Knows in which process an engine's threads were started."""

    def __init__(self) -> None:
        self._pid: int | None = None

    def started(self) -> None:
        """The threads are about to be started, here. Raises UnsupportedHost: see check_process."""
        check_process()
        self._pid = os.getpid()

    def stopped(self) -> None:
        """There are no threads any more."""
        self._pid = None

    def check(self) -> None:
        """Raise StartedBeforeFork if the threads are those of another process."""
        if self._pid is None or self._pid == os.getpid():
            return
        raise StartedBeforeFork(
            f"the engine was started in process {self._pid} and is used in {os.getpid()}, which was"
            " forked from it and has none of its threads: hold no call before the fork (gunicorn"
            " without --preload, or nothing but making the engine while the application is loaded)"
        )


# ---- gunicorn


@dataclass(frozen=True, slots=True)
class Workers:
    """How gunicorn runs an application. `kind` is `sync`, `gthread`, `gevent`, `asgi`...

    `threads` are those of one worker; `max_requests` is 0 if workers live on.
    """

    kind: str
    count: int
    threads: int
    preload: bool
    graceful_timeout_s: int
    max_requests: int

    @classmethod
    def of(cls, config: Any) -> Workers:  # noqa: ANN401 - a gunicorn.config.Config
        """What a gunicorn configuration amounts to."""
        return cls(
            kind=_kind(config.worker_class_str),
            count=config.workers,
            threads=config.threads,
            preload=config.preload_app,
            graceful_timeout_s=config.graceful_timeout,
            max_requests=config.max_requests,
        )

    def why_unfit(self, max_calls: int) -> str | None:
        """Why each of them cannot hold `max_calls` calls, and the way out; None if it can."""
        needed = max_calls + HTTP_THREADS
        threads = f"gunicorn -k gthread --threads {needed}"
        if self.kind == "sync":
            return (
                "a sync worker of gunicorn serves one request at a time, and is killed in the"
                f" middle of a call: start {threads}, or {ELSEWHERE}"
            )
        if self.kind in {"gevent", "eventlet", "tornado"}:
            return f"{self.kind} workers have no real threads: start {threads}, or {ELSEWHERE}"
        if self.kind == "gthread" and self.threads < needed:
            fewer = self.threads - HTTP_THREADS
            return (
                f"each worker of gunicorn has {self.threads} threads, and every call holds one:"
                f" start {threads} (max_calls and {HTTP_THREADS} more)"
                + (f", or set CALLENGINE_MAX_CALLS={fewer}" if fewer > 0 else "")
            )
        return None


def _kind(worker_class: str) -> str:
    """gunicorn's short name for a worker's class, which may be given as a dotted path."""
    module = worker_class.removeprefix("egg:gunicorn#").removeprefix("gunicorn.workers.")
    first = module.partition(".")[0]
    return {"ggevent": "gevent", "geventlet": "eventlet", "gtornado": "tornado"}.get(first, first)


def gunicorn_workers() -> Workers | None:
    """How the gunicorn worker that is this process runs; None if it is none.

    gunicorn tells applications nothing of it, but a worker handles its process's signals itself.
    """
    base = sys.modules.get("gunicorn.workers.base")
    if base is None:
        return None
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGABRT):
        worker = getattr(signal.getsignal(number), "__self__", None)
        if isinstance(worker, base.Worker):
            return Workers.of(worker.cfg)
    return None


# ---- WSGI


def check_wsgi(max_calls: int) -> None:
    """Raise UnsupportedHost if this process cannot hold `max_calls` calls, one thread each."""
    check_process()
    workers = gunicorn_workers()
    reason = None if workers is None else workers.why_unfit(max_calls)
    if reason is not None:
        raise UnsupportedHost(reason)


def check_wsgi_socket(environ: Mapping[str, object]) -> None:
    """Raise UnsupportedHost if the server of this request cannot give away its socket."""
    if not environ.get("wsgi.multithread"):
        raise UnsupportedHost(
            "this server has one thread, and a call would hold it to its end: give it as many as"
            f" there may be calls (flask run --with-threads, gunicorn -k gthread), or {ELSEWHERE}"
        )
    if not {"gunicorn.socket", "werkzeug.socket"} & environ.keys():
        raise UnsupportedHost(
            "this server hands its sockets to no application, so none can hold a WebSocket: run"
            f" gunicorn -k gthread, or {ELSEWHERE}"
        )
