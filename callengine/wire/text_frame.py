"""WebSocket frames on the media path, as RFC 6455 section 5.2 has them: text, whole, unextended.

Writes such frames, and finds them in what comes. The libraries on whose connections they travel do
that and everything else; these few things they do in three to twenty times as many microseconds,
and they are done three times per 20 ms and call.
"""

from __future__ import annotations

from math import inf
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

_FIN: Final = 0x80
_CONTROL: Final = 0x08
_FIN_TEXT: Final = 0x81
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_IN_2: Final = 126
_LENGTH_IN_8: Final = 127
MASK_BYTES: Final = 4

_LONGER: Final = {_LENGTH_IN_2: Struct(">H"), _LENGTH_IN_8: Struct(">Q")}
_pack_short = Struct(">BB").pack
_pack_medium = Struct(">BBH").pack
_pack_long = Struct(">BBQ").pack

Bytes: TypeAlias = bytes | bytearray


class FrameReader:
    """Cuts into frames what a peer sends, and what of its first frames is there already (`unread`).

    `on_text` is given the payload and the mask of each text that is a message by itself, `on_other`
    any other frame, as it came. They are given whole frames; only one of more than `max_bytes` is
    not waited for, and it is never a text.
    """

    def __init__(
        self,
        on_text: Callable[[Bytes, Bytes], None],
        on_other: Callable[[Bytes], None],
        *,
        masked: bool,
        max_bytes: float = inf,
        unread: bytes = b"",
    ) -> None:
        self._on_text = on_text
        self._on_other = on_other
        self._mask_bytes = MASK_BYTES if masked else 0
        self._max_bytes = max_bytes
        self._unread = bytearray(unread)
        self._in_pieces = False  # a message has begun that comes in several frames

    def feed(self, data: Bytes) -> None:
        """Take what came. What a callback raises goes through; the frames behind wait for more."""
        if self._unread:
            self._unread += data
            data = self._unread
        begins, size = 0, len(data)
        try:
            while begins + 2 <= size:
                at = begins
                length = data[at + 1] & _LENGTH
                mask_bytes = MASK_BYTES if data[at + 1] & _MASKED else 0
                payload = at + 2
                if length in _LONGER:
                    longer = _LONGER[length]
                    payload += longer.size
                    if payload > size:
                        break
                    (length,) = longer.unpack_from(data, at + 2)
                payload += mask_bytes
                end, too_long = payload + length, length > self._max_bytes
                if end > size and not too_long:
                    break
                begins = end
                usual = data[at] == _FIN_TEXT and mask_bytes == self._mask_bytes
                if usual and not (self._in_pieces or too_long):
                    self._on_text(data[payload:end], data[payload - mask_bytes : payload])
                else:
                    self._pass_on(data[at:end])
        finally:
            if data is self._unread:
                del self._unread[:begins]
            elif begins < size:
                self._unread += data[begins:]

    def _pass_on(self, frame: Bytes) -> None:
        if not frame[0] & _CONTROL:
            self._in_pieces = not frame[0] & _FIN
        self._on_other(frame)


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
        return _pack_short(_FIN_TEXT, masked | length)
    if length < 1 << 16:
        return _pack_medium(_FIN_TEXT, masked | _LENGTH_IN_2, length)
    return _pack_long(_FIN_TEXT, masked | _LENGTH_IN_8, length)
