"""As much of RFC 6455 as a load generator needs: an opinion of its own, and a cheap one.

Client messages are masked with the key zero, which leaves their bytes as they are: they can be
prepared. What comes in is held to the rule that a client masks and a server does not. Messages in
fragments are legal, but none of these ends makes any: they are refused.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MAX_HEAD_BYTES: Final = 16_384
"""A request or an answer of HTTP is shorter."""

_FIN: Final = 0x80
_MASKED: Final = 0x80
_KEY_ZERO: Final = bytes(4)
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_END_OF_HEAD: Final = b"\r\n\r\n"


class CodecError(Exception):
    """The other end did not keep to the protocol, or to the part of it that is understood."""


def encode(message: bytes, *, masked: bool, opcode: int = TEXT) -> bytes:
    """One message in one WebSocket frame."""
    size = len(message)
    mask_bit, key = (_MASKED, _KEY_ZERO) if masked else (0, b"")
    if size < 126:
        head = bytes((_FIN | opcode, mask_bit | size))
    elif size < 65_536:
        head = bytes((_FIN | opcode, mask_bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FIN | opcode, mask_bit | 127)) + size.to_bytes(8, "big")
    return head + key + message


class Inbox:
    """Bytes as they come, to messages. `masked` is what the other end must do."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._rest = b""

    def take(self, data: bytes) -> list[tuple[int, bytes]]:
        """The messages that are now complete: opcode and payload. Raises `CodecError`."""
        if self._rest:
            data = self._rest + data
        messages = []
        at, end = 0, len(data)
        while end - at >= 2:
            first, second = data[at], data[at + 1]
            if not first & _FIN or first & 0x70 or (second >= _MASKED) is not self._masked:
                raise CodecError(f"a frame that begins with {first:#04x} {second:#04x}")
            size, begin = second & 0x7F, at + 2
            if size == 126:
                size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if self._masked:
                begin += 4
            if begin + size > end or begin > end:
                break
            at = begin + size
            payload = data[begin:at]
            if self._masked:
                payload = _unmasked(payload, data[begin - 4 : begin])
            messages.append((first & 0x0F, payload))
        self._rest = data[at:]
        return messages


def _unmasked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")


# ---- the upgrade


def split_head(data: bytes) -> tuple[bytes, bytes] | None:
    """The head of an HTTP message and what follows; None if it is not complete yet."""
    head, end, rest = data.partition(_END_OF_HEAD)
    if not end:
        if len(data) > MAX_HEAD_BYTES:
            raise CodecError("an HTTP head without end")
        return None
    return head, rest


def upgrade_request(path: str, host: str, key: str) -> bytes:
    """What a client begins with."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def check_upgraded(head: bytes, key: str) -> None:
    """Raise `CodecError` unless the answer to `upgrade_request` accepts it."""
    status = head.partition(b"\r\n")[0]
    if b" 101 " not in status + b" ":
        raise CodecError(f"refused with {status[:80].decode(errors='replace')}")
    if _fields(head).get(b"sec-websocket-accept") != _accept(key.encode()):
        raise CodecError("the upgrade was accepted with a wrong key")


def accept_upgrade(head: bytes) -> bytes:
    """What a server answers. Raises `CodecError` if the request asks for something else."""
    key = _fields(head).get(b"sec-websocket-key")
    if not head.startswith(b"GET ") or key is None:
        raise CodecError("a request that is no upgrade")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + _accept(key) + _END_OF_HEAD
    )


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _fields(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}
