"""Whole calls that are refused: the socket is closed with the code that says why, and no model is
called."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from callengine import CallEngine, CallSummary, EndCause, Settings
from callengine.edges.realtime import RealtimeSocket
from callengine.errors import EdgeClosed
from callengine.security.floods import MAX_BURST_MESSAGES
from callengine.security.tickets import TICKET_PARAMETER, Ticket, Tickets

if TYPE_CHECKING:
    from collections.abc import Iterable

CALL_SID = "CA" + "1" * 32
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
STOP = '{"event":"stop","streamSid":"MZ1","stop":{"callSid":"CA1"}}'


def start(**parameters: str) -> str:
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    body = {"callSid": CALL_SID, "mediaFormat": media_format, "customParameters": parameters}
    return json.dumps({"event": "start", "streamSid": "MZ1", "start": body})


class Carrier:
    """An edge whose peer says `messages`, and then nothing until it is closed."""

    def __init__(self, messages: Iterable[str]) -> None:
        self._messages = iter(messages)
        self._over = threading.Event()
        self.closed: tuple[int, str] | None = None

    def receive(self) -> str | bytes:
        for message in self._messages:
            return message
        self._over.wait(10)
        raise EdgeClosed(1000)

    def send(self, message: str) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        self._over.set()


@pytest.fixture
def models_called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often a model was to be connected to; it never answers."""
    called: list[str] = []
    monkeypatch.setattr(RealtimeSocket, "connect", lambda *_: called.append("connect"))
    return called


def hold(carrier: Carrier, tickets: Tickets | None) -> CallSummary:
    with CallEngine(Settings(realtime_url="ws://127.0.0.1:9")) as engine:
        return engine.serve(carrier, tickets=tickets)


@pytest.mark.edge_case(18)
def test_a_stream_with_a_ticket_is_served_once(models_called: list[str]) -> None:
    tickets = Tickets(bytes(32))
    token = tickets.issue(Ticket(CALL_SID), time.time())
    messages = [CONNECTED, start(**{TICKET_PARAMETER: token})]
    invited, replayed = Carrier([*messages, STOP]), Carrier(messages)
    assert hold(invited, tickets).end_cause is EndCause.CALLER_HUNG_UP
    assert models_called == ["connect"]
    again = hold(replayed, tickets)
    assert (again.end_cause, again.end_detail) == (EndCause.TICKET_REFUSED, "the ticket is used")
    assert replayed.closed == (1008, "ticket_refused")
    assert models_called == ["connect"], "nobody pays for a stream that was not invited"


@pytest.mark.edge_case(18)
@pytest.mark.parametrize("parameters", [{}, {"ticket": "made up"}], ids=["none", "made up"])
def test_a_stream_without_a_ticket_is_closed_before_a_model_is_called(
    models_called: list[str], parameters: dict[str, str]
) -> None:
    carrier = Carrier([CONNECTED, start(**parameters)])
    assert hold(carrier, Tickets(bytes(32))).end_cause is EndCause.TICKET_REFUSED
    assert carrier.closed == (1008, "ticket_refused")
    assert models_called == []


@pytest.mark.parametrize("before_the_start", [True, False])
def test_a_flood_is_closed(models_called: list[str], before_the_start: bool) -> None:
    messages = [CONNECTED] if before_the_start else [CONNECTED, start()]
    carrier = Carrier([*messages, *["{}"] * (3 * MAX_BURST_MESSAGES)])
    summary = hold(carrier, None)
    assert summary.end_cause is EndCause.FLOODED
    assert carrier.closed == (1008, "flooded")
    assert summary.inbound.malformed.total() < 2 * MAX_BURST_MESSAGES
    assert models_called == ["connect"] * (not before_the_start)
