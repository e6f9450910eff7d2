"""The socket to the model, against simulated servers on loopback and against bare TCP."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import ssl
import threading
import time
from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loguru import logger
from websockets.sync.server import ServerConnection, serve

from callengine.actors.loop import Loop
from callengine.actors.threads import Threads
from callengine.edges import realtime
from callengine.edges.realtime import RealtimeSocket
from callengine.messages import EndCause, ModelAlive, ModelClosed, ModelConnected, ModelMessage
from callengine.testing import SimulatedRealtime, said
from callengine.testing.local_call import Resources
from callengine.testing.realtime.faults import (
    After,
    CloseSocket,
    beta_shape_refused,
    key_refused,
    session_expired,
)
from callengine.testing.sockets import PeerServer, refusal
from tests.house import left_running
from tests.on_loop import each, on_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from callengine.testing.realtime.faults import Fault

pytestmark = pytest.mark.realtime

WAIT_S = 8.0
CERTIFICATE = Path(__file__).parents[1] / "localhost.pem"
HANDSHAKE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)


class Bridge:
    """Connects a socket and collects what it tells. It has a loop to itself."""

    def __init__(self, url: str, key: str | None = "sk-test") -> None:
        self.told: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.loop, self._threads = Loop(), Threads("callengine-connect", 1)
        self.socket = RealtimeSocket(self.loop, self._threads, url, key, logger)

    def connect(self) -> Bridge:
        self.socket.connect(self.told.put)
        return self

    def send_media(self, *messages: str) -> None:
        on_loop(self.loop, each(self.socket.send_media, messages))

    def next(self) -> object:
        return self.told.get(timeout=WAIT_S)

    def close(self) -> None:
        self.socket.close()
        self.socket.join(WAIT_S)
        assert on_loop(self.loop, self._watched) == 1, "of the loop itself"
        self.loop.stop(0.0)
        self._threads.stop(WAIT_S)
        assert left_running() == []

    def closed(self) -> ModelClosed:
        """What is told last; nothing may follow, and nothing may be left running."""
        while not isinstance(told := self.next(), ModelClosed):
            pass
        self.close()
        assert self.told.empty()
        return told

    def _watched(self) -> int:
        return len(self.loop._selector.get_map())


def model(faults: Sequence[Fault] = ()) -> SimulatedRealtime:
    return SimulatedRealtime([said("agent_greeting")], faults=faults)


@contextlib.contextmanager
def talking(handle: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A WebSocket server whose every move is the test's."""
    with serve(handle, "127.0.0.1", 0, max_size=None, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def tcp(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that speaks no WebSocket; it takes one client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)  # of a test that failed nobody may come

        def accept() -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client:
                    client.settimeout(WAIT_S)
                    handle(client)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            thread.join()


def upgrade(client: socket.socket) -> None:
    """Open the WebSocket, and leave the rest to the test."""
    client.sendall(answer_to(client.recv(65536)))


def answer_to(request: bytes) -> bytes:
    """What opens a WebSocket (RFC 6455, section 4.2.2)."""
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    proof = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return HANDSHAKE + proof + b"\r\n\r\n"


def until_gone(client: socket.socket) -> None:
    """Read until the other side has closed."""
    client.settimeout(WAIT_S)
    while client.recv(65536):
        pass


# ---- opening


def test_the_upgrade_names_model_and_key_and_nothing_of_the_beta() -> None:
    with PeerServer(model, path="/v1/realtime") as server:
        bridge = Bridge(f"{server.url}?model=gpt-realtime-2.1").connect()
        assert bridge.next() == ModelConnected()
        created = bridge.next()
        bridge.close()
    [request] = server.requests
    assert request.path == "/v1/realtime?model=gpt-realtime-2.1"
    assert request.headers["Authorization"] == "Bearer sk-test"
    assert "OpenAI-Beta" not in request.headers
    assert "Origin" not in request.headers
    assert isinstance(created, ModelMessage)
    assert json.loads(created.message)["type"] == "session.created"


def test_without_a_key_there_is_no_such_header() -> None:
    with PeerServer(model) as server:
        bridge = Bridge(server.url, None).connect()
        assert bridge.next() == ModelConnected()
        bridge.close()
    assert "Authorization" not in server.requests[0].headers


@pytest.mark.edge_case(67)
@pytest.mark.parametrize(
    ("status", "cause", "hint"),
    [
        (401, EndCause.MODEL_REFUSED, "check OPENAI_API_KEY"),
        (403, EndCause.MODEL_REFUSED, "check OPENAI_API_KEY"),
        (404, EndCause.MODEL_UNREACHABLE, "HTTP 404"),
        (429, EndCause.MODEL_UNREACHABLE, "HTTP 429"),
        (500, EndCause.MODEL_UNREACHABLE, "HTTP 500"),
        (503, EndCause.MODEL_UNREACHABLE, "HTTP 503"),
    ],
)
def test_an_upgrade_that_is_refused(status: int, cause: EndCause, hint: str) -> None:
    headers = {"Retry-After": "20"}
    with PeerServer(model, check_request=lambda _: refusal(status, "no", headers)) as server:
        told = Bridge(server.url).connect().closed()
    assert told.cause is cause
    assert hint in told.detail
    assert "sk-test" not in told.detail
    assert len(server.requests) == 1


def test_a_redirect_does_not_carry_the_key_elsewhere() -> None:
    headers: dict[str, str] = {}
    with (
        PeerServer(model) as elsewhere,
        PeerServer(model, check_request=lambda _: refusal(302, "", headers)) as server,
    ):
        headers["Location"] = elsewhere.url
        told = Bridge(server.url).connect().closed()
        assert elsewhere.requests == []
    assert told.cause is EndCause.MODEL_UNREACHABLE


@pytest.mark.edge_case(67)
def test_nothing_listens_there() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen; somebody else's it cannot become
        port = nobody.getsockname()[1]
        told = Bridge(f"ws://127.0.0.1:{port}/").connect().closed()
    expected = "no connection to the model: ConnectionRefusedError"
    assert told == ModelClosed(EndCause.MODEL_UNREACHABLE, expected)


@pytest.mark.edge_case(67)
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        HANDSHAKE + b"bm90IHRoZSByaWdodCBrZXk=\r\n\r\n",
    ],
)
def test_something_else_listens_there(answer: bytes) -> None:
    def handle(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(answer)

    with tcp(handle) as url:
        told = Bridge(url).connect().closed()
    assert told.cause is EndCause.MODEL_UNREACHABLE
    assert told.detail.startswith("no connection to the model: ")


def test_a_url_that_makes_no_sense() -> None:
    told = Bridge("ws://127.0.0.1:notaport/").connect().closed()
    assert told.cause is EndCause.MODEL_UNREACHABLE


@pytest.mark.edge_case(67)
def test_tcp_is_accepted_and_then_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "CONNECT_TIMEOUT_S", 0.3)
    with tcp(until_gone) as url:
        told = Bridge(url).connect().closed()
    assert told.cause is EndCause.MODEL_UNREACHABLE
    assert "Timeout" in told.detail


