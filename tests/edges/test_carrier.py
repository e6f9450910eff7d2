from __future__ import annotations

import threading

import pytest
from loguru import logger

from callengine.edges.carrier import MAX_MEDIA, CarrierSocket

pytestmark = pytest.mark.realtime

WAIT_S = 5.0


class HostEdge:
    """An `Edge` as a host may write it; it takes messages only once `open`."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.taken = threading.Event()
        self.did: list[object] = []

    def receive(self) -> str:
        raise NotImplementedError

    def send(self, message: str) -> None:
        self.taken.set()
        assert self.open.wait(WAIT_S)
        self.did.append(message)

    def close(self, code: int, reason: str) -> None:
        self.did.append((code, reason))


def names() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "callengine-carrier"]


def test_the_socket_is_closed_behind_what_is_waiting() -> None:
    edge = HostEdge()
    carrier = CarrierSocket(edge, lambda: None, logger)
    carrier.send("mark")
    carrier.send_media("audio")
    carrier.close(1001, "shutdown")
    carrier.close(1000, "a second close does nothing")
    edge.open.set()
    carrier.join(WAIT_S)
    assert edge.did == ["mark", "audio", (1001, "shutdown")]
    assert not names()


@pytest.mark.edge_case(80)
def test_a_clear_overtakes_audio() -> None:
    edge = HostEdge()
    carrier = CarrierSocket(edge, lambda: None, logger)
    carrier.send("mark")
    assert edge.taken.wait(WAIT_S)
    carrier.send_media("1")
    carrier.send_media("2")
    assert carrier.send_first("clear") == (2, 0)
    edge.open.set()
    carrier.close(1000, "")
    carrier.join(WAIT_S)
    assert edge.did == ["mark", "clear", (1000, "")]


@pytest.mark.edge_case(27)
def test_a_carrier_that_does_not_read_ten_seconds_of_audio_has_stalled() -> None:
    edge = HostEdge()
    stalls: list[str] = []
    carrier = CarrierSocket(edge, lambda: stalls.append("stalled"), logger)
    carrier.send("mark")
    assert edge.taken.wait(WAIT_S)
    for n in range(MAX_MEDIA):
        carrier.send_media(str(n))
    assert not stalls
    carrier.send_media("one too many")
    carrier.send_media("and another")
    assert stalls == ["stalled"]
    assert MAX_MEDIA * 0.020 == 10.0
    edge.open.set()
    carrier.close(1011, "")
    carrier.join(WAIT_S)
    assert edge.did == ["mark", (1011, "")]
    assert not names()
