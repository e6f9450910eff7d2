"""The model's socket on the loop: a socket pair in the place of what connecting would bring."""

from __future__ import annotations

import itertools
import os
import queue
import select
import socket
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import websocket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from callengine.actors.loop import Loop
from callengine.actors.threads import Threads
from callengine.edges import realtime
from callengine.edges.realtime import CLOSE_TIMEOUT_S, PING_AFTER_S, RealtimeSocket
from callengine.messages import EndCause, ModelAlive, ModelClosed, ModelConnected, ModelMessage
from tests.edges.far_end import FarEnd, close, more, text
from tests.on_loop import PATIENCE_S, FrozenClock, each, freeze, on_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

MASK = 0x80


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop(PATIENCE_S)


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads("connect", 1)
    yield threads
    threads.stop(PATIENCE_S)


class Server(FarEnd):
    """The model's end of one connection."""

    def __init__(self) -> None:
        super().__init__(Protocol(Side.SERVER, max_size=None))


class Connecting:
    """What connecting does on its thread: by default it just succeeds."""

    def __init__(self) -> None:
        self.servers: list[Server] = []
        self.begun: queue.SimpleQueue[Server] = queue.SimpleQueue()
        self.go_on = threading.Event()
        self.go_on.set()
        self.reads = False

    def connect(self, made: Any) -> None:  # noqa: ANN401 - websocket-client's
        server = Server()
        self.servers.append(server)
        made.sock = server.near
        self.begun.put(server)
        if self.reads:  # the answer to the upgrade
            assert server.near.recv(100) == b"", "nothing comes, until somebody shuts it"
            server.near.close()
            made.sock = None
            raise websocket.WebSocketConnectionClosedException
        assert self.go_on.wait(PATIENCE_S)


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connecting]:
    connecting = Connecting()

    def connect(made: Any, *_: object, **__: object) -> None:  # noqa: ANN401
        connecting.connect(made)

    monkeypatch.setattr(websocket.WebSocket, "connect", connect)
    yield connecting
    for server in connecting.servers:
        server.far.close()  # which closes ours, wherever it is


class Model:
    """A connection that is open, seen from both sides."""

    def __init__(self, loop: Loop, threads: Threads, connecting: Connecting) -> None:
        self.loop = loop
        self.told: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.socket = RealtimeSocket(loop, threads, "ws://model/", None, logger)
        self._connecting = connecting

    def connect(self) -> Model:
        self.begin()
        assert self.next() == ModelConnected()
        return self

    def begin(self) -> Server:
        self.socket.connect(self.told.put)
        self.server = self._connecting.begun.get(timeout=PATIENCE_S)
        return self.server

    def next(self) -> object:
        return self.told.get(timeout=PATIENCE_S)

    def send(self, *messages: str) -> None:
        on_loop(self.loop, each(self.socket.send, messages))

    def send_media(self, *messages: str) -> None:
        on_loop(self.loop, each(self.socket.send_media, messages))

    def gone(self) -> None:
        """Nothing is left of it, and nothing more was told."""
        self.socket.join(PATIENCE_S)
        assert self.socket._connection is not None
        assert self.socket._connection.ended.is_set()
        on_loop(self.loop, lambda: None)
        assert self.server.near.fileno() == -1
        assert self.told.empty()


@pytest.fixture
def model(loop: Loop, threads: Threads, connecting: Connecting) -> Model:
    return Model(loop, threads, connecting).connect()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FrozenClock:
    return freeze(monkeypatch)


# ---- in

FRAMES = [
    text(b'{"type":"first"}'),
    Frame(Opcode.PING, b"there?"),
    text(b"in ", fin=False),
    Frame(Opcode.PONG, b"yes"),
    more(b"pie", fin=False),
    more(b"ces"),
    Frame(Opcode.BINARY, b"\x00\xff"),
    text(b"x" * 300),
    text(b""),
]
TOLD = [
    ModelMessage(b'{"type":"first"}'),
    ModelAlive(),
    ModelMessage(b"in pieces"),
    ModelMessage(b"\x00\xff"),
    ModelMessage(b"x" * 300),
]


