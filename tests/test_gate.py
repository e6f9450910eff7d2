"""Who is let in: by slots, by lateness, and by whether calls are still taken."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from callengine.errors import EngineStopped
from callengine.gate import Gate, Visit
from callengine.machines.strain import Level, Strain
from callengine.security.tickets import LIFETIME_S, Ticket, TicketFault, Tickets

TICKETS = Tickets(bytes(32))
WALL = 1_700_000_000.0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def strain() -> Strain:
    return Strain()


@pytest.fixture
def gate(clock: Clock, strain: Strain) -> Gate:
    return Gate(2, strain, clock)


def overload(strain: Strain, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 0.01
        strain.alarms.note(clock.now, 1.0)
    assert strain.level(clock.now) is Level.OVERLOADED


def shows(visit: Visit, call_sid: str, tickets: Tickets = TICKETS) -> Ticket | TicketFault:
    return visit.redeem(tickets.issue(Ticket(call_sid), WALL), call_sid, WALL)


def test_a_socket_that_was_announced_is_let_in_when_all_slots_are_promised(gate: Gate) -> None:
    assert gate.reserve("CA1")
    assert gate.reserve("CA2")
    assert not gate.reserve("CA3")
    assert gate.free == 0
    assert gate.admits(ticketed=True)
    visit = gate.enter(TICKETS)
    assert shows(visit, "CA1") == Ticket("CA1")
    assert (gate.promised, gate.free) == (1, 0)
    visit.leave()
    visit.leave()
    assert (gate.promised, gate.free) == (1, 1)


def test_a_webhook_that_is_asked_again_holds_one_slot(gate: Gate) -> None:
    assert gate.reserve("CA1")
    assert gate.reserve("CA1")
    assert (gate.promised, gate.free) == (1, 1)


def test_a_slot_that_nobody_comes_for_is_free_when_the_ticket_has_expired(
    gate: Gate, clock: Clock
) -> None:
    assert gate.reserve("CA1")
    assert gate.reserve("CA2")
    clock.now += LIFETIME_S
    assert gate.free == 2
    assert gate.reserve("CA3")


def test_who_was_announced_elsewhere_gets_a_free_slot_or_none(gate: Gate) -> None:
    """Processes share the secret of their tickets, and nothing else."""
    first, second = gate.enter(TICKETS), gate.enter(TICKETS)
    assert shows(first, "CA8") == Ticket("CA8")
    second.leave()
    assert gate.reserve("CA1")
    third = gate.enter(TICKETS)
    assert shows(third, "CA9") is TicketFault.NO_ROOM
    assert gate.promised == 1, "that one is kept"
    assert shows(gate.enter(TICKETS), "CA1") == Ticket("CA1")


def test_a_bad_ticket_takes_no_slot(gate: Gate) -> None:
    visit = gate.enter(TICKETS)
    assert gate.free == 1, "he might have had one"
    assert shows(visit, "CA1", Tickets(b"another desk, another secret")) is TicketFault.FOREIGN
    assert visit.redeem(None, "CA1", WALL) is TicketFault.MISSING
    visit.leave()
    assert gate.free == 2


def test_who_has_left_takes_no_slot_any_more(gate: Gate) -> None:
    gate.reserve("CA1")
    visit = gate.enter(TICKETS)
    visit.leave()
    assert shows(visit, "CA1") is TicketFault.NO_ROOM
    assert (gate.promised, gate.free) == (1, 1)


def test_without_tickets_free_slots_alone_count(gate: Gate) -> None:
    assert gate.reserve(None)
    assert gate.free == 2, "nobody could show that it is for him"
    first, _ = gate.enter(None), gate.enter(None)
    assert not gate.reserve(None)
    assert not gate.admits(ticketed=False)
    with pytest.raises(EngineStopped, match="max_calls"):
        gate.enter(None)
    first.leave()
    assert gate.admits(ticketed=False)


def test_who_has_no_ticket_gets_no_promised_slot(gate: Gate) -> None:
    gate.reserve("CA1")
    gate.reserve("CA2")
    assert not gate.admits(ticketed=False)
    with pytest.raises(EngineStopped):
        gate.enter(None)


def test_a_strained_engine_takes_nobody_but_whom_it_has_sent_for(
    gate: Gate, strain: Strain, clock: Clock
) -> None:
    assert gate.reserve("CA1")
    overload(strain, clock)
    assert gate.strained
    assert not gate.reserve("CA2")
    assert not gate.reserve(None)
    assert not gate.admits(ticketed=False)
    assert shows(gate.enter(TICKETS), "CA1") == Ticket("CA1")
    assert not gate.admits(ticketed=True), "nobody else is expected"
    with pytest.raises(EngineStopped, match="runs late"):
        gate.enter(TICKETS)
    clock.now += 60
    assert gate.reserve("CA2")


def test_a_draining_engine_takes_nobody_but_whom_it_has_sent_for(gate: Gate) -> None:
    assert gate.reserve("CA1")
    gate.drain()
    with pytest.raises(EngineStopped, match="draining"):
        gate.reserve("CA1")
    with pytest.raises(EngineStopped, match="draining"):
        gate.enter(None)
    assert shows(gate.enter(TICKETS), "CA1") == Ticket("CA1")
    with pytest.raises(EngineStopped, match="draining"):
        gate.enter(TICKETS)


def test_a_stopped_engine_takes_nobody(gate: Gate) -> None:
    assert gate.reserve("CA1")
    gate.stop()
    assert not gate.admits(ticketed=True)
    for tickets in (TICKETS, None):
        with pytest.raises(EngineStopped, match="stopped"):
            gate.enter(tickets)
    with pytest.raises(EngineStopped, match="stopped"):
        gate.reserve("CA2")


def test_who_is_turned_away_for_want_of_room_is_counted(gate: Gate) -> None:
    assert gate.reserve("CA1")
    assert gate.reserve("CA2")
    assert gate.turned_away == 0
    gate.reserve("CA3")
    gate.reserve(None)
    gate.admits(ticketed=False)
    with pytest.raises(EngineStopped):
        gate.enter(None)
    assert gate.turned_away == 4
    gate.drain()
    gate.admits(ticketed=False)
    assert gate.turned_away == 4, "he is sent elsewhere"


def test_of_many_threads_as_many_get_a_slot_as_there_are(strain: Strain) -> None:
    limit, threads = 5, 16
    gate, together = Gate(limit, strain, time.monotonic), Barrier(threads)

    def call(number: int) -> bool:
        together.wait()
        sid = f"CA{number}"
        if not gate.reserve(sid):
            return False
        assert shows(gate.enter(TICKETS), sid) == Ticket(sid)
        return True

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(call, range(threads))) == limit
    assert (gate.promised, gate.free, gate.turned_away) == (0, 0, threads - limit)
