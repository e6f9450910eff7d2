"""What shall be wrong with a caller's stream for all of the call, as data.

What goes wrong at one moment is a step of the script (`script`). Marks are counted in the order in
which the agent sent them, from 1; an echo fault strikes `every` so many of them behind the first
`after`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class LoseEchoes:
    """These marks are never echoed."""

    after: int = 0
    every: int = 1


@dataclass(frozen=True, slots=True)
class DelayEchoes:
    """These echoes are late, also when a `clear` comes; with `every` 2, they are out of order."""

    seconds: float
    after: int = 0
    every: int = 1


@dataclass(frozen=True, slots=True)
class RepeatEchoes:
    """These echoes come `times` more times."""

    times: int = 1
    after: int = 0
    every: int = 1


@dataclass(frozen=True, slots=True)
class RenameEchoes:
    """These echoes come under another name: one that nobody gave, or none at all."""

    name: str = ""
    after: int = 0
    every: int = 1


@dataclass(frozen=True, slots=True)
class DelayClearedEchoes:
    """What a `clear` drops is echoed so much later, among the marks of what was sent after it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class FrameSizes:
    """The caller's audio comes in payloads of these sizes, in turn, not in 160 bytes.

    0 is a message without audio. A payload leaves when the last of it was said.
    """

    sizes_bytes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not any(self.sizes_bytes) or min(self.sizes_bytes) < 0:
            raise ValueError(f"sizes_bytes is {self.sizes_bytes}; it needs one above 0, none below")


class NumberStyle(Enum):
    """How sequence numbers, chunks and timestamps are written. Twilio's are decimal texts."""

    INTEGERS = "integers"
    WORDS = "words"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class WriteNumbers:
    """All numbers of all messages are written like this."""

    style: NumberStyle


EchoFault = LoseEchoes | DelayEchoes | RepeatEchoes | RenameEchoes | DelayClearedEchoes

Fault = EchoFault | FrameSizes | WriteNumbers
