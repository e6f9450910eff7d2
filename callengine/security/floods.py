"""How much a peer may send before it counts as an attack: messages of a stream, sockets of an
address.

Decides by counting alone; what is done about it is for whoever asks. Time is passed in.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from typing import Final

MAX_MESSAGES_PER_S: Final = 200
"""A carrier sends 50 frames a second, and a mark or a key now and then."""

MAX_BURST_MESSAGES: Final = 2_000
"""What may come at once: the frames of a network that stood still for 40 s."""

MAX_ADDRESSES: Final = 10_000
"""At this many with a socket that has not begun, a new address is refused like a full one."""

_IPV6_SITE_BITS: Final = 64
"""Whoever has one IPv6 address has all those with the same first half."""


class MessageRate:
    """A queue of `MAX_BURST_MESSAGES` that is worked off at `MAX_MESSAGES_PER_S`; it begins empty.

    Both its ends are counted in messages since the clock began.
    """

    def __init__(self, now: float) -> None:
        self._end = now * MAX_MESSAGES_PER_S

    def allows(self, now: float) -> bool:
        """Count one message; False if it is one too many."""
        end, begin = self._end, now * MAX_MESSAGES_PER_S
        if end < begin:
            end = begin
        elif end - begin > MAX_BURST_MESSAGES - 1:
            return False
        self._end = end + 1
        return True


class SocketCount:
    """Sockets per address that have not begun a call yet. Threads may share it."""

    def __init__(self, max_per_address: int) -> None:
        self._max_per_address = max_per_address
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a socket in; False, and nothing is counted, if it is one too many."""
        who = _who(address)
        with self._lock:
            if self._open[who] >= self._max_per_address or (
                who not in self._open and len(self._open) >= MAX_ADDRESSES
            ):
                return False
            self._open[who] += 1
            return True

    def leave(self, address: str) -> None:
        """Count a socket out that was counted in."""
        who = _who(address)
        with self._lock:
            self._open[who] -= 1
            if self._open[who] <= 0:
                del self._open[who]

    def __len__(self) -> int:
        """How many addresses there are."""
        return len(self._open)


def _who(address: str) -> str:
    """One name for all addresses that one peer can take; what is no IP address names itself."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip), _IPV6_SITE_BITS), strict=False))
