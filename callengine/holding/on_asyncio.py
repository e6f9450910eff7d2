"""A call over a socket that lives on the host's event loop: what `CallEngine.aserve` does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from callengine.edges.async_carrier import AsyncCarrierSocket
from callengine.edges.flow import FLOW_MESSAGES
from callengine.errors import EdgeClosed
from callengine.holding.live import END_TIMEOUT_S, STOP_TIMEOUT_S, Live
from callengine.logs import QuietLog, trace_of
from callengine.messages import EndCause

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Logger

    from callengine.actors.call import Call
    from callengine.backstage import Staged
    from callengine.edges.edge import AsyncEdge
    from callengine.settings import Settings


def live_on_this_loop(over: asyncio.Event) -> Live:
    """A call that is served by the current task; `over` is set when it ends."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    return Live(_on_loop(loop, task.cancel), _on_loop(loop, over.set))


async def hold(
    live: Live, edge: AsyncEdge, staged: Staged, settings: Settings, over: asyncio.Event
) -> None:
    """Hold a call; returns when nothing of it is left on this loop. `over` is set when it ends."""
    log = staged.setting.log.logger
    carrier = AsyncCarrierSocket(edge, lambda: live.end(EndCause.CARRIER_STALLED), log)
    call = live.start(staged, settings, carrier)
    writing = asyncio.create_task(carrier.write())
    reading = asyncio.create_task(_read(edge, call, log))
    ending = asyncio.create_task(over.wait())
    try:
        await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({ending}, timeout=END_TIMEOUT_S)
    except asyncio.CancelledError:
        call.end(EndCause.SHUTDOWN, "the task that served the call was cancelled")
        await asyncio.wait({ending}, timeout=STOP_TIMEOUT_S)
        raise
    finally:
        if not live.over.is_set():
            staged.model.close()
        carrier.close(1011, "abandoned")  # for the supervisor has done it, if there is one
        reading.cancel()
        ending.cancel()
        await asyncio.wait({writing})


async def _read(edge: AsyncEdge, call: Call, log: Logger) -> None:
    loop, told = asyncio.get_running_loop(), 0
    try:
        while True:
            call.received(await edge.receive())
            told += 1
            if told % FLOW_MESSAGES == 0:
                handled = asyncio.Event()
                call.when_handled(_on_loop(loop, handled.set))
                await handled.wait()
    except EdgeClosed as closed:
        call.carrier_closed(closed.code, closed.reason)
    except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
        QuietLog(log).warning("socket failed", **trace_of(error))
        call.carrier_closed(1006, type(error).__name__)


def _on_loop(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> Callable[[], None]:
    """`do`, for threads: it is done on the loop."""

    def hop() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(do)

    return hop
