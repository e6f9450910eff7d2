"""What only a real socket of the carrier can do; short calls on loopback."""

from __future__ import annotations

import contextlib
import os
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from callengine import CallEngine, EdgeClosed, EndCause, Settings
from callengine.testing import (
    Behaviour,
    HangUp,
    SimulatedCaller,
    SimulatedRealtime,
    Wait,
    WaitUntilHeard,
)
from callengine.testing.caller.stream import StreamFacts
from callengine.testing.held import reply
from callengine.testing.sockets import PeerServer
from tests.edge_cases.carrier_calls import stream
from tests.house import WAIT_S, house

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

pytestmark = pytest.mark.realtime

LOUD = b"\x20" * 160


def bare(url: str, **options: Any) -> ClientConnection:  # noqa: ANN401 - of the connection
    plug: ClientConnection = connect(
        url, proxy=None, compression=None, ping_interval=None, **options
    )
    return plug


def begin(plug: ClientConnection) -> None:
    """Start a stream, and wait until the AI speaks."""
    plug.send(stream().connected())
    plug.send(stream().start({}))
    while '"media"' not in str(plug.recv(WAIT_S)):
        pass


def hear_out(plug: ClientConnection) -> None:
    """Take what comes until the other side closes."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            plug.recv(WAIT_S)


@pytest.mark.edge_case(13)
def test_fragments_pings_and_binary_messages_are_taken_as_they_come() -> None:
    with house() as open_house:
        with bare(open_house.server.media_url) as plug:
            begin(plug)
            media = stream().media(LOUD, 1)

            def fragments() -> Iterator[str]:
                for at in range(0, len(media), 7):
                    plug.ping(bytes([at % 256]) * 125)
                    yield media[at : at + 7]

            plug.send(fragments())
            plug.send(b"\x00\x01")
            assert plug.ping("are you there?").wait(WAIT_S)
            plug.send(stream().stop())
            hear_out(plug)
        summary = open_house.summary()
        assert LOUD in open_house.model().appended
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.inbound.frames == 1
    assert summary.inbound.malformed == {"binary": 1}
    assert (plug.close_code, plug.close_reason) == (1000, "caller_hung_up")


def masked(first_byte: int, payload: bytes) -> bytes:
    """A frame of a client, as it is on the wire; the mask of zeros changes nothing."""
    return bytes([first_byte, 0x80 | len(payload), 0, 0, 0, 0]) + payload


@pytest.mark.edge_case(12, 13)
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (masked(0x81, b'{"event":"\xff"}'), 1007),
        (masked(0x80, b"goes on with nothing"), 1002),
        (masked(0x83, b"of an unknown kind"), 1002),
        (masked(0x09, b"a ping in pieces"), 1002),
        (b"\x81\x02{}", 1002),
    ],
    ids=["not UTF-8", "continuation", "unknown opcode", "fragmented ping", "not masked"],
)
def test_what_is_no_websocket_ends_the_call_and_says_why(frame: bytes, code: int) -> None:
    with house() as open_house:
        with bare(open_house.server.media_url) as plug:
            begin(plug)
            plug.socket.sendall(frame)
            hear_out(plug)
            assert plug.close_code == code
        summary, seen = open_house.summary(), open_house.model()
    assert summary.end_cause is EndCause.CARRIER_LOST
    assert str(code) in summary.end_detail
    assert seen.closed is not None
    assert seen.closed[0] == 1000


class StuckEdge:
    """A carrier that has sent its start, and reads nothing any more."""

    def __init__(self) -> None:
        self.incoming = [stream().connected(), stream().start({})]
        self.gone = threading.Event()
        self.closes: list[int] = []

    def receive(self) -> str:
        if self.incoming:
            return self.incoming.pop(0)
        assert self.gone.wait(WAIT_S)
        raise EdgeClosed(1006)

    def send(self, _: str) -> None:
        assert self.gone.wait(WAIT_S)
        raise EdgeClosed(1006)

    def close(self, code: int, _: str) -> None:
        self.closes.append(code)
        self.gone.set()


@pytest.mark.edge_case(27)
def test_a_carrier_that_reads_nothing_is_given_up_and_the_model_is_not_held_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With ten seconds of audio waiting; here it is half of one."""
    monkeypatch.setattr("callengine.edges.carrier.MAX_MEDIA", 25)
    monkeypatch.setattr("callengine.edges.outbox.CLOSE_TIMEOUT_S", 0.2)
    greeting = reply(6.0, 1)
    edge = StuckEdge()
    quick = Behaviour(pace=60.0, first_audio_s=0.0)
    with (
        PeerServer(lambda: SimulatedRealtime([greeting], behaviour=quick)) as models,
        CallEngine(Settings(realtime_url=models.url)) as engine,
    ):
        summary = engine.serve(edge)
    assert summary.end_cause is EndCause.CARRIER_STALLED
    assert summary.conversation.audio_bytes == len(greeting.audio), "all of it was taken meanwhile"
    assert summary.audio.balance_bytes == 0
    assert summary.audio.queued_bytes > 4 * 8_000
    assert edge.closes


