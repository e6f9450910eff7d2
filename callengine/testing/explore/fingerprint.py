"""One fingerprint for all worlds that no future can tell apart.

Values of any type are taken apart by one generic walk, by the rules of `rules`. Names (of
responses, items, events, marks) are told by the order in which they turn up. A number of seconds
without a rule is refused.
"""

from __future__ import annotations

import dataclasses
import marshal
from collections import deque
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from callengine.testing.explore.rules import RULES, Kind, Of
from callengine.testing.explore.sound import response_id, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callengine.testing.explore.rules import Rule

UNITS_PER_S: Final = 10_000
"""Times are compared to a tenth of a millisecond: less than a sample, more than a float's error."""


@dataclass(frozen=True, slots=True)
class Flat:
    """A value taken apart: what is compared as it is, and what only relative to the rest."""

    shape: int
    """Stands for all that is compared as it is."""
    times: tuple[float, ...]
    dues: tuple[float, ...]
    generations: tuple[int, ...]
    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]


class _Walk:
    """One value on its way to being flat."""

    def __init__(self, rules: Mapping[str, Rule], fields: dict[type, tuple[str, ...]]) -> None:
        self._rules = rules
        self._fields = fields
        self.plain: list[object] = []
        self.times: list[float] = []
        self.dues: list[float] = []
        self.generations: list[int] = []
        self.names: list[str] = []
        self.members: list[tuple[str, ...]] = []

    def flat(self, shapes: dict[tuple[object, ...], int]) -> Flat:
        """What was found."""
        return Flat(
            shapes.setdefault(tuple(self.plain), len(shapes)),
            tuple(self.times),
            tuple(self.dues),
            tuple(self.generations),
            tuple(self.names),
            tuple(self.members),
        )

    def walk(self, value: object) -> None:
        """Take in a value of any type."""
        match value:
            case Enum():
                self.plain.append(value.name)
            case str():
                self._text(value)
            case int() | None:
                self.plain.append(value)
            case bytes() | bytearray():
                self._audio(value)
            case float():
                raise TypeError(f"no rule says what kind of number {value} is")
            case dict():
                self._all([each for pair in value.items() for each in pair])
            case set() | frozenset():
                self._all(sorted(value))
            case list() | tuple() | deque():
                self._all(value)
            case Of(kind, inner):
                self._of(kind, inner)
            case _:
                self._object(value)

    def _all(self, values: Iterable[object]) -> None:
        values = tuple(values)
        self.plain.append(len(values))
        for value in values:
            self.walk(value)

    def _text(self, value: str) -> None:
        """Every name has a number in it, and nothing else has."""
        if any(letter.isdigit() for letter in value):
            self.plain.append("#")
            self.names.append(value)
        else:
            self.plain.append(value)

    def _audio(self, audio: bytes | bytearray) -> None:
        self.plain.append(len(audio))
        for run in runs(audio):
            self.plain += [run.frame, run.size_bytes]
            self.names.append(response_id(run.response))

    def _object(self, value: object) -> None:
        kind = type(value)
        fields = self._fields.get(kind)
        if fields is None:
            fields = self._fields[kind] = _fields_of(value)
        self.plain.append(kind.__name__)
        for name in fields:
            rule = self._rules.get(f"{kind.__name__}.{name}")
            if rule is None:
                self.walk(getattr(value, name))
            elif isinstance(rule, Kind):
                self._of(rule, getattr(value, name))
            else:
                self.walk(rule({each: getattr(value, each) for each in fields}))

    def _of(self, kind: Kind, value: Any) -> None:  # noqa: ANN401 - the kind says what it is
        if kind is Kind.IGNORED:
            return
        self.plain.append(None if value is None else kind.name)
        if value is None:
            return
        match kind:
            case Kind.TIME:
                self.times.append(value)
            case Kind.DUE:
                self.dues.append(value)
            case Kind.DURATION:
                self.plain.append(round(value * UNITS_PER_S))
            case Kind.GENERATION:
                self.generations.append(value)
            case Kind.MEMBERS:
                self._recognised(value)

    def _recognised(self, value: Iterable[object] | str) -> None:
        """Item keys are tuples; what they are known by is the name in them."""
        each_of = (value,) if isinstance(value, str) else value
        self.members.append(tuple(e[0] if isinstance(e, tuple) else str(e) for e in each_of))


def _fields_of(value: object) -> tuple[str, ...]:
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return tuple(vars(value))


class Flattener:
    """Takes values apart, each immutable one once."""

    def __init__(
        self, ignored: Iterable[str] = (), shapes: dict[tuple[object, ...], int] | None = None
    ) -> None:
        self._rules = {**RULES, **dict.fromkeys(ignored, Kind.IGNORED)}
        self._fields: dict[type, tuple[str, ...]] = {}
        self.shapes: dict[tuple[object, ...], int] = {} if shapes is None else shapes
        self._known: dict[object, Flat] = {}

    def flat(self, value: object) -> Flat:
        """Take apart a value that may be mutable."""
        walk = _Walk(self._rules, self._fields)
        walk.walk(value)
        return walk.flat(self.shapes)

    def of_value(self, value: object) -> Flat:
        """Take apart an immutable value."""
        flat = self._known.get(value)
        if flat is None:
            flat = self._known[value] = self.flat(value)
        return flat


def digest(parts: Sequence[Flat], now: float, generation: int) -> bytes:
    """The fingerprint of values that belong together, in this order; all from one flattener."""
    told: list[object] = [part.shape for part in parts]
    told += [round((at - now) * UNITS_PER_S) for part in parts for at in part.times]
    dues = [max(at, now) for part in parts for at in part.dues]
    told += [round((at - now) * UNITS_PER_S) for at in dues]
    told += [generation - each for part in parts for each in part.generations]
    names = [name for part in parts for name in part.names]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    told += [order[name] for name in names]
    for part in parts:
        for members in part.members:
            told.append(sorted([order[name] for name in members if name in order]))
    return blake2b(marshal.dumps(told, 0), digest_size=16).digest()
