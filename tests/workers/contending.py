"""Processes that reserve and take slots of one port at once; one dies with the lock in its hand."""

from __future__ import annotations

import os
import sys
import time

from callengine.gate import Gate
from callengine.machines.strain import Strain
from callengine.security.tickets import Ticket, Tickets
from callengine.workers.commons import Commons

WORKERS = 4
CALLS = 100


def forked(commons: Commons, worker: int) -> int:
    """The process of a worker; its exit status is how many of its callers were promised a slot."""
    pid = os.fork()
    if pid == 0:
        commons.join(worker)
        os._exit(work(commons, worker))
    return pid


def work(commons: Commons, worker: int) -> int:
    tickets = Tickets(bytes(32))
    gate = Gate(CALLS // WORKERS, Strain(), time.monotonic, shared=commons)
    calls = [f"CA{worker}-{number}" for number in range(CALLS)]
    promised = [call for call in calls if gate.reserve(call)]
    for call in promised:
        wall = time.time()
        shown = gate.enter(tickets).redeem(tickets.issue(Ticket(call), wall), call, wall)
        assert shown == Ticket(call)
    return len(promised)


def main() -> None:
    commons = Commons(WORKERS + 1, CALLS // WORKERS)
    for worker in range(WORKERS):
        commons.begin(worker)
    dying = os.fork()
    if dying == 0:
        commons.__enter__()
        os._exit(0)
    os.waitpid(dying, 0)
    workers = [forked(commons, worker) for worker in range(WORKERS)]
    promised = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers)
    taken = sum(cell.taken for cell in commons.cells)
    gate = Gate(CALLS, Strain(), time.monotonic, shared=commons)
    free = gate.free or "none"
    sys.stdout.write(f"{promised} of {WORKERS * CALLS} promised, {taken} taken, {free} free\n")


if __name__ == "__main__":
    main()
