"""WebSocket frames on the media path, as RFC 6455 section 5.2 has them: text, whole, unextended.

Writes such frames, and finds where frames begin and end. The libraries on whose connections they
travel do that and everything else; these three things they do in three to five times as many
microseconds, and they are done three times per 20 ms and call.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_FIN_TEXT: Final = b"\x81"
_MASKED: Final = 0x80
_LENGTH_IN_2: Final = 126
_LENGTH_IN_8: Final = 127
MASK_BYTES: Final = 4


class Found(NamedTuple):
    """A frame in a stretch of bytes: where its payload begins, and where it ends."""

    is_plain_text: bool
    """Masked, and a message by itself."""
    payload: int
    end: int


def find_frame(data: bytes, begins: int) -> Found | None:
    """The frame of a client that begins there; None as long as its length is not known.

    It may end beyond what is there.
    """
    if len(data) < begins + 2:
        return None
    masked, length = data[begins + 1] & _MASKED, data[begins + 1] & ~_MASKED
    payload = begins + 2
    if length == _LENGTH_IN_2:
        payload += 2
        length = int.from_bytes(data[begins + 2 : begins + 4])
    elif length == _LENGTH_IN_8:
        payload += 8
        length = int.from_bytes(data[begins + 2 : begins + 10])
    if len(data) < payload:
        return None
    if masked:
        payload += MASK_BYTES
    return Found(masked == _MASKED and data[begins] == _FIN_TEXT[0], payload, payload + length)


def server_frame(message: str) -> bytes:
    """`message` as a server sends it."""
    payload = message.encode()
    return _header(len(payload), 0) + payload


def client_frame(message: str, mask: bytes) -> bytes:
    """`message` as a client sends it: masked with 4 bytes that nobody can foretell."""
    payload = message.encode()
    length = len(payload)
    # As one big number: a loop over the bytes costs a hundred times as much.
    keys = (mask * (length // MASK_BYTES + 1))[:length]
    masked = int.from_bytes(payload) ^ int.from_bytes(keys)
    return _header(length, _MASKED) + mask + masked.to_bytes(length)


def _header(length: int, masked: int) -> bytes:
    if length < _LENGTH_IN_2:
        return _FIN_TEXT + bytes((masked | length,))
    if length < 1 << 16:
        return _FIN_TEXT + bytes((masked | _LENGTH_IN_2,)) + length.to_bytes(2)
    return _FIN_TEXT + bytes((masked | _LENGTH_IN_8,)) + length.to_bytes(8)
