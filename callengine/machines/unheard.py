"""Which items of the model the caller has not heard to their end, and what to tell the model.

Over a WebSocket the server does not truncate by itself: without being told, it believes that the
caller heard every word it generated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from callengine.audio.g711 import BYTES_PER_MS
from callengine.messages import ItemHeard
from callengine.values import dataclass

if TYPE_CHECKING:
    from callengine.messages import HeardItem

MAX_ITEMS: Final = 64
"""Items under way to the ear. Beyond, the oldest is forgotten: it can no longer be truncated."""


ItemKey: TypeAlias = tuple[str, int]
"""One audio part of one item: its id and the index of the part."""


@dataclass(slots=True)
class _Item:
    response_id: str
    generation: int
    protected: bool
    received_bytes: int = 0
    dropped_bytes: int = 0
    complete: bool = False

    @property
    def never_played(self) -> bool:
        """Nothing of it is on its way to the ear."""
        return self.dropped_bytes >= self.received_bytes


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
        self._settled: dict[ItemKey, None] = {}
        self._told: list[ItemHeard] = []

    def received(
        self, key: ItemKey, response_id: str, size_bytes: int, generation: int, *, protected: bool
    ) -> None:
        """Audio of an item came, and is to be played; `generation` is the one it came under."""
        item = self._items.get(key)
        if item is None:
            if key in self._settled:
                return
            if len(self._items) >= MAX_ITEMS:
                del self._items[next(iter(self._items))]
            item = self._items[key] = _Item(response_id, generation, protected)
        item.received_bytes += size_bytes

    def dropped(self, key: ItemKey, response_id: str, size_bytes: int, generation: int) -> None:
        """Audio of an item came and will not be played, whatever becomes of the rest."""
        self.received(key, response_id, size_bytes, generation, protected=False)
        if key in self._items:
            self._items[key].dropped_bytes += size_bytes

    def complete(self, key: ItemKey) -> None:
        """No more audio of this item will come."""
        if key in self._items:
            self._items[key].complete = True

    def holds(self, response_id: str) -> bool:
        """The caller has not heard this response to its end."""
        return any(item.response_id == response_id for item in self._items.values())

    def heard(self, response_id: str) -> list[SendTruncate]:
        """The caller heard this response to its end, but for what was dropped."""
        over = [key for key, item in self._items.items() if item.response_id == response_id]
        truncates = []
        for key in over:
            item = self._items.pop(key)
            self._tell(key, item, (item.received_bytes - item.dropped_bytes) // BYTES_PER_MS)
            if item.dropped_bytes:
                played_bytes = item.received_bytes - item.dropped_bytes
                truncates.append(SendTruncate(*key, played_bytes // BYTES_PER_MS))
                self._settle(key)
        return truncates

    def resumed(self, generation: int) -> None:
        """Nothing is lost: what was flushed is played under this generation."""
        for item in self._items.values():
            item.generation = generation

    def truncate(self, generation: int, heard: tuple[HeardItem, ...] = ()) -> list[SendTruncate]:
        """Everything older than `generation` was cut off: `heard` of it was heard, else nothing.

        So was, whatever its generation, what was never played.
        An item that was heard to its end is left alone: to truncate it, even to its full length,
        makes the server forget its words.
        """
        heard_ms: dict[ItemKey, int] = {}
        for stretch in heard:  # of an item whose audio came between that of others, several
            key = (stretch.item_id, stretch.content_index)
            heard_ms[key] = heard_ms.get(key, 0) + stretch.heard_ms
        cut_off = [
            key
            for key, item in self._items.items()
            if (item.generation < generation or item.never_played) and not item.protected
        ]
        truncates = []
        for key in cut_off:
            item = self._items.pop(key)
            received_ms = item.received_bytes // BYTES_PER_MS
            end_ms = min(heard_ms.get(key, 0), received_ms)
            self._tell(key, item, end_ms)
            if end_ms < received_ms or not item.complete:
                truncates.append(SendTruncate(*key, end_ms))
            self._settle(key)
        return truncates

    def take_told(self) -> list[ItemHeard]:
        """The items whose fate is known since last asked."""
        told, self._told = self._told, []
        return told

    def left(self) -> list[ItemHeard]:
        """The items whose fate is not known; what was heard of them is told as 0."""
        return [
            ItemHeard(item_id, 0, item.received_bytes // BYTES_PER_MS)
            for (item_id, _), item in self._items.items()
        ]

    def _tell(self, key: ItemKey, item: _Item, heard_ms: int) -> None:
        audio_ms = item.received_bytes // BYTES_PER_MS
        self._told.append(ItemHeard(key[0], heard_ms, audio_ms))

    def _settle(self, key: ItemKey) -> None:
        self._settled[key] = None
        while len(self._settled) > MAX_ITEMS:
            del self._settled[next(iter(self._settled))]
