"""Whole calls whose socket lives on an event loop: `await engine.aserve(...)`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from callengine import Agent, CallEngine, CallSummary, EdgeClosed, EndCause, EngineStopped, Settings
from callengine.edges import async_carrier, carrier
from callengine.metrics import NoMetrics
from callengine.testing import (
    BargeIn,
    DropSocket,
    HangUp,
    Reply,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    ToolCall,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.local_call import Resources
from callengine.testing.network.proxy import Slow, TroubledProxy
from callengine.testing.network.relay import Side
from callengine.testing.realtime.faults import AtResponse, CloseSocket
from callengine.testing.sockets import PeerServer, run_client
from tests.house import CALL_S, WAIT_S, left_running
from tests.test_engine import (
    ANSWER,
    END_S,
    FAREWELL,
    GREETING,
    QUESTION,
    SHOUT,
    STOP,
    closed,
    heard,
    lasted_s,
    model,
    raw_start,
    tool,
    whole_frames,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from callengine.metrics import Metrics
    from callengine.testing.caller.record import CallRecord
    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.record import Record

pytestmark = pytest.mark.realtime

SMALL_BYTES = 4_096


@pytest.fixture(autouse=True)
def _everything_is_given_back() -> Iterator[None]:
    before = Resources.now()
    yield
    assert not Resources.back_to(before).exceeds(before), threading.enumerate()
    assert pykka.ActorRegistry.get_all() == []
    assert left_running() == []


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """On a loop of its own, which nothing of ours may outlive; what a loop complains of fails."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: complaints.append(told))
        await main()
        for _ in range(3):
            await asyncio.sleep(0)  # those that were cancelled last have ended
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())
    assert complaints == []


