"""How the model's socket opens, goes on and ends: whole calls, and the real socket at its worst."""

from __future__ import annotations

import socket
import time

import pytest

from callengine import Agent, EndCause
from callengine.edges import realtime
from callengine.edges.realtime import CONNECT_TIMEOUT_S
from callengine.machines.lifecycle import DEADLINE_S as LIFE_DEADLINE_S
from callengine.machines.lifecycle import State as Life
from callengine.machines.session import DEADLINE_S, State
from callengine.messages import ModelAlive, ModelConnected, ModelMessage
from callengine.testing.caller.script import Wait
from callengine.testing.realtime.faults import (
    After,
    AtResponse,
    AtResponseDone,
    CloseSocket,
    Fault,
    GoSilent,
    SendRaw,
    Trigger,
    error_message,
)
from tests.edge_cases.model_calls import ASK, FAREWELL, REPLIES, call, heard
from tests.edges.test_realtime_socket import WAIT_S, Bridge, tcp, until_gone, upgrade

EXPIRED = "Your session hit the maximum duration of 60 minutes."
CLOSES = [
    (1000, "", EndCause.MODEL_LOST),
    (1001, "going away", EndCause.MODEL_LOST),
    (1001, EXPIRED, EndCause.SESSION_EXPIRED),
    (1005, "", EndCause.MODEL_LOST),
    (1006, "", EndCause.MODEL_LOST),
    (1008, "policy", EndCause.MODEL_LOST),
    (1011, "oops", EndCause.MODEL_LOST),
    (1012, "restart", EndCause.MODEL_LOST),
    (1013, "try again later", EndCause.MODEL_LOST),
    (3000, "invalid_request_error.invalid_api_key", EndCause.MODEL_REFUSED),
    (4000, "invalid_request_error.beta_api_shape_disabled", EndCause.MODEL_REFUSED),
]


@pytest.mark.edge_case(66)
@pytest.mark.parametrize(
    "at",
    [After(0.005), AtResponse(2, 500), AtResponseDone(2)],
    ids=["handshake", "mid-answer", "while it is heard"],
)
@pytest.mark.parametrize("with_error", [False, True], ids=["", "error"])
@pytest.mark.parametrize(("code", "reason", "cause"), CLOSES, ids=lambda x: str(x)[:12])
def test_a_caller_whose_model_is_gone_hears_what_came_and_the_farewell(
    code: int, reason: str, cause: EndCause, with_error: bool, at: Trigger
) -> None:
    error = SendRaw(at, error_message("server_error", "The server had an error.", "server_error"))
    close = CloseSocket(at, code, reason, abrupt=code == 1006)
    odd: tuple[Fault, ...] = (error, close) if with_error else (close,)
    held = call([*ASK[:2], Wait(40.0)], REPLIES, *odd)
    handshake_refused = with_error and isinstance(at, After)
    assert held.summary.end_cause is (EndCause.SESSION_REFUSED if handshake_refused else cause)
    told = b"".join(response.audio for response in held.model.responses)
    padded = told + b"\xff" * (-len(told) % 160)
    assert heard(held) == padded + FAREWELL
    assert held.model.closed is not None
    assert held.caller.closed is not None
    assert (held.caller.closed.by, held.caller.closed.code) == ("engine", 1000)
    waited_s = held.caller.closed.at - held.model.closed[2]
    left_s = len(told + FAREWELL) / 8_000
    assert waited_s < min(left_s + 1.0, LIFE_DEADLINE_S[Life.DRAINING])


@pytest.mark.edge_case(66)
def test_without_a_farewell_the_caller_hears_what_came() -> None:
    lost = CloseSocket(AtResponse(2, 500), 1011)
    held = call([*ASK[:2], Wait(40.0)], REPLIES, lost, agent=Agent(farewell=b""))
    told = b"".join(response.audio for response in held.model.responses)
    assert heard(held) == told + b"\xff" * (-len(told) % 160)
    assert held.caller.closed is not None
    assert held.caller.closed.by == "engine"


@pytest.mark.edge_case(67, 75)
def test_a_socket_that_opens_and_says_nothing_is_given_up() -> None:
    """101 and then silence."""
    held = call([Wait(40.0)], REPLIES, GoSilent(After(0)))
    assert held.summary.end_cause is EndCause.SESSION_REFUSED
    assert heard(held) == FAREWELL
    assert held.summary.duration_s < DEADLINE_S[State.CONFIGURING] + 2.0
    assert held.model.appended == b""


@pytest.mark.edge_case(67)
def test_the_patience_of_the_socket_ends_before_that_of_the_session() -> None:
    """A TCP connection that says nothing ends with its own cause, not with a general one."""
    assert DEADLINE_S[State.CONNECTING] > CONNECT_TIMEOUT_S


# ---- real sockets


@pytest.mark.realtime
@pytest.mark.edge_case(67)
def test_a_server_without_tls_where_tls_is_expected() -> None:
    def handle(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with tcp(handle) as url:
        told = Bridge(url.replace("ws://", "wss://")).connect().closed()
    assert told.cause is EndCause.MODEL_UNREACHABLE
    assert "SSL" in told.detail


@pytest.mark.realtime
@pytest.mark.edge_case(67)
def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    told = Bridge("wss://no-such-model.example.com/v1/realtime").connect().closed()
    assert told.cause is EndCause.MODEL_UNREACHABLE
    assert "no connection to the model" in told.detail


PING, PONG = b"\x89\x00", 0x8A


@pytest.mark.realtime
@pytest.mark.edge_case(68)
def test_a_flood_of_pings_is_answered_and_keeps_no_message_back() -> None:
    pings = 5_000
    answered = 0

    def handle(client: socket.socket) -> None:
        nonlocal answered
        upgrade(client)
        client.settimeout(WAIT_S)
        for _ in range(10):
            client.sendall(PING * (pings // 10))
            client.sendall(b"\x81\x02{}")
        left = pings * 6  # a masked pong without payload
        while left > 0:
            left -= len(client.recv(65536))
        answered = pings
        until_gone(client)

    with tcp(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        assert [bridge.next() for _ in range(10)] == [ModelMessage(b"{}")] * 10
        bridge.close()
    assert answered == pings


@pytest.mark.realtime
@pytest.mark.edge_case(68)
def test_a_pong_that_is_late_is_a_sign_of_life_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(realtime, "PING_AFTER_S", 0.1)

    def handle(client: socket.socket) -> None:
        upgrade(client)
        assert client.recv(65536)[:1] == b"\x89"
        time.sleep(0.5)
        client.sendall(bytes([PONG, 0]))
        client.sendall(b"\x81\x02{}")
        until_gone(client)

    with tcp(handle) as url:
        bridge = Bridge(url).connect()
        told = [bridge.next() for _ in range(3)]
        bridge.close()
    assert told == [ModelConnected(), ModelAlive(), ModelMessage(b"{}")]


@pytest.mark.realtime
@pytest.mark.edge_case(46)
def test_a_delta_of_15_mib_arrives_whole() -> None:
    size = 20 * 2**20  # its base64

    def handle(client: socket.socket) -> None:
        upgrade(client)
        client.sendall(b"\x81\x7f" + size.to_bytes(8, "big") + b"x" * size)
        until_gone(client)

    with tcp(handle) as url:
        bridge = Bridge(url).connect()
        assert bridge.next() == ModelConnected()
        got = bridge.next()
        bridge.close()
    assert isinstance(got, ModelMessage)
    assert len(got.message) == size
