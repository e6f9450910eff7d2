"""Twilio's account API, as a small server on loopback."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from callengine.edges import twilio_rest
from callengine.edges.twilio_rest import TwilioRest
from callengine.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.realtime

TWIML = "<Response><Dial>+15550100</Dial></Response>"


class Twilio:
    """What was asked, and what is answered."""

    def __init__(self, status: int, body: object = None, location: str | None = None) -> None:
        self.asked: list[tuple[str, str, dict[str, list[str]]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                form = parse_qs(self.rfile.read(length).decode())
                outer.asked.append((self.path, self.headers["Authorization"], form))
                content = json.dumps(body).encode()
                self.send_response(status)
                if location is not None:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextlib.contextmanager
def twilio(status: int, body: object = None, location: str | None = None) -> Iterator[Twilio]:
    open_twilio = Twilio(status, body, location)
    thread = threading.Thread(target=open_twilio.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield open_twilio
    finally:
        open_twilio.server.shutdown()
        open_twilio.server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body"), [(200, {"status": "in-progress"}), (404, {"code": 20404})]
)
@pytest.mark.edge_case(32)
def test_a_call_is_redirected_or_was_over_already(status: int, body: object) -> None:
    with twilio(status, body) as server:
        TwilioRest("secret", server.url + "/").redirect("AC1", "CA1", TWIML)
    ((path, authorization, form),) = server.asked
    assert path == "/2010-04-01/Accounts/AC1/Calls/CA1.json"
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"AC1:secret"
    assert form == {"Twiml": [TWIML]}


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, {}), (404, {"code": 20403}), (404, "?"), (429, {}), (500, None), (503, {})],
)
@pytest.mark.edge_case(32)
def test_a_refusal_says_what_twilio_answered_and_no_secret(status: int, body: object) -> None:
    with twilio(status, body) as server, pytest.raises(RemoteError) as refused:
        TwilioRest("secret", server.url).redirect("AC1", "CA1", TWIML)
    assert str(refused.value) == f"Twilio answered HTTP {status}"


def test_the_credentials_are_not_sent_elsewhere() -> None:
    with (
        twilio(200) as other,
        twilio(307, location=other.url) as server,
        pytest.raises(RemoteError, match="307"),
    ):
        TwilioRest("secret", server.url).redirect("AC1", "CA1", TWIML)
    assert other.asked == []


def test_ids_are_no_paths() -> None:
    with twilio(200) as server:
        TwilioRest("secret", server.url).redirect("AC1/../x", "CA1?a=b", TWIML)
    assert server.asked[0][0] == "/2010-04-01/Accounts/AC1%2F..%2Fx/Calls/CA1%3Fa%3Db.json"


@pytest.mark.edge_case(32)
def test_nobody_is_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(RemoteError, match="cannot be reached: ConnectionRefusedError"):
        TwilioRest("secret", url).redirect("AC1", "CA1", TWIML)


@pytest.mark.edge_case(32)
def test_somebody_is_there_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twilio_rest, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RemoteError, match="TimeoutError"):
            TwilioRest("secret", url).redirect("AC1", "CA1", TWIML)
