"""A carrier's WebSocket on a loop; the peer is `websockets` without its I/O, over a socket pair."""

from __future__ import annotations

import itertools
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from callengine.actors.loop import Loop
from callengine.edges import carrier_stream
from callengine.edges.carrier_stream import CLOSE_TIMEOUT_S, CarrierStream
from callengine.wire.twilio import MAX_MESSAGE_BYTES
from tests.edges.far_end import FarEnd, close, more, text
from tests.on_loop import PATIENCE_S, FrozenClock, freeze, on_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = MAX_MESSAGE_BYTES
Told: TypeAlias = str | bytes | tuple[int, str]


class Carrier(FarEnd):
    """Both ends of an upgraded connection, and what the call is told."""

    def __init__(self, loop: Loop, came_with_the_upgrade: bytes = b"") -> None:
        self.loop = loop
        self.peer = ClientProtocol(parse_uri("ws://localhost/"))
        super().__init__(self.peer)
        server = ServerProtocol(max_size=MAX_BYTES)
        self._shake_hands(server)
        self.told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self.stalls = 0
        self.stream = CarrierStream(
            loop, self.near, server, on_stall=self._stalled, unread=came_with_the_upgrade
        )

    def _shake_hands(self, server: ServerProtocol) -> None:
        self.peer.send_request(self.peer.connect())
        server.receive_data(b"".join(self.peer.data_to_send()))
        request = next(iter(server.events_received()))
        assert isinstance(request, Request)
        server.send_response(server.accept(request))
        self.peer.receive_data(b"".join(server.data_to_send()))
        assert len(self.peer.events_received()) == 1

    # ---- the call

    def open(self) -> Carrier:
        on_loop(self.loop, lambda: self.stream.open(self))
        return self

    def received(self, message: str | bytes) -> None:
        self.told.put(message)

    def carrier_closed(self, code: int, reason: str) -> None:
        self.told.put((code, reason))

    def _stalled(self) -> None:
        self.stalls += 1

    def next(self) -> Told:
        return self.told.get(timeout=PATIENCE_S)

    # ---- the peer

    def answers(self) -> None:
        """The peer sends what its protocol asks for."""
        self.far.sendall(b"".join(self.peer.data_to_send()))

    def hears_close(self) -> tuple[int, str]:
        frame = self.hears()
        assert frame is not None
        assert frame.opcode is Opcode.CLOSE
        close = Close.parse(bytes(frame.data))
        return close.code, close.reason

    def gone(self) -> None:
        """Nothing is left, and nothing more was told."""
        on_loop(self.loop, self.stream._stream.close)
        self.far.close()
        assert self.told.empty()


def on_the_wire(frame: Frame) -> bytes:
    return frame.serialize(mask=True)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop(PATIENCE_S)


@pytest.fixture
def carrier(loop: Loop) -> Iterator[Carrier]:
    carrier = Carrier(loop).open()
    yield carrier
    carrier.gone()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FrozenClock:
    return freeze(monkeypatch)


# ---- in


def test_messages_are_told_in_order_and_text_is_text(carrier: Carrier) -> None:
    carrier.says(text("ähm".encode()), Frame(Opcode.BINARY, b"\x00\xff"), text(b""))
    assert [carrier.next() for _ in range(3)] == ["ähm", b"\x00\xff", ""]


def test_what_came_with_the_upgrade_is_told_first(loop: Loop) -> None:
    early, half = on_the_wire(text(b"connected")), on_the_wire(text(b"start"))
    carrier = Carrier(loop, early + half[:5]).open()
    carrier.far.sendall(half[5:])
    assert [carrier.next() for _ in range(2)] == ["connected", "start"]
    carrier.gone()


PIECES: list[tuple[list[Frame], list[Told]]] = [
    ([text(b"in ", fin=False), more(b"pie", fin=False), more(b"ces")], ["in pieces"]),
    ([Frame(Opcode.BINARY, b"\x00", fin=False), more(b"\xff")], [b"\x00\xff"]),
    ([text(b"", fin=False), more(b"", fin=False), more(b"late")], ["late"]),
    ([text(b"empty", fin=False), more(b"")], ["empty"]),
    ([text(b"\xc3", fin=False), more(b"\xa4")], ["ä"]),
    (
        [text(b"a", fin=False), Frame(Opcode.PING, b"?"), more(b"b"), text(b"c")],
        ["ab", "c"],
    ),
    (
        [text(b"x", fin=False), more(b"y"), Frame(Opcode.BINARY, b"z", fin=False), more(b"z")],
        ["xy", b"zz"],
    ),
]


@pytest.mark.edge_case(13)
@pytest.mark.parametrize(("frames", "told"), PIECES)
def test_a_message_in_several_frames_is_one(
    carrier: Carrier, frames: list[Frame], told: list[Told]
) -> None:
    carrier.says(*frames)
    assert [carrier.next() for _ in told] == told


