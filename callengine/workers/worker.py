"""One of the processes that serve a port together: an engine of its own behind a control socket.

Connections come by that socket, as descriptors; its end is the parent's, or that nothing is wanted
any more. What else is to be done signals say, which whoever ends a service may send to all of its
processes, and the parent does: SIGTERM drains, SIGINT ends.
"""

from __future__ import annotations

import queue
import signal
import socket
import threading
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from callengine.workers.commons import Standing
from callengine.workers.crew import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.edges.standalone import StandaloneServer
    from callengine.engine import CallEngine
    from callengine.workers.commons import Commons

LOOK_S: Final = 0.25
"""How often a worker tells whether it runs late."""

OVER: Final = b"o"


class Word(Enum):
    """What a worker is told, and tells itself."""

    DRAIN = auto()
    DRAINED = auto()
    DISMISSED = auto()
    """There is no parent any more, or it needs nothing more."""
    END = auto()


class Worker:
    """Serves what comes by `control`.

    `engine` and `server` were made before the fork, and have neither threads nor a port. A drain
    takes `drain_s` and the time for goodbyes.
    """

    def __init__(
        self,
        control: socket.socket,
        engine: CallEngine,
        server: StandaloneServer,
        commons: Commons,
        *,
        drain_s: float,
    ) -> None:
        self._control = control
        self._engine = engine
        self._server = server
        self._commons = commons
        self._drain_s = drain_s
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()

    def run(self) -> None:
        """Serve until all is over, or a signal says that it is."""
        signal.signal(signal.SIGTERM, lambda *_: self._words.put(Word.DRAIN))
        signal.signal(signal.SIGINT, lambda *_: self._words.put(Word.END))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._start_thread("callengine-door", self._take_connections)
        self._obey()
        self._server.stop()

    def _obey(self) -> None:
        heard: set[Word] = set()
        while Word.END not in heard and not heard >= {Word.DRAINED, Word.DISMISSED}:
            word = self._next_word()
            if word in {Word.DRAIN, Word.DISMISSED} and not heard & {Word.DRAIN, Word.DISMISSED}:
                self._commons.own.standing = Standing.CLOSED
                self._start_thread("callengine-drain", self._drain)
            elif word is Word.DRAINED and Word.DISMISSED not in heard:
                self._commons.own.standing = Standing.OVER
                with suppress(OSError):  # the parent has just died, as will be told
                    self._control.send(OVER)
            heard.add(word)

    def _next_word(self) -> Word:
        while True:
            try:
                return self._words.get(timeout=LOOK_S)
            except queue.Empty:
                self._show_standing()

    def _show_standing(self) -> None:
        own, engine = self._commons.own, self._engine
        if own.standing != Standing.OVER:
            closed = engine.strained or engine.draining
            own.standing = Standing.CLOSED if closed else Standing.OPEN

    def _drain(self) -> None:
        try:
            self._engine.drain(self._drain_s)
        finally:
            self._words.put(Word.DRAINED)

    @staticmethod
    def _start_thread(name: str, do: Callable[[], None]) -> None:
        threading.Thread(target=do, name=name, daemon=True).start()

    # ---- connections

    def _take_connections(self) -> None:
        with suppress(OSError):  # the parent has died
            while (came := socket.recv_fds(self._control, 1, 1))[0]:
                self._take(came[1])
        self._words.put(Word.DISMISSED)

    def _take(self, descriptors: list[int]) -> None:
        if not descriptors:  # this process may have no more of them
            self._commons.connection_ended()
            return
        plug = socket.socket(fileno=descriptors[0])
        plug.setblocking(True)
        try:
            client = plug.getpeername()[0]
        except OSError:  # gone already
            plug.close()
            self._commons.connection_ended()
        else:
            self._server.adopt(plug, client, self._answered)

    def _answered(self, is_call: bool) -> None:
        if not is_call:
            self._commons.connection_ended()
