"""One socket on a loop: pairs of the system, TCP on loopback where only TCP will do, and TLS."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from callengine.actors.loop import Loop
from callengine.edges import stream as stream_module
from callengine.edges.stream import Stream
from tests.on_loop import PATIENCE_S, each, on_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CERTIFICATE = Path(__file__).parents[1] / "localhost.pem"
MUCH = bytes(range(256)) * 256  # more than a buffer takes that is made small here
SMALL_BYTES = 4_096

Pair: TypeAlias = tuple[socket.socket, socket.socket]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop(PATIENCE_S)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Ours and the peer's."""
    near, far = socket.socketpair()
    far.settimeout(PATIENCE_S)
    with near, far:
        yield near, far


@pytest.fixture
def tcp() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.settimeout(PATIENCE_S)
    with near, far:
        yield near, far


class Talk:
    """A stream, and what its user is told."""

    def __init__(self, loop: Loop, near: socket.socket) -> None:
        self.told: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()
        self.on_received: Callable[[], object] = lambda: None
        self._loop = loop
        self.stream = Stream(loop, near, self)

    def start(self) -> Talk:
        on_loop(self._loop, self.stream.start)
        return self

    def write(self, *pieces: bytes) -> None:
        on_loop(self._loop, each(self.stream.write, pieces))

    def close(self) -> None:
        on_loop(self._loop, self.stream.close)
        assert self.told.empty()

    def next(self) -> bytes | str:
        return self.told.get(timeout=PATIENCE_S)

    def heard(self, size_bytes: int) -> bytes:
        """So many bytes, in as many pieces as they may come."""
        got = b""
        while len(got) < size_bytes:
            piece = self.next()
            assert isinstance(piece, bytes), piece
            got += piece
        return got

    def received(self, data: bytes) -> None:
        self.told.put(data)
        self.on_received()

    def writable(self) -> None:
        self.told.put("writable")

    def lost(self, why: str) -> None:
        assert not self.stream.open
        self.told.put(f"lost: {why}")


def read(far: socket.socket, size_bytes: int) -> bytes:
    got = bytearray()
    while len(got) < size_bytes and (piece := far.recv(65_536)):
        got += piece
    return bytes(got)


def read_out(far: socket.socket) -> bytes:
    """Until the other side has ended."""
    return read(far, 2**62)


def make_small(*plugs: socket.socket) -> None:
    for plug in plugs:
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            plug.setsockopt(socket.SOL_SOCKET, buffer, SMALL_BYTES)


# ---- reading


def test_what_comes_is_told_from_the_start_on(loop: Loop, pair: Pair) -> None:
    near, far = pair
    far.sendall(b"early")
    talk = Talk(loop, near)
    on_loop(loop, lambda: None)
    assert talk.told.empty(), "it has not begun"
    talk.start()
    assert talk.next() == b"early"
    far.sendall(b"later")
    assert talk.next() == b"later"
    talk.close()


def test_all_of_much_comes_in_order(
    loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "READ_BYTES", 1_000)
    near, far = pair
    talk = Talk(loop, near).start()
    far.sendall(MUCH)
    assert talk.heard(len(MUCH)) == MUCH
    talk.close()


def test_a_peer_that_closes_is_told_once(loop: Loop, pair: Pair) -> None:
    near, far = pair
    talk = Talk(loop, near).start()
    far.sendall(b"last words")
    far.close()
    assert talk.next() == b"last words"
    assert talk.next() == "lost: the connection was closed"
    talk.write(b"nobody is there")
    on_loop(loop, talk.stream.end)
    talk.close()
    assert near.fileno() == -1


def test_a_user_may_close_while_it_is_told(loop: Loop, pair: Pair) -> None:
    near, far = pair
    talk = Talk(loop, near)
    talk.on_received = talk.stream.close
    talk.start()
    far.sendall(b"one")
    assert talk.next() == b"one"
    assert read_out(far) == b""
    talk.close()


def test_a_stream_that_was_never_started_can_be_closed(loop: Loop, pair: Pair) -> None:
    near, far = pair
    talk = Talk(loop, near)
    talk.write(b"hello")
    talk.close()
    talk.start()
    assert read_out(far) == b"hello"
    talk.close()