class SocketEdge:
    """What a host writes for its WebSocket library."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        with _edge_closed():
            return await self._connection.recv()

    async def send(self, message: str) -> None:
        with _edge_closed():
            await self._connection.send(message)

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)


@contextlib.contextmanager
def _edge_closed() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed as gone:
        code = 1006 if gone.rcvd is None else gone.rcvd.code
        raise EdgeClosed(code, gone.rcvd.reason if gone.rcvd else "") from None


class AsyncHouse:
    """A small server of a host on this loop, a simulated model, and callers on threads."""

    def __init__(self, engine: CallEngine, models: PeerServer) -> None:
        self.engine = engine
        self.url = ""
        self.port = 0
        self.told: asyncio.Queue[CallSummary] = asyncio.Queue()
        self.refused: list[EngineStopped] = []
        self._models = models

    async def handle(self, connection: ServerConnection) -> None:
        try:
            self.told.put_nowait(await self.engine.aserve(SocketEdge(connection)))
        except EngineStopped as refused:
            self.refused.append(refused)

    async def call(self, *script: Step, seed: int = 0, port: int | None = None) -> CallRecord:
        """Hold a call to its end, without holding up this loop."""
        caller = SimulatedCaller(script or (WaitUntilHeard(WAIT_S), Wait(0.1)), seed=seed)
        url = f"ws://127.0.0.1:{port or self.port}/"
        await asyncio.to_thread(run_client, caller, url, deadline_s=CALL_S)
        return caller.record

    async def begin(self, caller: SimulatedCaller) -> asyncio.Task[None]:
        """Hold a call in a task of its own; returns when the AI is heard."""
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def progress(_: float) -> None:
            if caller.record.frames:
                loop.call_soon_threadsafe(begun.set)

        url = f"ws://127.0.0.1:{self.port}/"
        task = asyncio.create_task(
            asyncio.to_thread(run_client, caller, url, deadline_s=CALL_S, on_progress=progress)
        )
        await asyncio.wait_for(begun.wait(), WAIT_S)
        return task

    async def summary(self) -> CallSummary:
        """That of the next call that is over."""
        return await asyncio.wait_for(self.told.get(), WAIT_S)

    def model(self, number: int = 0) -> Record:
        """What the n-th session saw."""
        peer: Any = self._models.peers[number]
        record: Record = peer.record
        return record


@contextlib.asynccontextmanager
async def async_house(
    make_model: Callable[[], Any] | None = None,
    agent: Any = None,  # noqa: ANN401 - an agent, or who chooses one
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[AsyncHouse]:
    """Leaving it stops the engine, and waits for whom the server still serves."""
    with PeerServer(make_model or model()) as models:
        engine = CallEngine(Settings(realtime_url=models.url, **settings), agent=agent)
        house = AsyncHouse(engine, models)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
        house.port = listener.getsockname()[1]
        options: dict[str, Any] = {
            "ping_interval": None,
            "compression": None,
            "write_limit": 1_024,
            "close_timeout": 1.0,
        }
        async with serve(house.handle, sock=listener, **options):
            yield house
            await asyncio.to_thread(engine.stop)
        await asyncio.to_thread(models.stop)


# ---- a call


def test_a_whole_call_with_a_barge_in() -> None:
    async def main() -> None:
        async with async_house() as house:
            record = await house.call(
                WaitUntilQuiet(0.3, WAIT_S),
                Say(QUESTION),
                BargeIn(SHOUT, 0.5),
                WaitUntilQuiet(0.5, WAIT_S),
            )
            summary, seen = await house.summary(), house.model()
        assert record.violations == []
        assert record.missed == []
        assert {frame.size_bytes for frame in record.frames} == {160}
        assert heard(record).startswith(GREETING[:-160])
        assert len(record.clears) == summary.barge_in_events == 1
        assert summary.end_cause is EndCause.CALLER_HUNG_UP
        assert summary.audio.balance_bytes == 0
        counted = (
            summary.tx_frames,
            summary.inbound.frames,
            summary.transmission.clears,
            summary.playout.marks_sent,
            summary.session.appended_bytes,
            summary.response.responses,
            summary.conversation.truncates_sent,
        )
        assert counted == (
            len(record.frames),
            record.inbound_frames_sent,
            len(record.clears),
            len(record.marks),
            len(seen.appended),
            len(seen.responses),
            len(seen.truncates),
        )
        assert seen.closed is not None
        assert seen.closed[0] == 1000

    run(main)


def test_many_calls_on_one_loop_have_nothing_of_each_other() -> None:
    async def main() -> None:
        async with async_house() as house:
            records = await asyncio.gather(
                *(house.call(WaitUntilQuiet(0.2, WAIT_S), seed=seed) for seed in range(4))
            )
            told = {each.stream_sid: each for each in [await house.summary() for _ in records]}
        for record in records:
            assert record.violations == []
            assert heard(record) == whole_frames(GREETING)
            assert told[record.stream_sid].tx_frames == len(record.frames)

    run(main)


def test_a_tool_that_blocks_holds_up_no_loop() -> None:
    let_go = threading.Event()

    def look_up(what: str) -> str:
        assert let_go.wait(WAIT_S), what
        return "nine to five"

    replies = (
        Reply(GREETING, "One moment.", (ToolCall("look_up", '{"what": "hours"}', "call_1"),)),
        Reply(ANSWER, "Nine."),
    )

    async def main() -> None:
        async with async_house(model(replies=replies), tool(look_up)) as house:
            caller = SimulatedCaller([WaitUntilQuiet(0.5, WAIT_S), WaitUntilQuiet(0.5, WAIT_S)])
            calling = await house.begin(caller)
            for _ in range(20):  # on this loop, while the tool waits
                await asyncio.sleep(0.01)
            let_go.set()
            await calling
            summary = await house.summary()
        assert heard(caller.record).endswith(whole_frames(ANSWER))
        assert summary.tools.tool_calls == 1

    run(main)


@pytest.mark.edge_case(5, 29)
@pytest.mark.parametrize(
    ("step", "cause"),
    [
        (HangUp(), EndCause.CALLER_HUNG_UP),
        (DropSocket(abrupt=False, code=1001), EndCause.CARRIER_LOST),
        (DropSocket(), EndCause.CARRIER_LOST),
    ],
    ids=["stop", "1001", "cut"],
)
def test_the_carrier_ends_the_call_while_the_ai_speaks(step: Step, cause: EndCause) -> None:
    async def main() -> None:
        async with async_house() as house:
            record = await house.call(WaitUntilHeard(WAIT_S), Wait(0.2), step)
            summary, seen = await house.summary(), house.model()
        assert summary.end_cause is cause
        assert record.closed is not None
        assert seen.closed is not None
        assert seen.closed[0] == 1000
        assert seen.closed[2] - record.closed.at < END_S

    run(main)


# ---- the model


@pytest.mark.edge_case(66, 74)
def test_a_model_that_is_lost_is_followed_by_another() -> None:
    models = iter([model(CloseSocket(AtResponse(1, 0), abrupt=True)), model()])

    def make() -> SimulatedRealtime:
        return next(models)()

    async def main() -> None:
        async with async_house(make) as house:
            record = await house.call(WaitUntilQuiet(0.3, WAIT_S))
            summary = await house.summary()
        assert summary.end_cause is EndCause.CALLER_HUNG_UP
        assert summary.model_reconnects == 1
        assert heard(record) == whole_frames(GREETING)

    run(main)


@pytest.mark.edge_case(66, 74)
def test_a_model_that_is_lost_for_good_ends_the_call_behind_the_farewell() -> None:
    lost = CloseSocket(AtResponse(1, 800))

    async def main() -> None:
        async with async_house(
            model(lost), Agent(farewell=FAREWELL, fallback=b""), model_retries=0
        ) as house:
            record = await house.call(Wait(WAIT_S))
            summary = await house.summary()
            (spoken,) = house.model().responses
        assert summary.end_cause is EndCause.MODEL_LOST
        assert heard(record) == whole_frames(spoken.audio) + FAREWELL
        assert closed(record) == (1000, "engine")

    run(main)


# ---- the end of all calls


@pytest.mark.edge_case(84)
@pytest.mark.parametrize("on_the_loop", [False, True])
def test_stop_ends_every_call_at_once(*, on_the_loop: bool) -> None:
    """Also if it is called where it holds up the loop: the calls end on threads."""

    async def main() -> None:
        async with async_house() as house:
            callers = [SimulatedCaller([Wait(WAIT_S)], seed=seed) for seed in range(3)]
            calling = [await house.begin(caller) for caller in callers]
            began = asyncio.get_running_loop().time()
            if on_the_loop:
                house.engine.stop()
            else:
                await asyncio.to_thread(house.engine.stop)
            assert asyncio.get_running_loop().time() - began < 2.0
            await asyncio.gather(*calling)
            summaries = [await house.summary() for _ in callers]
            await house.call(Wait(1.0))
        assert [each.end_cause for each in summaries] == [EndCause.SHUTDOWN] * 3
        assert [closed(caller.record) for caller in callers] == [(1001, "engine")] * 3
        assert len(house.refused) == 1

    run(main)


def test_a_drain_lets_a_call_finish_and_takes_no_other() -> None:
    async def main() -> None:
        async with async_house() as house:
            caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(0.8)])
            calling = await house.begin(caller)
            draining = asyncio.create_task(house.engine.adrain(WAIT_S))
            await asyncio.sleep(0.1)
            assert house.engine.draining
            assert not house.engine.ready
            refused = await house.call(Wait(1.0), seed=1)
            await draining
            await calling
            summary = await house.summary()
        assert closed(refused) == (1013, "engine")
        assert refused.frames == []
        assert summary.end_cause is EndCause.CALLER_HUNG_UP
        assert summary.duration_s >= 0.8

    run(main)


def test_a_drain_says_goodbye_to_who_stays_and_may_be_asked_for_twice() -> None:
    async def main() -> None:
        agent = Agent(farewell=FAREWELL, fallback=b"")
        async with async_house(agent=agent) as house:
            callers = [SimulatedCaller([Wait(WAIT_S)], seed=seed) for seed in range(2)]
            calling = [await house.begin(caller) for caller in callers]
            await asyncio.gather(house.engine.adrain(0.2), house.engine.adrain(0.2))
            assert house.engine.active_calls == 0
            await house.engine.adrain(WAIT_S)
            await asyncio.gather(*calling)
            summaries = [await house.summary() for _ in callers]
        assert [each.end_cause for each in summaries] == [EndCause.DRAINED] * 2
        for caller in callers:
            assert heard(caller.record).endswith(FAREWELL)
            assert closed(caller.record) == (1000, "engine")
            assert lasted_s(caller.record) < END_S + 2.0

    run(main)


# ---- the host's edge and task


class TestEdge:
    """An `AsyncEdge` of a host: the test is the carrier."""

    __test__ = False

    def __init__(self, *messages: object) -> None:
        self.sent: asyncio.Queue[str] = asyncio.Queue()
        self.closes: list[tuple[int, str]] = []
        self.fails: BaseException | None = None
        self.close_fails: BaseException | None = None
        self.reads = asyncio.Event()
        self.reads.set()
        self._incoming: asyncio.Queue[Any] = asyncio.Queue()
        for message in messages:
            self.tell(message)

    def tell(self, message: object) -> None:
        self._incoming.put_nowait(message)

    async def receive(self) -> str | bytes:
        message = await asyncio.wait_for(self._incoming.get(), WAIT_S)
        if isinstance(message, BaseException):
            raise message
        taken: str | bytes = message
        return taken

    async def send(self, message: str) -> None:
        await self.reads.wait()
        if self.fails is not None:
            raise self.fails
        self.sent.put_nowait(message)

    async def close(self, code: int, reason: str) -> None:
        self.closes.append((code, reason))
        self.tell(EdgeClosed(code, reason))
        if self.close_fails is not None:
            raise self.close_fails


async def begun(engine: CallEngine, edge: TestEdge) -> asyncio.Task[CallSummary]:
    """A call of which audio was sent."""
    task = asyncio.create_task(engine.aserve(edge))
    while '"media"' not in await asyncio.wait_for(edge.sent.get(), WAIT_S):
        pass
    return task


@contextlib.asynccontextmanager
async def an_engine(
    metrics: Metrics | None = None,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[CallEngine]:
    with PeerServer(model()) as models:
        engine = CallEngine(Settings(realtime_url=models.url, **settings), metrics=metrics)
        yield engine
        await asyncio.to_thread(engine.stop)
        await asyncio.to_thread(models.stop)


def test_a_host_with_an_edge_of_its_own() -> None:
    async def main() -> None:
        async with an_engine() as engine:
            edge = TestEdge(raw_start())
            call = await begun(engine, edge)
            assert engine.active_calls == 1
            edge.tell(STOP)
            summary = await call
            assert engine.active_calls == 0
        assert summary.end_cause is EndCause.CALLER_HUNG_UP
        assert edge.closes == [(1000, "caller_hung_up")]

    run(main)


@pytest.mark.edge_case(84)
@pytest.mark.parametrize("error", [EdgeClosed(1006), OSError("broken"), ZeroDivisionError()])
def test_whatever_an_edge_raises_the_call_ends(error: Exception) -> None:
    async def main() -> None:
        async with an_engine() as engine:
            edge = TestEdge(raw_start(), error)
            summary = await engine.aserve(edge)
        assert summary.end_cause is EndCause.CARRIER_LOST
        assert "1006" in summary.end_detail
        assert len(edge.closes) == 1

    run(main)


def test_an_edge_that_cannot_send_is_not_left_in_silence() -> None:
    async def main() -> None:
        async with an_engine() as engine:
            edge = TestEdge(raw_start())
            edge.fails = ZeroDivisionError()
            summary = await engine.aserve(edge)
        assert summary.end_cause is EndCause.CARRIER_STALLED
        assert len(edge.closes) == 1

    run(main)


@pytest.mark.parametrize("error", [EdgeClosed(1006), RuntimeError("close was sent before")])
def test_an_edge_that_cannot_be_closed_ends_the_call_all_the_same(error: Exception) -> None:
    async def main() -> None:
        async with an_engine() as engine:
            edge = TestEdge(raw_start())
            edge.close_fails = error
            call = await begun(engine, edge)
            edge.tell(STOP)
            summary = await call
        assert summary.end_cause is EndCause.CALLER_HUNG_UP

    run(main)


@pytest.mark.edge_case(84)
def test_a_task_that_is_cancelled_takes_its_call_along() -> None:
    class Told(NoMetrics):
        def __init__(self) -> None:
            self.ended: list[CallSummary] = []

        def call_ended(self, summary: CallSummary) -> None:
            self.ended.append(summary)

    told = Told()

    async def main() -> None:
        async with an_engine(told) as engine:
            edge = TestEdge(raw_start())
            call = await begun(engine, edge)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert engine.active_calls == 0
            assert [each.end_cause for each in told.ended] == [EndCause.SHUTDOWN], "by now"
            assert edge.closes == [(1001, "shutdown")]

    run(main)


@pytest.mark.edge_case(84)
def test_a_loop_that_is_closed_in_the_middle_of_a_call_leaves_nothing() -> None:
    """As when a host's `main` returns while calls go on."""
    edges: list[TestEdge] = []
    with PeerServer(model()) as models, CallEngine(Settings(realtime_url=models.url)) as engine:

        async def main() -> None:
            edges.append(TestEdge(raw_start()))
            await begun(engine, edges[0])

        asyncio.run(main())
        assert engine.active_calls == 0


