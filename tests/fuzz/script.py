"""A whole call as data: what the two peers said, raw, and how much time passed between.

As text it is one JSON object a line, so that a corpus of calls can be read and written by hand: a
message may stand there as the object it is.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import NamedTuple


class What(StrEnum):
    """The kinds of steps; the values are their keys in a corpus file."""

    CARRIER = "carrier"  # a raw message
    MODEL = "model"  # a raw message
    ECHO = "echo"  # the carrier echoes one of our marks: 0 is the newest
    WAIT_MS = "wait_ms"
    ALIVE = "alive"  # the model's socket answered a ping
    MODEL_CLOSED = "model_closed"  # its socket is gone; the value is the reason
    CARRIER_CLOSED = "carrier_closed"  # the value is the code
    SEED = "seed"  # of the order in which the actors get their turn; counts as the first step


class Step(NamedTuple):
    """One thing that happens in a call."""

    what: What
    value: str | bytes | int


Script = list[Step]

_HEX: str = "_hex"
_MAX_WAIT_MS = 40_000
_TEXTS = {What.CARRIER, What.MODEL, What.MODEL_CLOSED}


def written(script: Script) -> bytes:
    """One line a step."""
    lines = []
    for what, value in script:
        if isinstance(value, bytes):
            lines.append(json.dumps({what + _HEX: value.hex()}))
        else:
            lines.append(json.dumps({what: value}))
    return "\n".join(lines).encode() + b"\n"


def read(data: bytes) -> Script:
    """The steps of every line that is one; whatever else is there is passed over."""
    steps = (_step(line) for line in data.decode(errors="replace").split("\n"))
    return [step for step in steps if step is not None]


def _step(line: str) -> Step | None:
    try:
        ((key, value),) = json.loads(line).items()
        if key.endswith(_HEX):
            return Step(What(key.removesuffix(_HEX)), bytes.fromhex(value))
        what = What(key)
        if what in _TEXTS:
            return Step(what, value if isinstance(value, str) else json.dumps(value))
    except (ValueError, AttributeError, RecursionError, TypeError):
        return None
    if type(value) is not int:
        return None
    return Step(what, min(max(value, 0), _MAX_WAIT_MS))
