"""Who said what, and how much of it was heard: joins an item's words with what became of its audio.

The words come from the model's transcripts, what was heard from playout, in either order. Which
words were heard is an estimate: speech is taken to be even, and a word that was cut does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from callengine.messages import TurnSettled

MAX_OPEN: Final = 64
"""Items whose words or fate are not known yet. Beyond, the oldest is settled as it is."""

HEARD_OUT_MS: Final = 60
"""An item of which no more than this is missing was heard: the rest is the silence at its end."""


@dataclass(slots=True)
class OpenTurn:
    """An item that is not settled: None is what is not known yet."""

    item_id: str
    text: str | None = None
    heard_ms: int | None = None
    audio_ms: int | None = None

    def settled(self) -> TurnSettled:
        """As far as it is known."""
        text, audio_ms, heard_ms = self.text or "", self.audio_ms or 0, self.heard_ms or 0
        heard_text = words_heard(text, heard_ms, audio_ms)
        return TurnSettled(self.item_id, text, heard_text, heard_ms, audio_ms)


class Turns:
    """The agent's items of one session, until they are settled."""

    def __init__(self) -> None:
        self._open: dict[str, OpenTurn] = {}

    def said(self, item_id: str, text: str) -> list[TurnSettled]:
        """The transcript of an item."""
        self._turn(item_id).text = text
        return self._settle(item_id)

    def heard(self, item_id: str, heard_ms: int, audio_ms: int) -> list[TurnSettled]:
        """What became of an item's audio; of several parts each is told."""
        turn = self._turn(item_id)
        turn.heard_ms = (turn.heard_ms or 0) + heard_ms
        turn.audio_ms = (turn.audio_ms or 0) + audio_ms
        return self._settle(item_id)

    @property
    def unsettled(self) -> tuple[OpenTurn, ...]:
        """What is left at the end of a session."""
        return tuple(self._open.values())

    def _turn(self, item_id: str) -> OpenTurn:
        return self._open.setdefault(item_id, OpenTurn(item_id))

    def _settle(self, item_id: str) -> list[TurnSettled]:
        turn = self._open[item_id]
        if turn.text is None or turn.heard_ms is None:
            if len(self._open) <= MAX_OPEN:
                return []
            item_id = next(iter(self._open))
        return [self._open.pop(item_id).settled()]


def words_heard(text: str, heard_ms: int, audio_ms: int) -> str:
    """The words of `text` that were heard whole, if it was spoken evenly over `audio_ms`."""
    if audio_ms <= 0 or heard_ms <= 0:
        return ""
    if heard_ms >= audio_ms - HEARD_OUT_MS:
        return text
    end = len(text) * heard_ms // audio_ms
    if text[end : end + 1].isspace():
        return text[:end].rstrip()
    return text[:end].rpartition(" ")[0].rstrip()
