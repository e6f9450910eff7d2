"""The server that runs the application: can its workers hold calls, and what becomes of calls when
they are replaced.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from callengine.doctor.finding import Finding, Level
from callengine.errors import SettingsError
from callengine.hosts import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.settings import Settings


def uvicorn() -> Iterator[Finding]:
    """A note for those who run it."""
    if importlib.util.find_spec("uvicorn") is not None:
        told = "on SIGTERM it cuts calls at once, unless the lifespan drains first (docs/hosts.md)"
        yield Finding(Level.OK, "uvicorn", told)


def gunicorn(command: str, settings: Settings) -> Iterator[Finding]:
    """The workers of this command line can hold calls, and end without cutting any."""
    try:
        workers = read_gunicorn(command)
    except ModuleNotFoundError:
        fix = "run the doctor where the application runs"
        yield Finding(Level.WARN, "gunicorn", "is not installed here", fix)
        return
    except SettingsError as error:
        yield Finding(Level.FAIL, "gunicorn", str(error), "correct the command line")
        return
    reason = workers.why_unfit(settings.max_calls)
    if reason is not None:
        told, _, fix = reason.partition(": ")
        yield Finding(Level.FAIL, "gunicorn", told, fix)
    else:
        most = workers.count * settings.max_calls
        told = f"{workers.count} {workers.kind} worker(s): {most} calls at most"
        yield Finding(Level.OK, "gunicorn", told)
    yield from _deploys(workers, settings.max_call_s)


def _deploys(workers: Workers, max_call_s: int) -> Iterator[Finding]:
    """What becomes of calls when workers are replaced."""
    if workers.preload:
        told = "--preload: an engine that held a call before the fork is refused after it"
        yield Finding(Level.WARN, "gunicorn", told, "leave it out, or hold no call while loading")
    if workers.kind.startswith("uvicorn"):
        told = "uvicorn's workers cut calls at once when they are told to end"
        yield Finding(Level.WARN, "gunicorn", told, "drain before, or take -k asgi")
    elif workers.graceful_timeout_s < max_call_s:
        told = f"a worker that ends cuts calls after {workers.graceful_timeout_s} s"
        fix = f"--graceful-timeout {max_call_s}, the longest call (CALLENGINE_MAX_CALL_S)"
        yield Finding(Level.WARN, "gunicorn", told, fix)
        if workers.max_requests:
            told = f"and workers end by themselves after {workers.max_requests} requests"
            yield Finding(Level.FAIL, "gunicorn", told, "--max-requests 0")


def read_gunicorn(command: str) -> Workers:
    """What gunicorn makes of a command line, its configuration file and its environment.

    Raises SettingsError with what gunicorn says if it cannot use it, ModuleNotFoundError if it is
    not installed.
    """
    from gunicorn.app.base import Application

    class Planned(Application):  # type: ignore[misc]
        def init(self, *_: object) -> None:
            """Keep what the command line says."""

    said = io.StringIO()
    try:
        words = re.sub(r"^\s*(\S*python\S*\s+-m\s+)?(\S*/)?gunicorn\s", "", f"{command} ")
        argv = ["gunicorn", *shlex.split(words)]
        with _as_before(argv), contextlib.redirect_stderr(said):
            return Workers.of(Planned(prog="gunicorn").cfg)
    except (SystemExit, ValueError) as error:
        lines = said.getvalue().strip().splitlines() or [str(error)]
        raise SettingsError(f"cannot use this command line: {lines[-1]}") from None


@contextlib.contextmanager
def _as_before(argv: list[str]) -> Iterator[None]:
    """gunicorn reads `sys.argv`, and goes where `--chdir` says."""
    before, path = sys.argv, list(sys.path)
    sys.argv = argv
    try:
        with contextlib.chdir(Path.cwd()):
            yield
    finally:
        sys.argv, sys.path[:] = before, path
