"""What the model says, against websocket-client: the same bytes, read by it alone."""

from __future__ import annotations

import io
import itertools
import socket
from typing import TYPE_CHECKING, cast

import websocket
from hypothesis import example, given
from hypothesis import strategies as st
from loguru import logger
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]
from websockets.protocol import Protocol, Side

from callengine.edges import realtime
from callengine.messages import EndCause, ModelAlive, ModelClosed, ModelConnected, ModelMessage

if TYPE_CHECKING:
    from callengine.actors.loop import Loop

MASK = 0x80


class StillLoop:
    """Nothing happens on it by itself."""

    def now(self) -> float:
        return 0.0

    def call_at(self, *_: object) -> None: ...

    watch = rewatch = unwatch = call_at


class Alone:
    """What websocket-client takes for a socket: all that came, and room for its answers."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self.answers = b""

    def recv(self, size: int) -> bytes:
        if data := self._data.read(size):
            return data
        raise BlockingIOError

    def send(self, data: bytes) -> int:
        self.answers += data
        return len(data)

    def gettimeout(self) -> float:
        return 0.0


def by_websocket_client(data: bytes) -> tuple[list[object], list[Frame]]:
    """What is to be told of it, and answered, if websocket-client reads every frame."""
    told: list[object] = []
    plug = Alone(data)
    client = websocket.WebSocket(skip_utf8_validation=True)
    client.sock = plug  # type: ignore[assignment]
    try:
        while not (told and isinstance(told[-1], ModelClosed)):
            opcode, frame = client.recv_data_frame(control_frame=True)
            if opcode == Opcode.CLOSE:
                told.append(realtime._read_close(frame.data))
            elif opcode == Opcode.PONG:
                told.append(ModelAlive())
            elif opcode != Opcode.PING:
                told.append(ModelMessage(frame.data))
    except BlockingIOError:
        pass
    except websocket.WebSocketException as error:
        why = f"the model's socket broke: {type(error).__name__}"
        told.append(ModelClosed(EndCause.MODEL_LOST, why))
    return told, unmasked(plug.answers)


def unmasked(data: bytes) -> list[Frame]:
    server = Protocol(Side.SERVER, max_size=None)
    server.receive_data(data)
    return [event for event in server.events_received() if isinstance(event, Frame)]


@st.composite
def any_frame(draw: st.DrawFn) -> bytes:
    """Usually a good one."""
    first = draw(
        st.one_of(
            st.sampled_from([0x81, 0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8A]),
            st.sampled_from([0x02, 0x88, 0x09, 0x83, 0xC1, 0x0A]),
        )
    )
    payload = draw(
        st.sampled_from([b"", b"x", b"\x03\xe8", b"\x03\xe8bye", b"\xff", b"x" * 125, b"x" * 126])
    )
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2)
    if draw(st.integers(0, 9)):
        return bytes([first]) + length + payload
    mask = draw(st.binary(min_size=4, max_size=4))
    masked = bytes([first, length[0] | MASK]) + length[1:] + mask
    return masked + apply_mask(payload, mask)


# A piece of a message, a ping, and a text that must not be there.
@example([b"\x01\x01a", b"\x89\x00", b"\x81\x01b"], [])
@given(st.lists(any_frame(), max_size=12), st.lists(st.integers(0, 400), max_size=12))
def test_whatever_comes_is_told_and_answered_as_websocket_client_would(
    frames: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(frames)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    near, far = socket.socketpair()
    told: list[object] = []
    connection = realtime._Connection(
        cast("Loop", StillLoop()), told.append, realtime.QuietLog(logger)
    )
    connection._socket.sock = near
    connection._connected(None)
    assert told.pop() == ModelConnected()
    for start, end in itertools.pairwise(edges):
        connection.received(data[start:end])
    connection._cut()
    with far:
        answers = b"".join(iter(lambda: far.recv(65_536), b""))
    assert (told, unmasked(answers)) == by_websocket_client(data)
