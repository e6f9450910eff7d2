"""The caller's mouth: which 160 bytes leave in which 20 ms slot, silence included.

The slots lie on an absolute grid, so that lateness never adds up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from callengine.audio.g711 import FRAME_BYTES, FRAME_S, SAMPLE_RATE_HZ, SILENCE_BYTE, SILENCE_FRAME
from callengine.testing.caller.record import Said

_SLOT_SLACK: Final = 1e-6
"""Of a slot: times are floats, and rounding must not skip the slot that begins exactly then."""


@dataclass(slots=True)
class _Utterance:
    label: str
    kind: Literal["say", "barge_in"]
    clip: bytes
    onset_at: float = 0.0
    sent_bytes: int = 0

    def said(self) -> Said:
        clip = self.clip[: self.sent_bytes]
        end_at = self.onset_at + len(clip) / SAMPLE_RATE_HZ
        return Said(self.label, self.onset_at, end_at, self.kind, clip)


class Voice:
    """Yields one frame per slot, the first 20 ms after `origin`; notes in `said` what it says."""

    def __init__(self, origin: float, said: list[Said]) -> None:
        self.slot = 0
        self._origin = origin
        self._said = said
        self._utterance: _Utterance | None = None

    @property
    def next_at(self) -> float:
        """When the next frame is to leave."""
        return self._time_of(self.slot)

    def say(self, clip: bytes, label: str, kind: Literal["say", "barge_in"]) -> float:
        """Say `clip` from the next frame on; returns when the slot after its last frame begins."""
        self._utterance = _Utterance(label, kind, clip) if clip else None
        return self._time_of(self.slot + math.ceil(len(clip) / FRAME_BYTES))

    def next_frame(self, now: float) -> bytes:
        """The frame of the present slot, which is being sent `now`; moves on to the next slot."""
        self.slot += 1
        utterance = self._utterance
        if utterance is None:
            return SILENCE_FRAME
        if not utterance.sent_bytes:
            utterance.onset_at = now
        frame = utterance.clip[utterance.sent_bytes : utterance.sent_bytes + FRAME_BYTES]
        utterance.sent_bytes += len(frame)
        if utterance.sent_bytes == len(utterance.clip):
            self.stop()
        return frame.ljust(FRAME_BYTES, SILENCE_BYTE)

    def stop(self) -> None:
        """Say no more of the clip, and note what was said of it."""
        if self._utterance is not None and self._utterance.sent_bytes:
            self._said.append(self._utterance.said())
        self._utterance = None

    def pause_until(self, at: float) -> None:
        """Skip the slots that begin before `at`."""
        slots = (at - self._origin) / FRAME_S
        self.slot = max(self.slot, math.ceil(slots - _SLOT_SLACK) - 1)

    def _time_of(self, slot: int) -> float:
        return self._origin + (slot + 1) * FRAME_S
