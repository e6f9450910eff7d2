"""The three audio formats of a Realtime session, as the simulated server reads and speaks them.

Decides how many bytes are a millisecond and how loud they are; knows nothing of sessions or turns.
"""

from __future__ import annotations

import audioop
import sys
from dataclasses import dataclass
from typing import Any, Final

from callengine.audio import g711

VAD_FRAME_MS: Final = 20


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One audio format of the protocol: `name` is its `type` on the wire."""

    name: str
    bytes_per_s: int

    def frame_bytes(self) -> int:
        """Bytes of one frame of `VAD_FRAME_MS`."""
        return self.bytes_per_s * VAD_FRAME_MS // 1000

    def milliseconds(self, size_bytes: int) -> int:
        """Whole milliseconds in `size_bytes`, rounded down."""
        return size_bytes * 1000 // self.bytes_per_s

    def level(self, frame: bytes) -> int:
        """RMS of one frame on the 16-bit scale."""
        return audioop.rms(self._to_linear(frame), 2)

    def speak(self, ulaw: bytes) -> bytes:
        """A clip (mu-law, 8 kHz) in this format."""
        if self is PCMU:
            return ulaw
        linear = g711.to_pcm16(ulaw)
        if self is PCMA:
            return audioop.lin2alaw(linear, 2)
        upsampled, _state = audioop.ratecv(linear, 2, 1, g711.SAMPLE_RATE_HZ, 24_000, None)
        return _little_endian(upsampled)

    def to_wire(self) -> dict[str, Any]:
        """The `format` object of a session."""
        return {"type": self.name, "rate": 24_000} if self is PCM else {"type": self.name}

    def _to_linear(self, frame: bytes) -> bytes:
        if self is PCMU:
            return g711.to_pcm16(frame)
        if self is PCMA:
            return audioop.alaw2lin(frame, 2)
        return _little_endian(frame)


def _little_endian(linear: bytes) -> bytes:
    return linear if sys.byteorder == "little" else audioop.byteswap(linear, 2)


PCMU: Final = AudioFormat("audio/pcmu", 8_000)
PCMA: Final = AudioFormat("audio/pcma", 8_000)
PCM: Final = AudioFormat("audio/pcm", 48_000)

_BY_NAME: Final = {known.name: known for known in (PCMU, PCMA, PCM)}


def format_of(wire: dict[str, Any]) -> AudioFormat:
    """The format a (validated) `format` object of a session stands for."""
    return _BY_NAME[wire["type"]]
