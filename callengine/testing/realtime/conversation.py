"""The items of a conversation on the simulated server: order, truncation, deletion.

Knows what an item is worth after it was cut; refuses to know when things are said.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from callengine.testing.realtime.rules import Refusal, invalid


@dataclass(slots=True)
class Item:
    """One item of the conversation."""

    id: str
    type: str
    fields: dict[str, Any] = field(default_factory=dict)
    """Everything but id, type and status, as it stands on the wire."""
    status: str = "completed"
    audio_ms: int | None = None
    """Assistant audio generated, or left after truncation, in whole milliseconds; None: none."""
    is_truncated: bool = False

    @property
    def is_model_audio(self) -> bool:
        """Whether it can be truncated: assistant audio of which some exists."""
        return self.fields.get("role") == "assistant" and self.audio_ms is not None

    def to_wire(self) -> dict[str, Any]:
        """The item as the protocol shows it."""
        return {"id": self.id, "type": self.type, "status": self.status, **deepcopy(self.fields)}

    def grow(self, audio_ms: int) -> None:
        """Set the audio generated so far; what was truncated does not grow again."""
        if not self.is_truncated:
            self.audio_ms = audio_ms

    def set_content(self, part: dict[str, Any]) -> None:
        """Set the one content part; a truncated item never gets a transcript back."""
        if self.is_truncated:
            part["transcript"] = None
        self.fields["content"] = [part]


class Conversation:
    """The default conversation of a session."""

    def __init__(self, ids_from: int = 0) -> None:
        self.items: list[Item] = []
        self._made = ids_from

    def new_id(self, kind: str) -> str:
        """A fresh item id; `kind` is a letter that makes transcripts of a run readable."""
        self._made += 1
        return f"item_sim_{kind}{self._made}"

    def add(self, item: Item, previous_item_id: str | None = None) -> None:
        """Put an item at the end, after another one, or (`root`) in front."""
        if any(known.id == item.id for known in self.items):
            raise Refusal(
                "item_create_invalid_item_id",
                f"Error adding item: an item with id '{item.id}' already exists.",
                "item.id",
            )
        if previous_item_id is None:
            self.items.append(item)
        elif previous_item_id == "root":
            self.items.insert(0, item)
        else:
            before = self.find(previous_item_id, "item_create_invalid_previous_item_id")
            self.items.insert(self.items.index(before) + 1, item)

    def find(self, item_id: str, refusal_code: str) -> Item:
        """The item of that id. Raises `Refusal` with the code."""
        for item in self.items:
            if item.id == item_id:
                return item
        raise Refusal(refusal_code, f"Item with item_id '{item_id}' not found.", "item_id")

    def previous_id(self, item: Item) -> str | None:
        """The id of the item in front of it; None at the front, or when it was deleted."""
        at = next((index for index, known in enumerate(self.items) if known is item), 0)
        return self.items[at - 1].id if at else None

    def last_id(self) -> str | None:
        """The id of the last item."""
        return self.items[-1].id if self.items else None

    def delete(self, item_id: str) -> None:
        """Remove an item. Raises `Refusal`."""
        self.items.remove(self.find(item_id, "item_delete_invalid_item_id"))

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut an item's audio and delete its transcript, all of it. Raises `Refusal`."""
        item = self.find(item_id, "item_truncate_invalid_item_id")
        if not item.is_model_audio:
            raise Refusal(
                "unsupported_content_type", "Only model output audio messages can be truncated"
            )
        if content_index != 0:
            raise invalid("content_index", content_index)
        if audio_end_ms > (item.audio_ms or 0):
            raise Refusal(
                "invalid_value",
                f"Audio content of {item.audio_ms}ms is already shorter than {audio_end_ms}ms",
            )
        item.audio_ms = audio_end_ms
        item.is_truncated = True
        if item.fields.get("content"):
            item.fields["content"][0]["transcript"] = None

    def has_call(self, call_id: str) -> bool:
        """Whether the model, or a client that restored history, made that function call."""
        return any(
            item.type == "function_call" and item.fields.get("call_id") == call_id
            for item in self.items
        )
