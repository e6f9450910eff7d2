"""The parent of workers: accepts connections, and sees to it that there are workers to take them.

Reads nothing that is sent and holds no call. When it is told to end, its workers drain, and go on
answering that no call is taken here until the last of them is over.
"""

from __future__ import annotations

import functools
import selectors
import signal
import socket
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from callengine.engine import GOODBYE_S
from callengine.workers.crew import SIGNALS, Crew
from callengine.workers.succession import Succession

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.workers.commons import Commons
    from callengine.workers.crew import Member

END_S: Final = 15.0
"""A worker that should have ended by then is killed."""

ACCEPT_AGAIN_S: Final = 0.1


class Phase(Enum):
    """What a parent is about."""

    SERVING = auto()
    DRAINING = auto()
    ENDING = auto()


class Parent:
    """Serves a port with as many workers as `commons` has cells for.

    `work` is what each does: it is given the socket that connections come by. `on_drain` is told
    how many calls there are when a drain begins. For the main thread of a process that has no
    other; its SIGTERM and SIGINT are the parent's from the making on, and never given back.
    """

    def __init__(
        self,
        listening: socket.socket,
        commons: Commons,
        work: Callable[[socket.socket], None],
        *,
        drain_s: float,
        on_drain: Callable[[int], None],
    ) -> None:
        self._listening = listening
        self._crew = Crew(commons, work)
        self._succession = Succession(len(commons.cells))
        self._drain_s = drain_s
        self._on_drain = on_drain
        self._phase = Phase.SERVING
        self._deadline: float | None = None
        self._selector = selectors.DefaultSelector()
        self._bell = _Bell()
        listening.setblocking(False)
        self._watch(self._bell.plug, self._answer_bell)

    def run(self) -> None:
        """Serve until a signal ends it: SIGTERM after a drain, a second one or SIGINT at once."""
        while self._phase is Phase.SERVING or self._crew.members:
            self._fork_missing()
            self._open_or_close_port()
            for key, _ in self._selector.select(self._wait_s()):
                key.data()
            self._watch_clock()
        self._leave()

    # ---- connections

    def _open_or_close_port(self) -> None:
        """Who comes while there is nobody to take him waits in the system's backlog."""
        wanted = self._phase is not Phase.ENDING and self._crew.takes_connections
        watched = self._listening.fileno() in self._selector.get_map()
        if wanted and not watched:
            self._watch(self._listening, self._accept)
        elif watched and not wanted:
            self._selector.unregister(self._listening)

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except BlockingIOError:
            return
        except OSError:  # whoever asked is gone, or there are no more descriptors
            time.sleep(ACCEPT_AGAIN_S)
            return
        self._crew.hand(connection)

    # ---- workers

    def _fork_missing(self) -> None:
        if self._phase is not Phase.SERVING:
            return
        for number in self._succession.due(time.monotonic()):
            try:
                member = self._crew.fork(number, self._leave)
            except OSError as error:
                self._succession.failed(number, error)
            else:
                self._succession.begun(number)
                self._watch(member.control, functools.partial(self._hear, member))

    def _hear(self, member: Member) -> None:
        """A worker says that it has drained, or its process has ended."""
        if not member.spoke():
            self._selector.unregister(member.control)
            self._bury(member)
        elif self._phase is Phase.SERVING:
            member.dismiss()  # it alone was told to drain: another is to take its place
        if self._phase is Phase.DRAINING and self._crew.is_over:
            self._phase = Phase.ENDING
            self._deadline = time.monotonic() + END_S
            for each in self._crew.members.values():
                each.dismiss()

    def _bury(self, member: Member) -> None:
        death = self._crew.bury(member)
        as_told = member.dismissed or self._phase is not Phase.SERVING
        if as_told and death.in_order:
            self._succession.ended(member.number)
        else:
            self._succession.died(member.number, death)

    def _leave(self) -> None:
        """Give back what is the parent's: it is over, or this is the process of a worker."""
        self._bell.close()
        self._selector.close()
        self._listening.close()

    # ---- the end

    def _answer_bell(self) -> None:
        for number in self._bell.rung():
            if self._phase is Phase.SERVING and number == signal.SIGTERM:
                self._drain()
            elif self._phase is not Phase.ENDING:
                self._end()

    def _drain(self) -> None:
        self._phase = Phase.DRAINING
        self._deadline = time.monotonic() + self._drain_s + GOODBYE_S + END_S
        self._on_drain(self._crew.calls)
        self._crew.tell(signal.SIGTERM)

    def _end(self) -> None:
        self._phase = Phase.ENDING
        self._deadline = time.monotonic() + END_S
        self._crew.tell(signal.SIGINT)

    def _watch_clock(self) -> None:
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        if self._phase is Phase.DRAINING:
            self._end()
        else:
            self._deadline = None
            self._crew.tell(signal.SIGKILL)

    def _wait_s(self) -> float | None:
        until = self._succession.next if self._phase is Phase.SERVING else self._deadline
        return None if until is None else max(until - time.monotonic(), 0.0)

    def _watch(self, plug: socket.socket, call: Callable[[], None]) -> None:
        self._selector.register(plug, selectors.EVENT_READ, call)


class _Bell:
    """SIGTERM and SIGINT of this process, as something to read."""

    def __init__(self) -> None:
        self.plug, self._button = socket.socketpair()
        self.plug.setblocking(False)
        self._button.setblocking(False)
        signal.set_wakeup_fd(self._button.fileno())
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    def rung(self) -> list[int]:
        """The numbers of those that came."""
        return [number for number in self.plug.recv(64) if number in SIGNALS]

    def close(self) -> None:
        """Hear nothing more."""
        signal.set_wakeup_fd(-1)
        self.plug.close()
        self._button.close()