def test_closing_does_not_wait_for_a_server_that_never_answers() -> None:
    asked = threading.Event()

    def handle(client: socket.socket) -> None:
        client.recv(65536)
        asked.set()
        until_gone(client)

    with tcp(handle) as url:
        bridge = Bridge(url).connect()
        assert asked.wait(WAIT_S)
        began = time.monotonic()
        bridge.close()
        assert time.monotonic() - began < realtime.CLOSE_TIMEOUT_S + 2.0
    assert bridge.told.empty()


def test_a_socket_closed_before_it_is_connected_never_connects() -> None:
    with PeerServer(model) as server:
        bridge = Bridge(server.url)
        bridge.socket.close()
        bridge.connect()
        on_loop(bridge.loop, lambda: bridge.socket.send("nobody is there"))
        bridge.send_media("nobody is there")
        bridge.close()
        assert server.requests == []
    assert bridge.told.empty()


# ---- closing


@pytest.mark.edge_case(66, 69)
@pytest.mark.parametrize(
    ("faults", "cause", "words"),
    [
        ((CloseSocket(After(0), 1000),), EndCause.MODEL_LOST, "closed with 1000"),
        ((CloseSocket(After(0), 1005),), EndCause.MODEL_LOST, "closed with 1005"),
        ((CloseSocket(After(0), 1011, "oops"),), EndCause.MODEL_LOST, "closed with 1011 oops"),
        ((CloseSocket(After(0), 1001, "restart"),), EndCause.MODEL_LOST, "1001 restart"),
        ((CloseSocket(After(0), 1006, abrupt=True),), EndCause.MODEL_LOST, "socket broke"),
        (session_expired(After(0)), EndCause.SESSION_EXPIRED, "maximum duration of 60 minutes"),
        (key_refused(), EndCause.MODEL_REFUSED, "3000 invalid_request_error.invalid_api_key"),
        (beta_shape_refused(), EndCause.MODEL_REFUSED, "4000 invalid_request_error.beta_api"),
    ],
)
def test_the_way_it_closed_is_the_cause(
    faults: tuple[Fault, ...], cause: EndCause, words: str
) -> None:
    with PeerServer(lambda: model(faults)) as server:
        bridge = Bridge(server.url).connect()
        assert bridge.next() == ModelConnected()
        told = bridge.closed()
    assert told.cause is cause
    assert words in told.detail