@pytest.mark.edge_case(13)
@given(st.lists(st.integers(0, 200), max_size=8))
def test_frames_may_be_cut_anywhere(cuts: list[int]) -> None:
    frames = [frame for each, _ in PIECES for frame in each]
    data = b"".join(on_the_wire(each) for each in frames)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    loop = Loop()
    carrier = Carrier(loop).open()
    for start, end in itertools.pairwise(edges):
        on_loop(loop, lambda part=data[start:end]: carrier.stream.received(part))  # type: ignore[misc]
    expected = [message for _, told in PIECES for message in told]
    assert [carrier.next() for _ in expected] == expected
    carrier.gone()
    loop.stop(PATIENCE_S)


def test_a_ping_is_answered_and_nobody_is_told(carrier: Carrier) -> None:
    carrier.says(Frame(Opcode.PING, b"are you there?"), Frame(Opcode.PONG, b"unasked"))
    assert carrier.hears() == Frame(Opcode.PONG, b"are you there?")


@pytest.mark.edge_case(14)
@pytest.mark.parametrize(
    "data",
    [
        on_the_wire(text(b"x" * (MAX_BYTES + 1))),
        on_the_wire(text(b"x" * MAX_BYTES, fin=False)) + on_the_wire(more(b"x")),
        on_the_wire(text(b"x" * 20 * MAX_BYTES)) + on_the_wire(text(b"ignored")),
        b"\x81\xff\x00\xff\xff\xff\xff\xff\xff\xff",
    ],
    ids=["whole", "in pieces", "in several reads", "no more than its length"],
)
def test_too_long_a_message_is_refused(carrier: Carrier, data: bytes) -> None:
    carrier.says(text(b"x" * MAX_BYTES))
    assert carrier.next() == "x" * MAX_BYTES
    sending = threading.Thread(target=carrier.far.sendall, args=(data,))
    sending.start()
    assert carrier.hears_close()[0] == 1009
    told = carrier.next()
    assert isinstance(told, tuple)
    assert told[0] == 1009
    assert carrier.hears() is None, "the end is behind it"
    sending.join(PATIENCE_S)


@pytest.mark.edge_case(12)
@pytest.mark.parametrize("behind", [(), (text(b"ignored"), text(b"\xff"))])
@pytest.mark.parametrize(
    "frames", [[text(b"\xff")], [text(b"\xc3", fin=False), more(b"\xc3")]], ids=["whole", "pieces"]
)
def test_a_text_that_is_none_is_refused(
    carrier: Carrier, frames: list[Frame], behind: tuple[Frame, ...]
) -> None:
    carrier.says(text(b"good"), *frames, *behind)
    assert carrier.next() == "good"
    assert carrier.next() == (1007, "not UTF-8")
    assert carrier.hears_close() == (1007, "not UTF-8")


@pytest.mark.edge_case(12)
@pytest.mark.parametrize(
    "data",
    [b"\x81\x02{}", on_the_wire(more(b"of nothing")), b"\x83\x80\0\0\0\0", b"\x09\x80\0\0\0\0"],
    ids=["not masked", "continuation", "unknown opcode", "ping in pieces"],
)
def test_what_is_no_websocket_is_refused(carrier: Carrier, data: bytes) -> None:
    carrier.far.sendall(on_the_wire(text(b"good")) + data + on_the_wire(text(b"ignored")))
    assert carrier.next() == "good"
    assert carrier.hears_close()[0] == 1002
    told = carrier.next()
    assert isinstance(told, tuple)
    assert told[0] == 1002


# ---- the end of the peer's


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (close(1000, "bye"), (1000, "bye")),
        (close(1001, ""), (1001, "")),
        (Frame(Opcode.CLOSE, b""), (1005, "")),
    ],
)
def test_a_peer_that_closes_is_answered_and_told_once(
    carrier: Carrier, frame: Frame, told: tuple[int, str]
) -> None:
    carrier.says(text(b"last words"), frame, text(b"ignored"))
    assert carrier.next() == "last words"
    assert carrier.next() == told
    assert carrier.hears() == frame
    assert carrier.hears() is None
    on_loop(carrier.loop, lambda: carrier.stream.send("nobody is there"))
    carrier.stream.close(1000, "nobody is there")
    on_loop(carrier.loop, lambda: None)


def test_a_peer_that_is_cut_is_told_as_1006(carrier: Carrier) -> None:
    carrier.says(text(b"last words"))
    carrier.far.close()
    assert [carrier.next() for _ in range(2)] == [
        "last words",
        (1006, "the connection was closed"),
    ]


def test_a_peer_that_closes_and_does_not_go_is_cut(clock: FrozenClock, loop: Loop) -> None:
    carrier = Carrier(loop).open()
    carrier.says(close(1000, ""))
    assert carrier.next() == (1000, "")
    assert carrier.hears() == close(1000, "")
    assert carrier.hears() is None
    assert carrier.near.fileno() != -1, "it may still read what we sent"
    clock.pass_time(loop, CLOSE_TIMEOUT_S)
    assert carrier.near.fileno() == -1
    carrier.gone()


