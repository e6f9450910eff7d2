"""Small rules for checking JSON the way the Realtime API does: the first fault refuses everything.

Knows how to say what is wrong and where; `realtime_session.py` and `realtime_events.py` say what is
right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[Any, str], None]
"""Takes a value and its path (`session.audio.input`); raises `Refusal`."""


class Refusal(Exception):  # noqa: N818 - it is an answer of the server, not a fault of the program
    """A client event is not carried out; becomes an `error` event."""

    def __init__(self, code: str | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def invalid(path: str, value: object) -> Refusal:
    """The refusal of a value of the wrong kind or out of range."""
    return Refusal("invalid_value", f"Invalid value: {value!r} for '{path}'.", path)


def anything(value: object, path: str) -> None:
    """Whatever it is."""


def text(value: object, path: str) -> None:
    """A string."""
    if not isinstance(value, str):
        raise invalid(path, value)


def flag(value: object, path: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise invalid(path, value)


def one_of(*allowed: object) -> Rule:
    """Exactly one of these values."""

    def rule(value: object, path: str) -> None:
        if not any(value == known and type(value) is type(known) for known in allowed):
            raise invalid(path, value)

    return rule


def whole(low: int, high: int | None = None) -> Rule:
    """An integer from `low` to `high`; a float is refused, even 20.0."""

    def rule(value: object, path: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid(path, value)
        if value < low or (high is not None and value > high):
            raise invalid(path, value)

    return rule


def number(low: float, high: float) -> Rule:
    """A number from `low` to `high`."""

    def rule(value: object, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(path, value)
        if not low <= value <= high:
            raise invalid(path, value)

    return rule


def nullable(inner: Rule) -> Rule:
    """null, or what `inner` allows."""

    def rule(value: object, path: str) -> None:
        if value is not None:
            inner(value, path)

    return rule


def either(*rules: Rule) -> Rule:
    """What any of the rules allows; the last one's refusal is told."""

    def rule(value: object, path: str) -> None:
        for attempt in rules[:-1]:
            try:
                attempt(value, path)
            except Refusal:
                continue
            return
        rules[-1](value, path)

    return rule


def list_of(inner: Rule) -> Rule:
    """A list whose elements obey `inner`."""

    def rule(value: object, path: str) -> None:
        if not isinstance(value, list):
            raise invalid(path, value)
        for index, element in enumerate(value):
            inner(element, f"{path}[{index}]")

    return rule


def fields(known: Mapping[str, Rule], required: tuple[str, ...] = ()) -> Rule:
    """An object with no unknown key, no missing required key, and every value by its rule."""

    def rule(value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid(path, value)
        prefix = f"{path}." if path else ""
        for key in value:
            if key not in known:
                raise Refusal(
                    "unknown_parameter", f"Unknown parameter: '{prefix}{key}'.", prefix + key
                )
        for key in required:
            if key not in value:
                raise missing(prefix + key)
        for key, element in value.items():
            known[key](element, prefix + key)

    return rule


def string_pairs(limit: int) -> Rule:
    """An object of at most `limit` strings."""

    def rule(value: object, path: str) -> None:
        if not isinstance(value, dict) or len(value) > limit:
            raise invalid(path, value)
        if not all(isinstance(element, str) for element in value.values()):
            raise invalid(path, value)

    return rule


def by_type(kinds: Mapping[str, Rule], key: str = "type") -> Rule:
    """An object whose `type` (or other key) says which rule it obeys."""

    def rule(value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid(path, value)
        key_path = f"{path}.{key}" if path else key
        if key not in value:
            raise missing(key_path)
        kind = value[key]
        if not isinstance(kind, str) or kind not in kinds:
            raise Refusal("invalid_value", f"Invalid value: {kind!r}.", key_path)
        kinds[kind](value, path)

    return rule


def missing(path: str) -> Refusal:
    """The refusal of an object that lacks a required key."""
    return Refusal("missing_required_parameter", f"Missing required parameter: '{path}'.", path)
