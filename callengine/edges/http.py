"""A request and its answer, as every host can give and take them. Knows no framework."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BODY_BYTES: Final = 65_536
"""Twilio's forms have under 2 KiB. A host reads no more than one byte above this, if it can."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a host was asked.

    `path` and `query` are as they were on the wire, percent-encoded, the path with whatever prefix
    the host serves it under: signatures are made over both. Names of `headers` are lower case.
    `client` is the address of the peer, empty if unknown.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)  # names the caller
    client: str = ""

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What a host answers; `headers` beside the content's type and length."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


def text_reply(status: int, text: str, **headers: str) -> HttpReply:
    """One line of text. Underscores in the names of headers become dashes."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return HttpReply(status, f"{text}\n".encode(), headers=named)


def xml_reply(text: str) -> HttpReply:
    """TwiML."""
    return HttpReply(200, text.encode(), "text/xml; charset=utf-8")


def json_reply(status: int, values: Mapping[str, object]) -> HttpReply:
    """For load balancers and people: never cached."""
    body = json.dumps(values).encode()
    return HttpReply(status, body, "application/json", (("Cache-Control", "no-store"),))


def if_read(answer: Callable[[], HttpReply], request: HttpRequest) -> HttpReply:
    """The answer to a GET or HEAD (the host leaves out a HEAD's body), 405 to anything else."""
    if request.method in {"GET", "HEAD"}:
        return answer()
    return text_reply(405, "only GET", Allow="GET, HEAD")
