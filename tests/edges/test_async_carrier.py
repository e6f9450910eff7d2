"""The way out to a carrier whose socket lives on an event loop: when it is given up."""

from __future__ import annotations

import asyncio

import pytest
from loguru import logger

from callengine.edges.async_carrier import AsyncCarrierSocket
from callengine.edges.carrier import MAX_MEDIA


class Edge:
    """Takes one message, and holds it until it is told to fail."""

    def __init__(self) -> None:
        self.holds = asyncio.Event()
        self.fails = asyncio.Event()
        self.closed: list[int] = []

    async def receive(self) -> str:
        raise NotImplementedError

    async def send(self, _message: str) -> None:
        self.holds.set()
        await self.fails.wait()
        raise ZeroDivisionError("by design")

    async def close(self, code: int, _reason: str) -> None:
        self.closed.append(code)


@pytest.mark.parametrize("too_much", [0, 2])
def test_a_socket_that_is_given_up_is_told_once(too_much: int) -> None:
    """Because it is behind, because it failed, or because of one after the other."""
    told: list[str] = []

    async def run() -> list[int]:
        edge = Edge()
        socket = AsyncCarrierSocket(edge, lambda: told.append("stalled"), logger)
        writing = asyncio.create_task(socket.write())
        socket.send_media("held")
        await edge.holds.wait()
        if too_much:
            for _ in range(MAX_MEDIA + too_much):
                socket.send_media("waits")
            assert told == ["stalled"]
        edge.fails.set()
        socket.close(1011, "")
        await writing
        return edge.closed

    assert asyncio.run(run()) == [1011]
    assert told == ["stalled"]
