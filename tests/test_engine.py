"""Whole calls over real sockets: the engine between a simulated caller and a simulated model."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from callengine import (
    Agent,
    CallEngine,
    CallSummary,
    EdgeClosed,
    EndCause,
    EngineStopped,
    Settings,
    Tool,
)
from callengine.actors.call import start_call
from callengine.actors.supervisor import Supervisor
from callengine.agent import AgentSaid, CallerSaid, DtmfPressed
from callengine.testing import (
    BargeIn,
    Behaviour,
    Dial,
    DropSocket,
    HangUp,
    Reply,
    Say,
    SendRaw,
    SimulatedCaller,
    SimulatedRealtime,
    ToolCall,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
    speech,
)
from callengine.testing.caller.stream import StreamFacts, TwilioStream
from callengine.testing.local_call import Resources
from callengine.testing.realtime.door import refuse_beta_and_bad_keys
from callengine.testing.realtime.faults import (
    After,
    AtResponse,
    CloseSocket,
    EchoOtherFormat,
    RefuseSessionUpdate,
    beta_shape_refused,
    key_refused,
    session_expired,
)
from callengine.testing.report.proof import _stale_bytes
from callengine.testing.sockets import PeerServer, run_client
from tests.house import CALL_S, WAIT_S, house, left_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callengine.testing.caller.record import CallRecord
    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.faults import Fault

pytestmark = pytest.mark.realtime

GREETING = speech.clip("agent_greeting")[:12_800]
ANSWER = speech.clip("agent_reply_1")[:16_000]
FAREWELL = speech.clip("agent_reply_2")[:3_200]
QUESTION = speech.clip("caller_question_1")[:8_000]
SHOUT = speech.clip("caller_barge_in_2")[:6_400]
QUICK = Behaviour(first_audio_s=0.05)
END_S = 3.0
"""Every error is over by then, on a loaded machine too."""


@pytest.fixture(autouse=True)
def _everything_is_given_back() -> Iterator[None]:
    before = Resources.now()
    yield
    assert not Resources.back_to(before).exceeds(before), threading.enumerate()
    assert pykka.ActorRegistry.get_all() == []


def model(*faults: Fault, replies: tuple[Reply, ...] = ()) -> Callable[[], SimulatedRealtime]:
    spoken = replies or (Reply(GREETING, "Good morning."), Reply(ANSWER, "From nine to five."))
    return lambda: SimulatedRealtime(spoken, behaviour=QUICK, faults=faults)


def heard(record: CallRecord) -> bytes:
    return b"".join(span.payload for span in record.heard)


def whole_frames(audio: bytes) -> bytes:
    return audio.ljust(-(-len(audio) // 160) * 160, b"\xff")


def closed(record: CallRecord) -> tuple[int, str]:
    assert record.closed is not None
    return record.closed.code, record.closed.by


def lasted_s(record: CallRecord) -> float:
    assert record.closed is not None
    return record.closed.at - record.opened_at


# ---- a call in which all goes well


def test_a_whole_call() -> None:
    said: list[object] = []
    agent = Agent(on_event=said.append)
    with house(model(), agent) as open_house:
        record = open_house.call(
            WaitUntilQuiet(0.3, WAIT_S),
            Dial("7#", 0.05),
            Say(QUESTION, "question"),
            BargeIn(SHOUT, 0.5, "shout"),
            WaitUntilQuiet(0.5, WAIT_S),
        )
        summary = open_house.summary()
        seen = open_house.model()

    assert record.violations == []
    assert record.missed == []
    assert {frame.size_bytes for frame in record.frames} == {160}
    assert heard(record).startswith(GREETING[:-160])
    assert len(record.clears) == 1
    assert [_stale_bytes(record, seen, each) for each in seen.responses] == [0] * len(
        seen.responses
    )
    assert seen.misread_bytes == 0

    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.end_detail == ""
    assert (summary.call_sid, summary.stream_sid) == (record.call_sid, record.stream_sid)
    assert summary.first_chunk_bytes == 160
    assert summary.audio.balance_bytes == 0
    assert summary.barge_in_events == 1
    assert summary.stuck_recoveries == summary.context_errors == 0
    assert {
        "frames out": summary.tx_frames,
        "frames in": summary.inbound.frames,
        "clears": summary.transmission.clears,
        "marks": summary.playout.marks_sent,
        "deltas": summary.conversation.audio_deltas,
        "appended": summary.session.appended_bytes,
        "responses": summary.response.responses,
        "cancels": summary.response.cancels_sent,
        "truncates": summary.conversation.truncates_sent,
        "keys": summary.inbound.dtmf_digits,
    } == {
        "frames out": len(record.frames),
        "frames in": record.inbound_frames_sent,
        "clears": len(record.clears),
        "marks": len(record.marks),
        "deltas": seen.deltas_sent,
        "appended": len(seen.appended),
        "responses": len(seen.responses),
        "cancels": len(seen.cancels),
        "truncates": len(seen.truncates),
        "keys": len(record.digits),
    }
    assert [each.digit for each in said if isinstance(each, DtmfPressed)] == ["7", "#"]
    assert any(isinstance(each, CallerSaid) for each in said)
    assert AgentSaid("item_sim0001", "Good morning.") in said or any(
        isinstance(each, AgentSaid) and each.transcript == "Good morning." for each in said
    )
    assert seen.closed is not None
    assert seen.closed[0] == 1000


@pytest.mark.edge_case(86)
def test_two_calls_at_once_have_nothing_of_each_other() -> None:
    clips = [speech.clip("caller_question_1")[:8_000], speech.clip("caller_question_3")[:8_000]]
    with house(model()) as open_house:
        callers = [
            SimulatedCaller([WaitUntilQuiet(0.2, WAIT_S), Say(clip), Wait(0.1)], seed=seed)
            for seed, clip in enumerate(clips)
        ]
        threads = [open_house.begin(caller) for caller in callers]
        for thread in threads:
            thread.join(WAIT_S)
        summaries = {each.stream_sid: each for each in (open_house.summary(), open_house.summary())}
        seen = [bytes(open_house.model(n).appended) for n in range(2)]
    records = [caller.record for caller in callers]
    for record in records:
        assert record.violations == []  # a foreign streamSid would be one
        assert record.missed == []
        mine = summaries[record.stream_sid]
        assert mine.call_sid == record.call_sid
        assert mine.tx_frames == len(record.frames)
        assert mine.inbound.frames == record.inbound_frames_sent
        assert mine.inbound.foreign_frames == 0
    assert len(summaries) == 2
    for clip in clips:
        assert sum(clip in appended for appended in seen) == 1


# ---- the model


REFUSED = [
    pytest.param(key_refused(), EndCause.MODEL_REFUSED, "invalid_api_key", id="key"),
    pytest.param(beta_shape_refused(), EndCause.MODEL_REFUSED, "beta_api_shape", id="beta"),
    pytest.param(
        (RefuseSessionUpdate(),), EndCause.SESSION_REFUSED, "refused session.update", id="update"
    ),
    pytest.param((EchoOtherFormat(),), EndCause.SESSION_REFUSED, "format", id="format"),
    pytest.param((CloseSocket(After(0), 1011),), EndCause.MODEL_LOST, "1011", id="at once"),
]


@pytest.mark.edge_case(66)
@pytest.mark.parametrize(("faults", "cause", "told"), REFUSED)
def test_a_model_that_refuses(faults: tuple[Fault, ...], cause: EndCause, told: str) -> None:
    with house(model(*faults), Agent(farewell=FAREWELL)) as open_house:
        record = open_house.call(Wait(WAIT_S))
        summary = open_house.summary()
    assert (summary.end_cause, closed(record)) == (cause, (1000, "engine"))
    assert told in summary.end_detail
    assert heard(record) == FAREWELL
    assert lasted_s(record) < END_S
    assert summary.conversation.audio_bytes == 0


@pytest.mark.edge_case(67)
def test_a_wrong_key() -> None:
    check = refuse_beta_and_bad_keys("sk-right")
    agent = Agent(farewell=b"")
    with house(model(), agent, check_request=check, openai_api_key="sk-wrong") as open_house:
        record = open_house.call(Wait(WAIT_S))
        summary = open_house.summary()
    assert summary.end_cause is EndCause.MODEL_REFUSED
    assert summary.end_detail == "the model answered HTTP 401; check OPENAI_API_KEY"
    assert closed(record) == (1000, "engine")
    assert lasted_s(record) < END_S
    assert "sk-wrong" not in summary.to_json()


@pytest.mark.edge_case(67)
def test_a_model_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    with house(realtime_url=url, agent=Agent(farewell=FAREWELL)) as open_house:
        record = open_house.call(Wait(WAIT_S))
        summary = open_house.summary()
    assert summary.end_cause is EndCause.MODEL_UNREACHABLE
    assert summary.end_detail == "no connection to the model: ConnectionRefusedError"
    assert closed(record) == (1000, "engine")
    assert heard(record) == FAREWELL
    assert lasted_s(record) < END_S


@pytest.mark.edge_case(66, 74)
@pytest.mark.parametrize(
    ("lost", "cause", "told"),
    [
        (
            (CloseSocket(AtResponse(1, 800), 1006, abrupt=True),),
            EndCause.MODEL_LOST,
            "the model's socket broke",
        ),
        ((CloseSocket(AtResponse(1, 800), 1011),), EndCause.MODEL_LOST, "closed with 1011"),
        ((CloseSocket(AtResponse(1, 800), 1000),), EndCause.MODEL_LOST, "closed with 1000"),
        (session_expired(AtResponse(1, 800)), EndCause.SESSION_EXPIRED, "limit"),
    ],
    ids=["cut", "1011", "1000", "expired"],
)
def test_a_model_that_is_lost_while_it_speaks(
    lost: tuple[Fault, ...], cause: EndCause, told: str
) -> None:
    with house(model(*lost), Agent(farewell=FAREWELL), model_retries=0) as open_house:
        record = open_house.call(Wait(WAIT_S))
        summary = open_house.summary()
        [spoken] = open_house.model().responses
    assert len(spoken.audio) >= 6_400
    assert heard(record) == whole_frames(spoken.audio) + FAREWELL
    assert record.unheard_bytes == 0
    assert (summary.end_cause, closed(record)) == (cause, (1000, "engine"))
    assert told in summary.end_detail
    assert summary.audio.balance_bytes == 0
    assert lasted_s(record) < 1.6 + 0.4 + END_S


# ---- the carrier


@pytest.mark.edge_case(5, 29)
@pytest.mark.parametrize(
    ("step", "cause", "code"),
    [
        (HangUp(), EndCause.CALLER_HUNG_UP, None),
        (DropSocket(abrupt=False, code=1000), EndCause.CARRIER_LOST, 1000),
        (DropSocket(abrupt=False, code=1001), EndCause.CARRIER_LOST, 1001),
        (DropSocket(abrupt=False, code=1005), EndCause.CARRIER_LOST, 1005),
        (DropSocket(abrupt=False, code=1011), EndCause.CARRIER_LOST, 1011),
        (DropSocket(), EndCause.CARRIER_LOST, 1006),
    ],
    ids=["stop", "1000", "1001", "no code", "1011", "cut"],
)
def test_the_carrier_ends_the_call_while_the_ai_speaks(
    step: Step, cause: EndCause, code: int | None
) -> None:
    with house(model()) as open_house:
        record = open_house.call(WaitUntilHeard(WAIT_S), Wait(0.2), step)
        summary = open_house.summary()
        seen = open_house.model()
    assert summary.end_cause is cause
    if code is not None:
        assert summary.end_detail.startswith(f"the carrier's socket closed with {code}")
    assert record.closed is not None
    assert seen.closed is not None
    assert seen.closed[0] == 1000, "the model is told politely"
    assert seen.closed[2] - record.closed.at < END_S
    assert summary.audio.balance_bytes == 0


@pytest.mark.edge_case(29)
def test_the_caller_hangs_up_before_the_model_is_there() -> None:
    opened = threading.Event()

    def slow(_: object) -> None:
        opened.wait(0.5)

    with house(model(), check_request=slow) as open_house:
        open_house.call(Wait(0.05))
        summary = open_house.summary()
        opened.set()
    assert summary.end_cause is EndCause.CALLER_HUNG_UP


def media(payload: object) -> str:
    return json.dumps({"event": "media", "streamSid": "MZ0", "media": {"payload": payload}})


STOP = '{"event":"stop","streamSid":"MZ0","stop":{"callSid":"CA1"}}'


def raw_start() -> str:
    return TwilioStream(StreamFacts(), seed=99).start({})


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("{", "not_json"),
        ("", "not_json"),
        ("[]", "not_an_object"),
        (b"\x00\x01", "binary"),
        (media("not base64!"), "bad_base64"),
        (media(7), "wrong_type"),
        ('{"event":"media"}', "missing_field"),
    ],
)
def test_a_message_that_is_malformed_costs_itself_only(message: str | bytes, fault: str) -> None:
    with house(model()) as open_house:
        record = open_house.call(
            SendRaw(message), WaitUntilHeard(WAIT_S), SendRaw(message), Wait(0.1)
        )
        summary = open_house.summary()
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert dict(summary.inbound.malformed) == {fault: 2}
    assert summary.inbound.frames == record.inbound_frames_sent
    assert record.heard
    assert record.violations == []


@pytest.mark.edge_case(2)
def test_media_before_the_start_is_counted_and_harms_nothing() -> None:
    mark = '{"event":"mark","streamSid":"MZ0","mark":{"name":"x"}}'
    early = (media(b64encode(bytes(160)).decode()), mark)
    with house(model()) as open_house:
        record = open_house.call(before_start=early)
        summary = open_house.summary()
        assert bytes(160) not in open_house.model().appended
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.inbound.early_messages == 2
    assert record.heard
    assert record.violations == []  # nothing was sent before there was a stream


@pytest.mark.edge_case(4)
def test_a_stop_before_the_start() -> None:
    with house(model()) as open_house:
        record = open_house.call(Wait(WAIT_S), before_start=[STOP], start_delay_s=WAIT_S)
        summary = open_house.summary()
    assert (summary.end_cause, closed(record)) == (EndCause.CALLER_HUNG_UP, (1000, "engine"))
    assert lasted_s(record) < END_S


@pytest.mark.edge_case(17)
@pytest.mark.parametrize(
    "media_format",
    [{"encoding": "audio/l16"}, {"sampleRate": 16_000}, {"channels": 2}],
)
def test_a_stream_that_is_not_mu_law(media_format: dict[str, object]) -> None:
    with house(model()) as open_house:
        record = open_house.call(Wait(WAIT_S), start_overrides={"mediaFormat": media_format})
        summary = open_house.summary()
    assert (summary.end_cause, closed(record)) == (EndCause.UNSUPPORTED_MEDIA, (1003, "engine"))
    assert "not mu-law" in summary.end_detail
    assert record.frames == []
    assert lasted_s(record) < END_S


@pytest.mark.edge_case(6)
def test_a_second_start_ends_the_call() -> None:
    with house(model()) as open_house:
        record = open_house.call(WaitUntilHeard(WAIT_S), SendRaw(raw_start()), Wait(WAIT_S))
        summary = open_house.summary()
    assert (summary.end_cause, closed(record)) == (EndCause.SECOND_START, (1008, "engine"))
    assert summary.stream_sid == record.stream_sid
    assert record.violations == []
    assert lasted_s(record) < END_S


# ---- the host's code


def tool(function: Callable[..., object]) -> Agent:
    described = Tool("look_up", "Looks something up.", {"type": "object"}, function)
    return Agent(tools=(described,))


TOOL_CALL = Reply(GREETING, "One moment.", (ToolCall("look_up", '{"what": "hours"}', "call_1"),))


def test_a_tool_runs_on_its_own_thread_and_its_result_reaches_the_model() -> None:
    threads: list[str] = []

    def look_up(what: str) -> dict[str, str]:
        threads.append(threading.current_thread().name)
        return {"what": what, "answer": "nine to five"}

    with house(model(replies=(TOOL_CALL, Reply(ANSWER, "Nine."))), tool(look_up)) as open_house:
        record = open_house.call(WaitUntilHeard(WAIT_S), WaitUntilQuiet(0.5, WAIT_S))
        summary = open_house.summary()
        seen = open_house.model()
    [output] = seen.function_outputs
    assert (output.call_id, json.loads(output.output)) == (
        "call_1",
        {"what": "hours", "answer": "nine to five"},
    )
    assert len(threads) == 1
    assert threads[0].startswith("callengine-host")
    assert len(seen.responses) == 2
    assert heard(record).endswith(whole_frames(ANSWER))
    assert summary.tools.tool_calls == 1
    assert summary.context_errors == 0


def test_a_tool_that_raises_is_counted_and_told_to_the_model() -> None:
    def look_up(what: str) -> None:
        raise KeyError(f"caller's secret {what}")

    with house(model(replies=(TOOL_CALL, Reply(ANSWER, "Sorry."))), tool(look_up)) as open_house:
        record = open_house.call(WaitUntilHeard(WAIT_S), WaitUntilQuiet(0.5, WAIT_S))
        summary = open_house.summary()
        [output] = open_house.model().function_outputs
    assert json.loads(output.output) == {"error": "the tool failed: KeyError"}
    assert summary.context_errors == 1
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert heard(record).endswith(whole_frames(ANSWER))


def test_a_tool_that_takes_its_time_delays_no_audio() -> None:
    """The tool waits until the caller has heard the reply: if it delayed audio it would not."""
    all_heard = threading.Event()
    waited: list[bool] = []

    def look_up(what: str) -> str:
        waited.append(all_heard.wait(WAIT_S))
        return what

    replies = (TOOL_CALL, Reply(ANSWER, "Nine."))
    with house(model(replies=replies), tool(look_up)) as open_house:
        caller = SimulatedCaller([WaitUntilHeard(WAIT_S), WaitUntilQuiet(0.5, WAIT_S)])

        def progress(_: float) -> None:
            if len(caller.record.frames) >= len(GREETING) // 160:
                all_heard.set()

        run_client(caller, open_house.server.media_url, deadline_s=CALL_S, on_progress=progress)
        summary = open_house.summary()
    assert waited == [True]
    assert summary.tools.tool_calls == 1
    assert summary.inbound.frames == caller.record.inbound_frames_sent
    assert heard(caller.record).startswith(GREETING[:-160])


@pytest.mark.edge_case(29, 51)
def test_the_caller_hangs_up_while_a_tool_is_running() -> None:
    running, release = threading.Event(), threading.Event()

    def look_up(what: str) -> str:
        running.set()
        release.wait(WAIT_S)
        return what

    with house(model(replies=(TOOL_CALL,)), tool(look_up)) as open_house:
        caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(0.3)])
        thread = open_house.begin(caller)
        assert running.wait(WAIT_S)
        thread.join(WAIT_S)
        summary = open_house.summary()
        seen = open_house.model()
        release.set()
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert seen.function_outputs == []
    assert seen.closed is not None
    assert caller.record.closed is not None
    assert seen.closed[2] - caller.record.closed.at < END_S


# ---- stopping


@pytest.mark.edge_case(84)
def test_stopping_the_engine_ends_every_call_politely() -> None:
    with house(model()) as open_house:
        callers = [SimulatedCaller([Wait(WAIT_S)], seed=seed) for seed in range(3)]
        threads = [open_house.begin(caller) for caller in callers]
        began = time.monotonic()
        open_house.server.stop()
        assert time.monotonic() - began < 2.0
        for thread in threads:
            thread.join(WAIT_S)
        summaries = [open_house.summary() for _ in callers]
        models = [open_house.model(n) for n in range(3)]
    assert [each.end_cause for each in summaries] == [EndCause.SHUTDOWN] * 3
    assert [closed(caller.record) for caller in callers] == [(1001, "engine")] * 3
    assert [each.closed[0] for each in models if each.closed] == [1000] * 3


def test_stopping_the_engine_does_not_wait_for_a_tool() -> None:
    running, release = threading.Event(), threading.Event()

    def look_up(what: str) -> str:
        running.set()
        release.wait(WAIT_S)
        return what

    with house(model(replies=(TOOL_CALL,)), tool(look_up)) as open_house:
        caller = SimulatedCaller([Wait(WAIT_S)])
        thread = open_house.begin(caller)
        assert running.wait(WAIT_S)
        began = time.monotonic()
        stopping = threading.Thread(target=open_house.server.stop)
        stopping.start()
        thread.join(WAIT_S)
        assert caller.record.closed is not None
        assert caller.record.closed.at - began < 2.0
        stopping.join(WAIT_S)
        summary = open_house.summary()
        release.set()
    assert closed(caller.record) == (1001, "engine")
    assert summary.end_cause is EndCause.SHUTDOWN
    assert summary.inbound.frames > 0, "what the others counted is not lost"


class HostEdge:
    """An `Edge` of a host: the test is the carrier."""

    def __init__(self, *messages: object) -> None:
        self.sent: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.closes: list[tuple[int, str]] = []
        self.fails: BaseException | None = None
        self._incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for message in messages:
            self._incoming.put(message)

    def tell(self, message: object) -> None:
        self._incoming.put(message)

    def receive(self) -> str | bytes:
        message = self._incoming.get(timeout=WAIT_S)
        if isinstance(message, BaseException):
            raise message
        taken: str | bytes = message
        return taken

    def send(self, message: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.sent.put(message)

    def close(self, code: int, reason: str) -> None:
        if not self.closes:
            self.closes.append((code, reason))
            self.tell(EdgeClosed(code, reason))


@pytest.fixture
def model_url() -> Iterator[str]:
    with PeerServer(model()) as server:
        yield server.url


def serve(engine: CallEngine, edge: HostEdge) -> CallSummary:
    with engine:
        return engine.serve(edge)


def test_a_host_with_an_edge_of_its_own(model_url: str) -> None:
    edge = HostEdge(raw_start())
    engine = CallEngine(Settings(realtime_url=model_url))
    results: list[CallSummary] = []
    thread = threading.Thread(target=lambda: results.append(engine.serve(edge)))
    thread.start()
    assert "mark" in edge.sent.get(timeout=WAIT_S)
    assert '"media"' in edge.sent.get(timeout=WAIT_S)
    assert engine.active_calls == 1
    edge.tell(STOP)
    thread.join(WAIT_S)
    assert engine.active_calls == 0
    engine.stop()
    assert [each.end_cause for each in results] == [EndCause.CALLER_HUNG_UP]
    assert edge.closes == [(1000, "caller_hung_up")]


def test_an_oversized_message_from_an_edge_that_lets_it_pass(model_url: str) -> None:
    edge = HostEdge(raw_start(), media("A" * 2 * 1024 * 1024))
    summary = serve(CallEngine(Settings(realtime_url=model_url)), edge)
    assert summary.end_cause is EndCause.OVERSIZE_MESSAGE
    assert edge.closes == [(1009, "oversize_message")]


@pytest.mark.edge_case(84)
@pytest.mark.parametrize("error", [EdgeClosed(1006), OSError("broken"), ZeroDivisionError()])
def test_whatever_an_edge_raises_the_call_ends(model_url: str, error: Exception) -> None:
    edge = HostEdge(raw_start(), error)
    summary = serve(CallEngine(Settings(realtime_url=model_url)), edge)
    assert summary.end_cause is EndCause.CARRIER_LOST
    assert "1006" in summary.end_detail


def test_an_edge_that_cannot_send_is_not_left_in_silence(model_url: str) -> None:
    edge = HostEdge(raw_start())
    edge.fails = ZeroDivisionError()
    summary = serve(CallEngine(Settings(realtime_url=model_url)), edge)
    assert summary.end_cause is EndCause.CARRIER_STALLED
    assert len(edge.closes) == 1


@pytest.mark.edge_case(84)
def test_a_serving_thread_that_is_interrupted_takes_its_call_along(model_url: str) -> None:
    edge = HostEdge(raw_start(), KeyboardInterrupt())
    with (
        CallEngine(Settings(realtime_url=model_url)) as engine,
        pytest.raises(KeyboardInterrupt),
    ):
        engine.serve(edge)
    assert engine.active_calls == 0
    assert edge.closes == [(1001, "shutdown")]


@pytest.mark.parametrize("gone", [False, True])
def test_an_engine_without_room_refuses(model_url: str, *, gone: bool) -> None:
    class Gone(HostEdge):
        def close(self, code: int, reason: str) -> None:
            super().close(code, reason)
            if gone:
                raise EdgeClosed(1006)

    busy, refused, late = HostEdge(raw_start()), Gone(), Gone()
    engine = CallEngine(Settings(realtime_url=model_url, max_calls=1))
    thread = threading.Thread(target=engine.serve, args=(busy,))
    thread.start()
    busy.sent.get(timeout=WAIT_S)
    with pytest.raises(EngineStopped, match="max_calls"):
        engine.serve(refused)
    engine.stop()
    thread.join(WAIT_S)
    with pytest.raises(EngineStopped):
        engine.serve(late)
    assert [edge.closes[0][0] for edge in (busy, refused, late)] == [1001, 1013, 1013]


def test_an_engine_that_stops_while_a_call_begins(
    model_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    admitted, stopped = threading.Event(), threading.Event()

    def late_start(*given: Any) -> object:  # noqa: ANN401
        admitted.set()
        assert stopped.wait(WAIT_S)
        return start_call(*given)

    monkeypatch.setattr("callengine.holding.live.start_call", late_start)
    edge, engine, results = HostEdge(raw_start()), CallEngine(Settings(realtime_url=model_url)), []
    serving = threading.Thread(target=lambda: results.append(engine.serve(edge)))
    serving.start()
    assert admitted.wait(WAIT_S)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    while not engine.full:
        time.sleep(0.001)
    stopped.set()
    stopping.join(WAIT_S)
    serving.join(WAIT_S)
    assert [each.end_cause for each in results] == [EndCause.SHUTDOWN]
    assert edge.closes == [(1001, "shutdown")]


def test_a_call_whose_supervisor_dies_does_not_go_on_without_it(
    model_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handle(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Supervisor, "handle", handle)
    edge = HostEdge(raw_start())
    summary = serve(CallEngine(Settings(realtime_url=model_url)), edge)
    assert summary.end_cause is EndCause.CRASHED
    assert edge.closes == [(1011, "crashed")]


def test_an_engine_that_has_no_time_to_stop_still_gives_everything_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callengine.holding.on_thread.END_TIMEOUT_S", 0.3)
    running, release = threading.Event(), threading.Event()

    def look_up(what: str) -> str:
        running.set()
        release.wait(WAIT_S)
        return what

    edge, failures = HostEdge(raw_start()), []
    with PeerServer(model(replies=(TOOL_CALL,))) as server:
        engine = CallEngine(Settings(realtime_url=server.url), agent=tool(look_up))

        def hold() -> None:
            with pytest.raises(EngineStopped, match="before its summary") as raised:
                engine.serve(edge)
            failures.append(raised.value)

        thread = threading.Thread(target=hold)
        thread.start()
        assert running.wait(WAIT_S)
        engine.stop(timeout_s=0)
        thread.join(WAIT_S)
        release.set()
        assert left_running() == []
    assert len(failures) == 1
    assert edge.closes[0][0] == 1001


def test_an_engine_that_was_never_used_has_nothing_to_stop() -> None:
    threads = threading.active_count()
    with CallEngine(Settings()) as engine:
        assert threading.active_count() == threads
    engine.stop()
    assert engine.full


def test_importing_the_package_does_nothing() -> None:
    code = """
import logging, socket, sys, threading
sockets = []
real = socket.socket.__init__
def counted(self, *args, **kwargs):
    sockets.append(args)
    real(self, *args, **kwargs)
socket.socket.__init__ = counted
from loguru import logger
before = len(logger._core.handlers)
import callengine
assert sockets == [], sockets
assert threading.active_count() == 1, threading.enumerate()
assert len(logger._core.handlers) == before
assert not logging.getLogger().handlers
assert not logging.getLogger("callengine").handlers
assert not {"websockets", "sqlalchemy", "flask", "fastapi", "django"} & set(sys.modules)
callengine.CallEngine(callengine.Settings())
assert sockets == [] and threading.active_count() == 1
logger.bind().patch(lambda _: None)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
