from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from callengine.testing.bench import codec
from callengine.testing.bench.codec import CodecError, Inbox

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MESSAGES = st.lists(
    st.one_of(st.binary(max_size=300), st.integers(65_530, 65_540).map(bytes)), max_size=6
)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(places)]


@pytest.mark.parametrize("masked", [False, True])
@given(messages=MESSAGES, cuts=st.lists(st.integers(min_value=0), max_size=8))
def test_what_another_library_writes_is_read_however_it_is_cut(
    messages: list[bytes], cuts: list[int], *, masked: bool
) -> None:
    data = b"".join(
        Frame(Opcode.TEXT, each).serialize(mask=masked, extensions=[]) for each in messages
    )
    inbox = Inbox(masked=masked)
    read = [message for piece in in_pieces(data, cuts) for message in inbox.take(piece)]
    assert read == [(codec.TEXT, each) for each in messages]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_what_is_written_is_read_by_another_library(size: int, *, masked: bool) -> None:
    data = codec.encode(b"x" * size, masked=masked)

    def read_exactly(wanted: int) -> bytes:
        nonlocal data
        taken, data = data[:wanted], data[wanted:]
        return taken
        yield  # a generator, as the library wants it

    parsing = Frame.parse(read_exactly, mask=masked, max_size=None)
    with pytest.raises(StopIteration) as parsed:
        next(parsing)
    assert parsed.value.value == Frame(Opcode.TEXT, b"x" * size)
    assert data == b""


@pytest.mark.parametrize("masked", [False, True])
def test_a_client_masks_and_a_server_does_not(*, masked: bool) -> None:
    with pytest.raises(CodecError):
        Inbox(masked=not masked).take(codec.encode(b"hello", masked=masked))


@pytest.mark.parametrize("first", [0x01, 0x00, 0xC1])
def test_fragments_and_extensions_are_refused(first: int) -> None:
    with pytest.raises(CodecError):
        Inbox(masked=False).take(bytes((first, 1)) + b"x")


def test_a_request_is_accepted_by_the_key_of_the_rfc() -> None:
    head, rest = codec.split_head(codec.upgrade_request("/x", "h:1", KEY) + b"more") or (b"", b"")
    assert rest == b"more"
    answer = codec.accept_upgrade(head)
    assert accept_key(KEY).encode() in answer
    codec.check_upgraded(answer.removesuffix(b"\r\n\r\n"), KEY)


def test_half_a_head_is_waited_for_and_an_endless_one_is_not() -> None:
    assert codec.split_head(b"GET / HTTP/1.1\r\nHost: h\r\n") is None
    with pytest.raises(CodecError):
        codec.split_head(b"x" * (codec.MAX_HEAD_BYTES + 1))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong",
        b"HTTP/1.1 101 Switching Protocols",
    ],
)
def test_a_refusal_or_a_wrong_key_is_no_upgrade(head: bytes) -> None:
    with pytest.raises(CodecError):
        codec.check_upgraded(head, KEY)


@pytest.mark.parametrize("head", [b"POST / HTTP/1.1\r\nSec-WebSocket-Key: x", b"GET / HTTP/1.1"])
def test_a_request_for_something_else_is_refused(head: bytes) -> None:
    with pytest.raises(CodecError):
        codec.accept_upgrade(head)
