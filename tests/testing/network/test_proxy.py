"""The proxy on loopback, between two bare sockets of the test."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from callengine.testing.local_call import Resources
from callengine.testing.network.proxy import Cut, Slow, Swallow, TroubledProxy
from callengine.testing.network.relay import Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from callengine.testing.network.proxy import Trouble

pytestmark = pytest.mark.realtime

WAIT_S = 5.0
SHORT_S = 0.15
"""Long enough on loopback for whatever would arrive."""


@pytest.fixture(autouse=True)
def _everything_is_given_back() -> Iterator[None]:
    before = Resources.now()
    yield
    assert not Resources.back_to(before).exceeds(before), threading.enumerate()


class Pair:
    """A connection through the proxy, and both its ends."""

    def __init__(self, proxy: TroubledProxy, listener: socket.socket) -> None:
        self.proxy = proxy
        self.client = socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S)
        self.server, _ = listener.accept()
        self.server.settimeout(WAIT_S)

    def close(self) -> None:
        self.client.close()
        self.server.close()

    def strike(self, trouble: Trouble) -> None:
        """Returns when it has struck: orders are obeyed in turn."""
        self.proxy.strike(trouble)
        struck = threading.Event()
        self.proxy._do(lambda: self.proxy._at(time.monotonic(), struck.set))
        assert struck.wait(WAIT_S)


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@contextlib.contextmanager
def pair(
    troubles: Callable[[int], Sequence[Trouble]] = lambda _: (), buffer_bytes: int = 65_536
) -> Iterator[Pair]:
    with listening() as listener:
        target = listener.getsockname()
        with TroubledProxy(target, troubles, buffer_bytes=buffer_bytes) as proxy:
            made = Pair(proxy, listener)
            try:
                yield made
            finally:
                made.close()


def nothing_comes(plug: socket.socket) -> bool:
    plug.settimeout(SHORT_S)
    with contextlib.suppress(TimeoutError):
        plug.recv(1)
        return False
    return True


def was_reset(plug: socket.socket) -> bool:
    try:
        return bool(plug.recv(1)) and False
    except ConnectionResetError:
        return True


def fill(plug: socket.socket, limit_bytes: int) -> int:
    """Send until nothing more is taken for a while; returns how much was."""
    plug.settimeout(SHORT_S)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < limit_bytes:
            sent += plug.send(bytes(65_536))
    return sent


def read(plug: socket.socket, size_bytes: int) -> bytes:
    got = b""
    while len(got) < size_bytes and (data := plug.recv(65_536)):
        got += data
    return got


# ---- in good health


def test_bytes_pass_both_ways_in_order() -> None:
    with pair() as made:
        big = bytes(range(256)) * 8_192
        sending = threading.Thread(target=made.client.sendall, args=(big,))
        sending.start()
        assert read(made.server, len(big)) == big
        sending.join()
        made.server.sendall(b"answer")
        assert read(made.client, 6) == b"answer"
        assert (made.proxy.taken, made.proxy.open) == (1, 1)


def test_the_end_of_one_direction_comes_behind_its_bytes_and_leaves_the_other_open() -> None:
    with pair() as made:
        made.client.sendall(b"last words")
        made.client.shutdown(socket.SHUT_WR)
        assert read(made.server, 99) == b"last words"
        made.server.sendall(b"still here")
        assert read(made.client, 10) == b"still here"
        made.server.close()
        assert made.client.recv(1) == b""


def test_a_reset_of_one_side_is_a_reset_of_the_other() -> None:
    with pair() as made:
        made.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        made.client.close()
        assert was_reset(made.server)


def test_nobody_is_there_to_pass_on_to() -> None:
    with listening() as listener:
        nowhere = listener.getsockname()
    with TroubledProxy(nowhere) as proxy:
        try:
            client = socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S)
        except ConnectionResetError:
            pass  # the reset was as quick as the connection
        else:
            with client:
                assert was_reset(client)
        assert proxy.open == 0


def test_an_address_by_way_of_the_proxy() -> None:
    with TroubledProxy(("127.0.0.1", 9)) as proxy:
        assert proxy.url("ws://localhost:1234/v1?x=y") == f"ws://127.0.0.1:{proxy.port}/v1?x=y"


def test_a_proxy_that_was_never_started_holds_nothing() -> None:
    TroubledProxy(("127.0.0.1", 9)).stop()


def test_stopping_twice_is_stopping_once() -> None:
    with pair() as made:
        made.proxy.stop()
        made.proxy.stop()
        assert was_reset(made.client)
        assert was_reset(made.server)


# ---- in trouble


def test_a_cut_resets_both_sides() -> None:
    with pair() as made:
        made.strike(Cut())
        assert was_reset(made.client)
        assert was_reset(made.server)


def test_only_open_connections_are_struck() -> None:
    with listening() as listener, TroubledProxy(listener.getsockname()) as proxy:
        first = Pair(proxy, listener)
        first.strike(Cut())
        second = Pair(proxy, listener)
        second.client.sendall(b"fine")
        assert read(second.server, 4) == b"fine"
        first.close()
        second.close()


def test_what_is_swallowed_reaches_nobody_and_nobody_is_told() -> None:
    with pair() as made:
        made.strike(Swallow())
        made.client.sendall(bytes(1_000_000))
        made.server.sendall(b"lost")
        assert nothing_comes(made.client)
        assert nothing_comes(made.server)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_when_one_side_goes_the_other_sees_an_open_connection(end: str) -> None:
    with pair() as made:
        made.strike(Swallow())
        if end == "reset":
            made.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        made.client.close()
        assert nothing_comes(made.server)
        made.server.sendall(b"is anybody there?")
        assert made.proxy.open == 1
        made.server.close()


def test_a_direction_that_is_held_fills_up_and_flows_again_without_loss() -> None:
    with pair(buffer_bytes=4_096) as made:
        made.server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        made.strike(Slow(towards=Side.CLIENT))
        sent = fill(made.server, 8_000_000)
        assert sent < 1_000_000, "the sender is held back"
        made.client.sendall(b"the other direction is not")
        assert read(made.server, 26) == b"the other direction is not"
        made.client.settimeout(SHORT_S)
        assert nothing_comes(made.client)
        made.client.settimeout(WAIT_S)
        made.strike(Slow(towards=Side.CLIENT, for_s=0.0))
        assert len(read(made.client, sent)) == sent


def test_a_slow_direction_is_as_slow_as_it_was_told() -> None:
    with pair() as made:
        made.strike(Slow(towards=Side.SERVER, bytes_per_s=20_000))
        began = time.monotonic()
        made.client.sendall(bytes(10_000))
        assert len(read(made.server, 10_000)) == 10_000
        assert 0.3 < time.monotonic() - began < 2.0


def test_a_trouble_ends_when_it_was_to_end() -> None:
    with pair() as made:
        made.strike(Slow(towards=Side.SERVER, for_s=0.3))
        began = time.monotonic()
        made.client.sendall(b"late")
        assert read(made.server, 4) == b"late"
        assert 0.2 < time.monotonic() - began < 2.0


def test_each_connection_has_troubles_of_its_own() -> None:
    def troubles(number: int) -> list[Trouble]:
        return [Cut(after_s=0.1)] if number == 1 else []

    with listening() as listener, TroubledProxy(listener.getsockname(), troubles) as proxy:
        pairs = [Pair(proxy, listener) for _ in range(3)]
        assert was_reset(pairs[1].client)
        for each in (pairs[0], pairs[2]):
            each.client.sendall(b"fine")
            assert read(each.server, 4) == b"fine"
        for each in pairs:
            each.close()


def test_new_connections_go_where_it_was_turned_to() -> None:
    with listening() as old, listening() as new, TroubledProxy(old.getsockname()) as proxy:
        before = Pair(proxy, old)
        proxy.turn_to(new.getsockname())
        after = Pair(proxy, new)
        for each, word in ((before, b"old"), (after, b"new")):
            each.client.sendall(word)
            assert each.server.recv(10) == word
            each.close()