@pytest.mark.edge_case(66)
def test_a_server_that_is_cut_in_the_middle_of_a_message() -> None:
    def handle(connection: ServerConnection) -> None:
        connection.socket.sendall(b"\x81\x7e\x10\x00half of it")
        connection.socket.shutdown(socket.SHUT_RDWR)

    with talking(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        told = bridge.closed()
    assert told.cause is EndCause.MODEL_LOST


def test_a_frame_that_breaks_the_protocol() -> None:
    def handle(connection: ServerConnection) -> None:
        connection.socket.sendall(b"\xf3\x00")
        until_gone(connection.socket)

    with talking(handle) as url:
        told = Bridge(url).connect().closed()
    assert told.cause is EndCause.MODEL_LOST
    assert "WebSocketProtocolException" in told.detail


def test_our_close_loses_nothing_that_was_sent_before_it() -> None:
    got: list[str | bytes] = []
    closes: list[int | None] = []

    def handle(connection: ServerConnection) -> None:
        time.sleep(0.2)  # all of it is under way when the close comes
        got.extend(connection)
        closes.append(connection.close_code)

    with talking(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        bridge.send_media(*(f"{n} {'x' * 1000}" for n in range(300)))
        bridge.close()
    assert [str(each).split()[0] for each in got] == [str(n) for n in range(300)]
    assert closes == [1000]
    assert bridge.told.empty()  # who closed needs not be told


def test_a_server_that_does_not_answer_our_close_is_cut_off() -> None:
    cut = threading.Event()

    def handle(client: socket.socket) -> None:
        upgrade(client)
        until_gone(client)
        cut.set()

    with tcp(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        began = time.monotonic()
        bridge.close()
        assert time.monotonic() - began < realtime.CLOSE_TIMEOUT_S + 2.0
        assert cut.wait(WAIT_S)


def test_no_thread_and_no_descriptor_is_left_after_many_sockets() -> None:
    with PeerServer(model) as server:
        before = Resources.now()
        for _ in range(10):
            bridge = Bridge(server.url).connect()
            assert bridge.next() == ModelConnected()
            bridge.close()
        for _ in range(10):
            Bridge("ws://127.0.0.1:1/").connect().closed()
    assert not Resources.back_to(before).exceeds(before)


# ---- while it is open


@pytest.mark.edge_case(46)
@pytest.mark.parametrize("size", [1, 65_536, 3 * 1024 * 1024])
def test_messages_of_any_size_arrive_whole(size: int) -> None:
    text = json.dumps({"delta": b64encode(bytes(size)).decode()})

    def handle(connection: ServerConnection) -> None:
        connection.send(text)
        connection.send(text.encode())
        connection.send([text[:1], text[1:-1], text[-1:]])
        list(connection)

    with talking(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        for _ in range(3):
            got = bridge.next()
            assert isinstance(got, ModelMessage)
            assert json.loads(got.message) == json.loads(text)
        bridge.close()


@pytest.mark.parametrize("size", [1, 65_536])
def test_what_came_with_the_answer_to_the_upgrade_is_told(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Through TLS, in one record with it: there is nothing left to wait for in the socket."""
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(CERTIFICATE))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    message = b"\x82\x7f" + size.to_bytes(8, "big") + b"x" * size

    def handle(client: socket.socket) -> None:
        with tls.wrap_socket(client, server_side=True) as secure:
            secure.sendall(answer_to(secure.recv(65536)) + message)
            until_gone(secure)

    with tcp(handle) as url:
        bridge = Bridge(url.replace("ws://127.0.0.1", "wss://localhost")).connect()
        assert bridge.next() == ModelConnected()
        assert bridge.next() == ModelMessage(b"x" * size)
        bridge.send_media("x" * size)
        bridge.close()


@pytest.mark.edge_case(68)
def test_a_silent_model_is_asked_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "PING_AFTER_S", 0.1)

    with talking(lambda connection: list(connection).clear()) as url:
        bridge = Bridge(url).connect()
        assert [bridge.next() for _ in range(3)] == [ModelConnected(), ModelAlive(), ModelAlive()]
        bridge.close()


@pytest.mark.edge_case(67, 68)
def test_a_dead_model_is_asked_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """101 and then silence: nothing is told, which is what the watchdog acts on."""
    monkeypatch.setattr(realtime, "PING_AFTER_S", 0.1)
    pings = threading.Semaphore(0)

    def handle(client: socket.socket) -> None:
        upgrade(client)
        while client.recv(65536)[:1] == b"\x89":
            pings.release()

    with tcp(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        for _ in range(3):
            assert pings.acquire(timeout=WAIT_S)
        assert bridge.told.empty()
        bridge.close()


def test_a_message_may_take_longer_than_the_patience_for_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(realtime, "PING_AFTER_S", 0.1)

    def handle(client: socket.socket) -> None:
        upgrade(client)
        client.sendall(b"\x81\x0ahalf ")
        for _ in range(2):
            assert client.recv(65536)[:1] == b"\x89"
        client.sendall(b"whole")
        until_gone(client)

    with tcp(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        assert bridge.next() == ModelMessage(b"half whole")
        bridge.close()


@pytest.mark.edge_case(68)
def test_our_side_answers_pings() -> None:
    answered = threading.Event()

    def handle(connection: ServerConnection) -> None:
        if connection.ping(b"are you there").wait(WAIT_S):
            answered.set()
        list(connection)

    with talking(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        assert answered.wait(WAIT_S)
        bridge.close()
    assert bridge.told.empty()


def test_a_model_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "MAX_MEDIA", 20)

    def handle(client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        upgrade(client)
        given_up.wait(WAIT_S)

    given_up = threading.Event()
    with tcp(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        bridge.send_media(*["x" * 1_000_000] * 60)
        assert bridge.next() == ModelClosed(EndCause.MODEL_LOST, "the model has stopped reading")
        given_up.set()
        bridge.close()
