"""`serve --workers 2` as a real server, and a look at its processes from outside."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.hosts.phone import Phone
from tests.hosts.servers import ROOT, Server, running

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection, Iterator

WAIT_S: Final = 10.0
COMMAND: Final = (
    *(sys.executable, "-W", "error", "-W", "ignore:'audioop'", "-m", "callengine", "serve"),
    *("--workers", "2"),
)
"""Warnings are errors: Python warns of forks that take locks of other threads along."""


class Served(Phone):
    """A running server, and its callers."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.port)
        self.server = server

    @property
    def workers(self) -> set[int]:
        """Their processes."""
        return children(self.server.process.pid)

    def wait_for_workers(self, *, beside: Collection[int] = ()) -> set[int]:
        """Two, of which none is `beside`."""
        wait_until(lambda: len(self.workers) == 2 and not self.workers & set(beside))
        return self.workers

    def signal(self, number: signal.Signals) -> None:
        """Send the parent a signal."""
        self.server.process.send_signal(number)

    def end_of(self, call_sid: str) -> str:
        """Why a call ended, as the server tells it."""
        return self.server.line(f"call {call_sid} ").split()[2].removeprefix("end_cause=")


@contextlib.contextmanager
def serving(model_url: str, *options: str, **variables: str) -> Iterator[Served]:
    words = (*COMMAND, "--open-greeting", "--port", "{port}", *options)
    with running(words, model_url, cwd=ROOT, **variables) as server:
        server.line("Ctrl-C ends it")
        served = Served(server)
        yield served
        assert not any("Warning" in line for line in server.log), server.log


def wait_until(true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def children(parent: int) -> set[int]:
    """Processes that have not ended."""
    return {pid for pid, of in _processes() if of == parent}


def living(pids: Collection[int]) -> set[int]:
    return set(pids) & {pid for pid, _ in _processes()}


def kill(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


def _processes() -> Iterator[tuple[int, int]]:
    """Each with its parent; those that have ended and were not waited for are none."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, *_ = path.read_text().rpartition(") ")[2].split()
            if state != "Z":
                yield int(path.parent.name), int(parent)
