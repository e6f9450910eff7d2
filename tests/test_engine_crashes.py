"""An engine in which things crash: one call, and nothing else, is affected. Over real sockets."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from loguru import logger

from callengine import (
    Agent,
    CallEngine,
    CallSummary,
    EdgeClosed,
    EndCause,
    EngineStopped,
    Settings,
)
from callengine.actors.host_calls import HostCalls
from callengine.actors.supervisor import Supervisor
from callengine.actors.tx_pacer import TxPacer
from callengine.actors.vad_detector import VADDetector
from callengine.edges.outbox import Outbox
from callengine.testing import SimulatedCaller, Wait, WaitUntilHeard, WaitUntilQuiet
from callengine.testing.local_call import Resources
from callengine.testing.sockets import PeerServer
from tests.house import WAIT_S, house
from tests.test_engine import FAREWELL, GREETING, STOP, HostEdge, closed, heard, model, raw_start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.actors.shell import Shell

pytestmark = pytest.mark.realtime

ERRORS = [ValueError(), SystemExit(), MemoryError()]
FOR_THE_THREAD = [SystemExit(), KeyboardInterrupt()]


def named(error: object) -> str:
    return type(error).__name__


@pytest.fixture(autouse=True)
def _everything_is_given_back() -> Iterator[None]:
    before = Resources.now()
    yield
    assert not Resources.back_to(before).exceeds(before), threading.enumerate()
    assert pykka.ActorRegistry.get_all() == []


@pytest.fixture
def model_url() -> Iterator[str]:
    with PeerServer(model()) as server:
        yield server.url


class Killer:
    """Makes the first actor of a kind die of its n-th message."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type[Shell], n: int) -> None:
        self.error: BaseException = ValueError()
        self._victim: object = None
        self._left = n
        handle = kind.handle

        def fail(actor: Shell, message: object, now: float) -> Any:  # noqa: ANN401
            self._victim = self._victim or actor
            if actor is self._victim:
                self._left -= 1
                if self._left == 0:
                    raise self.error
            return handle(actor, message, now)

        monkeypatch.setattr(kind, "handle", fail)


