from __future__ import annotations

import os
import socket
import subprocess
import sys

from callengine.testing.bench import machine
from callengine.testing.bench.machine import Cores


def test_a_process_is_seen_from_outside() -> None:
    before = machine.sample(os.getpid(), None)
    sum(n * n for n in range(300_000))
    after = machine.sample(os.getpid(), 0)
    assert after.at > before.at
    assert after.cpu_s > before.cpu_s > 0
    assert after.rss_bytes > 1_000_000
    assert after.threads >= 1
    assert before.core_busy_s == 0 < after.core_busy_s


def test_what_it_started_belongs_to_it() -> None:
    alone = machine.sample(os.getpid(), None)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert machine.sample(os.getpid(), None).threads > alone.threads
    finally:
        child.communicate()


def test_open_sockets_are_counted() -> None:
    before = machine.sockets(os.getpid())
    with socket.socket(), socket.socket():
        assert machine.sockets(os.getpid()) == before + 2
    assert machine.sockets(os.getpid()) == before


def test_a_process_that_is_gone_holds_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = machine.sample(child.pid, None)
    assert (gone.cpu_s, gone.rss_bytes, gone.threads) == (0.0, 0, 0)


def test_the_engine_gets_a_core_of_its_own_if_there_are_two() -> None:
    cores = machine.choose_cores()
    usable = os.sched_getaffinity(0)
    if len(usable) == 1:
        assert cores == Cores(None, frozenset(usable))
    else:
        assert cores.engine in usable - cores.load
        assert cores.load | {cores.engine} == usable


def test_where_this_process_runs_is_put_back() -> None:
    before = os.sched_getaffinity(0)
    with machine.running_on(frozenset({min(before)})):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_the_machine_is_described() -> None:
    told = machine.describe()
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["processor"]
