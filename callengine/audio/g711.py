"""G.711 mu-law at 8 kHz: the one audio format on the media path.

One byte is one sample, so a length in bytes is a duration: 8 bytes are one millisecond.
"""

from __future__ import annotations

import audioop
from typing import Final

SAMPLE_RATE_HZ: Final = 8_000
BYTES_PER_MS: Final = 8
FRAME_MS: Final = 20
FRAME_S: Final = 0.020
FRAME_BYTES: Final = FRAME_MS * BYTES_PER_MS

SILENCE_BYTE: Final = b"\xff"
"""Positive zero. Mu-law has two zeros (0xFF and 0x7F); carriers and models pad with this one."""

SILENCE_FRAME: Final = SILENCE_BYTE * FRAME_BYTES


def silence(duration_ms: int) -> bytes:
    """Mu-law silence of `duration_ms`."""
    return SILENCE_BYTE * (duration_ms * BYTES_PER_MS)


def duration_ms(payload_bytes: int) -> int:
    """Whole milliseconds of audio in `payload_bytes` bytes, rounded down."""
    return payload_bytes // BYTES_PER_MS


def to_pcm16(ulaw: bytes) -> bytes:
    """Mu-law to 16-bit linear samples in native byte order."""
    return audioop.ulaw2lin(ulaw, 2)


def from_pcm16(pcm: bytes) -> bytes:
    """16-bit linear samples in native byte order to mu-law."""
    return audioop.lin2ulaw(pcm, 2)


def rms(ulaw: bytes) -> int:
    """Root mean square of the samples on the 16-bit scale (0 to 32767); 0 for no samples."""
    return audioop.rms(audioop.ulaw2lin(ulaw, 2), 2)