def test_an_engine_without_room_refuses() -> None:
    async def main() -> None:
        async with an_engine(max_calls=1) as engine:
            busy, refused = TestEdge(raw_start()), TestEdge(raw_start())
            refused.close_fails = RuntimeError("gone")
            call = await begun(engine, busy)
            with pytest.raises(EngineStopped, match="max_calls"):
                await engine.aserve(refused)
            busy.tell(STOP)
            await call
        assert refused.closes == [(1013, "no room for another call")]

    run(main)


def test_an_engine_that_has_no_time_to_stop_still_gives_everything_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callengine.holding.on_asyncio.END_TIMEOUT_S", 0.3)

    async def main() -> None:
        async with an_engine() as engine:
            edge = TestEdge(raw_start())
            call = await begun(engine, edge)
            await asyncio.to_thread(engine.stop, 0)
            with pytest.raises((EngineStopped, asyncio.CancelledError)):
                await call
            assert engine.active_calls == 0
        assert len(edge.closes) == 1

    run(main)


# ---- a carrier that does not read


@pytest.mark.edge_case(27)
def test_a_peer_that_takes_nothing_for_ten_seconds_of_audio_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert carrier.MAX_MEDIA * 0.02 == 10.0
    monkeypatch.setattr(async_carrier, "MAX_MEDIA", 25)
    monkeypatch.setattr(async_carrier, "CLOSE_TIMEOUT_S", 0.3)

    async def main() -> None:
        async with an_engine() as engine:
            edge = TestEdge(raw_start())
            call = await begun(engine, edge)
            edge.reads.clear()
            summary = await call
        assert summary.end_cause is EndCause.CARRIER_STALLED
        assert len(edge.closes) == 1
        assert summary.duration_s < END_S

    run(main)


@pytest.mark.edge_case(27)
def test_a_real_socket_that_is_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_carrier, "MAX_MEDIA", 25)
    monkeypatch.setattr(async_carrier, "CLOSE_TIMEOUT_S", 0.3)
    long = (Reply(GREETING * 6, "A long story."),)

    async def main() -> None:
        async with async_house(model(replies=long)) as house:
            with TroubledProxy(("127.0.0.1", house.port), buffer_bytes=SMALL_BYTES) as line:
                caller = SimulatedCaller([Wait(CALL_S)])
                struck = threading.Event()

                def progress(_: float) -> None:
                    if not struck.is_set() and len(caller.record.frames) >= 10:
                        struck.set()
                        line.strike(Slow(Side.CLIENT))

                url = line.url(f"ws://127.0.0.1:{house.port}/")
                calling = asyncio.create_task(
                    asyncio.to_thread(
                        run_client, caller, url, deadline_s=CALL_S, on_progress=progress
                    )
                )
                summary = await house.summary()
                await asyncio.to_thread(line.stop)
                await calling
        assert summary.end_cause is EndCause.CARRIER_STALLED

    run(main)
