"""`engine.drain(...)`: calls finish, who stays is told goodbye, and nobody new comes in."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from callengine import Agent, CallEngine, CallSummary, EndCause, EngineStopped, Settings
from callengine.security.tickets import TICKET_PARAMETER, Ticket
from callengine.testing import SimulatedCaller, Wait, WaitUntilHeard
from callengine.testing.caller.stream import StreamFacts, TwilioStream
from callengine.testing.sockets import PeerServer
from tests.edges.test_twilio_rest import twilio
from tests.house import WAIT_S, house, left_running
from tests.test_engine import END_S, FAREWELL, STOP, HostEdge, closed, heard, model, raw_start

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.realtime

AGENT = Agent(farewell=FAREWELL, fallback=b"")


def draining(engine: CallEngine, deadline_s: float) -> threading.Thread:
    """Drain on a thread of its own; returns when no more calls are taken."""
    thread = threading.Thread(target=engine.drain, args=(deadline_s,))
    thread.start()
    until = time.monotonic() + WAIT_S
    while not engine.draining and time.monotonic() < until:
        time.sleep(0.001)
    return thread


def test_a_call_that_finishes_in_time_is_not_disturbed() -> None:
    with house(model(), AGENT) as open_house:
        engine = open_house.server._engine
        caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(1.0)])
        calling = open_house.begin(caller)
        began = time.monotonic()
        engine.drain(WAIT_S)
        assert time.monotonic() - began < WAIT_S, "it does not wait for longer than it must"
        calling.join(WAIT_S)
        summary = open_house.summary()
        assert (engine.draining, engine.ready, engine.slots_free) == (True, False, 0)
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert closed(caller.record) == (1000, "caller")
    assert FAREWELL not in heard(caller.record)


def test_who_stays_hears_the_farewell_to_its_end_and_is_hung_up_on() -> None:
    with house(model(), AGENT) as open_house:
        callers = [SimulatedCaller([Wait(WAIT_S)], seed=seed) for seed in range(2)]
        calling = [open_house.begin(caller) for caller in callers]
        began = time.monotonic()
        open_house.server._engine.drain(0.3)
        assert time.monotonic() - began < 0.3 + END_S
        for thread in calling:
            thread.join(WAIT_S)
        summaries = [open_house.summary() for _ in callers]
    assert [each.end_cause for each in summaries] == [EndCause.DRAINED] * 2
    for caller in callers:
        assert heard(caller.record).endswith(FAREWELL)
        assert closed(caller.record) == (1000, "engine")


def test_who_stays_is_put_through_if_there_is_somebody() -> None:
    agent = Agent(farewell=FAREWELL, fallback=b"", transfer_number="+15550100")
    with (
        twilio(200, {}) as carrier,
        house(
            model(),
            agent,
            twilio_auth_token="0123",
            twilio_api_url=carrier.url,
            validate_signatures=False,
        ) as open_house,
    ):
        caller = SimulatedCaller([Wait(WAIT_S)])
        calling = open_house.begin(caller)
        open_house.server._engine.drain(0.0)
        calling.join(WAIT_S)
        summary = open_house.summary()
    assert summary.transferred
    assert summary.end_cause is EndCause.DRAINED
    assert len(carrier.asked) == 1


@pytest.fixture
def engine() -> Iterator[CallEngine]:
    with PeerServer(model()) as models:
        made = CallEngine(Settings(realtime_url=models.url), agent=AGENT)
        yield made
        made.stop()
    assert left_running() == []


def begun(engine: CallEngine, edge: HostEdge) -> tuple[threading.Thread, list[CallSummary]]:
    """A call that was let in."""
    told: list[CallSummary] = []
    thread = threading.Thread(target=lambda: told.append(engine.serve(edge)))
    thread.start()
    edge.sent.get(timeout=WAIT_S)
    return thread, told


def test_no_new_call_is_taken_while_others_finish(engine: CallEngine) -> None:
    first, second = HostEdge(raw_start()), HostEdge(raw_start())
    calling, told = begun(engine, first)
    drain = draining(engine, WAIT_S)
    with pytest.raises(EngineStopped, match="draining"):
        engine.serve(second)
    assert second.closes == [(1013, "no room for another call")]
    first.tell(STOP)
    calling.join(WAIT_S)
    drain.join(WAIT_S)
    assert not drain.is_alive()
    assert [each.end_cause for each in told] == [EndCause.CALLER_HUNG_UP]
    assert left_running() == []


def test_it_may_be_asked_for_as_often_as_one_likes(engine: CallEngine) -> None:
    calling, told = begun(engine, HostEdge(raw_start()))
    drains = [draining(engine, 0.2) for _ in range(3)]
    for each in [*drains, calling]:
        each.join(WAIT_S)
        assert not each.is_alive()
    assert [each.end_cause for each in told] == [EndCause.DRAINED]
    began = time.monotonic()
    engine.drain(WAIT_S)
    assert time.monotonic() - began < 1.0, "there is nothing left to wait for"


def test_an_engine_without_calls_drains_at_once() -> None:
    engine = CallEngine(Settings())
    began = time.monotonic()
    engine.drain(WAIT_S)
    assert time.monotonic() - began < 1.0
    assert engine.full


def test_a_caller_who_was_sent_to_us_before_is_still_taken(engine: CallEngine) -> None:
    """The webhook was answered with a ticket; its socket comes while the engine drains."""
    assert engine.reserve("CA9")
    token = engine.tickets.issue(Ticket("CA9"), time.time())
    facts = StreamFacts(custom_parameters={TICKET_PARAMETER: token}, call_sid="CA9")
    drain = draining(engine, WAIT_S)
    stranger = HostEdge(raw_start())
    with pytest.raises(EngineStopped):
        engine.serve(stranger)
    assert drain.is_alive(), "it waits for the one who was sent"
    edge = HostEdge(TwilioStream(facts, seed=5).start({}))
    told: list[CallSummary] = []
    calling = threading.Thread(
        target=lambda: told.append(engine.serve(edge, tickets=engine.tickets))
    )
    calling.start()
    edge.sent.get(timeout=WAIT_S)
    edge.tell(STOP)
    for each in (calling, drain):
        each.join(WAIT_S)
        assert not each.is_alive()
    assert [each.end_cause for each in told] == [EndCause.CALLER_HUNG_UP]
