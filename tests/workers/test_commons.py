"""Slots and used tickets that several processes share. Workers are joined in turn, in this one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.errors import EngineStopped
from callengine.gate import Gate
from callengine.machines.slots import Slots
from callengine.machines.strain import Strain
from callengine.security.tickets import LIFETIME_S, Ticket, TicketFault, Tickets
from callengine.workers import commons as commons_module
from callengine.workers.commons import Commons, Standing
from tests.hosts.servers import ROOT

if TYPE_CHECKING:
    from callengine.gate import Visit

NOW = 1000.0
WALL = 1_700_000_000.0
TICKETS = Tickets(bytes(32))


HANGS_S = 60.0
"""Half a second's work takes that long only if it hangs, however many share the cores."""


class House:
    """Workers of one port, each with a gate of its own."""

    def __init__(self, workers: int, max_calls: int) -> None:
        self.now = NOW
        self.commons = Commons(workers, max_calls)
        self._gates = [
            Gate(max_calls, Strain(), lambda: self.now, shared=self.commons) for _ in range(workers)
        ]
        for number in range(workers):
            self.commons.begin(number)

    def gate(self, worker: int) -> Gate:
        """As that worker."""
        self.commons.join(worker)
        return self._gates[worker]


def shows(visit: Visit, token: str, call_sid: str) -> Ticket | TicketFault:
    return visit.redeem(token, call_sid, WALL)


def ticket(call_sid: str) -> str:
    return TICKETS.issue(Ticket(call_sid), WALL)


def test_a_slot_that_one_promised_another_gives() -> None:
    house = House(2, 1)
    assert house.gate(0).reserve("CA1")
    assert house.gate(0).reserve("CA2")
    assert not house.gate(1).reserve("CA3")
    assert house.gate(1).reserve("CA1"), "asked again"
    assert house.gate(1).promised == 2
    visit = house.gate(1).enter(TICKETS)
    assert shows(visit, ticket("CA1"), "CA1") == Ticket("CA1")
    assert (house.gate(0).promised, house.gate(0).free) == (1, 0)
    house.gate(1).leave(visit)
    assert (house.gate(0).promised, house.gate(0).free) == (1, 1)


def test_a_ticket_is_good_once_in_all_of_them() -> None:
    house, token = House(2, 2), ticket("CA1")
    first = house.gate(0).enter(TICKETS)
    assert shows(first, token, "CA1") == Ticket("CA1")
    other = Tickets(bytes(32))  # with the same secret, and a memory of its own
    second = house.gate(1).enter(other)
    assert shows(second, token, "CA1") is TicketFault.USED
    assert shows(second, ticket("CA1"), "CA1") == Ticket("CA1")


def test_a_used_ticket_is_forgotten_when_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commons_module, "MAX_USED", 2)
    commons = Commons(1, 1)
    assert commons.use("a", WALL)
    assert commons.use("b", WALL + 1)
    assert not commons.use("c", WALL + 2), "there is no room to remember it"
    assert not commons.use("a", WALL + LIFETIME_S - 0.1)
    assert commons.use("c", WALL + LIFETIME_S)
    assert not commons.use("b", WALL + LIFETIME_S)


def test_the_slots_of_a_worker_that_is_gone_are_gone_and_its_promises_are_kept() -> None:
    house = House(2, 2)
    assert house.gate(0).reserve("CA1")
    for _ in range(2):
        house.gate(0).enter(None)
    assert house.gate(1).free == 1
    house.commons.end(0)
    assert (house.gate(1).promised, house.gate(1).free) == (1, 1)
    house.commons.begin(0)
    assert (house.gate(1).promised, house.gate(1).free) == (1, 3)


def test_connections_that_ended_are_those_that_were_no_call_and_calls_that_are_over() -> None:
    house = House(2, 2)
    cell = house.commons.cells[1]
    visit = house.gate(1).enter(None)
    assert (cell.calls, cell.ended) == (1, 0)
    house.gate(1).leave(visit)
    assert (cell.calls, cell.ended) == (0, 1)
    at_door = house.gate(1).enter(TICKETS)
    assert (cell.at_door, cell.taken, cell.ended) == (1, 0, 1)
    assert shows(at_door, ticket("CA1"), "CA1") == Ticket("CA1")
    assert (cell.at_door, cell.taken, cell.ended) == (0, 1, 1)
    house.commons.connection_ended()
    assert (cell.calls, cell.ended) == (1, 2)
    assert house.commons.cells[0].ended == 0


def test_a_process_that_has_not_joined_changes_nothing_of_others() -> None:
    commons = Commons(2, 1)
    for number in range(2):
        commons.begin(number)
    gate = Gate(1, Strain(), lambda: NOW, shared=commons)
    gate.enter(None)
    assert [(cell.standing, cell.calls) for cell in commons.cells] == [(Standing.OPEN, 0)] * 2


def test_full_is_full_for_all() -> None:
    house = House(3, 1)
    for _ in range(3):
        house.gate(0).enter(None)
    with pytest.raises(EngineStopped):
        house.gate(2).enter(None)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "knock", "take", "take stranger", "go", "give back", "wait"]),
        st.integers(0, 2),  # the worker
        st.integers(0, 4),  # the call
    ),
    max_size=60,
)


@given(STEPS)
def test_all_together_have_the_slots_of_one_process(steps: list[tuple[str, int, int]]) -> None:
    """Whatever they do by turns, they and one process with as many slots answer the same."""
    commons, one, now = Commons(3, 2), Slots(6, LIFETIME_S), NOW
    for number in range(3):
        commons.begin(number)
    for what, worker, number in steps:
        commons.join(worker)
        cell, call = commons.own, f"CA{number}"
        with commons:
            slots = commons.slots
            if what == "reserve":
                assert slots.reserve(call, now) == one.reserve(call, now)
            elif what == "knock":
                assert slots.knock(now) == one.knock(now)
            elif what.startswith("take") and cell.at_door:
                named = call if what == "take" else None
                assert slots.take(named, now) == one.take(named, now)
            elif what == "go" and cell.at_door:
                slots.go()
                one.go()
            elif what == "give back" and cell.taken:
                slots.give_back()
                one.give_back()
            elif what == "wait":
                now += 7.0 * number
            assert slots.promised(now) == one.promised(now)
            assert slots.free(now) == one.free(now)
    assert sum(each.taken for each in commons.cells) == one.taken


@pytest.mark.timeout(90)
def test_processes_that_reserve_at_once_get_as_many_slots_as_there_are() -> None:
    """And one that dies while it has the lock keeps nobody waiting."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.workers.contending"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=True,
    )
    assert done.stdout == "100 of 400 promised, 100 taken, none free\n"