# ---- out


def test_what_is_sent_leaves_in_order_and_the_close_is_behind_it(carrier: Carrier) -> None:
    carrier.make_small()
    media = [f"{n} {'x' * 500}" for n in range(100)]

    def send() -> None:
        carrier.stream.send("mark")
        for each in media:
            carrier.stream.send_media(each)
        carrier.stream.send("mark")

    on_loop(carrier.loop, send)
    carrier.stream.close(1000, "caller_hung_up")
    assert carrier.hears_texts(102) == ["mark", *media, "mark"]
    assert carrier.hears_close() == (1000, "caller_hung_up")
    carrier.answers()
    assert carrier.next() == (1000, "caller_hung_up")
    assert carrier.hears() is None


@pytest.mark.edge_case(80)
def test_a_clear_overtakes_what_waits(carrier: Carrier) -> None:
    carrier.make_small()

    def send() -> None:
        for n in range(100):
            carrier.stream.send_media(f"{n} {'x' * 500}")
        carrier.stream.send("mark")

    on_loop(carrier.loop, send)
    media, others = on_loop(carrier.loop, lambda: carrier.stream.send_first("clear"))
    assert (media > 0, others) == (True, 1)
    assert carrier.hears_texts(100 - media + 1)[-1] == "clear"


@pytest.mark.edge_case(27)
def test_a_peer_that_reads_nothing_has_stalled_once_and_is_cut(
    clock: FrozenClock, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier_stream, "MAX_MEDIA", 4)
    carrier = Carrier(loop).open()
    carrier.make_small()
    on_loop(loop, lambda: [carrier.stream.send_media("x" * 5_000) for _ in range(20)])
    assert carrier.stalls == 1
    carrier.stream.close(1011, "carrier_stalled")
    on_loop(loop, lambda: None)
    assert carrier.told.empty()
    clock.pass_time(loop, CLOSE_TIMEOUT_S - 0.01)
    assert carrier.told.empty()
    clock.pass_time(loop, 0.01)
    assert carrier.next() == (1006, "it did not close")
    assert carrier.near.fileno() == -1
    carrier.gone()


def test_a_peer_that_never_answers_our_close_is_cut(clock: FrozenClock, loop: Loop) -> None:
    carrier = Carrier(loop).open()
    carrier.stream.close(1000, "enough")
    assert carrier.hears_close() == (1000, "enough")
    clock.pass_time(loop, CLOSE_TIMEOUT_S - 0.01)
    assert carrier.told.empty()
    assert carrier.near.fileno() != -1
    clock.pass_time(loop, 0.01)
    assert carrier.next() == (1000, "enough")
    assert carrier.hears() is None
    assert carrier.near.fileno() == -1
    carrier.gone()


def test_what_comes_behind_our_close_is_still_told(carrier: Carrier) -> None:
    carrier.stream.close(1000, "")
    assert carrier.hears_close() == (1000, "")
    carrier.says(text(b"already on its way"))
    carrier.answers()
    assert [carrier.next() for _ in range(2)] == ["already on its way", (1000, "")]


@pytest.mark.parametrize("blocked", [True, False])
def test_only_our_first_close_counts(carrier: Carrier, blocked: bool) -> None:
    if blocked:
        carrier.make_small()
        on_loop(carrier.loop, lambda: [carrier.stream.send_media("x" * 9_000) for _ in range(5)])
    carrier.stream.close(1001, "the engine is stopping")
    carrier.stream.close(1011, "abandoned")
    if blocked:
        carrier.hears_texts(5)
    assert carrier.hears_close() == (1001, "the engine is stopping")


def test_a_stream_can_be_closed_before_it_is_opened(loop: Loop) -> None:
    carrier = Carrier(loop)
    carrier.stream.close(1001, "the engine is stopping")
    assert carrier.hears_close() == (1001, "the engine is stopping")
    carrier.open()
    carrier.answers()
    assert carrier.next() == (1001, "the engine is stopping")
    carrier.gone()


def test_nothing_happens_on_a_loop_that_has_ended() -> None:
    loop = Loop()
    carrier = Carrier(loop)
    carrier.open()
    loop.stop(0.0)
    carrier.stream.close(1001, "the engine is stopping")
    assert carrier.hears() is None
    carrier.far.close()


def test_a_call_that_fails_when_it_is_told_keeps_its_socket(loop: Loop) -> None:
    carrier, failed = Carrier(loop), threading.Event()

    def fail_once(message: Any) -> None:  # noqa: ANN401
        carrier.received = carrier.told.put  # type: ignore[assignment,method-assign]
        failed.set()
        raise LookupError(message)

    carrier.received = fail_once  # type: ignore[method-assign]
    carrier.open()
    carrier.says(text(b"one"))
    assert failed.wait(PATIENCE_S)
    carrier.says(text(b"two"))
    assert carrier.next() == "two"
    carrier.gone()
