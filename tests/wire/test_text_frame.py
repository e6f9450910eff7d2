"""Text frames, against the libraries that read and write them at length."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]

from callengine.wire.text_frame import FrameReader, client_frame, server_frame

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


# ---- what comes

TEXT, BINARY, MORE, CLOSE, PING = 1, 2, 0, 8, 9
UNKNOWN, EXTENDED = 3, 0x41
FIN = 0x80


class Heard:
    """Told what a reader finds: the payload of a text, or another frame as it came."""

    def __init__(self, *, masked: bool, max_bytes: float = 70_000, unread: bytes = b"") -> None:
        self.heard: list[tuple[str, bytes]] = []
        reader = FrameReader(
            self._text, self._other, masked=masked, max_bytes=max_bytes, unread=unread
        )
        self.feed = reader.feed

    def _text(self, payload: bytes | bytearray, mask: bytes | bytearray) -> None:
        self.heard.append(("text", apply_mask(payload, mask) if mask else bytes(payload)))

    def _other(self, frame: bytes | bytearray) -> None:
        self.heard.append(("other", bytes(frame)))


class Sent(NamedTuple):
    """A frame of a peer, who may do as he likes."""

    first: int
    masked: bool
    payload: bytes

    def on_the_wire(self) -> bytes:
        length = len(self.payload)
        header = bytes((self.first, min(length, 126) | (FIN if self.masked else 0)))
        if length > 0xFFFF:
            header = bytes((header[0], header[1] | 127)) + length.to_bytes(8)
        elif length > 125:
            header += length.to_bytes(2)
        return header + (MASK + apply_mask(self.payload, MASK) if self.masked else self.payload)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("masked", [True, False])
def test_a_text_is_told_as_soon_as_it_is_whole(length: int, masked: bool) -> None:
    frame = Sent(FIN | TEXT, masked, b"x" * length).on_the_wire()
    reader = Heard(masked=masked)
    for _ in range(2):
        for n in range(min(len(frame), 20) - 1):
            reader.feed(frame[n : n + 1])
        reader.feed(frame[min(len(frame), 20) - 1 : -1])
        assert reader.heard == []
        reader.feed(frame[-1:])
        assert reader.heard == [("text", b"x" * length)]
        reader.heard.clear()


SENT = st.builds(
    Sent,
    st.one_of(
        st.just(FIN | TEXT),
        st.builds(
            int.__or__,
            st.sampled_from([0, FIN]),
            st.sampled_from([TEXT, BINARY, MORE, CLOSE, PING, UNKNOWN, EXTENDED]),
        ),
    ),
    st.booleans(),
    st.sampled_from([b"", b"x", b"{}" * 62, b"{}" * 63, b"{}" * 64, b"x" * 300, b"x" * 65_536]),
)
CUTS = st.lists(st.one_of(st.integers(0, 600), st.integers(0, 140_000)), max_size=12)


@given(st.lists(SENT, max_size=8), CUTS, st.booleans())
def test_frames_are_told_in_order_wherever_they_are_cut(
    sent: list[Sent], cuts: list[int], masked: bool
) -> None:
    expected, in_pieces = [], False
    for frame in sent:
        if frame.first == FIN | TEXT and frame.masked == masked and not in_pieces:
            expected.append(("text", frame.payload))
            continue
        expected.append(("other", frame.on_the_wire()))
        if not frame.first & CLOSE:  # control frames may come between the pieces of a message
            in_pieces = not frame.first & FIN
    data = b"".join(frame.on_the_wire() for frame in sent)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = Heard(masked=masked, unread=data[: edges[1]])
    for start, end in itertools.pairwise(edges[1:]):
        reader.feed(data[start:end])
    reader.feed(b"")
    assert reader.heard == expected


@pytest.mark.parametrize("size", [10, 1_000])
def test_a_frame_that_is_too_long_is_not_waited_for_and_no_text(size: int) -> None:
    frame = Sent(FIN | TEXT, False, b"x" * 200).on_the_wire()
    Heard(masked=False, max_bytes=200).feed(frame)
    reader = Heard(masked=False, max_bytes=199)
    reader.feed(frame[:3])
    assert reader.heard == [], "its length is not there yet"
    reader.feed(frame[3:size])
    assert reader.heard == [("other", frame[:size])]


def test_the_frames_behind_one_that_fails_are_told_with_what_comes_next() -> None:
    data = b"".join(Sent(FIN | TEXT, False, text).on_the_wire() for text in (b"1", b"2", b"3"))
    for came_before in (b"", data[:1]):
        told: list[bytes] = []

        def tell(payload: bytes | bytearray, _: object, told: list[bytes] = told) -> None:
            told.append(payload)
            if payload == b"1":
                raise LookupError

        reader = FrameReader(tell, lambda _: None, masked=False, unread=came_before)
        with pytest.raises(LookupError):
            reader.feed(data[len(came_before) : -1])
        assert told == [b"1"]
        reader.feed(data[-1:])
        assert told == [b"1", b"2", b"3"]