def test_who_was_closed_by_another_in_the_meantime_is_told_nothing(loop: Loop) -> None:
    """Both are ready in the same look at the sockets; whoever comes first closes the other."""
    pairs = [socket.socketpair() for _ in range(2)]
    talks = [Talk(loop, near) for near, _ in pairs]
    told = talks[1].told = talks[0].told
    for talk, other in (talks, reversed(talks)):
        talk.on_received = other.stream.close

    def ready_at_once() -> None:
        for talk, (near, far) in zip(talks, pairs, strict=True):
            make_small(near, far)
            talk.stream.write(MUCH)
            assert talk.stream.blocked
            far.sendall(b"x")
            far.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while far.recv(65_536):
                    pass
            talk.stream.start()

    on_loop(loop, ready_at_once)
    assert told.get(timeout=PATIENCE_S) == b"x"
    on_loop(loop, lambda: None)
    assert sorted(talk.stream.open for talk in talks) == [False, True]
    for talk, (_, far) in zip(talks, pairs, strict=True):
        talk.close()
        far.close()


# ---- writing


@pytest.mark.parametrize("started", [True, False])
def test_what_the_system_does_not_take_follows_in_order(
    loop: Loop, pair: Pair, started: bool
) -> None:
    near, far = pair
    make_small(near, far)
    talk = Talk(loop, near)
    if started:
        talk.start()
    talk.write(MUCH, b"then this", b"and that")
    assert talk.stream.blocked
    if not started:
        talk.start()
    assert read(far, len(MUCH) + 17) == MUCH + b"then this" + b"and that"
    assert talk.next() == "writable", "once"
    assert not talk.stream.blocked
    talk.write(b"now at once")
    assert read(far, 11) == b"now at once"
    talk.close()


def test_one_of_a_pair_leaves_with_the_other(loop: Loop, pair: Pair) -> None:
    near, far = pair
    far.setblocking(False)
    talk = Talk(loop, near).start()
    for n in range(4):
        on_loop(loop, each(talk.stream.write_paired, [b"%d" % n]))
        if n % 2:
            assert far.recv(100) == b"%d%d" % (n - 1, n)
        else:
            with pytest.raises(BlockingIOError):
                far.recv(100)
            assert not talk.stream.blocked
    talk.close()


def test_what_is_written_next_takes_along_what_waits_for_its_pair(loop: Loop, tcp: Pair) -> None:
    near, far = tcp
    talk = Talk(loop, near).start()
    on_loop(loop, each(talk.stream.write_paired, [b"1"]))
    talk.write(b"2")
    assert read(far, 2) == b"12"
    on_loop(loop, each(talk.stream.write_paired, [b"3"]))
    on_loop(loop, talk.stream.end)
    assert read_out(far) == b"3"
    far.close()
    assert talk.next() == "lost: the connection was closed"
    talk.close()


def test_what_comes_is_read_while_what_goes_is_blocked(loop: Loop, pair: Pair) -> None:
    near, far = pair
    make_small(near, far)
    talk = Talk(loop, near).start()
    talk.write(MUCH)
    far.sendall(b"hello")
    assert talk.next() == b"hello"
    assert talk.stream.blocked
    talk.close()


def test_a_blocked_stream_that_is_closed_sends_nothing_more(loop: Loop, pair: Pair) -> None:
    near, far = pair
    make_small(near, far)
    talk = Talk(loop, near).start()
    talk.write(MUCH)
    talk.close()
    assert not talk.stream.blocked
    assert len(read_out(far)) < len(MUCH)


def test_a_peer_that_cuts_while_we_write_is_lost_once(loop: Loop, tcp: Pair) -> None:
    near, far = tcp
    make_small(near, far)
    talk = Talk(loop, near).start()
    talk.write(MUCH)
    assert talk.stream.blocked
    cut(far)
    assert talk.next() in {"lost: ConnectionResetError", "lost: BrokenPipeError"}
    talk.write(b"nobody is there")
    talk.close()


def test_what_a_peer_said_before_it_was_gone_is_told_before_it_is_lost(
    loop: Loop, pair: Pair
) -> None:
    near, far = pair
    talk = Talk(loop, near).start()

    def write_to_nobody() -> None:
        far.sendall(b"last words")
        far.close()
        talk.stream.write(b"the system refuses this")

    on_loop(loop, write_to_nobody)
    assert talk.next() == b"last words"
    assert str(talk.next()).startswith("lost: ")
    talk.close()


def cut(far: socket.socket) -> None:
    """As a machine does that is switched off and on again."""
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


# ---- ending


def test_our_last_bytes_reach_a_peer_that_is_still_sending(loop: Loop, tcp: Pair) -> None:
    """Closed at once, what it sends would be answered with a reset that destroys them."""
    near, far = tcp
    talk = Talk(loop, near).start()

    def say_goodbye() -> None:
        far.sendall(b"not read yet")
        talk.stream.write(b"goodbye")
        talk.stream.end()
        talk.stream.write(b"too late")

    on_loop(loop, say_goodbye)
    for _ in range(10):
        far.sendall(b"x" * 10_000)
    assert read_out(far) == b"goodbye"
    far.sendall(b"as you wish")
    far.close()
    assert talk.heard(100_023) == b"not read yet" + b"x" * 100_000 + b"as you wish"
    assert talk.next() == "lost: the connection was closed"
    talk.close()


