"""Which items of the model the caller has not heard to their end, and what to tell the model.

Over a WebSocket the server does not truncate by itself: without being told, it believes that the
caller heard every word it generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from callengine.audio.g711 import BYTES_PER_MS

if TYPE_CHECKING:
    from callengine.messages import HeardItem

MAX_ITEMS: Final = 64
"""Items under way to the ear. Beyond, the oldest is forgotten: it can no longer be truncated."""


class ItemKey(NamedTuple):
    """One audio part of one item."""

    item_id: str
    content_index: int


@dataclass(slots=True)
class _Item:
    response_id: str
    generation: int
    protected: bool
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SendTruncate:
    """Tell the model how much of an item was heard. Never more than was received: law L3."""

    item_id: str
    content_index: int
    audio_end_ms: int


class Unheard:
    """The model's items by how much audio came, until they are heard or truncated."""

    def __init__(self) -> None:
        self._items: dict[ItemKey, _Item] = {}
        self._truncated: dict[ItemKey, None] = {}

    def received(
        self, key: ItemKey, response_id: str, size_bytes: int, generation: int, *, protected: bool
    ) -> None:
        """Audio of an item came, played or not; `generation` is the one it came under."""
        if key in self._truncated:
            return
        item = self._items.get(key)
        if item is None:
            if len(self._items) >= MAX_ITEMS:
                del self._items[next(iter(self._items))]
            item = self._items[key] = _Item(response_id, generation, protected)
        item.received_bytes += size_bytes

    def holds(self, response_id: str) -> bool:
        """The caller has not heard this response to its end."""
        return any(item.response_id == response_id for item in self._items.values())

    def heard(self, response_id: str) -> None:
        """The caller heard this response to its end."""
        self._items = {k: i for k, i in self._items.items() if i.response_id != response_id}

    def resumed(self, generation: int) -> None:
        """Nothing is lost: what was flushed is played under this generation."""
        for item in self._items.values():
            item.generation = generation

    def truncate(self, generation: int, heard: tuple[HeardItem, ...] = ()) -> list[SendTruncate]:
        """Everything older than `generation` was cut off: `heard` of it was heard, else nothing."""
        heard_ms = {ItemKey(item.item_id, item.content_index): item.heard_ms for item in heard}
        cut_off = [
            k for k, i in self._items.items() if i.generation < generation and not i.protected
        ]
        truncates = []
        for key in cut_off:
            received_ms = self._items.pop(key).received_bytes // BYTES_PER_MS
            truncates.append(SendTruncate(*key, min(heard_ms.get(key, 0), received_ms)))
            self._truncated[key] = None
        while len(self._truncated) > MAX_ITEMS:
            del self._truncated[next(iter(self._truncated))]
        return truncates