def test_several_frames_in_one_read_are_told_in_order(model: Model) -> None:
    model.server.says(*FRAMES)
    assert [model.next() for _ in TOLD] == TOLD
    pong = model.server.hears()
    assert pong == Frame(Opcode.PONG, b"there?")
    model.next()
    model.server.says(close(1000))
    model.next()
    model.gone()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 400), max_size=12))
def test_frames_may_be_cut_anywhere(model: Model, cuts: list[int]) -> None:
    data = b"".join(frame.serialize(mask=False) for frame in FRAMES[:-1])
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    connection = model.socket._connection
    assert connection is not None

    def received() -> None:
        for start, end in itertools.pairwise(edges):
            connection.received(data[start:end])

    on_loop(model.loop, received)
    assert [model.next() for _ in TOLD] == TOLD
    assert model.told.empty()


def test_every_byte_may_come_alone(model: Model) -> None:
    for byte in b"".join(frame.serialize(mask=False) for frame in FRAMES[:-1]):
        model.server.far.sendall(bytes([byte]))
    assert [model.next() for _ in TOLD] == TOLD


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (close(1000), ModelClosed(EndCause.MODEL_LOST, "the model closed with 1000")),
        (close(1011, "oops"), ModelClosed(EndCause.MODEL_LOST, "the model closed with 1011 oops")),
        (
            Frame(Opcode.CLOSE, b""),
            ModelClosed(EndCause.MODEL_LOST, "the model closed with 1005"),
        ),
        (
            close(1001, "the maximum duration of 60 minutes"),
            ModelClosed(
                EndCause.SESSION_EXPIRED,
                "the model closed with 1001 the maximum duration of 60 minutes",
            ),
        ),
    ],
)
def test_a_close_is_answered_and_told_behind_what_came_before_it(
    model: Model, frame: Frame, told: ModelClosed
) -> None:
    model.server.says(text(b"last words"), frame, text(b"ignored"))
    assert model.next() == ModelMessage(b"last words")
    assert model.next() == told
    answer = model.server.hears()
    assert answer is not None
    assert answer.opcode is Opcode.CLOSE
    assert model.server.hears() is None
    model.gone()


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\x7e\x10\x00half of it"])
def test_a_model_that_is_cut_is_told_once(model: Model, data: bytes) -> None:
    model.server.far.sendall(text(b"last words").serialize(mask=False) + data)
    model.server.far.close()
    assert model.next() == ModelMessage(b"last words")
    told = ModelClosed(EndCause.MODEL_LOST, "the model's socket broke: the connection was closed")
    assert model.next() == told
    model.gone()


def test_a_frame_that_breaks_the_protocol_is_the_end(model: Model) -> None:
    model.server.far.sendall(text(b"last words").serialize(mask=False) + b"\xf3\x00more")
    assert model.next() == ModelMessage(b"last words")
    told = ModelClosed(EndCause.MODEL_LOST, "the model's socket broke: WebSocketProtocolException")
    assert model.next() == told
    assert model.server.hears() is None
    model.gone()


# ---- out


def test_what_is_sent_is_masked_text(model: Model) -> None:
    model.send("ähm")
    assert model.server.far.recv(2, socket.MSG_PEEK)[1] & MASK
    assert model.server.hears() == text("ähm".encode())


def test_masks_are_drawn_many_at_a_time_and_none_is_used_twice(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bytes] = []

    def draw(size_bytes: int) -> bytes:
        drawn.append(os.urandom(size_bytes))
        return drawn[-1]

    monkeypatch.setattr(realtime, "os", SimpleNamespace(urandom=draw))
    count = realtime.MASKS + 2
    model.send(*[""] * count)
    frames = b""
    while len(frames) < count * 6:
        frames += model.server.far.recv(65_536)
    masks = b"".join(frames[n + 2 : n + 6] for n in range(0, len(frames), 6))
    assert len(drawn) == 2
    assert masks == b"".join(drawn)[: count * 4]


