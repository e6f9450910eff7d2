"""The workers of a parent: forked, given connections, buried, and forked anew.

Knows processes and their control sockets. Must be used in a process without threads: whoever forks
takes only the thread that does it along, with the locks of all others.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callengine.workers.commons import Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.workers.commons import Cell, Commons

SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM})
CONNECTION: Final = b"c"
"""What a connection is sent with: a descriptor does not travel alone."""


@dataclass(slots=True)
class Member:
    """A worker as its parent sees it."""

    number: int
    pid: int
    control: socket.socket
    cell: Cell
    began_at: float
    handed: int = 0
    """Connections it was given."""
    dismissed: bool = False

    @property
    def load(self) -> int:
        """Connections it has: calls, and requests that are not answered yet."""
        return self.handed - self.cell.ended

    def spoke(self) -> bool:
        """There is something to read: a word, or (False) the end of its process."""
        try:
            return bool(self.control.recv(64))
        except ConnectionResetError:  # there were connections that it had not taken
            return False

    def dismiss(self) -> None:
        """Let it end; it gets nothing more."""
        self.dismissed = True
        with suppress(OSError):  # it has ended already
            self.control.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended."""

    exit_code: int
    """Negative: the signal that killed it."""
    lived_s: float
    calls_lost: int

    @property
    def in_order(self) -> bool:
        """It was ready to."""
        return self.exit_code == 0

    @property
    def how(self) -> str:
        """For people."""
        if self.exit_code < 0:
            return signal.Signals(-self.exit_code).name
        return f"exit status {self.exit_code}"


class Crew:
    """`work` is what a worker does, in its process, until it returns."""

    def __init__(self, commons: Commons, work: Callable[[socket.socket], None]) -> None:
        self._commons = commons
        self._work = work
        self.members: dict[int, Member] = {}

    @property
    def calls(self) -> int:
        """Of all workers."""
        return sum(each.cell.calls for each in self.members.values())

    @property
    def takes_connections(self) -> bool:
        """There is somebody to take them."""
        return any(not each.dismissed for each in self.members.values())

    @property
    def is_over(self) -> bool:
        """All have drained."""
        return all(each.cell.standing == Standing.OVER for each in self.members.values())

    def fork(self, number: int, leave: Callable[[], None]) -> Member:
        """Begin a worker, whose process first leaves what is the parent's. Raises OSError.

        Signals are held back until it has handlers of its own.
        """
        ours, theirs = socket.socketpair()
        self._commons.begin(number)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # what waits here would be written by both
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become(number, theirs, leave)
        except OSError:
            self._commons.end(number)
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        ours.setblocking(False)
        member = Member(number, pid, ours, self._commons.cells[number], time.monotonic())
        self.members[number] = member
        return member

    def hand(self, connection: socket.socket) -> None:
        """Give a connection to the worker who has least to do; nobody has it if nobody takes it."""
        for member in sorted(self.members.values(), key=self._rank):
            with suppress(
                OSError
            ):  # its queue is full, for it stands still; or it was dismissed, or died
                socket.send_fds(member.control, [CONNECTION], [connection.fileno()])
                member.handed += 1
                break
        connection.close()

    def tell(self, number: signal.Signals) -> None:
        """Send all a signal."""
        for member in self.members.values():
            with suppress(ProcessLookupError):
                os.kill(member.pid, number)

    def bury(self, member: Member) -> Death:
        """A worker's control socket is closed, as it only is by its end."""
        member.control.close()
        del self.members[member.number]
        _, status = os.waitpid(member.pid, 0)
        death = Death(
            os.waitstatus_to_exitcode(status),
            time.monotonic() - member.began_at,
            member.cell.calls,
        )
        self._commons.end(member.number)
        return death

    def _rank(self, member: Member) -> tuple[int, bool, int]:
        cell = member.cell
        return cell.standing, cell.calls >= self._commons.max_calls, member.load

    def _become(self, number: int, control: socket.socket, leave: Callable[[], None]) -> None:
        """All that a worker's process does. It ends without what the parent would do at its end."""
        status = 1
        try:
            for other in self.members.values():
                other.control.close()
            leave()
            self._commons.join(number)
            self._work(control)
            status = 0
        except BaseException:  # noqa: BLE001 - nothing is above this
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
