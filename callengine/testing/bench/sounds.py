"""What is said in a bench, prepared once for all calls: mu-law in base64, as it goes on the wire.

The caller's voice has only the level of speech. Each frame of a reply tells of which response it is
and the how manieth of it. Decides no time.
"""

from __future__ import annotations

import base64
import math
import random
import struct
from typing import Final, NamedTuple

from callengine.audio import g711
from callengine.audio.g711 import FRAME_BYTES, FRAME_MS, SAMPLE_RATE_HZ

SPEECH_MS: Final = 1200
REPLY_MS: Final = 12_000
REPLY_FRAMES: Final = REPLY_MS // FRAME_MS
VOICES: Final = 16
"""Responses that can be told apart: the n-th and the (n + 16)-th sound the same."""

_PITCH_SAMPLES: Final = 40
_LINE_NOISE: Final = bytes((0xFF, 0xFE, 0xFD, 0xFC, 0x7F, 0x7E, 0x7D, 0x7C))
_NOISE_FRAMES: Final = 8


def _speech() -> bytes:
    """A square wave in syllables: every sample of it is loud."""
    samples = []
    for n in range(SPEECH_MS * SAMPLE_RATE_HZ // 1000):
        syllable = 0.5 - 0.5 * math.cos(2 * math.pi * 5 * n / SAMPLE_RATE_HZ)
        sign = 1 if n % _PITCH_SAMPLES < _PITCH_SAMPLES // 2 else -1
        samples.append(sign * round(4_000 + 8_000 * syllable))
    return g711.from_pcm16(struct.pack(f"={len(samples)}h", *samples))


def _noise() -> bytes:
    rng = random.Random(0)
    return bytes(rng.choices(_LINE_NOISE, k=_NOISE_FRAMES * FRAME_BYTES))


def _in_base64(audio: bytes) -> tuple[bytes, ...]:
    frames = range(0, len(audio), FRAME_BYTES)
    return tuple(base64.b64encode(audio[at : at + FRAME_BYTES]) for at in frames)


SPEECH: Final = _in_base64(_speech())
"""What the caller says, frame by frame."""

NOISE: Final = _in_base64(_noise())
"""His line while he says nothing."""

LOUD: Final = frozenset(each[0] for each in SPEECH)
"""With what the base64 of a loud frame may begin."""

assert LOUD.isdisjoint({each[0] for each in NOISE} | {base64.b64encode(b"\xff")[0]})


class Face(NamedTuple):
    """Of which response a frame is (modulo `VOICES`), and the how manieth, from 0.

    `place` is -1 where it cannot be told, and both are if the frame is of no response.
    """

    voice: int
    place: int


STRANGE: Final = Face(-1, -1)


def reply(number: int) -> bytes:
    """The audio of the n-th response of a call.

    Of each four bytes the high halves tell which is which, and the low ones hold the voice and the
    digits of the place.
    """
    voice = number % VOICES
    return b"".join(
        bytes((0x80 | voice, 0x90 | place & 15, 0xA0 | place >> 4 & 15, 0x20 | place >> 8))
        * (FRAME_BYTES // 4)
        for place in range(REPLY_FRAMES)
    )


FACES: Final[dict[bytes, Face]] = {
    text: Face(voice, place)
    for voice in range(VOICES)
    for place, text in enumerate(_in_base64(reply(voice)))
}
"""Whole frames of replies by their base64, as they are sent unless a reply was cut."""


def face_of(audio: bytes) -> Face:
    """For a frame that is none of `FACES`: padded, or not cut where frames are."""
    voices = {byte & 15 for byte in audio if byte >> 4 == 0x8}
    return Face(voices.pop(), -1) if len(voices) == 1 else STRANGE