def whole(audio: bytes) -> bytes:
    return audio.ljust(-(-len(audio) // 160) * 160, b"\xff")


@pytest.mark.parametrize("error", ERRORS, ids=named)
def test_l14_of_two_calls_one_loses_its_playout_and_hears_the_farewell(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    Killer(monkeypatch, TxPacer, 40).error = error
    lines: list[dict[Any, Any]] = []
    logger.enable("callengine")
    sink = logger.add(lambda message: lines.append(message.record["extra"]), level="ERROR")
    with house(model(), Agent(farewell=FAREWELL)) as open_house:
        doomed = SimulatedCaller([Wait(WAIT_S)], seed=1)
        thread = open_house.begin(doomed)
        record = open_house.call(WaitUntilHeard(WAIT_S), WaitUntilQuiet(0.4, WAIT_S), Wait(0.2))
        thread.join(WAIT_S)
        summaries = {each.call_sid: each for each in (open_house.summary(), open_house.summary())}
        later = open_house.call(WaitUntilHeard(WAIT_S), WaitUntilQuiet(0.4, WAIT_S))
        open_house.summary()
    logger.remove(sink)
    logger.disable("callengine")
    lost, kept = summaries[doomed.record.call_sid], summaries[record.call_sid]
    assert lost.end_cause is EndCause.CRASHED
    assert lost.end_detail == f"TxPacer: {named(error)}"
    assert closed(doomed.record) == (1011, "engine")
    assert FAREWELL[:1_600] in heard(doomed.record), "a busy machine may be late with the rest"
    assert (kept.end_cause, kept.crashes) == (EndCause.CALLER_HUNG_UP, ())
    assert heard(record) == heard(later) == whole(GREETING)
    assert [line["call_sid"] for line in lines] == [doomed.record.call_sid]


@pytest.mark.parametrize("error", ERRORS, ids=named)
def test_l14_a_detector_that_dies_costs_nobody_anything(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    Killer(monkeypatch, VADDetector, 30).error = error
    with house(model()) as open_house:
        record = open_house.call(WaitUntilHeard(WAIT_S), WaitUntilQuiet(0.4, WAIT_S), Wait(0.2))
        summary = open_house.summary()
    assert [(c.actor, c.error, c.restarted) for c in summary.crashes] == [
        ("VADDetector", named(error), True)
    ]
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert heard(record) == whole(GREETING)


# ---- start-up


def held(engine: CallEngine) -> CallSummary:
    """A call like any."""
    edge = HostEdge(raw_start())
    summaries: list[CallSummary] = []
    thread = threading.Thread(target=lambda: summaries.append(engine.serve(edge)))
    thread.start()
    assert "mark" in edge.sent.get(timeout=WAIT_S)
    edge.tell(STOP)
    thread.join(WAIT_S)
    return summaries[0]


def failing(error: BaseException) -> Any:  # noqa: ANN401
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", ERRORS, ids=named)
@pytest.mark.parametrize("kind", [TxPacer, Supervisor])
def test_l14_an_actor_that_cannot_start_is_told_in_the_summary_and_the_next_call_is_held(
    monkeypatch: pytest.MonkeyPatch, model_url: str, kind: type[Shell], error: BaseException
) -> None:
    edge = HostEdge(raw_start())
    with CallEngine(Settings(realtime_url=model_url)) as engine:
        with monkeypatch.context() as patched:
            patched.setattr(kind, "__init__", failing(error))
            summary = engine.serve(edge)
        assert engine.active_calls == 0
        assert held(engine).end_cause is EndCause.CALLER_HUNG_UP
    assert summary.end_cause is EndCause.CRASHED
    assert named(error) in summary.end_detail
    assert edge.closes == [(1011, "crashed")]


def test_what_is_meant_for_the_thread_is_raised_when_the_call_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch, model_url: str
) -> None:
    edge = HostEdge(raw_start())
    with CallEngine(Settings(realtime_url=model_url)) as engine:
        with monkeypatch.context() as patched:
            patched.setattr(TxPacer, "__init__", failing(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                engine.serve(edge)
        assert engine.active_calls == 0
        assert held(engine).end_cause is EndCause.CALLER_HUNG_UP


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), MemoryError()], ids=named
)
def test_a_call_that_gets_no_thread_for_its_socket_is_closed_and_told(
    monkeypatch: pytest.MonkeyPatch, model_url: str, error: BaseException
) -> None:
    edge = HostEdge(raw_start())
    with CallEngine(Settings(realtime_url=model_url)) as engine:
        with monkeypatch.context() as patched:
            patched.setattr(Outbox, "__init__", failing(error))
            summary = engine.serve(edge)
        assert engine.active_calls == 0
        assert held(engine).end_cause is EndCause.CALLER_HUNG_UP
    assert (summary.end_cause, edge.closes) == (EndCause.CRASHED, [(1011, "crashed")])


def test_an_engine_that_gets_no_threads_is_not_fuller_for_it(
    monkeypatch: pytest.MonkeyPatch, model_url: str
) -> None:
    with CallEngine(Settings(realtime_url=model_url, max_calls=1)) as engine:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", failing(RuntimeError()))
            with pytest.raises(RuntimeError):
                engine.serve(HostEdge())
        assert engine.active_calls == 0
        assert held(engine).end_cause is EndCause.CALLER_HUNG_UP


# ---- the host's own socket


class Bad(HostEdge):
    """An edge whose `close` fails after it has closed."""

    def __init__(self, *messages: object, error: BaseException) -> None:
        super().__init__(*messages)
        self.error = error

    def close(self, code: int, reason: str) -> None:
        super().close(code, reason)
        raise self.error


@pytest.mark.parametrize("error", [*ERRORS, KeyboardInterrupt()], ids=named)
def test_l14_whatever_an_edge_raises_in_send_ends_its_call_at_once(
    model_url: str, error: BaseException
) -> None:
    edge = HostEdge(raw_start())
    edge.fails = error
    with CallEngine(Settings(realtime_url=model_url)) as engine:
        summary = engine.serve(edge)
        assert held(engine).end_cause is EndCause.CALLER_HUNG_UP
    assert summary.end_cause is EndCause.CARRIER_STALLED
    assert summary.duration_s < 3.0
    assert len(edge.closes) == 1


@pytest.mark.parametrize("error", FOR_THE_THREAD, ids=named)
def test_l14_what_an_edge_raises_in_receive_for_the_thread_ends_its_call_and_is_raised(
    model_url: str, error: BaseException
) -> None:
    edge = HostEdge(raw_start(), error)
    with CallEngine(Settings(realtime_url=model_url)) as engine:
        with pytest.raises(type(error)):
            engine.serve(edge)
        assert engine.active_calls == 0
        assert held(engine).end_cause is EndCause.CALLER_HUNG_UP
    assert edge.closes == [(1001, "shutdown")]


def test_a_thread_that_is_interrupted_waits_for_the_summary_of_its_call(
    monkeypatch: pytest.MonkeyPatch, model_url: str
) -> None:
    """The host's code takes its time; what stops the engine then must find the call over."""
    report = HostCalls.report
    later = threading.Event()
    monkeypatch.setattr(HostCalls, "report", lambda actor: later.wait(0.3) or report(actor))
    edge = HostEdge(raw_start(), KeyboardInterrupt())
    with CallEngine(Settings(realtime_url=model_url)) as engine, pytest.raises(KeyboardInterrupt):
        engine.serve(edge)
    assert pykka.ActorRegistry.get_all() == []


@pytest.mark.parametrize("error", [*ERRORS, KeyboardInterrupt(), EdgeClosed(1006)], ids=named)
def test_l14_whatever_an_edge_raises_in_close_the_call_is_over(
    model_url: str, error: BaseException
) -> None:
    edge = Bad(raw_start(), STOP, error=error)
    with CallEngine(Settings(realtime_url=model_url)) as engine:
        summary = engine.serve(edge)
        assert held(engine).end_cause is EndCause.CALLER_HUNG_UP
    assert summary.end_cause is EndCause.CALLER_HUNG_UP


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()], ids=named)
def test_l14_an_edge_that_cannot_be_closed_does_not_keep_the_others_from_being_stopped(
    monkeypatch: pytest.MonkeyPatch, model_url: str, error: BaseException
) -> None:
    monkeypatch.setattr("callengine.holding.on_thread.END_TIMEOUT_S", 0.3)
    engine = CallEngine(Settings(realtime_url=model_url))
    edges = [Bad(raw_start(), error=error) for _ in range(3)]

    def hold(edge: Bad) -> None:
        with suppress(EngineStopped):  # it has no time for a summary
            engine.serve(edge)

    threads = [threading.Thread(target=hold, args=(edge,)) for edge in edges]
    for thread, edge in zip(threads, edges, strict=True):
        thread.start()
        edge.sent.get(timeout=WAIT_S)
    engine.stop(timeout_s=0.0)
    for thread in threads:
        thread.join(WAIT_S)
    assert all(edge.closes for edge in edges)