def test_audio_leaves_in_pairs_and_anything_else_takes_it_along(model: Model) -> None:
    far = model.server.far
    model.send_media("1")
    assert select.select([far], [], [], 0) == ([], [], [])
    model.send_media("2")
    assert len(far.recv(100, socket.MSG_PEEK)) == 2 * 7
    model.send_media("3")
    model.send("cancel")
    assert model.server.hears_texts(4) == ["1", "2", "3", "cancel"]


def test_audio_waits_for_anything_else(model: Model) -> None:
    model.server.make_small()
    audio = [f"{n} {'x' * 5_000}" for n in range(20)]
    model.send_media(*audio)
    model.send("cancel", "truncate")
    texts = model.server.hears_texts(22)
    at = texts.index("cancel")
    assert texts[at + 1] == "truncate"
    assert at < 20, "it overtakes what waits"
    assert [text for text in texts if "x" in text] == audio


@pytest.mark.edge_case(27)
def test_a_model_that_does_not_read_is_given_up(
    loop: Loop, threads: Threads, connecting: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime, "MAX_MEDIA", 4)
    model = Model(loop, threads, connecting).connect()
    model.server.make_small()
    model.send_media(*["x" * 9_000] * 20)
    assert model.next() == ModelClosed(EndCause.MODEL_LOST, "the model has stopped reading")
    model.send("nobody is there")
    model.send_media("nobody is there")
    model.gone()
    model.socket.close()
    on_loop(loop, lambda: None)
    assert model.told.empty()


# ---- silence


@pytest.mark.edge_case(68)
def test_a_model_that_is_silent_is_asked_whether_it_is_there(
    clock: FrozenClock, loop: Loop, threads: Threads, connecting: Connecting
) -> None:
    model = Model(loop, threads, connecting).connect()
    clock.pass_time(loop, PING_AFTER_S - 0.01)
    model.send("no ping before this")
    clock.pass_time(loop, 0.01)
    model.send("and one before this")
    assert model.server.hears() == text(b"no ping before this")
    assert model.server.hears() == Frame(Opcode.PING, b"")
    assert model.server.hears() == text(b"and one before this")
    clock.pass_time(loop, 5.0)
    model.server.says(Frame(Opcode.PONG, b""))
    assert model.next() == ModelAlive()
    clock.pass_time(loop, PING_AFTER_S - 0.01)
    model.send("the next is due 15 s after the answer")
    assert model.server.hears() == text(b"the next is due 15 s after the answer")
    clock.pass_time(loop, 0.01)
    assert model.server.hears() == Frame(Opcode.PING, b"")
    for _ in range(3):
        clock.pass_time(loop, PING_AFTER_S)
        assert model.server.hears() == Frame(Opcode.PING, b""), "again, as nobody answers"
    assert model.told.empty()


@pytest.mark.edge_case(68)
def test_a_model_that_talks_is_asked_nothing(
    clock: FrozenClock, loop: Loop, threads: Threads, connecting: Connecting
) -> None:
    model = Model(loop, threads, connecting).connect()
    for _ in range(10):
        clock.pass_time(loop, PING_AFTER_S - 1.0)
        model.server.says(text(b"{}"))
        assert model.next() == ModelMessage(b"{}")
    model.send("nothing before this")
    assert model.server.hears() == text(b"nothing before this")


# ---- our end


def test_our_close_is_behind_what_waits_and_nobody_is_told(model: Model) -> None:
    model.server.make_small()
    audio = [f"{n} {'x' * 5_000}" for n in range(20)]
    model.send_media(*audio)
    model.socket.close()
    model.socket.close()
    on_loop(model.loop, lambda: None)
    model.send("too late")
    model.send_media("too late")
    assert model.server.hears_texts(20) == audio
    assert model.server.hears() == close(1000)
    model.server.says(text(b"already on its way"), close(1000))
    model.gone()


