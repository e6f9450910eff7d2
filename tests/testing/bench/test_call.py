"""Both ends of a call on a socket whose other end the test holds; the loop does not run."""

from __future__ import annotations

import base64
import json
import socket
from typing import TYPE_CHECKING

import pytest

from callengine.testing.bench import codec
from callengine.testing.bench.call import CarrierEnd, ModelEnd
from callengine.testing.bench.caller import Caller
from callengine.testing.bench.codec import Inbox
from callengine.testing.bench.loop import Loop
from callengine.testing.bench.sounds import reply
from callengine.wire import twilio

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Rig:
    """A caller who is connected, and what he has sent since."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.loop.tick_for(1, 0.0)
        plug, self.engine = socket.socketpair()
        self.engine.setblocking(False)
        self.carrier = CarrierEnd(Caller(1, 1, 0.0), 0, plug, self.loop)
        self._inbox = Inbox(masked=True)

    @property
    def sid(self) -> str:
        return self.carrier.caller.stream_sid

    def connect(self) -> list[twilio.Inbound]:
        self.carrier.dial("/media-stream", "127.0.0.1:1")
        head, _ = codec.split_head(self.engine.recv(4096)) or (b"", b"")
        self.carrier.received(codec.accept_upgrade(head), 1.0)
        return self.sent()

    def tell(self, message: dict[str, object], now: float, *, spaced: bool = False) -> None:
        separators = None if spaced else (",", ":")
        text = json.dumps(message, separators=separators).encode()
        self.carrier.received(codec.encode(text, masked=False), now)

    def frame(self, place: int) -> dict[str, object]:
        payload = base64.b64encode(reply(1)[place * 160 : (place + 1) * 160]).decode()
        return {"event": "media", "streamSid": self.sid, "media": {"payload": payload}}

    def sent(self) -> list[twilio.Inbound]:
        try:
            data = self.engine.recv(65_536)
        except BlockingIOError:
            return []
        return [twilio.decode(text.decode()) for _, text in self._inbox.take(data)]


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.loop.close()
    made.engine.close()


def test_the_stream_starts_behind_the_upgrade_and_frames_follow(rig: Rig) -> None:
    connected, start = rig.connect()
    assert isinstance(connected, twilio.Connected)
    assert isinstance(start, twilio.Start)
    rig.carrier.tick(1.02)
    (media,) = rig.sent()
    assert isinstance(media, twilio.Media)


@pytest.mark.parametrize("spaced", [False, True])
def test_media_marks_and_clears_are_understood_however_they_are_spelled(
    rig: Rig, *, spaced: bool
) -> None:
    rig.connect()
    for place in range(3):
        rig.tell(rig.frame(place), 2.0, spaced=spaced)
    mark = {"event": "mark", "streamSid": rig.sid, "mark": {"name": 'a"b'}}
    rig.tell(mark, 2.0, spaced=spaced)
    assert rig.sent() == []
    rig.tell({"event": "clear", "streamSid": rig.sid}, 2.01, spaced=spaced)
    (echo,) = rig.sent()
    assert isinstance(echo, twilio.Mark)
    assert echo.name == 'a"b'
    counts = rig.carrier.ear.counts
    assert (counts.frames, counts.marks, counts.clears_at) == (3, 1, [2.01])
    assert rig.carrier.fault == ""


@pytest.mark.parametrize(
    "change",
    [
        {"streamSid": "MZother"},
        {"more": 1},
        {"event": "dtmf"},
        {"media": {"payload": "AAAA", "track": "outbound"}},
        {"media": {"payload": 7}},
        {"media": None},
    ],
)
def test_what_twilio_would_drop_ends_the_call(rig: Rig, change: dict[str, object]) -> None:
    rig.connect()
    rig.tell({**rig.frame(0), **change}, 2.0)
    assert rig.carrier.over
    assert rig.carrier.fault.startswith("not what Twilio takes")


def test_masked_frames_of_the_engine_end_the_call(rig: Rig) -> None:
    rig.connect()
    rig.carrier.received(codec.encode(b"{}", masked=True), 2.0)
    assert rig.carrier.fault.startswith("a frame that begins with")


def test_who_hangs_up_says_stop_and_waits_for_the_close(rig: Rig) -> None:
    rig.connect()
    rig.carrier.hang_up()
    rig.carrier.tick(3.0)
    (stop,) = rig.sent()
    assert isinstance(stop, twilio.Stop)
    assert not rig.carrier.over
    close = codec.encode(b"\x03\xe8", masked=False, opcode=codec.CLOSE)
    rig.carrier.received(close, 3.1)
    assert (rig.carrier.over, rig.carrier.fault) == (True, "")
    assert rig.engine.recv(100)[:2] == b"\x88\x82"


def test_a_close_or_a_cut_before_he_hung_up_is_a_fault(rig: Rig) -> None:
    rig.connect()
    close = codec.encode(b"\x03\xf5full", masked=False, opcode=codec.CLOSE)
    rig.carrier.received(close, 3.0)
    assert rig.carrier.fault == "closed with 1013 full"


def test_a_line_that_is_cut_is_a_fault(rig: Rig) -> None:
    rig.connect()
    rig.carrier.received(b"", 3.0)
    assert rig.carrier.fault == "the engine cut the line"


def test_a_refused_upgrade_is_a_fault(rig: Rig) -> None:
    rig.carrier.dial("/media-stream", "127.0.0.1:1")
    rig.carrier.received(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 1.0)
    assert rig.carrier.fault == "refused with HTTP/1.1 503 Service Unavailable"


def test_a_ping_is_answered(rig: Rig) -> None:
    rig.connect()
    rig.carrier.received(codec.encode(b"?", masked=False, opcode=codec.PING), 2.0)
    assert Inbox(masked=True).take(rig.engine.recv(100)) == [(codec.PONG, b"?")]


def test_the_session_tells_whose_model_it_is(rig: Rig) -> None:
    plug, engine = socket.socketpair()
    found: list[str] = []

    def find(instructions: str) -> CarrierEnd:
        found.append(instructions)
        return rig.carrier

    model = ModelEnd(plug, rig.loop, find)
    model.received(codec.upgrade_request("/?model=m", "h", KEY), 1.0)
    head, rest = codec.split_head(engine.recv(65_536)) or (b"", b"")
    codec.check_upgraded(head, KEY)
    ((_, created),) = Inbox(masked=False).take(rest)
    assert json.loads(created)["type"] == "session.created"
    update = {"type": "session.update", "session": {"instructions": "bench call 1"}}
    model.received(codec.encode(json.dumps(update).encode(), masked=True), 1.1)
    assert found == ["bench call 1"]
    model.speaks(3, 1.2)
    assert rig.carrier.responses == 3
    model.received(codec.encode(b"\x03\xe8", masked=True, opcode=codec.CLOSE), 2.0)
    assert model.over
    engine.close()


def test_unmasked_frames_of_the_engine_end_the_session(rig: Rig) -> None:
    plug, engine = socket.socketpair()
    model = ModelEnd(plug, rig.loop, lambda _: None)
    model.received(codec.upgrade_request("/", "h", KEY), 1.0)
    model.received(codec.encode(b"{}", masked=False), 1.1)
    assert model.over
    assert model.fault.startswith("a frame that begins with")
    engine.close()


def test_what_cannot_be_written_at_once_is_written_later(rig: Rig) -> None:
    rig.connect()
    plug, engine = socket.socketpair()
    model = ModelEnd(plug, rig.loop, lambda _: None)
    long = b"x" * 3_000_000
    model.send(long)
    model.send(b"end")
    got = b""
    engine.setblocking(False)
    while len(got) < len(long) + 3:
        try:
            got += engine.recv(1_000_000)
        except BlockingIOError:
            model.wire.writable()
    assert got == long + b"end"
    engine.close()
