from __future__ import annotations

import contextlib
import gc
import json
import socket
import struct
import threading
import time
from base64 import b64encode
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.caller.script import DropSocket, Say, Wait, WaitUntilQuiet
from callengine.testing.peer import Close, Outgoing
from callengine.testing.sockets import CannotConnectError, PeerServer, refusal, run_client
from tests.testing.caller.rig import speech

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.realtime

DEADLINE_S = 8.0


@contextlib.contextmanager
def agent(handle: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A server written without the code under test."""
    with serve(handle, "127.0.0.1", 0, ping_interval=None, max_queue=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/media"
        finally:
            server.shutdown()
            thread.join()


class Parrot:
    """Sends back what it gets; sends `says` after a while; obeys `bye` and `crash`."""

    def __init__(self, says: dict[float, Outgoing] | None = None) -> None:
        self.got: list[str | bytes] = []
        self.end: tuple[int, str] | None = None
        self.woken_late_s: list[float] = []
        self._says = sorted((says or {}).items())
        self._outgoing: list[Outgoing] = []
        self._opened_at = 0.0

    def opened(self, now: float) -> None:
        self._opened_at = now

    def received(self, message: str | bytes, _now: float) -> None:
        self.got.append(message)
        if message == "crash":
            raise ZeroDivisionError("as told")
        self._outgoing.append(Close(4000, "told") if message == "bye" else message)

    def closed(self, code: int, reason: str, _now: float) -> None:
        self.end = (code, reason)

    def advance(self, now: float) -> None:
        while (at := self.next_deadline()) is not None and at <= now:
            self.woken_late_s.append(now - at)
            self._outgoing.append(self._says.pop(0)[1])

    def next_deadline(self) -> float | None:
        return self._opened_at + self._says[0][0] if self._says else None

    def take_outgoing(self) -> list[Outgoing]:
        outgoing, self._outgoing = self._outgoing, []
        return outgoing


def test_a_simulated_caller_talks_to_a_real_server() -> None:
    got: list[dict[str, Any]] = []
    ends: list[tuple[int | None, str | None]] = []
    upgrade: list[str] = []

    def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        upgrade.extend([connection.request.path, connection.request.headers["X-Signature"]])
        with contextlib.suppress(ConnectionClosed):
            while True:
                got.append(json.loads(connection.recv()))
                if got[-1]["event"] == "start":
                    sid = got[-1]["streamSid"]
                    body = {"payload": b64encode(speech(200)).decode()}
                    media = {"event": "media", "streamSid": sid, "media": body}
                    mark = {"event": "mark", "streamSid": sid, "mark": {"name": "end"}}
                    connection.send(json.dumps(media))
                    connection.send(json.dumps(mark))
        ends.append((connection.close_code, connection.close_reason))

    caller = SimulatedCaller([WaitUntilQuiet(0.1, 5.0), Say(speech(100)), Wait(0.1)])
    progress: list[float] = []
    with agent(handle) as url:
        run_client(
            caller,
            url,
            headers={"X-Signature": "abc"},
            deadline_s=DEADLINE_S,
            on_progress=progress.append,
        )
    assert upgrade == ["/media", "abc"]
    assert [span.payload for span in caller.record.heard] == [speech(200)]
    assert not caller.record.violations
    assert not caller.record.missed
    mark = caller.record.marks[0]
    assert mark.echoed_at is not None
    assert mark.echoed_at - mark.received_at == pytest.approx(0.2, abs=0.05)
    assert [m["event"] for m in got[:2] + got[-1:]] == ["connected", "start", "stop"]
    assert sum(m["event"] == "media" for m in got) == caller.record.inbound_frames_sent > 20
    assert ends == [(1000, "")]
    assert progress == sorted(progress)
    assert progress[-1] > 0.4


def test_frames_leave_on_time() -> None:
    arrivals: list[float] = []

    def handle(connection: ServerConnection) -> None:
        arrivals.extend(time.monotonic() for message in connection if '"chunk"' in str(message))

    caller = SimulatedCaller([Wait(1.0)])
    with agent(handle) as url:
        run_client(caller, url, deadline_s=DEADLINE_S)
    first = caller.record.opened_at + 0.02
    lateness_ms = [(at - first - 0.02 * n) * 1000 for n, at in enumerate(arrivals)]
    assert len(lateness_ms) in {49, 50}
    assert min(lateness_ms) > -0.1
    assert median(lateness_ms) < 5.0


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (DropSocket(), 1006),
        (DropSocket(abrupt=False, code=1005), 1005),
        (DropSocket(abrupt=False, code=1001), 1001),
    ],
)
def test_the_other_side_sees_how_the_socket_went(step: DropSocket, code: int) -> None:
    codes: list[int | None] = []

    def handle(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                connection.recv()
        codes.append(connection.close_code)

    with agent(handle) as url:
        run_client(SimulatedCaller([Wait(0.05), step]), url, deadline_s=DEADLINE_S)
    assert codes == [code]


def test_what_came_before_a_close_is_delivered_and_then_the_close() -> None:
    def handle(connection: ServerConnection) -> None:
        for n in range(300):
            connection.send(str(n))
        connection.close(1011, "out of order")

    # Also where sending fails meanwhile: this peer answers everything.
    peer = Parrot()
    with agent(handle) as url:
        run_client(peer, url, deadline_s=DEADLINE_S)
    assert peer.got == [str(n) for n in range(300)]
    assert peer.end == (1011, "out of order")


def test_what_came_before_a_reset_is_delivered_although_sending_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that closes with something unread resets the connection, behind its close frame."""
    monkeypatch.setattr("callengine.testing.sockets.MAX_QUEUED_MESSAGES", 1)
    was_reset = threading.Event()

    class SlowParrot(Parrot):
        def received(self, message: str | bytes, now: float) -> None:
            if message == "1":
                assert was_reset.wait(DEADLINE_S)
            super().received(message, now)

    def handle(connection: ServerConnection) -> None:
        with connection.protocol_mutex:
            for n in range(4):
                connection.protocol.send_text(str(n).encode())
            connection.send_data()
        # The peer's queue is full before it answers: it reads nothing more from the socket.
        assert connection.recv() == "0"
        with connection.protocol_mutex:
            connection.protocol.send_close(1012, "restarts")
            connection.send_data()
        linger = struct.pack("ii", 1, 0)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close_socket()
        was_reset.set()

    peer = SlowParrot()
    with agent(handle) as url:
        run_client(peer, url, deadline_s=DEADLINE_S)
    assert peer.got == ["0", "1", "2", "3"]
    assert peer.end == (1012, "restarts")


def test_a_cut_connection_is_1006() -> None:
    peer = Parrot()
    with agent(lambda connection: connection.socket.shutdown(socket.SHUT_RDWR)) as url:
        run_client(peer, url, deadline_s=DEADLINE_S)
    assert peer.end == (1006, "")


def test_a_refused_connection_names_the_url_and_what_to_check() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/media"
    with pytest.raises(CannotConnectError, match="check that the server is running") as caught:
        run_client(Parrot(), url, deadline_s=DEADLINE_S)
    assert url in str(caught.value)
    assert caught.value.status is None
    assert isinstance(caught.value, ConnectionError)


def test_a_refused_upgrade_names_the_status() -> None:
    with (
        PeerServer(Parrot, check_request=lambda _: refusal(403, "no")) as server,
        pytest.raises(CannotConnectError, match="HTTP 403") as caught,
    ):
        run_client(Parrot(), server.url, deadline_s=DEADLINE_S)
    assert caught.value.status == 403


def test_a_run_that_does_not_end_is_cut_at_its_deadline() -> None:
    peer = Parrot()
    with (
        PeerServer(Parrot) as server,
        pytest.raises(TimeoutError, match=r"still open after 0.3 s.*raise deadline_s"),
    ):
        run_client(peer, server.url, deadline_s=0.3)
    assert peer.end is not None
    assert peer.end[0] == 1006


def test_a_reader_that_never_reads_does_not_hold_the_run_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callengine.testing.sockets.SEND_DEADLINE_S", 1.0)
    release = threading.Event()

    def handle(connection: ServerConnection) -> None:
        connection.recv_flow_control.acquire()
        release.wait(DEADLINE_S)
        connection.recv_flow_control.release()

    peer = Parrot({0.01 * n: bytes(1_000_000) for n in range(40)})
    with agent(handle) as url:
        try:
            run_client(peer, url, deadline_s=DEADLINE_S)
        finally:
            release.set()
    assert peer.end == (1006, "")


def test_a_server_gives_each_connection_its_own_peer() -> None:
    with PeerServer(Parrot) as server:
        with connect(server.url) as one, connect(server.url) as two:
            for connection, text in ((one, "a"), (two, b"b"), (one, "c")):
                connection.send(text)
                assert connection.recv(5) == text
        peers = server.peers
    assert [peer.got for peer in peers if isinstance(peer, Parrot)] == [["a", "c"], [b"b"]]
    assert [peer.end for peer in peers if isinstance(peer, Parrot)] == [(1000, "")] * 2


def test_a_server_peer_speaks_on_its_own_time_and_can_close() -> None:
    with PeerServer(lambda: Parrot({0.0: "now", 0.2: "later"})) as server:
        with connect(server.url) as client:
            assert [client.recv(5), client.recv(5)] == ["now", "later"]
            client.send("bye")
            with pytest.raises(ConnectionClosed):
                client.recv(5)
            assert (client.close_code, client.close_reason) == (4000, "told")
        peer = server.peers[0]
    assert isinstance(peer, Parrot)
    assert peer.end is None  # its own close is no news to it
    assert max(peer.woken_late_s) < 0.05


def test_requests_are_recorded_with_query_and_headers_also_refused_ones() -> None:
    with PeerServer(Parrot, path="/v1/realtime") as server:
        assert server.url.endswith(f":{server.port}/v1/realtime")
        headers = {"Authorization": "Bearer x"}
        with connect(f"{server.url}?model=m", additional_headers=headers):
            pass
        with (
            pytest.raises(InvalidStatus, match="404"),
            connect(f"ws://127.0.0.1:{server.port}/v1"),
        ):
            pass
        assert [request.path for request in server.requests] == ["/v1/realtime?model=m", "/v1"]
        assert server.requests[0].headers["authorization"] == "Bearer x"
        assert len(server.peers) == 1


def test_a_refusal_carries_status_headers_and_text() -> None:
    answer = refusal(429, "slow down", {"Retry-After": "3"})
    with (
        PeerServer(Parrot, check_request=lambda _: answer) as server,
        pytest.raises(InvalidStatus) as caught,
        connect(server.url),
    ):
        pass
    response = caught.value.response
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "3"
    assert response.body == b"slow down"


def test_a_failing_peer_is_reported_by_stop() -> None:
    server = PeerServer(Parrot).start()
    with connect(server.url) as client:
        client.send("crash")
        with pytest.raises(ConnectionClosed):
            client.recv(5)
        assert client.close_code == 1011
    with pytest.raises(ExceptionGroup, match="simulated peers failed") as caught:
        server.stop()
    assert [type(failure) for failure in caught.value.exceptions] == [ZeroDivisionError]


def test_stopping_closes_everything_and_leaves_neither_thread_nor_socket() -> None:
    gc.collect()
    threads, sockets = set(threading.enumerate()), open_sockets()
    server = PeerServer(Parrot).start()
    with connect(server.url) as one, connect(server.url) as two:
        one.send("x")
        assert one.recv(5) == "x"
        server.stop()
        for client in (one, two):
            with pytest.raises(ConnectionClosed):
                client.recv(5)
            assert client.close_code == 1001
    server.stop()
    gc.collect()
    assert set(threading.enumerate()) == threads
    assert open_sockets() == sockets
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.port


def test_clients_leave_neither_thread_nor_socket() -> None:
    with PeerServer(Parrot) as server:
        gc.collect()
        sockets = open_sockets()
        for step in (DropSocket(), DropSocket(abrupt=False), Wait(0.0)):
            run_client(SimulatedCaller([step]), server.url, deadline_s=DEADLINE_S)
        ends = [peer.end for peer in server.peers if isinstance(peer, Parrot)]
        assert len(ends) == 3
    gc.collect()
    assert open_sockets() <= sockets


def open_sockets() -> int:
    """Sockets of this process, where the platform tells."""
    count = 0
    for file in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # the folder's own
            count += str(file.readlink()).startswith("socket:")
    return count
