"""A call over a socket that the host reads on a thread: that of `CallEngine.serve`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from callengine.actors.call import failed_call
from callengine.edges.carrier import CarrierSocket
from callengine.edges.flow import Flow
from callengine.errors import EdgeClosed
from callengine.holding.live import END_TIMEOUT_S
from callengine.logs import QuietLog, trace_of
from callengine.messages import EndCause

if TYPE_CHECKING:
    from loguru import Logger

    from callengine.actors.call import Call
    from callengine.backstage import Staged
    from callengine.edges.edge import Edge
    from callengine.holding.live import Live
    from callengine.settings import Settings


def hold(live: Live, edge: Edge, staged: Staged, settings: Settings) -> None:
    """Hold a call; returns when nothing of it is left."""
    log = staged.setting.log.logger
    try:
        carrier = CarrierSocket(edge, lambda: live.end(EndCause.CARRIER_STALLED), log)
    except Exception as error:  # noqa: BLE001 - no thread to be had, for example
        QuietLog(log).error("call could not begin", **trace_of(error))
        with suppress(Exception):
            edge.close(1011, EndCause.CRASHED)
        told = f"no socket could be had: {type(error).__name__}"
        live.conclude(failed_call(staged.setting, told))
        return
    call = live.start(staged, settings, carrier)
    try:
        _read(edge, call, log)
    finally:
        if not live.over.wait(END_TIMEOUT_S):
            carrier.close(1011, "abandoned")  # there is no supervisor left to do it
            staged.model.close()
        carrier.join(END_TIMEOUT_S)
        staged.model.join(END_TIMEOUT_S)


def _read(edge: Edge, call: Call, log: Logger) -> None:
    flow = Flow(call.flow)
    try:
        while True:
            call.received(edge.receive())
            flow.told()
    except EdgeClosed as closed:
        call.carrier_closed(closed.code, closed.reason)
    except Exception as error:  # noqa: BLE001 - a host's edge may raise anything
        QuietLog(log).warning("socket failed", **trace_of(error))
        call.carrier_closed(1006, type(error).__name__)
    except BaseException:
        call.end(EndCause.SHUTDOWN, "the thread that served the call was interrupted")
        raise
