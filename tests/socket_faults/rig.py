"""What the tests of broken sockets are made of: lines that can be struck, and what must hold."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pykka

from callengine import Agent, CallSummary
from callengine.testing import (
    Behaviour,
    SimulatedCaller,
    SimulatedRealtime,
    Wait,
)
from callengine.testing.held import noise, reply
from callengine.testing.network.proxy import TroubledProxy
from callengine.testing.sockets import PeerServer, run_client
from tests.house import CALL_S, WAIT_S, House

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callengine.testing.caller.record import CallRecord
    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.faults import Fault
    from callengine.testing.realtime.record import Record

FAREWELL = noise(0.2, 77)
AGENT = Agent(farewell=FAREWELL, fallback=b"")
QUICK = Behaviour(first_audio_s=0.05)
SMALL_BYTES = 4_096
"""The size of a socket's buffer, so that few frames fill it."""

JITTER_BYTES = 60 * 8
"""The carrier is closed when the farewell should have been heard; the line may have been slower."""


# ---- what the tests are made of


class Line:
    """The way to a simulated model, with a proxy in it."""

    def __init__(self, proxy: TroubledProxy, models: PeerServer) -> None:
        self.strike = proxy.strike
        self.url = proxy.url(models.url)
        self._models = models

    @property
    def model(self) -> Record:
        peer: Any = self._models.peers[0]
        record: Record = peer.record
        return record


@contextlib.contextmanager
def line_to_model(
    *faults: Fault,
    seconds: float = 2.0,
    check_request: Callable[..., Any] | None = None,
    buffer_bytes: int = 65_536,
) -> Iterator[Line]:
    def make() -> SimulatedRealtime:
        replies = [reply(seconds, n) for n in range(4)]
        return SimulatedRealtime(replies, behaviour=QUICK, faults=faults)

    with (
        PeerServer(make, check_request=check_request) as models,
        TroubledProxy(("127.0.0.1", models.port), buffer_bytes=buffer_bytes) as proxy,
    ):
        yield Line(proxy, models)


@contextlib.contextmanager
def line_to_engine(open_house: House, buffer_bytes: int = 65_536) -> Iterator[TroubledProxy]:
    port = open_house.server.port
    with TroubledProxy(("127.0.0.1", port), buffer_bytes=buffer_bytes) as proxy:
        yield proxy


def hold(
    open_house: House,
    *script: Step,
    strike: Callable[[], None] = lambda: None,
    after_frames: int = 10,
    line: TroubledProxy | None = None,
) -> CallRecord:
    """Hold a call, and let the trouble strike when the caller has got so many frames."""
    caller = SimulatedCaller(script or (Wait(CALL_S),))
    struck = threading.Event()

    def progress(_: float) -> None:
        if not struck.is_set() and len(caller.record.frames) >= after_frames:
            struck.set()
            strike()

    url = open_house.server.media_url
    url = url if line is None else line.url(url)
    run_client(caller, url, deadline_s=CALL_S, on_progress=progress)
    assert struck.is_set() or not after_frames, "the caller never got so far"
    return caller.record


def is_released(open_house: House) -> bool:
    """Before the engine is stopped: nothing of the call whose summary was told is left."""
    for ref in pykka.ActorRegistry.get_all():
        assert ref.actor_stopped.wait(WAIT_S)
    return open_house.server._engine.active_calls == 0


def heard(record: CallRecord) -> bytes:
    return b"".join(span.payload for span in record.heard)


def whole_frames(audio: bytes) -> bytes:
    return audio.ljust(-(-len(audio) // 160) * 160, b"\xff")


def says_goodbye(record: CallRecord, summary: CallSummary, model: Record | None) -> bool:
    """All that the engine got was heard, then the farewell, and the carrier was told politely."""
    sent = b"".join(each.audio for each in model.responses) if model else b""
    told = whole_frames(sent[: summary.conversation.audio_bytes]) + FAREWELL
    assert told.startswith(heard(record))
    assert len(told) - len(heard(record)) == record.unheard_bytes <= JITTER_BYTES
    assert record.violations == []
    assert record.closed is not None
    assert summary.audio.balance_bytes == 0
    return (record.closed.code, record.closed.by) == (1000, "engine")
