"""One fault at a time on the carrier's line: the real engine, the real edges, TCP in between."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest
import websocket

from callengine import EndCause
from callengine.edges import carrier_stream
from callengine.testing import (
    StopFrames,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.caller.stream import StreamFacts, TwilioStream
from callengine.testing.network.proxy import Cut, Slow, Swallow
from callengine.testing.network.relay import Side
from callengine.testing.realtime.faults import (
    AtResponse,
    CloseSocket,
)
from tests.house import WAIT_S, House, house
from tests.socket_faults.rig import (
    AGENT,
    SMALL_BYTES,
    heard,
    hold,
    is_released,
    line_to_engine,
    line_to_model,
    whole_frames,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from callengine.testing.realtime.record import Record


pytestmark = pytest.mark.realtime


def politely_closed(model: Record) -> bool:
    assert model.closed is not None
    return model.closed[0] == 1000


@pytest.mark.edge_case(5)
def test_a_carrier_whose_connection_is_reset_while_the_ai_speaks() -> None:
    with house(agent=AGENT) as open_house, line_to_engine(open_house) as line:
        record = hold(open_house, line=line, strike=lambda: line.strike(Cut()))
        summary = open_house.summary()
        assert is_released(open_house)
    assert politely_closed(open_house.model())
    assert record.closed is not None
    assert record.closed.code == 1006
    assert summary.end_cause is EndCause.CARRIER_LOST
    assert "1006" in summary.end_detail
    assert summary.audio.balance_bytes == 0


@pytest.mark.usefixtures("short_limits")
def test_a_carrier_whose_connection_is_dead_but_open() -> None:
    with house(agent=AGENT) as open_house, line_to_engine(open_house) as line:
        holding = threading.Thread(
            target=lambda: hold(open_house, line=line, strike=lambda: line.strike(Swallow()))
        )
        holding.start()
        summary = open_house.summary()
        assert is_released(open_house)
        line.stop()
        holding.join(WAIT_S)
    assert politely_closed(open_house.model())
    assert summary.end_cause is EndCause.CARRIER_SILENT
    assert summary.duration_s < 4.0
    assert summary.audio.balance_bytes == 0


@pytest.mark.usefixtures("short_limits")
def test_a_carrier_that_sends_no_frames() -> None:
    with house(agent=AGENT) as open_house:
        record = hold(open_house, WaitUntilHeard(WAIT_S), StopFrames(6.0), Wait(2.0))
        summary = open_house.summary()
        assert is_released(open_house)
    assert politely_closed(open_house.model())
    assert summary.end_cause is EndCause.CARRIER_SILENT
    assert record.closed is not None
    assert (record.closed.code, record.closed.by) == (1000, "engine")
    assert summary.inbound.stalls == 1


@pytest.mark.usefixtures("short_limits")
def test_a_carrier_that_sends_no_frames_for_a_while() -> None:
    with house(agent=AGENT) as open_house:
        hold(open_house, WaitUntilHeard(WAIT_S), StopFrames(1.2), Wait(0.5))
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.watchdog.resets_granted == 0


@pytest.mark.edge_case(27)
@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize("bytes_per_s", [0, 2_000], ids=["not at all", "too slowly"])
def test_a_carrier_that_does_not_read_is_given_up(bytes_per_s: int) -> None:
    slow = Slow(Side.CLIENT, bytes_per_s)
    with (
        line_to_model(seconds=12.0) as model_line,
        house(agent=AGENT, realtime_url=model_line.url) as open_house,
        line_to_engine(open_house, SMALL_BYTES) as line,
    ):
        holding = threading.Thread(
            target=lambda: hold(open_house, line=line, strike=lambda: line.strike(slow))
        )
        holding.start()
        summary = open_house.summary()
        assert is_released(open_house)
        line.stop()
        holding.join(WAIT_S)
    assert politely_closed(model_line.model)
    assert summary.end_cause is EndCause.CARRIER_STALLED
    assert summary.duration_s < 10.0
    assert summary.audio.balance_bytes == 0


@pytest.mark.edge_case(27, 84)
@pytest.mark.usefixtures("small_buffers")
def test_stopping_does_not_wait_long_for_a_carrier_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(carrier_stream, "MAX_MEDIA", 500)
    with (
        line_to_model(seconds=12.0) as model_line,
        house(agent=AGENT, realtime_url=model_line.url) as open_house,
        line_to_engine(open_house, SMALL_BYTES) as line,
    ):
        struck = threading.Event()

        def strike() -> None:
            line.strike(Slow(Side.CLIENT))
            struck.set()

        holding = threading.Thread(target=lambda: hold(open_house, line=line, strike=strike))
        holding.start()
        assert struck.wait(WAIT_S)
        time.sleep(1.5)  # by then the writer hangs in its send
        began = time.monotonic()
        open_house.server.stop()
        lasted_s = time.monotonic() - began
        summary = open_house.summary()
        line.stop()
        holding.join(WAIT_S)
    assert summary.end_cause is EndCause.SHUTDOWN
    assert lasted_s < 2.0 + 3.0


@pytest.mark.edge_case(27)
def test_a_carrier_that_does_not_read_for_a_while_is_played_everything() -> None:
    pause = Slow(Side.CLIENT, for_s=0.5)
    script = (WaitUntilHeard(WAIT_S), WaitUntilQuiet(1.0, WAIT_S))
    with (
        line_to_model(seconds=1.0) as model_line,
        house(agent=AGENT, realtime_url=model_line.url) as open_house,
        line_to_engine(open_house, SMALL_BYTES) as line,
    ):
        record = hold(open_house, *script, line=line, strike=lambda: line.strike(pause))
        summary = open_house.summary()
        assert is_released(open_house)
    [response] = model_line.model.responses
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert heard(record) == whole_frames(response.audio)


@pytest.mark.parametrize("sends_on", [False, True], ids=["and says no more", "and goes on"])
def test_a_carrier_that_does_not_answer_our_close(*, sends_on: bool) -> None:
    """TCP is closed in the end."""
    with (
        line_to_model(CloseSocket(AtResponse(1, 300))) as model_line,
        house(agent=AGENT, realtime_url=model_line.url) as open_house,
        raw_carrier(open_house) as plug,
    ):
        with contextlib.suppress(OSError):
            for n in range(1, 500):
                if sends_on or n < 20:
                    plug.sendall(frame(STREAM.media(b"\xff" * 160, n)))
                plug.settimeout(0.02)
                with contextlib.suppress(TimeoutError):
                    if not plug.recv(65_536):
                        break
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause is EndCause.MODEL_LOST
    assert summary.duration_s < 4.0


STREAM = TwilioStream(StreamFacts(), seed=5)


def frame(message: str | bytes) -> bytes:
    """A WebSocket frame of a client: masked."""
    opcode = websocket.ABNF.OPCODE_TEXT
    made: bytes = websocket.ABNF.create_frame(message, opcode).format()
    return made


@contextlib.contextmanager
def raw_carrier(open_house: House, stream: TwilioStream = STREAM) -> Iterator[socket.socket]:
    """A carrier of which the test writes every byte; it has sent its start."""
    upgrade = (
        "GET /media-stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with open_house.tcp(upgrade.encode()) as plug:
        assert b" 101 " in plug.recv(65_536)
        plug.sendall(frame(stream.start({})))
        yield plug


GARBAGE = {
    b"\xff" * 64: 1002,
    b"\x81\x05hello": 1002,  # not masked
    frame(b"\xff\xfe"): 1007,
    b"\x81\xff\x00\xff\xff\xff\xff\xff\xff\xff": 1009,  # the length of a giant
    b"\x88\x85\0\0\0\0\x03\xe8bye": 1000,
}


@pytest.mark.edge_case(13, 14)
def test_carriers_that_break_the_protocol() -> None:
    with house(agent=AGENT) as open_house, contextlib.ExitStack() as carriers:
        expected = {}
        for number, (garbage, code) in enumerate(GARBAGE.items()):
            stream = TwilioStream(StreamFacts(), seed=number)
            expected[stream.stream_sid] = code
            carriers.enter_context(raw_carrier(open_house, stream)).sendall(garbage)
        told = [open_house.summary() for _ in GARBAGE]
        assert is_released(open_house)
    for summary in told:
        assert summary.end_cause is EndCause.CARRIER_LOST
        assert f"closed with {expected[summary.stream_sid]}" in summary.end_detail
        assert summary.duration_s < 3.0


@pytest.mark.edge_case(84)
def test_both_sockets_die_at_the_same_time() -> None:
    with (
        line_to_model() as model_line,
        house(agent=AGENT, realtime_url=model_line.url) as open_house,
        line_to_engine(open_house) as line,
    ):

        def strike() -> None:
            line.strike(Cut())
            model_line.strike(Cut())

        hold(open_house, line=line, strike=strike)
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause in {EndCause.CARRIER_LOST, EndCause.MODEL_LOST}
    assert summary.audio.balance_bytes == 0
