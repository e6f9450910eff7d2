"""The engine's way out to a carrier, over whatever edge the host provides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callengine.edges.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Logger

    from callengine.edges.edge import Edge

MAX_MEDIA: Final = 500
"""Ten seconds of audio that the carrier has not read: the call is lost."""


class CarrierSocket:
    """A `CarrierLink` over an `Edge`."""

    def __init__(self, edge: Edge, on_stall: Callable[[], None], log: Logger) -> None:
        self._edge = edge
        self._outbox = Outbox(
            edge.send, name="callengine-carrier", max_media=MAX_MEDIA, on_stall=on_stall, log=log
        )
        self.send_media = self._outbox.send_media
        self.send = self._outbox.send
        self.send_first = self._outbox.send_first

    def close(self, code: int, reason: str) -> None:
        """Close the socket once what is waiting has been sent."""
        self._outbox.close(lambda: self._edge.close(code, reason))

    def join(self, timeout_s: float) -> None:
        """Wait until nothing of this socket is left."""
        self._outbox.join(timeout_s)
