"""What a test call found, and the plain files it leaves: a WAV, a table of checks, a summary.

Decides the shape of the data and nothing about the call: it neither measures nor judges. The
page that shows the same data on a time axis is `page`.
"""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from callengine.audio import g711

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One check of the call, as it is to be read: `measured` against `required`, with units."""

    name: str
    measured: str
    required: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted; seconds from the start of the call."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Lane:
    """Spans of one nature, drawn on one line of the time axis. They may overlap."""

    name: str
    spans: tuple[Span, ...]


class Kind(StrEnum):
    """What a moment is. The value is the word a reader sees."""

    BARGE_IN = "barge-in"
    GUARDED = "guarded"
    FALSE_TRIGGER = "false trigger"
    CANCEL = "cancel"
    CLEAR = "clear"
    TRUNCATE = "truncate"
    LATE_FRAME = "late frame"
    MARK = "mark"
    DTMF = "dtmf"
    ERROR = "error"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened at one instant; seconds from the start of the call."""

    at_s: float
    kind: Kind
    label: str


@dataclass(frozen=True, slots=True)
class CallReport:
    """One test call.

    `caller` (what the caller said) and `heard` (what the caller heard) are mu-law at 8 kHz, both
    from the start of the call, 0xFF where there was silence; they need not be equally long.
    `summary` is whatever the engine says of the call at its end, and must be JSON.
    """

    title: str
    seconds: float
    caller: bytes = field(repr=False)
    heard: bytes = field(repr=False)
    lanes: tuple[Lane, ...]
    moments: tuple[Moment, ...]
    rows: tuple[Row, ...]
    summary: Mapping[str, object]

    @property
    def passed(self) -> bool:
        """Whether every check passed. A call that was not checked has not passed."""
        return bool(self.rows) and all(row.passed for row in self.rows)


def verdict(rows: Sequence[Row]) -> str:
    """The outcome of all checks in a few words."""
    failed = sum(not row.passed for row in rows)
    if not rows:
        return "nothing was checked"
    if failed:
        return f"{failed} of {len(rows)} checks failed"
    return f"{len(rows)} of {len(rows)} checks passed"


def format_table(rows: Sequence[Row]) -> str:
    """The checks as aligned plain text for a terminal, without a trailing newline."""
    table = [("check", "measured", "required", "result")]
    table += [
        (
            _cell(row.name),
            _cell(row.measured),
            _cell(row.required),
            "pass" if row.passed else "FAIL",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    table.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2], "-" * widths[3]))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def json_text(summary: Mapping[str, object]) -> str:
    """`summary` as indented JSON with sorted keys.

    Raises TypeError for a value JSON has no form for, ValueError for a number that is not finite.
    """
    return json.dumps(dict(summary), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)


def write_summary(path: Path, summary: Mapping[str, object]) -> None:
    """Write `summary` as UTF-8 JSON; raises as `json_text` does, before the file is touched."""
    # A lone surrogate, legal in JSON and not in UTF-8, stays the \uXXXX escape it came as.
    path.write_bytes(json_text(summary).encode("utf-8", "backslashreplace") + b"\n")


def write_wav(path: Path, left: bytes, right: bytes) -> None:
    """Write two mu-law 8 kHz tracks as stereo 16-bit PCM; silence pads the shorter one."""
    channels = [np.frombuffer(g711.to_pcm16(t), np.int16) for t in equally_long(left, right)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(g711.SAMPLE_RATE_HZ)
        file.writeframes(np.stack(channels, axis=1).tobytes())


def equally_long(left: bytes, right: bytes) -> tuple[bytes, bytes]:
    """Two mu-law tracks, the shorter one padded with silence at its end."""
    samples = max(len(left), len(right))
    return left.ljust(samples, g711.SILENCE_BYTE), right.ljust(samples, g711.SILENCE_BYTE)


def _cell(text: str) -> str:
    # What came over the line must not move the terminal's cursor or break the table's lines.
    return "".join(char if char.isprintable() else " " for char in text)
