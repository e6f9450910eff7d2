"""A standalone server on loopback with a simulated model behind it, and callers for it."""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from callengine import Agent, CallEngine, CallSummary, Settings
from callengine.edges.standalone import StandaloneServer
from callengine.testing import SimulatedCaller, SimulatedRealtime, Wait, WaitUntilHeard, said
from callengine.testing.sockets import PeerServer, run_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.http11 import Request, Response

    from callengine.agent import AgentChoice
    from callengine.testing.caller.record import CallRecord
    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.record import Record

WAIT_S = 8.0
CALL_S = 12.0
PUBLIC_URL = "https://voice.example.com"
STOP_S = 3.0


class House:
    """What a test does with a running server."""

    def __init__(
        self,
        server: StandaloneServer,
        told: queue.SimpleQueue[CallSummary] | None = None,
        models: list[Any] | None = None,
    ) -> None:
        self.server = server
        self._told = told or queue.SimpleQueue()
        self._models = [] if models is None else models

    def call(self, *script: Step, **options: Any) -> CallRecord:  # noqa: ANN401
        """Hold a call to its end."""
        steps = script or (WaitUntilHeard(WAIT_S), Wait(0.1))
        caller = SimulatedCaller(steps, **options)
        run_client(caller, self.server.media_url, deadline_s=CALL_S)
        return caller.record

    def begin(self, caller: SimulatedCaller) -> threading.Thread:
        """Hold a call on a thread of its own; returns when the AI is heard."""
        heard = threading.Event()

        def progress(_: float) -> None:
            if caller.record.frames:
                heard.set()

        def hold() -> None:
            url = self.server.media_url
            run_client(caller, url, deadline_s=CALL_S, on_progress=progress)

        thread = threading.Thread(target=hold)
        thread.start()
        assert heard.wait(WAIT_S)
        return thread

    def summary(self) -> CallSummary:
        """That of the next call that is over."""
        return self._told.get(timeout=WAIT_S)

    def model(self, number: int = 0) -> Record:
        """What the model of the n-th call saw; complete when that call is over."""
        record: Record = self._models[number].record
        return record

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, str | None, str]:
        """Status, content type and body of an HTTP answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            kind = answer.getheader("Content-Type")
            return answer.status, kind, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def webhook(self) -> tuple[int, str | None, str]:
        """What the voice webhook answers to a form."""
        return self.ask("/voice/incoming", "POST", b"CallSid=CA1&From=%2B15550100")

    def tcp(self, opening: bytes = b"") -> socket.socket:
        """A bare connection that has sent `opening`."""
        plug = socket.create_connection(("127.0.0.1", self.server.port), timeout=WAIT_S)
        plug.sendall(opening)
        return plug


def model() -> SimulatedRealtime:
    return SimulatedRealtime([said("agent_greeting")])


@contextlib.contextmanager
def house(
    make_model: Callable[[], SimulatedRealtime] = model,
    agent: Agent | AgentChoice | None = None,
    *,
    public_url: str | None = PUBLIC_URL,
    check_request: Callable[[Request], Response | None] | None = None,
    **settings: Any,  # noqa: ANN401
) -> Iterator[House]:
    """Stopping it is part of every test: it must be quick and leave nothing running.

    Signatures are validated only if there is a `twilio_auth_token`, or if a test says so.
    """
    told: queue.SimpleQueue[CallSummary] = queue.SimpleQueue()
    with PeerServer(make_model, check_request=check_request) as models:
        signed = "twilio_auth_token" in settings
        given = Settings(**{"realtime_url": models.url, "validate_signatures": signed, **settings})
        engine = CallEngine(given, agent=agent)
        with StandaloneServer(engine, public_url=public_url, on_call=told.put) as server:
            yield House(server, told, models.peers)
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < STOP_S, "a stopped server waits for nobody"
        assert left_running() == []


def left_running() -> list[str]:
    """The names of our threads that do not end, now that everything is over."""
    ours = [t for t in threading.enumerate() if "callengine" in t.name or "_serve_any" in t.name]
    for thread in ours:
        thread.join(1.0)
    return [thread.name for thread in ours if thread.is_alive()]
