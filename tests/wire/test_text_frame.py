"""Text frames, against the libraries that read and write them at length."""

from __future__ import annotations

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from callengine.wire.text_frame import MASK_BYTES, Found, client_frame, find_frame, server_frame

MASK = b"\x01\x80\xff\x00"
LENGTHS = [0, 1, 3, 4, 125, 126, 127, 65_535, 65_536]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_servers_frame_is_that_of_websockets(length: int) -> None:
    frame = Frame(Opcode.TEXT, b"x" * length).serialize(mask=False)
    assert server_frame("x" * length) == frame


@pytest.mark.parametrize("length", LENGTHS)
def test_a_clients_frame_is_that_of_websocket_client(length: int) -> None:
    frame = websocket.ABNF.create_frame("x" * length, websocket.ABNF.OPCODE_TEXT)
    frame.get_mask_key = lambda _: MASK  # type: ignore[assignment]
    assert client_frame("x" * length, MASK) == frame.format()


@given(st.text(max_size=300), st.binary(min_size=4, max_size=4))
def test_whatever_is_masked_can_be_read_again(message: str, mask: bytes) -> None:
    frame = client_frame(message, mask)
    header = len(frame) - len(message.encode())
    assert frame[header - 4 : header] == mask
    keys = mask * len(frame)
    read = bytes(byte ^ key for byte, key in zip(frame[header:], keys, strict=False))
    assert read.decode() == message
    assert server_frame(message)[2:].endswith(message.encode())


@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_is_found_as_soon_as_its_length_is_there(length: int) -> None:
    frame = client_frame("x" * length, MASK)
    payload = len(frame) - length
    found = [find_frame(b"??" + frame[:size], 2) for size in range(len(frame[: payload + 2]) + 1)]
    known = payload - MASK_BYTES
    assert set(found[:known]) == {None}
    assert set(found[known:]) == {Found(True, 2 + payload, 2 + len(frame))}


@pytest.mark.parametrize(
    ("opcode", "fin"),
    [*((opcode, True) for opcode in Opcode), (Opcode.TEXT, False), (Opcode.CONT, False)],
)
@pytest.mark.parametrize("mask", [True, False])
def test_only_a_masked_text_frame_that_is_a_message_is_plain(
    opcode: Opcode, fin: bool, mask: bool
) -> None:
    data = Frame(opcode, b"x" * 100, fin=fin).serialize(mask=mask) + b"more"
    found = find_frame(data, 0)
    plain = (opcode, fin, mask) == (Opcode.TEXT, True, True)
    assert found == Found(plain, len(data) - 104, len(data) - 4)
