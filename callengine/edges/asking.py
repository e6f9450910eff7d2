"""What clients ask a server of ours before it is known what they want: read in time, and answered.

Knows HTTP, and nothing of what is asked. It runs on a thread that may wait.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import TYPE_CHECKING, Final

from callengine.edges.http import MAX_BODY_BYTES, HttpReply, HttpRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HTTP_TIMEOUT_S: Final = 10.0
"""From the connection to the end of what is asked."""

LINGER_S: Final = 1.0
MAX_HEAD_BYTES: Final = 16_384
END_OF_HEAD: Final = b"\r\n\r\n"


class Asking:
    """What a client asks, all of which has to be here within `HTTP_TIMEOUT_S`; answers go back.

    Raises OSError if it is not.
    """

    def __init__(self, plug: socket.socket) -> None:
        self._plug = plug
        self._until = time.monotonic() + HTTP_TIMEOUT_S
        self._data = b""

    def head(self) -> bytes:
        """What has come, at least to the end of the header."""
        while END_OF_HEAD not in self._data:
            if len(self._data) > MAX_HEAD_BYTES:
                raise ConnectionAbortedError("too long a header")
            self._data += self._read()
        return self._data

    def body(self, length: int) -> bytes:
        """The body."""
        begins = self._data.index(END_OF_HEAD) + len(END_OF_HEAD)
        while len(self._data) < begins + length:
            self._data += self._read()
        return self._data[begins : begins + length]

    def answer(self, data: bytes) -> None:
        """Send."""
        self._plug.sendall(data)

    def end(self) -> None:
        """Let the client read the answer: closed on what it still sends, it would lose it."""
        self._plug.shutdown(socket.SHUT_WR)
        self._until = min(self._until, time.monotonic() + LINGER_S)
        with suppress(OSError):
            while self._read():
                pass

    def _read(self) -> bytes:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._plug.settimeout(left_s)
        data = self._plug.recv(4096)
        if not data:
            raise ConnectionResetError("nothing more was asked")
        return data


def request_of(
    method: str, target: str, fields: Iterable[tuple[str, str]], client: str, body: bytes = b""
) -> HttpRequest:
    """The request, with the names of its headers in small letters."""
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for each, value in fields:
        name = each.lower()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return HttpRequest(method, path, query, headers, body, client)


class Other(BaseHTTPRequestHandler):
    """One request that is no GET: it is answered when this is made. All but POST gets 501."""

    protocol_version = "HTTP/1.1"

    def __init__(
        self, asking: Asking, client: str, answer: Callable[[HttpRequest], HttpReply]
    ) -> None:
        self._asking = asking
        self._answer = answer
        super().__init__(asking, (client, 0), None)  # type: ignore[arg-type]

    def setup(self) -> None:
        """The header is here."""
        self.rfile = BytesIO(self._asking.head())
        self.wfile = self._reply = BytesIO()

    def finish(self) -> None:
        """Send all at once."""
        self._asking.answer(self._reply.getvalue())

    def do_POST(self) -> None:
        """Read the form and answer."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self._asking.body(int(length))
        fields = self.headers.items()
        reply = self._answer(request_of("POST", self.path, fields, self.client_address[0], body))
        self.send_response(reply.status)
        if reply.body:
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature
        """Say nothing: paths and addresses are the host's to log."""
