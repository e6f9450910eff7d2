"""One fault at a time on the way to the model: the real engine, the real edges, TCP in between."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from callengine import CallSummary, EndCause
from callengine.edges import outbox, realtime
from callengine.machines import session
from callengine.testing import (
    SimulatedCaller,
    SimulatedRealtime,
    Wait,
    WaitUntilHeard,
)
from callengine.testing.crowd.crowd import Crowd, CrowdCall
from callengine.testing.held import reply
from callengine.testing.network.proxy import Cut, Slow, Swallow
from callengine.testing.network.relay import Side
from callengine.testing.realtime.faults import (
    After,
    AtResponse,
    AtResponseDone,
    CloseSocket,
    GoSilent,
    SendRaw,
    error_message,
)
from tests.house import CALL_S, WAIT_S, house
from tests.socket_faults.rig import (
    AGENT,
    QUICK,
    SMALL_BYTES,
    hold,
    is_released,
    line_to_model,
    says_goodbye,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.realtime.faults import Fault


pytestmark = pytest.mark.realtime

ONCE: Final[dict[str, Any]] = {"agent": AGENT, "model_retries": 0}
"""What is lost is not connected to again: it is its end that is looked at."""


@pytest.mark.edge_case(66)
def test_a_model_whose_connection_is_reset_while_it_speaks() -> None:
    with line_to_model() as line, house(**ONCE, realtime_url=line.url) as open_house:
        record = hold(open_house, strike=lambda: line.strike(Cut()))
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause is EndCause.MODEL_LOST
    assert summary.end_detail.startswith("the model's socket broke: ")
    assert says_goodbye(record, summary, line.model)


@pytest.mark.edge_case(68)
@pytest.mark.usefixtures("short_limits")
def test_a_model_whose_connection_is_dead_but_open() -> None:
    """Nothing arrives any more, no pong either, and what is sent is lost."""
    with line_to_model() as line, house(**ONCE, realtime_url=line.url) as open_house:
        record = hold(open_house, strike=lambda: line.strike(Swallow()))
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause is EndCause.MODEL_SILENT
    assert says_goodbye(record, summary, line.model)
    assert summary.watchdog.resets_granted == 1
    assert summary.duration_s < 7.0


@pytest.mark.edge_case(68)
@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize("fault", [GoSilent(AtResponseDone(1)), GoSilent(AtResponse(1, 500))])
def test_a_model_that_is_silent_but_answers_pings_is_not_given_up(fault: Fault) -> None:
    with line_to_model(fault) as line, house(agent=AGENT, realtime_url=line.url) as open_house:
        record = hold(open_house, Wait(2.5))
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.watchdog.resets_granted == 0
    assert record.violations == []


@pytest.mark.edge_case(67)
def test_a_model_that_opens_its_socket_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(session.DEADLINE_S, session.State.CONFIGURING, 0.5)
    silent = GoSilent(After(0))
    with line_to_model(silent) as line, house(agent=AGENT, realtime_url=line.url) as open_house:
        record = hold(open_house, after_frames=0)
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause is EndCause.SESSION_REFUSED
    assert summary.end_detail == "the model did not confirm session.update"
    assert says_goodbye(record, summary, None)


@pytest.mark.edge_case(67)
def test_a_model_that_takes_the_connection_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(realtime, "CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # which accepts for us, and waits
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        with house(agent=AGENT, realtime_url=url) as open_house:
            record = hold(open_house, after_frames=0)
            summary = open_house.summary()
            assert is_released(open_house)
    assert summary.end_cause is EndCause.MODEL_UNREACHABLE
    assert "Timeout" in summary.end_detail
    assert says_goodbye(record, summary, None)


@pytest.mark.edge_case(67)
def test_a_model_whose_port_drops_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "CONNECT_TIMEOUT_S", 0.5)
    with full_listener() as address, house(agent=AGENT, realtime_url=address) as open_house:
        record = hold(open_house, after_frames=0)
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause is EndCause.MODEL_UNREACHABLE
    assert says_goodbye(record, summary, None)


@contextlib.contextmanager
def full_listener() -> Iterator[str]:
    """A port on which nobody accepts and no more connections fit: the kernel drops them."""
    with contextlib.ExitStack() as plugs:
        listener = plugs.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            plug = plugs.enter_context(socket.socket())
            plug.setblocking(False)
            plug.connect_ex(listener.getsockname())
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"


REFUSALS = {
    401: EndCause.MODEL_REFUSED,
    403: EndCause.MODEL_REFUSED,
    404: EndCause.MODEL_UNREACHABLE,
    429: EndCause.MODEL_UNREACHABLE,
    500: EndCause.MODEL_UNREACHABLE,
    503: EndCause.MODEL_UNREACHABLE,
}


@pytest.mark.edge_case(67)
def test_a_model_that_refuses_the_upgrade() -> None:
    calls = {status: crowd_call(status, refuse_with=status) for status in REFUSALS}
    for status, summary in at_once(calls).items():
        assert summary.end_cause is REFUSALS[status]
        assert f"HTTP {status}" in summary.end_detail
        assert says_goodbye(calls[status].caller.record, summary, None)


def crowd_call(number: int, *faults: Fault, refuse_with: int | None = None) -> CrowdCall:
    caller = SimulatedCaller([Wait(CALL_S)], seed=number)
    model = SimulatedRealtime([reply(2.0, number)], behaviour=QUICK, faults=faults)
    return CrowdCall(caller, model, refuse_with=refuse_with)


def at_once(calls: dict[int, CrowdCall]) -> dict[int, CallSummary]:
    """Hold all these calls at the same time, in one engine."""
    with Crowd() as crowd, house(**ONCE, realtime_url=crowd.model_url) as open_house:
        crowd.hold(calls.values(), open_house.server.media_url, deadline_s=CALL_S)
        told = [open_house.summary() for _ in calls]
        assert is_released(open_house)
    by_stream = {each.stream_sid: each for each in told}
    return {key: by_stream[call.caller.record.stream_sid] for key, call in calls.items()}


CLOSES = {
    1000: EndCause.MODEL_LOST,
    1001: EndCause.MODEL_LOST,
    1006: EndCause.MODEL_LOST,
    1008: EndCause.MODEL_LOST,
    1011: EndCause.MODEL_LOST,
    1012: EndCause.MODEL_LOST,
    1013: EndCause.MODEL_LOST,
    3000: EndCause.MODEL_REFUSED,
    4000: EndCause.MODEL_REFUSED,
}


@pytest.mark.edge_case(66)
@pytest.mark.parametrize("told", [False, True], ids=["without an error", "behind an error"])
def test_a_model_that_closes_while_it_speaks(*, told: bool) -> None:
    at = AtResponse(1, 600)
    error = (SendRaw(at, error_message("server_error", "oops", "server_error")),) if told else ()
    calls = {
        code: crowd_call(code, *error, CloseSocket(at, code, "why", abrupt=code == 1006))
        for code in CLOSES
    }
    for code, summary in at_once(calls).items():
        call = calls[code]
        assert summary.end_cause is CLOSES[code], code
        expected = "the model's socket broke" if code == 1006 else f"closed with {code} why"
        assert expected in summary.end_detail
        assert says_goodbye(call.caller.record, summary, call.model.record), code
        assert summary.conversation.errors.total() == told


@pytest.mark.usefixtures("small_buffers")
def test_a_model_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer hangs in the socket's send, and must not hold anybody up for long."""
    monkeypatch.setattr(outbox, "CLOSE_TIMEOUT_S", 0.5)
    with (
        line_to_model(buffer_bytes=SMALL_BYTES) as line,
        house(**ONCE, realtime_url=line.url) as open_house,
    ):
        record = hold(open_house, strike=lambda: line.strike(Slow(Side.SERVER)))
        assert record.closed is not None
        summary = open_house.summary()
        assert is_released(open_house)
        assert time.monotonic() - record.closed.at < 3.0
    assert summary.end_cause is EndCause.MODEL_LOST
    assert summary.end_detail == "the model has stopped reading"
    assert says_goodbye(record, summary, line.model)


