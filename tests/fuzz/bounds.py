"""How large anything that a call remembers may become, whatever the peers send.

It walks everything that is reachable from the actors of a call, so that a table nobody thought of
is found as well.
"""

from __future__ import annotations

import fnmatch
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from callengine.actors.stepper import Stepper
from callengine.agent import Agent
from callengine.machines.playout import MAX_QUEUED_BYTES
from callengine.machines.session import MAX_HELD_BYTES
from callengine.wire.twilio import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pykka

MAX_ENTRIES: Final = 512
"""Of any table, list or queue that is not named below."""

MAX_TEXT: Final = 1_100
"""Characters or bytes of anything kept that is not named below: two ids and some words."""

EXCEPTIONS: Final = {
    # what -> how many entries, characters or bytes
    "*._held": MAX_HELD_BYTES,  # frames of one byte, at the worst
    "*._held[]": MAX_MESSAGE_BYTES + MAX_HELD_BYTES,
    "*.queued": MAX_QUEUED_BYTES,
    "*._sent": 4_000,  # a carrier that echoes nothing holds 256 marks of 200 ms each
    "*._started.*": MAX_MESSAGE_BYTES,  # one message of the carrier
    "*.agent*": 1 << 30,
    "*._farewell": 1 << 30,
}

_NOT_THE_CALLS: Final = (Stepper, Agent)


def check(refs: Iterable[pykka.ActorRef[Any]]) -> None:
    """AssertionError naming the first thing that is too large."""
    for path, size, is_text in sizes(refs):
        limit = MAX_TEXT if is_text else MAX_ENTRIES
        if size <= limit:
            continue
        named = [most for name, most in EXCEPTIONS.items() if fnmatch.fnmatchcase(path, name)]
        assert named, f"{path} has {size}"
        assert size <= max(named), f"{path} has {size}"


def sizes(refs: Iterable[pykka.ActorRef[Any]]) -> Iterator[tuple[str, int, bool]]:
    """Path, size, and whether it is a text, of everything that has one."""
    waiting: list[tuple[str, Any]] = [
        (type(ref.actor_inbox.actor).__name__, ref.actor_inbox.actor)  # type: ignore[attr-defined]
        for ref in refs
    ]
    seen: set[int] = set()
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str | bytes | bytearray) and not isinstance(value, Enum):
            yield path, len(value), True
            continue
        if id(value) in seen or isinstance(value, _NOT_THE_CALLS):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            yield path, len(value), False
            waiting += [(f"{path}[]", each) for pair in value.items() for each in pair]
        elif isinstance(value, list | tuple | set | frozenset | deque):
            yield path, len(value), False
            waiting += [(f"{path}[]", each) for each in value]
        elif type(value).__module__.startswith("callengine.") and not isinstance(
            value, Enum | type
        ):
            waiting += [(f"{path}.{name}", each) for name, each in _attributes(value)]


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield name, getattr(value, name)
