"""SIGTERM, so that a deploy cuts no call: first drain, then what would have happened anyway.

uvicorn closes every WebSocket the moment it is told to stop (1012); it is told when the calls are
over. Servers that watch the signal on the event loop (hypercorn, gunicorn's `asgi` worker) learn of
it at once all the same: they let sockets live for their `graceful_timeout`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from loguru import logger

from callengine.logs import QuietLog, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

DRAIN_S: Final = 20.0
"""Whoever stops a process usually kills it after 30 s; goodbyes take the rest."""


ECHO_S: Final = 1.0
"""Whoever ends a service may signal all its processes at once (systemd does), and the parent of the
workers signals them again: so soon it is the same SIGTERM."""


class Drains(Protocol):
    """What a `CallEngine` can do."""

    def drain(self, deadline_s: float) -> None:
        """See `CallEngine.drain`."""


def drain_on_sigterm(engine: Drains, deadline_s: float = DRAIN_S) -> Callable[[], None]:
    """At the first SIGTERM drain; when that is done, or at a second one, do what was done before.

    One that comes within `ECHO_S` of the first is no second one.
    Call it once the server has installed its own handling: at the start of the lifespan, say. What
    is returned takes it back. Does nothing outside the main thread, where Python allows no signal
    handling and servers install none, and nothing if SIGTERM is handled outside of Python.
    """
    previous = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or previous is None:
        return lambda: None
    handler = _DrainFirst(engine, deadline_s, previous)
    signal.signal(signal.SIGTERM, handler)
    return handler.take_back


class _DrainFirst:
    """A handler of SIGTERM. All but `_drain` runs in the main thread."""

    def __init__(
        self,
        engine: Drains,
        deadline_s: float,
        previous: Callable[[int, FrameType | None], object] | int,
    ) -> None:
        self._engine = engine
        self._deadline_s = deadline_s
        self._previous = previous
        self._asked_at: float | None = None
        self._drained = False
        self._passed_on = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            threading.Thread(target=self._drain, name="callengine-drain", daemon=True).start()
        elif self._drained or time.monotonic() - self._asked_at >= ECHO_S:
            self._pass_on(signum, frame)

    def take_back(self) -> None:
        """Let SIGTERM be what it was, unless somebody else has changed it meanwhile."""
        previous = self._previous
        if signal.getsignal(signal.SIGTERM) is self:
            signal.signal(signal.SIGTERM, previous)

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        self._passed_on = True
        self.take_back()
        if callable(self._previous):
            self._previous(signum, frame)
        else:
            signal.raise_signal(signum)

    def _drain(self) -> None:
        try:
            self._engine.drain(self._deadline_s)
        except Exception as error:  # noqa: BLE001 - the process has to end all the same
            QuietLog(logger.bind(call_sid="-")).error("drain failed", **trace_of(error))
        self._drained = True
        if not self._passed_on:
            os.kill(os.getpid(), signal.SIGTERM)  # the way back into the main thread
