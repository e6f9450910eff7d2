"""Makes bad messages of good ones: by their structure where they have one, else by characters.

Knows JSON and the tricks of both peers' fields (base64, counters as strings, ids), but no protocol.
The same random generator gives the same message.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    Place = tuple[dict[str, Any] | list[Any], Any]
    """A container, and the key or the index of a value in it."""

    Mend = Callable[[Random, list[Place], Sequence[str]], None]

_RAW: Final = {
    "@nan@": "NaN",
    "@infinity@": "-Infinity",
    "@1e400@": "1e400",
    "@-0@": "-0.0",
    "@400 digits@": "9" * 400,
    "@5000 digits@": "9" * 5000,
    "@deep@": "[" * 60 + "]" * 60,
    "@objects@": '{"a":' * 300 + "1" + "}" * 300,
    "@deeper@": "[" * 30_000 + "]" * 30_000,
}
"""What no Python value is written as; stands in a message as a string until it is written."""

_JUNK: Final[list[Any]] = [
    None, True, False, 0, -1, 1, 1.5, 12.0, 2**31, 2**53, 2**63, -(2**53) - 1, 1e300, 10**30,
    "", " ", "x", "0", "-1", "1e3", "007", "٣", "null", "é", "\ud800", "a\udfffb", "😀", "\x00",
    "\ufeff", "=", "====", "/7+x", "_-8=", "/w==/w==", [], {}, [[]], [None], {"a": []}, {"": 0},
    *_RAW,
]  # fmt: skip

MAX_CHARACTERS: Final = 200_000
"""What is longer tells nothing more about the engine, and something about the fuzzer's memory."""

_LENGTHS: Final = [2, 79, 80, 81, 256, 257, 513, 1025, 4097]
_HUGE: Final = 66_000
_CHARACTERS: Final = '{}[]":,\\/0123456789eE+-.=\x00\x1f\x7f\ufeff\ud800\udc00é٣😀 \n\tntu'


def mutated(rng: Random, message: str, others: Sequence[str]) -> str:
    """A message like this one with one to four things wrong, maybe taken from `others`."""
    tree = _parsed(message) if rng.random() < 0.85 else None
    if tree is not None:
        for _ in range(_few(rng)):
            rng.choice(_STRUCTURAL)(rng, _places(tree), others)
        message = _written(rng, tree)
        if rng.random() < 0.8:
            return message[:MAX_CHARACTERS]
    for _ in range(_few(rng)):
        message = rng.choice(_TEXTUAL)(rng, message, others)
    return message[:MAX_CHARACTERS]


def _few(rng: Random) -> int:
    return rng.choice((1, 1, 1, 1, 2, 2, 3, 4))


def _parsed(message: str) -> dict[str, Any] | list[Any] | None:
    try:
        tree = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict | list) else None


def _written(rng: Random, tree: object) -> str:
    try:
        text = json.dumps(
            tree,
            ensure_ascii=rng.random() < 0.9,
            separators=(",", ":") if rng.random() < 0.7 else None,
        )
    except (ValueError, RecursionError):
        return "{}"
    if '"@' in text:
        for name, raw in _RAW.items():
            text = text.replace(f'"{name}"', raw, 3)
    return text


def _places(value: object) -> list[Place]:
    found: list[Place] = []
    waiting = [value]
    while waiting:
        container = waiting.pop()
        if isinstance(container, dict):
            found += [(container, key) for key in container]
            waiting += container.values()
        elif isinstance(container, list):
            found += [(container, index) for index in range(len(container))]
            waiting += container
        if len(found) > 400:
            break
    return found


# ---- by structure


def _replace(rng: Random, places: list[Place], _: Sequence[str]) -> None:
    if places:
        container, key = rng.choice(places)
        container[key] = _junk(rng)


def _tweak(rng: Random, places: list[Place], _: Sequence[str]) -> None:
    if places:
        container, key = rng.choice(places)
        container[key] = _twin(rng, container[key])


def _delete(rng: Random, places: list[Place], _: Sequence[str]) -> None:
    if places:
        container, key = rng.choice(places)
        del container[key]


def _swap(rng: Random, places: list[Place], _: Sequence[str]) -> None:
    if len(places) > 1:
        (one, key), (other, index) = rng.sample(places, 2)
        one[key], other[index] = _copied(other[index]), _copied(one[key])


def _graft(rng: Random, places: list[Place], others: Sequence[str]) -> None:
    donor = _places(_parsed(rng.choice(others))) if others else []
    if places and donor:
        container, key = rng.choice(places)
        source, index = rng.choice(donor)
        container[key] = source[index]


def _adopt(rng: Random, places: list[Place], others: Sequence[str]) -> None:
    """A field that is another message's, or nobody's."""
    donor = _places(_parsed(rng.choice(others))) if others else []
    objects = [container for container, _ in places if isinstance(container, dict)]
    if objects and donor:
        source, key = rng.choice(donor)
        name = key if isinstance(key, str) else "newer_field"
        rng.choice(objects)[name] = source[key]


