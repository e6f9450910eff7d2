"""A call from the engine's side: it is started, may be asked to end, and has a summary then."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from callengine.actors.call import start_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.actors.call import Call
    from callengine.actors.realtime_bridge import ModelLink
    from callengine.actors.tx_pacer import CarrierLink
    from callengine.backstage import Staged
    from callengine.gate import Visit
    from callengine.messages import EndCause
    from callengine.settings import Settings
    from callengine.summary import CallSummary

END_TIMEOUT_S: Final = 5.0
"""The longest a call may take from the end of its socket to its summary."""

STOP_TIMEOUT_S: Final = 2.0
"""Calls end within milliseconds; one whose tool is still running takes 1 s to its summary."""


class Live:
    """A call in progress, or about to be."""

    def __init__(self, cut: Callable[[], None], tell_over: Callable[[], None]) -> None:
        self._cut = cut
        self._tell_over = tell_over
        self.visit: Visit | None = None
        self.summary: CallSummary | None = None
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._call: Call | None = None
        self._model: ModelLink | None = None
        self._ending: tuple[EndCause, str] | None = None

    def start(self, staged: Staged, settings: Settings, carrier: CarrierLink) -> Call:
        """Put the call together; if it was asked to end meanwhile, it does so at once."""
        links = carrier, staged.model
        call = start_call(staged.setting, settings, staged.agent, links, self.conclude)
        with self._lock:
            self._call, self._model = call, staged.model
        if self._ending is not None:
            call.end(*self._ending)
        return call

    def conclude(self, summary: CallSummary) -> None:
        """The call is over."""
        self.summary = summary
        self.over.set()
        self._tell_over()

    def end(self, cause: EndCause, detail: str = "") -> None:
        """Ask for the end of the call, also before it has begun."""
        with self._lock:
            self._ending = cause, detail
            call = self._call
        if call is not None:
            call.end(cause, detail)

    def abandon(self) -> None:
        """Cut its sockets and stop its actors: there is no time left for it to end."""
        with suppress(BaseException):  # whatever a host's edge raises, the others are stopped too
            self._cut()
        with self._lock:
            call, model = self._call, self._model
        if call is not None and model is not None:
            model.close()
            call.abandon()
