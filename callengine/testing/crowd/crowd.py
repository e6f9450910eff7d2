"""Many calls at once to one server, each with a caller, a model and troubles of its own.

The server under test is anything that speaks Twilio Media Streams and calls the model at
`model_url`. Callers come in one after the other, so that each meets its own model; from then on
they are on the line together. Whose a second session of a call is nobody could tell: the server
must not connect again when a model is lost. It judges nothing.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from callengine.testing.network.proxy import Trouble, TroubledProxy
from callengine.testing.sockets import PeerServer, refusal, run_client

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from websockets.http11 import Request, Response

    from callengine.testing.caller.caller import SimulatedCaller
    from callengine.testing.realtime.server import SimulatedRealtime

MEETING_S: Final = 5.0
"""A call that has not asked for its model by then never will."""


@dataclass(eq=False, slots=True)
class CrowdCall:
    """One call: both its peers, and what the network does to either line, from its beginning.

    `refuse_with` is an HTTP status with which the model turns the call away. Afterwards `met` says
    that the model was asked for at all, and `failure` what kept the caller from holding the call.
    """

    caller: SimulatedCaller
    model: SimulatedRealtime
    on_carrier: tuple[Trouble, ...] = ()
    on_model: tuple[Trouble, ...] = ()
    refuse_with: int | None = None
    met: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None


class Crowd:
    """Both ends of many calls; a context manager.

    with Crowd() as crowd:
        ...  # start the server under test, with its model at crowd.model_url
        crowd.hold(calls, media_url, deadline_s=60)
    """

    def __init__(self) -> None:
        self._running = ExitStack()
        self._entering: CrowdCall | None = None
        self._here = threading.local()
        self._models = PeerServer(self._model, check_request=self._meet)
        self._model_line: TroubledProxy | None = None

    @property
    def model_url(self) -> str:
        """Where the server under test finds the model."""
        assert self._model_line is not None, "a crowd is a context manager: enter it first"
        return self._model_line.url(self._models.url)

    def __enter__(self) -> Self:
        self._running.enter_context(self._models)
        proxy = TroubledProxy(("127.0.0.1", self._models.port), lambda _: self._next.on_model)
        self._model_line = self._running.enter_context(proxy)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()

    def hold(
        self,
        calls: Iterable[CrowdCall],
        media_url: str,
        *,
        deadline_s: float,
        at_once: int = 1000,
    ) -> None:
        """Hold all calls, at most `at_once` at a time; each is cut after `deadline_s`.

        `calls` may be a generator: a call is drawn when there is room for it, and forgotten when
        its caller's side of it is over.
        """
        room = threading.Semaphore(at_once)
        server = urlsplit(media_url)
        target = (server.hostname or "127.0.0.1", server.port or 80)
        with (
            TroubledProxy(target, lambda _: self._next.on_carrier) as line,
            ThreadPoolExecutor(at_once, thread_name_prefix="crowd") as threads,
        ):

            def run(call: CrowdCall) -> None:
                try:
                    run_client(call.caller, line.url(media_url), deadline_s=deadline_s)
                except (ConnectionError, TimeoutError) as failure:
                    call.failure = failure
                    call.met.set()
                finally:
                    room.release()
                self._models.peers.clear()
                self._models.requests.clear()

            running = []
            for call in calls:
                room.acquire()
                self._entering = call
                running.append(threads.submit(run, call))
                call.met.wait(MEETING_S)
            for each in running:
                each.result()

    @property
    def _next(self) -> CrowdCall:
        assert self._entering is not None, "nobody connects before the first call is held"
        return self._entering

    def _meet(self, _: Request) -> Response | None:
        self._here.call = call = self._next
        call.met.set()
        return None if call.refuse_with is None else refusal(call.refuse_with)

    def _model(self) -> SimulatedRealtime:
        """On the thread of the request: the call it came with may not be the newest any more."""
        call: CrowdCall = self._here.call
        return call.model