def _rename(rng: Random, places: list[Place], _: Sequence[str]) -> None:
    named = [(container, key) for container, key in places if isinstance(container, dict)]
    if named:
        container, key = rng.choice(named)
        renamed = rng.choice((key.upper(), key + "s", "", key[:-1], "\ud800" + key))
        container[renamed] = container.pop(key)


def _nest(rng: Random, places: list[Place], _: Sequence[str]) -> None:
    if places:
        container, key = rng.choice(places)
        value = container[key]
        container[key] = rng.choice(([value], {"a": value}, [value, value], json.dumps("x")))


_STRUCTURAL: Final[list[Mend]] = [
    _replace, _replace, _replace, _tweak, _tweak, _tweak, _tweak, _delete, _delete, _swap, _graft,
    _graft, _adopt, _rename, _nest,
]  # fmt: skip


def _junk(rng: Random) -> object:
    return _copied(rng.choice(_JUNK))


def _copied(value: object) -> object:
    return json.loads(json.dumps(value)) if isinstance(value, dict | list) else value


def _twin(rng: Random, value: object) -> object:
    """Something like `value` that may be just wrong."""
    if isinstance(value, bool):
        return rng.choice((not value, int(value), str(value)))
    if isinstance(value, int | float):
        near = min(max(value, -(2**60)), 2**60)
        return rng.choice(
            (
                -value,
                value + 1,
                value - 1,
                near + 0.5,
                near * 1000,
                float(near),
                str(near),
                "@1e400@",
            )
        )
    if isinstance(value, str):
        return _twin_text(rng, value)
    if isinstance(value, list):
        return rng.choice((value * 2, value[:-1], value[::-1], {"0": value}, value[:5] * 4))
    if isinstance(value, dict):
        return rng.choice((list(value), list(value.values()), {}, [value]))
    return _junk(rng)


def _twin_text(rng: Random, value: str) -> object:
    if value.isascii() and value.isdigit() and len(value) < 16 and rng.random() < 0.7:
        number = int(value)
        near = (number, number + 1, number - 1, number * 1000, number + 65_000, number % 97)
        return rng.choice((*near, *map(str, near), f"0{value}", f"+{value}", f"{value}.0"))
    at = rng.randrange(len(value) + 1)
    return rng.choice(
        (
            "",
            value[:-1],
            value[1:],
            value + value,
            value + rng.choice("=x \n\x00_-1\ud800"),
            value[:at] + rng.choice(_CHARACTERS) + value[at:],
            value[: at // 4 * 4],
            value.swapcase(),
            value[: rng.choice((1, 4, 20, 216))],
            (value or "A") * rng.choice((2, 3, 9)),
            "A" * rng.choice(_LENGTHS) if rng.random() < 0.9 else "A" * _HUGE,
            value.replace("1", "2"),
        )
    )


# ---- by characters


def _cut(rng: Random, text: str, _: Sequence[str]) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _cut_out(rng: Random, text: str, _: Sequence[str]) -> str:
    begin, end = sorted(rng.randrange(len(text) + 1) for _ in "xx")
    return text[:begin] + text[min(end, begin + 40) :]


def _repeat(rng: Random, text: str, _: Sequence[str]) -> str:
    begin, end = sorted(rng.randrange(len(text) + 1) for _ in "xx")
    return text[:end] + text[begin:end][:500] + text[end:]


def _insert(rng: Random, text: str, _: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_CHARACTERS) + text[at + rng.randrange(2) :]


def _wrap(rng: Random, text: str, _: Sequence[str]) -> str:
    before, after = rng.choice(
        (
            ("[", "]"),
            ('"', '"'),
            ("\ufeff", ""),
            ("", " "),
            ("  \n", "\t"),
            ('{"a":', "}"),
            ("", ","),
        )
    )
    return before + text + after


def _join(rng: Random, text: str, others: Sequence[str]) -> str:
    other = rng.choice(others) if others else text
    at = rng.randrange(len(text) + 1)
    return rng.choice((text + other, text[:at] + other, other[: at // 2] + text[at:], other))


def _second_key(rng: Random, text: str, others: Sequence[str]) -> str:
    """A key that is there already, before or behind."""
    tree = _parsed(text)
    if not isinstance(tree, dict) or not tree:
        return _join(rng, text, others)
    key = json.dumps(rng.choice(list(tree)))
    junk = rng.choice(_JUNK)
    value = _RAW.get(junk) if isinstance(junk, str) else None
    value = value or json.dumps(junk)
    if rng.random() < 0.5:
        return text.replace("{", f"{{{key}:{value},", 1)
    return f"{text.rstrip()[:-1]},{key}:{value}}}"


_TEXTUAL: Final[list[Callable[[Random, str, Sequence[str]], str]]] = [
    _cut, _cut_out, _repeat, _insert, _insert, _wrap, _join, _second_key, _second_key,
]  # fmt: skip
