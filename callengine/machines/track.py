"""One response's audio: which item each byte belongs to, what is queued, and what was heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callengine.audio.g711 import BYTES_PER_MS
from callengine.messages import HeardItem

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class Item:
    """One item's stretch of a track, in bytes."""

    item_id: str
    content_index: int
    start: int
    received: int = 0


@dataclass(slots=True)
class Track:
    """One response's audio."""

    response_id: str
    ordinal: int
    generation: int
    protected: bool
    items: list[Item] = field(default_factory=list)
    queued: bytearray = field(default_factory=bytearray)
    received: int = 0
    heard: int = 0
    complete: bool = False

    @property
    def over(self) -> bool:
        """Heard to its end."""
        return self.complete and self.heard >= self.received

    def continues(self, response_id: str, item_id: str, content_index: int) -> bool:
        """Such audio belongs to the item this ends with."""
        if self.response_id != response_id or not self.items:
            return False
        last = self.items[-1]
        return last.item_id == item_id and last.content_index == content_index

    def append(self, item_id: str, content_index: int, audio: bytes) -> None:
        """Queue `audio` behind what is there."""
        if not self.continues(self.response_id, item_id, content_index):
            self.items.append(Item(item_id, content_index, start=self.received))
        self.items[-1].received += len(audio)
        self.received += len(audio)
        self.queued += audio

    def heard_items(self) -> Iterable[HeardItem]:
        """Each item, with the whole milliseconds that were heard of it."""
        for item in self.items:
            heard = min(max(self.heard - item.start, 0), item.received)
            yield HeardItem(item.item_id, item.content_index, heard // BYTES_PER_MS)