def test_the_end_is_behind_what_waits(loop: Loop, tcp: Pair) -> None:
    near, far = tcp
    make_small(near, far)
    talk = Talk(loop, near).start()
    talk.write(MUCH)
    assert talk.stream.blocked
    for _ in range(2):
        on_loop(loop, talk.stream.end)
    assert read_out(far) == MUCH
    far.close()
    assert talk.next() == "lost: the connection was closed", "and never writable"
    talk.close()


# ---- TLS


def context(side: int) -> ssl.SSLContext:
    made = ssl.SSLContext(side)
    if side == ssl.PROTOCOL_TLS_SERVER:
        made.load_cert_chain(CERTIFICATE)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


@pytest.fixture
def tls(tcp: Pair) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """The model's end is the server."""
    near, far = tcp
    server = context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(
        far, server_side=True, do_handshake_on_connect=False
    )
    answering = threading.Thread(target=server.do_handshake)
    answering.start()
    client = context(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(near)
    answering.join(PATIENCE_S)
    with client, server:
        yield client, server


def test_what_tls_holds_back_is_read_although_the_socket_is_silent(
    loop: Loop, tls: tuple[ssl.SSLSocket, ssl.SSLSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record is decrypted as a whole; of what is left of it no selector tells."""
    monkeypatch.setattr(stream_module, "READ_BYTES", 100)
    near, far = tls
    talk = Talk(loop, near).start()
    far.sendall(MUCH[:1_050])
    assert talk.heard(1_050) == MUCH[:1_050]
    talk.close()


def test_what_tls_held_back_before_the_start_is_read(
    loop: Loop, tls: tuple[ssl.SSLSocket, ssl.SSLSocket]
) -> None:
    """The answer to the upgrade and the first message may come in one record."""
    near, far = tls
    far.sendall(b"HTTP/1.1 101\r\n\r\nhello")
    assert near.recv(16) == b"HTTP/1.1 101\r\n\r\n"
    assert near.pending() == 5
    talk = Talk(loop, near).start()
    assert talk.next() == b"hello"
    talk.close()


def test_a_user_may_close_while_tls_holds_more_back(
    loop: Loop, tls: tuple[ssl.SSLSocket, ssl.SSLSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "READ_BYTES", 100)
    near, far = tls
    talk = Talk(loop, near)
    talk.on_received = talk.stream.close
    talk.start()
    far.sendall(MUCH[:1_050])
    assert talk.next() == MUCH[:100]
    on_loop(loop, lambda: None)
    talk.close()


def test_much_leaves_through_tls_in_order(
    loop: Loop, tls: tuple[ssl.SSLSocket, ssl.SSLSocket]
) -> None:
    near, far = tls
    make_small(near, far)
    talk = Talk(loop, near).start()
    talk.write(MUCH, b"then this")
    assert talk.stream.blocked
    assert read(far, len(MUCH) + 9) == MUCH + b"then this"
    assert talk.next() == "writable"
    talk.close()


def test_our_last_bytes_reach_a_peer_that_is_still_sending_through_tls(
    loop: Loop, tls: tuple[ssl.SSLSocket, ssl.SSLSocket]
) -> None:
    near, far = tls
    talk = Talk(loop, near).start()
    talk.write(b"goodbye")
    on_loop(loop, talk.stream.end)
    far.sendall(b"as you wish")
    assert read_out(far) == b"goodbye"
    assert talk.heard(11) == b"as you wish"
    far.close()
    assert str(talk.next()).startswith("lost: ")
    talk.close()


@pytest.mark.parametrize("politely", [True, False])
def test_a_peer_that_closes_tls(
    loop: Loop, tls: tuple[ssl.SSLSocket, ssl.SSLSocket], politely: bool
) -> None:
    near, far = tls
    talk = Talk(loop, near).start()
    far.sendall(b"last words")
    if politely:
        far.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            far.unwrap()
    far.close()
    assert talk.next() == b"last words"
    assert talk.next() == "lost: the connection was closed"
    talk.close()


def test_a_peer_that_breaks_tls(loop: Loop, tls: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    near, far = tls
    talk = Talk(loop, near).start()
    socket.socket.sendall(far, b"this is not a record of TLS")
    assert str(talk.next()).startswith("lost: SSL")
    talk.close()
