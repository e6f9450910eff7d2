"""Who of the workers gets a connection. None is forked."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from callengine.workers.commons import Commons, Standing
from callengine.workers.crew import Crew, Member

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CALLS = 10


class Workers:
    """The workers' ends of a crew of three."""

    def __init__(self) -> None:
        self.commons = Commons(3, MAX_CALLS)
        self.crew = Crew(self.commons, lambda _: None)
        self.ends = []
        for number in range(3):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            self.commons.begin(number)
            cell = self.commons.cells[number]
            self.crew.members[number] = Member(number, 0, ours, cell, 0.0)
            self.ends.append(theirs)

    def hand(self) -> socket.socket:
        """Give the crew a connection; the client's end."""
        client, connection = socket.socketpair()
        client.settimeout(5.0)
        self.crew.hand(connection)
        assert connection.fileno() == -1, "it is the worker's"
        return client

    def handed(self, count: int) -> list[int]:
        """How many connections each gets of so many."""
        for _ in range(count):
            self.hand().close()
        return [self._taken(end) for end in self.ends]

    def close(self) -> None:
        for plug in (*self.ends, *(each.control for each in self.crew.members.values())):
            plug.close()

    @staticmethod
    def _taken(end: socket.socket) -> int:
        taken = 0
        while True:
            try:
                data, descriptors, *_ = socket.recv_fds(end, 1, 1)
            except BlockingIOError:
                return taken
            if not data:
                return taken
            taken += 1
            for each in descriptors:
                socket.socket(fileno=each).close()


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def test_connections_are_dealt_evenly(workers: Workers) -> None:
    assert workers.handed(6) == [2, 2, 2]


def test_what_has_ended_no_longer_counts(workers: Workers) -> None:
    assert workers.handed(3) == [1, 1, 1]
    workers.commons.cells[1].ended = 1
    assert workers.handed(1) == [0, 1, 0]
    workers.commons.cells[2].ended = 1
    workers.commons.cells[1].ended = 2
    assert workers.handed(2) == [0, 1, 1]


def test_who_runs_late_gets_nothing_as_long_as_others_do_not(workers: Workers) -> None:
    cells = workers.commons.cells
    cells[0].standing = Standing.CLOSED
    assert workers.handed(4) == [0, 2, 2]
    cells[1].standing = cells[2].standing = Standing.OVER
    assert workers.handed(3) == [3, 0, 0]


def test_who_has_all_the_calls_he_may_have_comes_after_the_busy(workers: Workers) -> None:
    full, busy, _ = workers.commons.cells
    full.taken = MAX_CALLS
    workers.commons.cells[2].standing = Standing.CLOSED
    workers.crew.members[1].handed = MAX_CALLS + 5  # requests, most of them
    busy.taken = MAX_CALLS - 1
    assert workers.handed(1) == [0, 1, 0]


def test_who_is_dismissed_gets_nothing(workers: Workers) -> None:
    workers.crew.members[0].dismiss()
    assert workers.ends[0].recv(1) == b""
    assert workers.crew.takes_connections
    assert workers.handed(2)[1:] == [1, 1]


def test_who_stands_still_is_passed_over_when_his_queue_is_full(workers: Workers) -> None:
    for number in (1, 2):
        workers.commons.cells[number].ended = -1_000_000  # with so much to do as to come last
    clients = []
    while workers.crew.members[1].handed == 0:
        clients.append(workers.hand())
        assert len(clients) < 10_000
    assert workers.crew.members[0].handed == len(clients) - 1
    for client in clients:
        client.close()


def test_a_connection_that_nobody_takes_is_closed(workers: Workers) -> None:
    for end in workers.ends:
        end.close()
    with workers.hand() as client:
        assert client.recv(1) == b""
    assert all(each.load == 0 for each in workers.crew.members.values())


def test_a_worker_says_something_or_has_ended(workers: Workers) -> None:
    spoken, ended, died = workers.crew.members.values()
    workers.ends[0].send(b"o")
    workers.ends[1].close()
    died.handed = -1  # so that the next one is his
    workers.hand().close()
    workers.ends[2].close()  # with a connection that it did not take
    assert [each.spoke() for each in (spoken, ended, died)] == [True, False, False]