@pytest.mark.parametrize("reads", [True, False])
def test_a_model_that_does_not_answer_our_close_is_cut(
    clock: FrozenClock, loop: Loop, threads: Threads, connecting: Connecting, reads: bool
) -> None:
    model = Model(loop, threads, connecting).connect()
    if not reads:
        model.server.make_small()
        model.send_media(*["x" * 9_000] * 20)
    model.socket.close()
    on_loop(loop, lambda: None)
    if reads:
        assert model.server.hears() == close(1000)
    clock.pass_time(loop, CLOSE_TIMEOUT_S - 0.01)
    assert model.server.near.fileno() != -1
    clock.pass_time(loop, 0.01)
    model.gone()


def test_another_connection_takes_the_place_of_the_one_before(model: Model) -> None:
    before = model.server
    model.begin()
    assert model.next() == ModelConnected()
    assert before.hears() == close(1000)
    before.says(text(b"nobody wants to know"), close(1000))
    assert before.hears() is None
    model.server.says(text(b"hello"))
    assert model.next() == ModelMessage(b"hello")
    model.send("hello")
    assert model.server.hears() == text(b"hello")
    model.socket.close()
    model.server.says(close(1000))
    model.gone()
    assert before.near.fileno() == -1


# ---- while it connects


@pytest.fixture
def unconnected(loop: Loop, threads: Threads, connecting: Connecting) -> Model:
    return Model(loop, threads, connecting)


def test_a_close_does_not_wait_for_an_upgrade_that_is_never_answered(
    unconnected: Model, connecting: Connecting
) -> None:
    connecting.reads = True
    unconnected.begin()
    unconnected.socket.close()
    assert unconnected.server.far.recv(1) == b""
    unconnected.socket.join(PATIENCE_S)
    assert unconnected.socket._connection is not None
    assert unconnected.socket._connection.ended.is_set()
    assert unconnected.told.empty()


def test_what_was_connected_for_a_call_that_is_over_is_closed(
    unconnected: Model, connecting: Connecting, loop: Loop
) -> None:
    connecting.go_on.clear()
    unconnected.begin()
    unconnected.socket.close()
    on_loop(loop, lambda: None)
    connecting.go_on.set()
    unconnected.gone()


def test_a_call_that_is_over_before_its_turn_to_connect_never_does(
    unconnected: Model, threads: Threads, connecting: Connecting, loop: Loop
) -> None:
    turn = threading.Event()
    threads.run(lambda: turn.wait(PATIENCE_S))
    unconnected.socket.connect(unconnected.told.put)
    unconnected.socket.close()
    on_loop(loop, lambda: None)
    turn.set()
    unconnected.socket.join(PATIENCE_S)
    threads.stop(PATIENCE_S)
    assert connecting.servers == []
    assert unconnected.told.empty()


def test_whatever_goes_wrong_while_it_connects_is_told(
    unconnected: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("my card number is 4111")

    monkeypatch.setattr(websocket.WebSocket, "connect", fail)
    unconnected.socket.connect(unconnected.told.put)
    told = ModelClosed(EndCause.MODEL_LOST, "the socket failed: LookupError")
    assert unconnected.next() == told
    unconnected.socket.join(PATIENCE_S)
    assert unconnected.told.empty()


def test_a_loop_that_ends_while_it_connects_leaves_no_socket_open(
    threads: Threads, connecting: Connecting
) -> None:
    loop = Loop()
    model = Model(loop, threads, connecting)
    connecting.go_on.clear()
    model.begin()
    loop.stop(0.0)
    connecting.go_on.set()
    assert model.server.far.recv(1) == b""
    model.socket.join(PATIENCE_S)
    assert model.socket._connection is not None
    assert model.socket._connection.ended.is_set()
    assert model.told.empty()


def test_nobody_waits_for_a_socket_whose_loop_has_ended(
    threads: Threads, connecting: Connecting
) -> None:
    loop = Loop()
    model = Model(loop, threads, connecting).connect()
    loop.stop(0.0)
    assert model.server.far.recv(1) == b""
    model.socket.close()
    assert model.socket._connection is not None
    assert model.socket._connection.ended.is_set()
