"""Records as lines of JSON and back: what the journal's file holds.

A line names its schema version and the kind of record; the rest follows from the types of the
fields. A number, a text or a collection that a line lacks is 0, empty or None, unless the field has
a default; a field that is not known any more is passed over. So a file that was left behind by
another release is read; only when a field changes its meaning `VERSION` goes up.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from callengine.machines.conversation_terms import ConversationCounts
from callengine.machines.dialogue import DialogueCounts
from callengine.machines.inbound import InboundCounts
from callengine.machines.metering import Usage
from callengine.machines.onsets import Outcome
from callengine.machines.response_terms import ResponseCounts, Settlement
from callengine.machines.session import SessionCounts
from callengine.machines.stall import StallCounts
from callengine.machines.tools import ToolCounts
from callengine.machines.transmission_terms import PlayoutCounts, TransmissionCounts
from callengine.messages import EndCause, HeardItem
from callengine.records import CallBegan, CallFinished, EventNoted, Record, TurnTaken
from callengine.summary import CallSummary

VERSION: Final = 1

KINDS: Final[Mapping[str, type[Record]]] = {
    kind.__name__: kind for kind in (CallBegan, TurnTaken, EventNoted, CallFinished)
}

_NAMED_FOR_TYPING_ONLY: Final[dict[str, object]] = {
    each.__name__: each
    for each in (
        CallSummary,
        ConversationCounts,
        DialogueCounts,
        EndCause,
        HeardItem,
        InboundCounts,
        Mapping,
        Outcome,
        PlayoutCounts,
        ResponseCounts,
        SessionCounts,
        Settlement,
        StallCounts,
        ToolCounts,
        TransmissionCounts,
        Usage,
    )
}
"""Names in the annotations of records and summaries that their modules do not hold at run time."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no record, and why. The reason quotes nothing of it."""

    cause: str


def encode(record: Record) -> bytes:
    """One line, its end included. Raises TypeError or ValueError for what JSON cannot hold."""
    line = {"v": VERSION, "kind": type(record).__name__, "record": _plain(record)}
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Record | Unreadable:
    """The record of a line; equal to the one that was encoded."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return Unreadable("not JSON")
    if not isinstance(told, dict) or told.get("v") != VERSION:
        return Unreadable("not of this version")
    kind = KINDS.get(str(told.get("kind")))
    if kind is None:
        return Unreadable("not a kind of record")
    try:
        record: Record = _made(kind, told.get("record"))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        return Unreadable(f"not a {kind.__name__}: {type(error).__name__}")
    return record


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _made(kind: Any, told: Any) -> Any:  # noqa: ANN401 - types are values here
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, told)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (other,) = (each for each in arguments if each is not NoneType)
        return None if told is None else _made(other, told)
    if origin is tuple:
        return tuple(_made(arguments[0], each) for each in _of(list, told))
    if origin in (dict, Mapping, Counter):
        key_kind, each_kind = arguments if len(arguments) == 2 else (*arguments, int)
        held = {_key(key_kind, k): _made(each_kind, each) for k, each in _of(dict, told).items()}
        return Counter(held) if origin is Counter else held
    return _scalar(kind, told)


def _dataclass(kind: type, told: object) -> object:
    given = _of(dict, told)
    values = {}
    for name, (field_kind, needed) in _fields(kind).items():
        if name in given:
            values[name] = _made(field_kind, given[name])
        elif needed:
            values[name] = _nothing(field_kind)
    return kind(**values)


def _nothing(kind: Any) -> Any:  # noqa: ANN401 - types are values here
    """What stands for a value that was not told."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, {})
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return None
    if origin is tuple:
        return ()
    if origin in (dict, Mapping, Counter):
        return origin() if origin is Counter else {}
    if kind in (int, float, bool, str):
        return kind()
    raise TypeError(f"a {kind} was wanted")


@cache
def _fields(kind: type) -> Mapping[str, tuple[Any, bool]]:
    """Of each field its type, and whether it must be given."""
    hints = get_type_hints(kind, localns=_NAMED_FOR_TYPING_ONLY)
    assert is_dataclass(kind), "only dataclasses have fields"
    return {
        each.name: (hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    }


def _scalar(kind: Any, told: Any) -> Any:  # noqa: ANN401 - types are values here
    if issubclass(kind, Enum):
        return kind(told)
    if kind is UUID:
        return UUID(_of(str, told))
    if kind is datetime:
        return datetime.fromisoformat(_of(str, told))
    if kind is float:
        return float(_of(int | float, told))
    return _of(kind, told)


def _key(kind: Any, told: str) -> Any:  # noqa: ANN401 - types are values here
    """JSON has only texts for keys."""
    return kind(told) if kind in (int, float) else _scalar(kind, told)


def _of(kind: type | UnionType, told: Any) -> Any:  # noqa: ANN401 - types are values here
    if not isinstance(told, kind):
        raise TypeError(f"{kind} was wanted")
    return told