@pytest.mark.edge_case(30)
def test_a_second_stream_of_the_same_call_begins_before_the_first_one_ends() -> None:
    facts = StreamFacts(call_sid="CA" + "1" * 32)
    old = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(1.2), HangUp()], seed=1, stream=facts)
    new = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(1.4), HangUp()], seed=2, stream=facts)
    with house() as open_house:
        threads = [open_house.begin(old), open_house.begin(new)]
        for thread in threads:
            thread.join(WAIT_S)
        summaries = [open_house.summary(), open_house.summary()]
        assert open_house.server._engine.active_calls == 0
    assert [each.stream_sid for each in summaries] == [
        old.record.stream_sid,
        new.record.stream_sid,
    ]
    assert {each.call_sid for each in summaries} == {"CA" + "1" * 32}
    for caller, summary in zip((old, new), summaries, strict=True):
        assert summary.end_cause is EndCause.CALLER_HUNG_UP
        assert caller.record.violations == [], "a frame of the other stream would be one"
        assert summary.tx_frames >= len(caller.record.frames) > 25
        assert summary.inbound.frames == caller.record.inbound_frames_sent
        assert summary.inbound.foreign_frames == 0
    assert new.record.closed is not None
    assert old.record.closed is not None
    assert new.record.opened_at < old.record.closed.at < new.record.closed.at


# ---- what is not looked at yet


@pytest.mark.edge_case(19)
@pytest.mark.parametrize("signature", [None, "", "bm90IHRoZSBzaWduYXR1cmU="])
def test_no_signature_is_asked_for_yet(signature: str | None) -> None:
    headers = {} if signature is None else {"X-Twilio-Signature": signature}
    with house() as open_house:
        with bare(open_house.server.media_url, additional_headers=headers) as plug:
            begin(plug)
        assert open_house.summary().end_cause is EndCause.CARRIER_LOST
        with pytest.raises(InvalidStatus) as refused:
            bare(open_house.server.media_url + "/", additional_headers=headers)
        assert refused.value.response.status_code == 404, "another path, before any upgrade"


@pytest.mark.edge_case(31)
def test_status_callbacks_come_at_any_time_and_harm_no_call() -> None:
    def report(event: str) -> None:
        form = f"StreamSid=MZ1&CallSid=CA1&StreamEvent=stream-{event}&StreamError=x".encode()
        status, _, _ = open_house.ask("/voice/status", "POST", form)
        assert status == 204

    with house() as open_house:
        report("started")
        caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(0.4)])
        thread = open_house.begin(caller)
        for event in ("started", "started", "error", "stopped"):
            report(event)
        thread.join(WAIT_S)
        summary = open_house.summary()
        report("stopped")
        assert open_house.webhook()[0] == 200
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert caller.record.missed == []


@pytest.mark.edge_case(11)
def test_a_payload_over_the_cap_is_refused_by_the_socket_before_it_is_read() -> None:
    huge = b64encode(os.urandom(64 * 1024)).decode()
    with house() as open_house:
        with bare(open_house.server.media_url) as plug:
            begin(plug)
            plug.send('{"event":"media","media":{"payload":"' + huge + '"}}')
            hear_out(plug)
        summary = open_house.summary()
    assert plug.close_code == 1009
    assert summary.end_cause is EndCause.CARRIER_LOST
    assert "1009" in summary.end_detail
