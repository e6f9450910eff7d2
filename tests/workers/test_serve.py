"""Several workers behind one port: who gets what, who dies, and how all of them end."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from callengine import cli
from callengine.messages import EndCause
from callengine.summary import CallFacts, summarise
from callengine.testing import SimulatedRealtime, Wait
from callengine.testing.held import reply
from callengine.testing.sockets import PeerServer
from tests.hosts.phone import heard
from tests.hosts.servers import ROOT
from tests.workers.serving import COMMAND, children, kill, living, serving, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.caller.record import CallRecord
    from tests.hosts.phone import Line, LiveCall
    from tests.workers.serving import Served

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

GREETING = reply(1.5, 1)
LONG = Wait(30.0)


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    with PeerServer(lambda: SimulatedRealtime([GREETING])) as models:
        yield models.url


def begin(served: Served, count: int) -> tuple[list[Line], list[LiveCall]]:
    """As many calls at once, long ones; returns when the AI is heard in all."""
    lines = [served.line() for _ in range(count)]
    calls = [served.begin(line, LONG) for line in lines]
    for call in calls:
        call.wait_until_heard()
    return lines, calls


def fates(calls: list[LiveCall]) -> Counter[str]:
    """How many calls are held to their end, which comes now, and what became of the others."""
    for call in calls:
        call.hang_up_after(GREETING.audio)
    return Counter(_fate(call.join()) for call in calls)


def _fate(record: CallRecord) -> str:
    assert record.closed is not None
    if record.closed.by == "caller" and GREETING.audio in heard(record):
        return "held"
    return f"closed by {record.closed.by} with {record.closed.code}"


def test_calls_are_spread_evenly_and_all_are_held(model_url: str) -> None:
    with serving(model_url) as served:
        lines, calls = begin(served, 6)
        # Whoever has least to do answers: if he has three, so has the other.
        assert served.ready()["active_calls"] == 3
        assert served.ready()["free_slots"] == 194
        assert fates(calls) == {"held": len(calls)}
        assert {served.end_of(line.call_sid) for line in lines} == {"caller_hung_up"}


def test_requests_go_to_who_has_fewest_calls_and_count_no_longer_than_they_last(
    model_url: str,
) -> None:
    with serving(model_url) as served:
        _, calls = begin(served, 3)
        answered_by = Counter(served.ready()["active_calls"] for _ in range(60))
        # One may come while the one before it is being counted. Counted for ever, every second one
        # would go to the other.
        assert answered_by[1] > 36, "the one with one call, not the one with two"
        served.signal(signal.SIGINT)
        assert {_fate(call.join()) for call in calls} == {"closed by engine with 1001"}


def test_a_worker_that_dies_takes_only_its_calls_along_and_is_replaced(model_url: str) -> None:
    with serving(model_url) as served:
        _, calls = begin(served, 6)
        victim = min(served.workers)
        kill(victim, signal.SIGKILL)
        wait_until(lambda: sum(call.is_over for call in calls) == 3)
        assert fates(calls) == {"held": 3, "closed by engine with 1006": 3}
        assert "'how': 'SIGKILL', 'calls_lost': 3, 'deaths': 1" in " ".join(served.server.log)
        served.wait_for_workers(beside={victim})
        assert served.ready()["free_slots"] == 200
        _, calls = begin(served, 6)
        assert served.ready()["active_calls"] == 3
        assert fates(calls) == {"held": len(calls)}


def test_a_promise_of_one_worker_is_kept_by_all_and_all_are_full_at_once(model_url: str) -> None:
    with serving(model_url, CALLENGINE_MAX_CALLS="1") as served:
        lines = [served.line() for _ in range(2)]
        status, twiml = served.ring()
        assert (status, [each.tag for each in ElementTree.fromstring(twiml)]) == (200, ["Reject"])
        assert served.ready()["free_slots"] == 0
        victim = min(served.workers)
        kill(victim, signal.SIGKILL)  # one of them was its promise
        served.wait_for_workers(beside={victim})
        calls = [served.begin(line, LONG) for line in lines]
        assert fates(calls) == {"held": len(calls)}


def test_a_ticket_is_good_once_in_all_workers_together(model_url: str) -> None:
    with serving(model_url) as served:
        line = served.line()
        call = served.begin(line, LONG)
        call.wait_until_heard()
        assert served.ready()["active_calls"] == 0, "the other worker is next"
        again = served.hold(line, LONG)
        assert again.closed is not None
        assert (again.closed.code, again.closed.by) == (1008, "engine")
        served.signal(signal.SIGINT)
        call.join()


# ---- the end


def test_sigterm_lets_calls_finish_and_answers_others_until_then(model_url: str) -> None:
    with serving(model_url) as served:
        workers = served.workers
        expected = served.line()
        lines, calls = begin(served, 3)
        served.signal(signal.SIGTERM)
        assert served.server.line("calls may go on") == "calls may go on for 20 s"
        wait_until(lambda: served.ready()["status"] == 503)
        assert served.ring()[0] == 503
        late = served.begin(expected, LONG)
        late.wait_until_heard()
        assert fates([*calls, late]) == {"held": 4}
        assert served.server.exit_status() == 0
        assert not living(workers)
        ends = {served.end_of(line.call_sid) for line in (*lines, expected)}
        assert ends == {"caller_hung_up"}


def test_who_talks_at_the_deadline_is_shown_out(model_url: str) -> None:
    with serving(model_url, "--drain-s", "1") as served:
        [line], [call] = begin(served, 1)
        served.signal(signal.SIGTERM)
        closed = call.join().closed
        assert closed is not None
        assert (closed.code, closed.by) == (1000, "engine")
        assert served.server.exit_status() == 0
        assert served.end_of(line.call_sid) == "drained"


@pytest.mark.parametrize("to_all", [False, True], ids=["the parent", "the whole group"])
@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_ctrl_c_and_a_second_sigterm_end_at_once(
    model_url: str, numbers: list[signal.Signals], to_all: bool
) -> None:
    with serving(model_url, "--drain-s", "60") as served:
        lines, calls = begin(served, 2)
        workers = served.workers
        tell = partial(os.killpg, served.server.process.pid) if to_all else served.signal
        *first, last = numbers
        for number in first:
            tell(number)
            served.server.line("calls may go on")
        tell(last)
        for call in calls:
            closed = call.join().closed
            assert closed is not None
            assert (closed.code, closed.by) == (1001, "engine")
        assert served.server.exit_status(10.0) == 0
        assert not living(workers)
        assert {served.end_of(line.call_sid) for line in lines} == {"shutdown"}


def test_a_worker_that_is_told_alone_to_end_drains_and_is_replaced(model_url: str) -> None:
    with serving(model_url) as served:
        _, calls = begin(served, 2)
        old = served.workers
        kill(min(old), signal.SIGTERM)
        assert fates(calls) == {"held": len(calls)}
        wait_until(lambda: len(served.workers) == 2 and served.workers != old)
        assert len(served.workers & old) == 1
        assert not any("a worker died" in line for line in served.server.log)
        _, calls = begin(served, 2)
        assert served.ready()["active_calls"] == 1
        assert fates(calls) == {"held": len(calls)}


def test_workers_without_a_parent_finish_their_calls_and_end(model_url: str) -> None:
    with serving(model_url) as served:
        _, calls = begin(served, 2)
        workers = served.workers
        served.signal(signal.SIGKILL)
        assert fates(calls) == {"held": len(calls)}
        wait_until(lambda: not living(workers))


# ---- what they write


class Pieces(io.RawIOBase):
    """A stream that keeps apart what it is given at a time, as others may write in between."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self.written.append(bytes(data))
        return len(data)


