"""Every host as a real server process, called as Twilio calls it: the same holds for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callengine.testing import (
    BargeIn,
    SimulatedRealtime,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.held import reply
from callengine.testing.sockets import PeerServer
from callengine.testing.speech import clip
from tests.hosts.phone import HEARD_S, Phone, heard
from tests.hosts.servers import COMMANDS, Server, serving, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

GREETING = reply(3.0, 1)
ANSWER = reply(1.0, 2)
CANNOT_SAY_WHY = {"gunicorn asgi, FastAPI"}
"""gunicorn 27 lacks ASGI's `websocket.http.response`: whatever refuses a socket, it is a 403."""
SILENT_S = 0.5
"""An interrupted AI is silent after 0.1 s; on a machine with too much to do, later."""


class Host:
    """A running server, and a phone that calls it."""

    def __init__(self, name: str, server: Server) -> None:
        self.server = server
        self.phone = Phone(server.port)
        self.full_status = 403 if name in CANNOT_SAY_WHY else 503


@pytest.fixture(scope="module", params=COMMANDS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """One that holds a single call at a time."""
    if (reason := why_not(request.param)) is not None:
        pytest.skip(reason)
    with (
        PeerServer(lambda: SimulatedRealtime([GREETING, ANSWER])) as models,
        serving(request.param, models.url, CALLENGINE_MAX_CALLS="1") as server,
    ):
        yield Host(request.param, server)


def test_only_what_twilio_signed_is_let_in(host: Host) -> None:
    assert host.phone.ring(signature="AAAA")[0] == 403
    line = host.phone.line()
    assert line.url.startswith("wss://voice.example.com/")
    assert set(line.parameters) == {"ticket"}
    assert host.phone.upgrade_status(line.path, {"x-twilio-signature": "AAAA"}) == 403
    assert host.phone.upgrade_status(line.path, {}) == 403
    assert host.phone.ready()["active_calls"] == 0
    assert host.phone.hold(line, WaitUntilHeard(HEARD_S)).frames
    host.server.summary()


def test_a_whole_call_with_an_interruption(host: Host) -> None:
    record = host.phone.hold(
        host.phone.line(),
        BargeIn(clip("caller_barge_in_1"), after_heard_s=0.6, timeout_s=HEARD_S),
        WaitUntilQuiet(quiet_s=0.7, timeout_s=HEARD_S),
    )
    summary = host.server.summary()
    assert not record.missed
    assert not record.violations
    assert summary["end_cause"] == "caller_hung_up"
    assert summary["barge_in_events"] == 1
    silence_s = record.silence_after(record.said[0].onset_at)
    assert silence_s is not None
    assert silence_s < SILENT_S
    assert GREETING.audio not in heard(record)
    assert ANSWER.audio in heard(record), "whole, and without a gap"
    assert summary["context_errors"] == summary["restarts"] == 0
    assert summary["audio"]["balance_bytes"] == 0


def test_how_late_frames_leave_is_recorded(host: Host) -> None:
    record = host.phone.hold(host.phone.line(), WaitUntilQuiet(0.5, HEARD_S))
    sent = host.server.summary()["transmission"]
    assert sum(sent["lateness"].values()) == sent["frames"] == len(record.frames)


def test_a_full_house_says_so_and_takes_the_next_call_afterwards(host: Host) -> None:
    line = host.phone.line()
    assert "<Reject" in host.phone.ring()[1], "the only slot is promised"
    call = host.phone.begin(line, WaitUntilHeard(HEARD_S), Wait(0.5))
    call.wait_until_heard()
    assert "<Reject" in host.phone.ring()[1]
    assert host.phone.upgrade_status(line.path, line.headers) == host.full_status
    state = host.phone.ready()
    assert (state["status"], state["active_calls"], state["draining"]) == (503, 1, False)
    assert not call.join().missed
    host.server.summary()
    host.phone.hold(host.phone.line(), WaitUntilHeard(HEARD_S))
    assert host.server.summary()["end_cause"] == "caller_hung_up"
    assert host.phone.ready()["status"] == 200


def test_a_ticket_is_worth_one_call(host: Host) -> None:
    line = host.phone.line()
    host.phone.hold(line, WaitUntilHeard(HEARD_S))
    host.server.summary()
    again = host.phone.hold(line, Wait(HEARD_S))
    assert again.closed is not None
    assert (again.closed.code, again.closed.by) == (1008, "engine")
    assert not again.frames
    assert host.server.summary()["end_cause"] == "ticket_refused"


def test_nothing_is_left_of_the_calls(host: Host) -> None:
    """Last in this file: the server is told to end, and has nothing to wait for."""
    assert host.phone.ready()["active_calls"] == 0
    host.server.terminate()
    assert host.server.exit_status() in {0, -15}
    assert [line for line in host.server.log if "Traceback" in line or "Error" in line] == []
