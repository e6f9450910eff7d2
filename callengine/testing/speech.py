"""Short speech clips for scripted callers and scripted models: mu-law, 8 kHz, no header.

The voices are synthetic and the texts are ours (`clips/make.sh` makes every file), so they may be
used and shipped freely. An `agent_*` clip is the receptionist, a `caller_*` clip the person on the
phone; `cough` is loud, but not speech.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


class UnknownClipError(KeyError):
    """There is no clip of that name; the message lists the names there are."""

    def __str__(self) -> str:
        return str(self.args[0])


@cache
def clip(name: str) -> bytes:
    """The mu-law bytes of a clip (8 bytes are 1 ms). Raises `UnknownClipError`."""
    _require(name)
    return (_folder() / f"{name}.ulaw").read_bytes()


def text(name: str) -> str:
    """What is said in a clip, empty for a noise. Raises `UnknownClipError`."""
    _require(name)
    return _catalogue()[name]


def names() -> tuple[str, ...]:
    """The names of all clips, in the order of the catalogue."""
    return tuple(_catalogue())


def _require(name: str) -> None:
    if name not in _catalogue():
        raise UnknownClipError(f"no clip named {name!r}; there are: {', '.join(names())}")


@cache
def _catalogue() -> dict[str, str]:
    entries = json.loads((_folder() / "clips.json").read_text("utf-8"))
    return {name: entry["text"] for name, entry in entries.items()}


def _folder() -> Traversable:
    return files("callengine.testing") / "clips"