def test_a_line_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unbuffered too, where `print` writes the end of the line by itself."""
    pieces = Pieces()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pieces, write_through=True))
    facts = CallFacts("CA1", "MZ1", EndCause.CALLER_HUNG_UP, "stop", 100.0, 161.5)
    cli._print_summary(summarise(facts, {}))
    cli._print_drain(1, 20.0)
    call, drain = pieces.written
    assert call.startswith(b"call CA1 end_cause=caller_hung_up duration_s=61.5 ")
    assert (call[-1:], call.count(b"\n")) == (b"\n", 1)
    assert drain == b"calls may go on for 20 s\n"


# ---- the beginning


def failing(*options: str, **variables: str) -> str:
    """What is said of a server that cannot be started."""
    local = ("--realtime-url", "ws://127.0.0.1:9")
    done = subprocess.run(
        [*COMMAND, *local, *options],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_what_is_wrong_is_said_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = failing("--port", port)
        assert told.startswith(f"callengine: port {port} on 127.0.0.1 cannot be had: ")
        assert told.count("\n") == 1
    told = failing("--port", "0", CALLENGINE_LEAD_MS="much")
    assert told == "callengine: CALLENGINE_LEAD_MS is 'much'; it must be a whole number\n"
    told = failing("--port", "0", CALLENGINE_PUBLIC_URL="https://voice.example.com")
    assert told.count("callengine: ") == 1
    assert "set TWILIO_AUTH_TOKEN" in told


def test_one_worker_is_the_process_itself(model_url: str) -> None:
    with serving(model_url, "--workers", "1") as served:
        assert not children(served.server.process.pid)
        _, [call] = begin(served, 1)
        assert fates([call]) == {"held": 1}


def test_where_processes_cannot_fork_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(os, "fork")
    local = ("--realtime-url", "ws://127.0.0.1:9", "--port", "0")
    assert cli.main(["serve", *local, "--workers", "2"]) == 2
    assert "--workers 2 needs os.fork" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["0", "-1", "many"])
def test_a_number_of_workers_is_at_least_one(wrong: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "callengine", "serve", "--workers", wrong],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert "--workers" in done.stderr
