"""Everything is given back, and long waits are short."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest
import websocket

from callengine.edges import carrier_stream, realtime, standalone
from callengine.machines import inbound, presence, stall
from callengine.messages import Owner
from callengine.testing.local_call import Resources
from tests.socket_faults.rig import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _everything_is_given_back() -> Iterator[None]:
    before = Resources.now()
    yield
    assert not Resources.back_to(before).exceeds(before), threading.enumerate()
    assert pykka.ActorRegistry.get_all() == []


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog's patience with sockets, and how often they are said to be alive."""
    for owner, state in ((Owner.MODEL, "open"), (Owner.CARRIER, "streaming")):
        reason = stall.LIMITS[owner, state].reason
        monkeypatch.setitem(stall.LIMITS, (owner, state), stall.Limit(1.5, reason))
    for machine in (inbound, presence):
        monkeypatch.setattr(machine, "ALIVE_REPORT_S", 0.1)
    monkeypatch.setattr(realtime, "PING_AFTER_S", 0.3)


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes two seconds of audio instead of minutes, and the outboxes half a second."""
    real_socket, real_listen = websocket.WebSocket, socket.create_server
    option = (socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)

    def small_socket(**options: Any) -> websocket.WebSocket:  # noqa: ANN401
        return real_socket(**{**options, "sockopt": [*options["sockopt"], option]})

    def small_listen(*args: Any, **options: Any) -> socket.socket:  # noqa: ANN401
        made = real_listen(*args, **options)
        made.setsockopt(*option)  # those it accepts inherit it
        return made

    monkeypatch.setattr(websocket, "WebSocket", small_socket)
    monkeypatch.setattr(standalone.socket, "create_server", small_listen)
    monkeypatch.setattr(carrier_stream, "MAX_MEDIA", 25)
    monkeypatch.setattr(realtime, "MAX_MEDIA", 25)
