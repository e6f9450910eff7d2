"""An application of a host with a simulated model behind it, servers for it, and callers.

What a caller does is what Twilio does: the signed webhook, then the signed upgrade to where the
TwiML points, with the ticket in the `start`.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import uvicorn

from callengine import CallEngine
from callengine.testing import SimulatedCaller, SimulatedRealtime, said
from callengine.testing.caller.stream import StreamFacts
from callengine.testing.sockets import CannotConnectError, PeerServer, run_client
from tests.edges.twilio_signed import CALL, PUBLIC_URL, settings, signed_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callengine.testing.caller.record import CallRecord
    from callengine.testing.caller.script import Step

WAIT_S = 8.0
CALL_S = 12.0


class Callers:
    """Whoever calls a server on loopback."""

    def webhook(self, port: int, prefix: str, call_sid: str = CALL["CallSid"]) -> str:
        """The TwiML."""
        path, form = f"{prefix}/incoming", {**CALL, "CallSid": call_sid}
        status, body = self.ask(
            port, path, "POST", urlencode(form), signed_headers(PUBLIC_URL + path, form)
        )
        assert status == 200, body
        return body

    def dial(self, port: int, prefix: str, *script: Step, twiml: str | None = None) -> CallRecord:
        """Hold a call to its end."""
        caller = self._caller(twiml or self.webhook(port, prefix), script, CALL["CallSid"])
        self._run(caller, port, None)
        return caller.record

    def begin(self, port: int, prefix: str, *script: Step) -> Call:
        """Hold a call on a thread of its own; returns when the AI is heard."""
        return self.connect(port, self.webhook(port, prefix), *script)

    def connect(
        self, port: int, twiml: str, *script: Step, call_sid: str = CALL["CallSid"]
    ) -> Call:
        """The same for a webhook that was answered."""
        heard = threading.Event()
        caller = self._caller(twiml, script, call_sid)

        def progress(_: float) -> None:
            if caller.record.frames:
                heard.set()

        call = Call(caller, threading.Thread(target=lambda: self._run(caller, port, progress)))
        call.thread.start()
        assert heard.wait(WAIT_S)
        return call

    def upgrade_status(self, port: int, path: str, headers: dict[str, str]) -> int | None:
        """The HTTP status that refuses a media socket."""
        try:
            url = f"ws://127.0.0.1:{port}{path}"
            run_client(SimulatedCaller([]), url, headers=headers, deadline_s=CALL_S)
        except CannotConnectError as refused:
            return refused.status
        return 101

    def get(self, port: int, path: str) -> tuple[int, str]:
        return self.ask(port, path, "GET", "", {})

    def ask(
        self, port: int, path: str, method: str, body: str, headers: dict[str, str]
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _caller(self, twiml: str, script: tuple[Step, ...], call_sid: str) -> _Dialled:
        stream = ElementTree.fromstring(twiml)[0][0]
        parameters = {each.attrib["name"]: each.attrib["value"] for each in stream}
        facts = StreamFacts(custom_parameters=parameters, call_sid=call_sid)
        return _Dialled(script, facts, stream.attrib["url"])

    def _run(
        self, caller: _Dialled, port: int, on_progress: Callable[[float], None] | None
    ) -> None:
        path = urlsplit(caller.url).path
        run_client(
            caller,
            f"ws://127.0.0.1:{port}{path}",
            headers={"x-twilio-signature": signed_headers(caller.url)["x-twilio-signature"]},
            deadline_s=CALL_S,
            on_progress=on_progress,
        )


class _Dialled(SimulatedCaller):
    def __init__(self, script: tuple[Step, ...], facts: StreamFacts, url: str) -> None:
        super().__init__(script, stream=facts)
        self.url = url


class Call:
    """A call in progress."""

    def __init__(self, caller: SimulatedCaller, thread: threading.Thread) -> None:
        self.caller = caller
        self.thread = thread

    def join(self, timeout_s: float) -> CallRecord:
        self.thread.join(timeout_s)
        assert not self.thread.is_alive()
        return self.caller.record


class Host(Callers):
    """An application over an engine whose model is simulated."""

    def __init__(self, engine: CallEngine, app: Any) -> None:  # noqa: ANN401
        self.engine = engine
        self.app = app


@contextlib.contextmanager
def hosted(make_app: Callable[[CallEngine], Any], **given: Any) -> Iterator[Host]:  # noqa: ANN401
    with (
        PeerServer(lambda: SimulatedRealtime([said("agent_greeting")])) as models,
        CallEngine(settings(realtime_url=models.url, **given)) as engine,
    ):
        yield Host(engine, make_app(engine))


@contextlib.contextmanager
def uvicorn_thread(app: Any, **config: Any) -> Iterator[int]:  # noqa: ANN401
    """uvicorn on a thread of this process; its port."""
    plug = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **config))
    thread = threading.Thread(target=server.run, args=([plug],), name="uvicorn")
    thread.start()
    try:
        yield plug.getsockname()[1]  # whoever comes before it listens waits in the backlog
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        plug.close()
        assert not thread.is_alive()
