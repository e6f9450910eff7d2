"""Tickets: what binds a media socket to the signed webhook that asked for it.

Decides whether a ticket is one of ours, for this call, in time and unused. Knows neither TwiML nor
sockets. A ticket is 32 bytes of HMAC-SHA256 over what follows: 16 random bytes, the time it expires
and the call; in the URL's base64.
"""

from __future__ import annotations

import heapq
import hmac
import secrets
import struct
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from callengine.errors import LocalError

if TYPE_CHECKING:
    from callengine.settings import Settings

TICKET_PARAMETER: Final = "ticket"
"""The name of the `<Parameter>`."""

LIFETIME_S: Final = 30.0
"""From the answer to the webhook to the `start`; Twilio needs under a second."""

MIN_SECRET_BYTES: Final = 16

MAX_FIELD_BYTES: Final = 100
"""Of a call sid (Twilio's has 34) and of a number: with three of them a ticket has 479 characters,
and with the parameter's name under the 500 that Twilio allows."""

MAX_REMEMBERED: Final = 100_000
"""Used tickets that are remembered: 3 300 calls a second. Beyond, those that expire first are
forgotten, and every ticket that expires no later is refused as expired: none can be used twice."""

_MAC_BYTES: Final = 32
_HEAD: Final = struct.Struct("!16sd")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the webhook was told of a call."""

    call_sid: str
    caller: str = field(default="", repr=False)
    called: str = field(default="", repr=False)


class TicketFault(StrEnum):
    """Why a ticket is refused. Its value goes into a sentence: the ticket is ..."""

    MISSING = "missing"
    MALFORMED = "malformed"
    FOREIGN = "foreign"
    """Not signed by us, or for another call."""
    EXPIRED = "expired"
    USED = "used"
    NO_ROOM = "good, but there is no room"
    """Another process promised the slot, or the promise has expired."""


class Redeems(Protocol):
    """Where a stream shows its ticket."""

    def redeem(self, token: str | None, call_sid: str, now: float) -> Ticket | TicketFault:
        """The ticket, if it is valid and used for the first time."""


class Tickets:
    """Issues tickets, and redeems each once. Threads may share it.

    Whoever has the same `secret` redeems them too; that a ticket was used is remembered by this
    object alone. Time is in seconds of the wall clock, because tickets cross processes.

    Raises LocalError if the secret has under `MIN_SECRET_BYTES`.
    """

    def __init__(self, secret: bytes, *, lifetime_s: float = LIFETIME_S) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise LocalError(
                f"the secret of tickets has {len(secret)} bytes; give {MIN_SECRET_BYTES} or more"
            )
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._lock = threading.Lock()
        self._used = _Nonces()

    def issue(self, ticket: Ticket, now: float) -> str:
        """A ticket as text. A number over `MAX_FIELD_BYTES` is left out.

        Raises LocalError if the call sid is empty or that long.
        """
        call_sid = ticket.call_sid.encode(errors="surrogatepass")
        if not 0 < len(call_sid) <= MAX_FIELD_BYTES:
            raise LocalError(
                f"the call sid has {len(call_sid)} bytes; a ticket takes 1 to {MAX_FIELD_BYTES}"
            )
        nonce, expires = secrets.token_bytes(16), now + self._lifetime_s
        body = _HEAD.pack(nonce, expires) + _field(call_sid)
        for number in (ticket.caller, ticket.called):
            data = number.encode(errors="surrogatepass")
            body += _field(data if len(data) <= MAX_FIELD_BYTES else b"")
        return _text(self._sign(body) + body)

    def redeem(self, token: str | None, call_sid: str, now: float) -> Ticket | TicketFault:
        """The ticket, if it is valid and used for the first time."""
        if not token:
            return TicketFault.MISSING
        data = _bytes(token)
        if data is None:
            return TicketFault.MALFORMED
        body = data[_MAC_BYTES:]
        if not hmac.compare_digest(data[:_MAC_BYTES], self._sign(body)):
            return TicketFault.FOREIGN
        ticket = Ticket(*_fields(body[_HEAD.size :]))
        if ticket.call_sid != call_sid:
            return TicketFault.FOREIGN
        nonce, expires = _HEAD.unpack_from(body)
        return self._use(nonce, expires, now) or ticket

    def _use(self, nonce: bytes, expires: float, now: float) -> TicketFault | None:
        with self._lock:
            self._used.forget_until(now)
            if nonce in self._used:
                return TicketFault.USED
            if expires <= max(now, self._used.forgotten_until):
                return TicketFault.EXPIRED
            self._used.add(nonce, expires)
            return None

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")


def tickets_for(settings: Settings) -> Tickets:
    """Tickets that every process with the same auth token redeems; without one, only this one."""
    if not settings.twilio_auth_token:
        return Tickets(secrets.token_bytes(32))
    # Derived, so that nothing that Twilio signs with the token itself is ever a ticket.
    return Tickets(hmac.digest(settings.twilio_auth_token.encode(), b"callengine ticket", "sha256"))


class _Nonces:
    """Those that have not expired, at most `MAX_REMEMBERED`."""

    def __init__(self) -> None:
        self.forgotten_until = float("-inf")
        """Of what expires by then it is not known whether it was here."""
        self._known: set[bytes] = set()
        self._by_expiry: list[tuple[float, bytes]] = []

    def add(self, nonce: bytes, expires: float) -> None:
        self._known.add(nonce)
        heapq.heappush(self._by_expiry, (expires, nonce))
        if len(self._by_expiry) > MAX_REMEMBERED:
            self._forget_first()

    def forget_until(self, now: float) -> None:
        while self._by_expiry and self._by_expiry[0][0] <= now:
            self._forget_first()

    def _forget_first(self) -> None:
        self.forgotten_until, nonce = heapq.heappop(self._by_expiry)
        self._known.discard(nonce)

    def __contains__(self, nonce: bytes) -> bool:
        return nonce in self._known

    def __len__(self) -> int:
        return len(self._known)


def _field(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def _fields(data: bytes) -> list[str]:
    """Of what bears our signature, and so was written by `_field`."""
    texts = []
    while data:
        length, data = data[0], data[1:]
        texts.append(data[:length].decode(errors="surrogatepass"))
        data = data[length:]
    return texts


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(token: str) -> bytes | None:
    """What a token says, if it is written exactly as we write it."""
    try:
        data = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return None
    return data if len(data) > _MAC_BYTES and _text(data) == token else None