@pytest.mark.usefixtures("small_buffers")
def test_the_caller_hangs_up_while_the_model_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "CLOSE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(realtime, "MAX_MEDIA", 500)
    with (
        line_to_model(buffer_bytes=SMALL_BYTES) as line,
        house(agent=AGENT, realtime_url=line.url) as open_house,
    ):
        script = (WaitUntilHeard(WAIT_S), Wait(1.5))
        record = hold(open_house, *script, strike=lambda: line.strike(Slow(Side.SERVER)))
        assert record.closed is not None
        summary = open_house.summary()
        assert is_released(open_house)
        assert time.monotonic() - record.closed.at < 3.0
    assert summary.end_cause is EndCause.CALLER_HUNG_UP


def test_a_model_that_does_not_read_for_a_while_misses_nothing() -> None:
    pause = Slow(Side.SERVER, for_s=1.0)
    with (
        line_to_model(buffer_bytes=SMALL_BYTES) as line,
        house(agent=AGENT, realtime_url=line.url) as open_house,
    ):
        script = (WaitUntilHeard(WAIT_S), Wait(1.5))
        record = hold(open_house, *script, strike=lambda: line.strike(pause))
        summary = open_house.summary()
        assert is_released(open_house)
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert len(line.model.appended) == summary.session.appended_bytes
    assert summary.session.appended_bytes == 160 * record.inbound_frames_sent
