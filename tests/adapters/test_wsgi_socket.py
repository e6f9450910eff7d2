"""The socket under WSGI: what it does at its bounds."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from simple_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

from callengine.adapters import wsgi_socket
from callengine.adapters.wsgi_socket import MAX_WAITING, Plug, Reader, WsgiEdge
from callengine.errors import EdgeClosed

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 5.0


@pytest.fixture(name="pair")
def connected_pair() -> Iterator[tuple[Plug, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Plug(ours), theirs


class Connection:
    """A `simple_websocket.Server` that fails as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.input_buffer: list[object] = []
        self.incoming_message_len = 0
        self.close_reason = 1005
        self.close_message: str | None = None
        self.thread = threading.Thread()
        self.closed: list[tuple[int, str]] = []
        self.error = error
        self.thread.start()

    def send(self, message: str) -> None:
        assert self.error is not None, message
        raise self.error

    def receive(self) -> str:
        raise ConnectionClosed(1000, "")

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))
        if self.error is not None:
            raise self.error


def edge_over(connection: Connection, plug: Plug) -> WsgiEdge:
    made: Any = connection
    return WsgiEdge(made, plug)


def test_no_more_is_read_while_nobody_takes_what_there_is(
    pair: tuple[Plug, socket.socket],
) -> None:
    plug, theirs = pair
    waiting: list[object] = [None] * MAX_WAITING
    plug.bound(waiting)
    theirs.sendall(b"more")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(plug.recv(4)))
    reader.start()
    plug.taken()
    assert got == []
    assert reader.is_alive(), "it was woken, and the bound is still reached"
    waiting.pop()
    plug.taken()
    reader.join(WAIT_S)
    assert got == [b"more"]


def test_at_the_end_all_is_read_for_the_close_frame_may_be_among_it(
    pair: tuple[Plug, socket.socket],
) -> None:
    plug, theirs = pair
    plug.bound([None] * MAX_WAITING)
    theirs.sendall(b"more")
    plug.end_soon()
    assert plug.recv(4) == b"more"
    assert not plug.was_cut


def test_a_peer_that_goes_without_a_close_frame(pair: tuple[Plug, socket.socket]) -> None:
    plug, theirs = pair
    theirs.close()
    assert plug.recv(4) == b""
    assert plug.was_cut


@pytest.mark.realtime
def test_a_peer_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi_socket, "SEND_TIMEOUT_S", 1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        plug = Plug(ours)
        with pytest.raises(OSError, match="temporarily unavailable"):
            plug.send(b"x" * 10_000_000)
        assert plug.recv(4) == b"", "a reader that waits is told"


def test_the_end_is_said_and_what_comes_until_then_is_read(
    pair: tuple[Plug, socket.socket],
) -> None:
    plug, theirs = pair
    theirs.sendall(b"x" * 10_000)
    theirs.shutdown(socket.SHUT_WR)
    plug.close()
    assert theirs.recv(4) == b""
    assert plug.recv(4) == b"", "nothing is left that would make the system reset the connection"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_dies_is_noticed() -> None:
    class Doomed:
        connected = True
        event = threading.Event()

        def read(self) -> None:
            raise ZeroDivisionError

    doomed = Doomed()
    reader = Reader(doomed.read)
    assert reader.daemon
    reader.start()
    assert doomed.event.wait(WAIT_S)
    reader.join(WAIT_S)
    assert not doomed.connected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionClosed(1000, ""), 1001),
        (LocalProtocolError("closed"), 1001),
        (BrokenPipeError(), 1006),
    ],
)
def test_sending_to_a_socket_that_is_gone(
    pair: tuple[Plug, socket.socket], error: Exception, code: int
) -> None:
    connection = Connection(error)
    connection.close_reason = 1001
    with pytest.raises(EdgeClosed) as told:
        edge_over(connection, pair[0]).send("x")
    assert told.value.code == code


@pytest.mark.parametrize("error", [None, ConnectionClosed(1000, ""), OSError()])
def test_a_socket_is_closed_once_whatever_happens(
    pair: tuple[Plug, socket.socket], error: Exception | None
) -> None:
    connection = Connection(error)
    edge = edge_over(connection, pair[0])
    edge.close(1001, "ä" * 100)
    edge.close(1011, "too late")
    assert connection.closed == [(1001, "ä" * 61)], "a reason has 123 bytes at most"
    for use in (edge.receive, lambda: edge.send("x")):
        with pytest.raises(EdgeClosed) as told:
            use()
        assert told.value.code == 1001


@pytest.mark.realtime
def test_a_peer_that_never_answers_a_close_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[Plug, socket.socket]
) -> None:
    monkeypatch.setattr(wsgi_socket, "CLOSE_TIMEOUT_S", 0.1)
    plug, theirs = pair
    connection = Connection()
    connection.thread = threading.Thread(target=plug.recv, args=(4,))
    connection.thread.start()
    edge_over(connection, plug).close(1000, "")
    assert not connection.thread.is_alive()
    assert theirs.recv(4) == b""


@pytest.mark.parametrize(
    ("facts", "cut", "code"),
    [
        ({"incoming_message_len": 65_537}, False, 1009),
        ({"incoming_message_len": 65_537}, True, 1009),
        ({}, True, 1006),
        ({"close_reason": 1000}, False, 1000),
        ({}, False, 1005),
    ],
)
def test_why_a_socket_is_gone(
    pair: tuple[Plug, socket.socket], facts: dict[str, int], cut: bool, code: int
) -> None:
    connection = Connection()
    vars(connection).update(facts)
    pair[0].was_cut = cut
    with pytest.raises(EdgeClosed) as told:
        edge_over(connection, pair[0]).receive()
    assert told.value.code == code


def test_what_wakes_the_reader_for_nothing_is_no_message(
    pair: tuple[Plug, socket.socket],
) -> None:
    answers = iter([None, None, "hello"])
    connection = Connection()
    connection.receive = lambda: next(answers)  # type: ignore[method-assign,return-value,assignment]
    assert edge_over(connection, pair[0]).receive() == "hello"
