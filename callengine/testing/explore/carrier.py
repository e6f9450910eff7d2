"""The caller's side of the line: plays back to back from arrival, echoes marks, drops on clear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from callengine.audio.g711 import FRAME_S, SAMPLE_RATE_HZ
from callengine.testing.explore.sound import runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.explore.sound import Run

_SLACK_S = 1e-6


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame, or a mark (without audio), and when it will have been played."""

    ends_at: float
    audio: bytes = b""
    mark: str = ""


class Echo(NamedTuple):
    """A mark on its way back."""

    name: str
    cleared: bool


@dataclass(frozen=True, slots=True)
class Carrier:
    """What the carrier holds. `delay_s` passes between arrival and ear."""

    delay_s: float
    plays_until: float = float("-inf")
    holds: tuple[Piece, ...] = ()

    @property
    def due(self) -> float | None:
        """When the next piece will have been played."""
        return self.holds[0].ends_at if self.holds else None

    @property
    def on_air(self) -> Run | None:
        """What the caller is hearing now, or will next."""
        return next((run for piece in self.holds for run in runs(piece.audio)), None)

    def media(self, audio: bytes, now: float) -> Carrier:
        """A frame arrives."""
        ends_at = max(self.plays_until, now + self.delay_s) + FRAME_S
        return replace(self, plays_until=ends_at, holds=(*self.holds, Piece(ends_at, audio)))

    def mark(self, name: str, now: float) -> Carrier:
        """A mark arrives: it is reached when all before it was played."""
        reached_at = self.holds[-1].ends_at if self.holds else now
        return replace(self, holds=(*self.holds, Piece(reached_at, mark=name)))

    def play(self, now: float) -> tuple[Carrier, list[Run], list[Echo]]:
        """Play on until `now`: what was heard, and the marks that were reached."""
        over = [piece for piece in self.holds if piece.ends_at <= now + _SLACK_S]
        heard = [run for piece in over for run in runs(piece.audio)]
        echoes = [Echo(piece.mark, cleared=False) for piece in over if piece.mark]
        return replace(self, holds=self.holds[len(over) :]), heard, echoes

    def clear(self, now: float) -> tuple[Carrier, list[Run], list[Echo]]:
        """Drop all: what was heard of the piece now playing, and all marks, which come at once."""
        heard = list(self._begun(now))
        echoes = [Echo(piece.mark, cleared=True) for piece in self.holds if piece.mark]
        return Carrier(self.delay_s), heard, echoes

    def _begun(self, now: float) -> Iterator[Run]:
        for piece in self.holds:
            begun_at = piece.ends_at - FRAME_S
            if piece.audio and begun_at < now - _SLACK_S:
                played = round((now - begun_at) * SAMPLE_RATE_HZ)
                yield from runs(piece.audio[:played])
