"""Real server processes on loopback, each with an application of `apps` and a simulated model."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.edges.twilio_signed import PUBLIC_URL, TOKEN
from tests.hosts.apps import TOLD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parent.parent.parent
START_S: Final = 20.0
STOP_S: Final = 20.0
TELL_S: Final = 10.0

_PYTHON: Final = (sys.executable, "-W", "ignore::DeprecationWarning", "-m")
_UVICORN: Final = (*_PYTHON, "uvicorn", "--host", "127.0.0.1", "--log-level", "warning")
_UVICORN_APP: Final = (*_UVICORN, "--ws-max-size", "65536", "--factory", "--port")
_GUNICORN: Final = (*_PYTHON, "gunicorn", "--no-control-socket", "--log-level", "warning")

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "uvicorn": (*_UVICORN_APP, "{port}", "tests.hosts.apps:bare"),
    "uvicorn, FastAPI": (*_UVICORN_APP, "{port}", "tests.hosts.apps:fastapi_app"),
    "uvicorn, Django": (*_UVICORN_APP, "{port}", "tests.hosts.apps:django_app"),
    "gunicorn gthread, Flask": (
        *(*_GUNICORN, "-k", "gthread", "--threads", "32", "-b", "127.0.0.1:{port}"),
        "tests.hosts.apps:flask_app()",
    ),
    "gunicorn asgi, FastAPI": (
        *(*_GUNICORN, "-k", "asgi", "-b", "127.0.0.1:{port}", "tests.hosts.apps:fastapi_app()"),
    ),
    "standalone": (*_PYTHON, "tests.hosts.apps", "{port}"),
}
"""Host -> how it is started."""


def why_not(host: str) -> str | None:
    """Why a host cannot be had here."""
    if host.startswith("gunicorn asgi"):
        from gunicorn.util import load_class

        try:
            load_class("asgi")
        except (RuntimeError, ImportError, AttributeError) as error:
            return f"this gunicorn has no asgi worker: {error}"
    return None


class Server:
    """A running process, the lines it writes, and the summaries among them."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self.process = process
        self.log: list[str] = []
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="server-output")
        self._reader.start()

    def summary(self) -> dict[str, Any]:
        """That of the next call that is over."""
        return self._told.get(timeout=TELL_S)

    def line(self, beginning: str) -> str:
        """The line that begins so, as soon as it is written."""
        until = time.monotonic() + TELL_S
        while time.monotonic() < until:
            for line in self.log:
                if line.startswith(beginning):
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no line begins with {beginning!r}: {self.log}")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def exit_status(self, timeout_s: float = STOP_S) -> int:
        """Of a process that ends by itself."""
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End it, and workers without a master."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_S)
        self._reader.join(STOP_S)

    def wait_until_up(self) -> None:
        until = time.monotonic() + START_S
        while self.process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
                return
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.log}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(TOLD):
                self._told.put(json.loads(line.removeprefix(TOLD)))
            else:
                self.log.append(line.rstrip("\n"))
        self.process.stdout.close()


@contextlib.contextmanager
def running(
    command: Sequence[str], model_url: str, *, cwd: Path = ROOT, **variables: str
) -> Iterator[Server]:
    """Start a command (`{port}` in it is replaced), and end it."""
    port = free_port()
    process = subprocess.Popen(
        [word.replace("{port}", str(port)) for word in command],
        cwd=cwd,
        env={
            **os.environ,
            "CALLENGINE_REALTIME_URL": model_url,
            "CALLENGINE_PUBLIC_URL": PUBLIC_URL,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    server = Server(port, process)
    try:
        server.wait_until_up()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def serving(host: str, model_url: str, *options: str, **variables: str) -> Iterator[Server]:
    """One of `COMMANDS`, with more options for the server."""
    *command, last = COMMANDS[host]
    with running([*command, *options, last], model_url, cwd=ROOT, **variables) as server:
        yield server


def free_port() -> int:
    """A port that nobody listens on, and that is given to no connection: those are higher."""
    while True:
        port = random.randint(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
