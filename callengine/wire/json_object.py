"""Reading fields out of JSON that somebody else wrote.

Decides what counts as an integer, a text and an identifier, and how a bad field is named. Knows
neither peer. Everything here that fails raises `BadField`, which never leaves `wire/`.
"""

from __future__ import annotations

import binascii
import json
from typing import Final, NoReturn

from callengine.wire.fault import Fault

MAX_KIND_CHARS: Final = 80
"""A peer's word for an event or a value is cut here before it reaches logs and counters."""

MAX_IDENTIFIER_CHARS: Final = 512
"""What the Realtime API allows for ids of ours; those of both peers have under 60 characters."""

_MAX_INTEGER: Final = 2**53 - 1
"""RFC 8259: beyond this, JSON implementations no longer agree on an integer's value."""


class BadField(Exception):  # noqa: N818 - a signal inside the codec, not an error for callers
    """A message, or one field of it, cannot be used."""

    def __init__(self, fault: Fault, path: str) -> None:
        super().__init__(fault, path)
        self.fault: Final = fault
        self.path: Final = path


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_object(text: str) -> JsonObject:
    """The JSON object in `text`. Of a duplicated key the last value counts."""
    try:
        if text[:1] == "{" and text[-1:] == "}":
            # Not to look for white space around it, which no peer writes, saves 0.5 us.
            parsed, end = _DECODER.raw_decode(text)
        else:
            parsed, end = _DECODER.decode(text), len(text)
    except (ValueError, RecursionError):
        raise BadField(Fault.NOT_JSON, "message") from None
    if end != len(text):
        raise BadField(Fault.NOT_JSON, "message")
    if not isinstance(parsed, dict):
        raise BadField(Fault.NOT_AN_OBJECT, "message")
    return JsonObject(parsed)


def well_formed(text: str) -> str:
    """`text` with lone surrogates replaced, so that whoever stores or sends it can encode it."""
    if text.isascii():
        return text
    return text.encode(errors="replace").decode()


def clipped(kind: str) -> str:
    """A peer's word, short enough and well-formed enough to be logged."""
    return well_formed(kind[:MAX_KIND_CHARS])


def as_integer(value: object) -> int | None:
    """A JSON number that is an integer of sane size (`12.0` is one); None for anything else."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:  # bool is a subclass of int and no number in JSON
        return None
    return value if -_MAX_INTEGER <= value <= _MAX_INTEGER else None


def base64_or_none(text: str) -> bytes | None:
    """Strict base64 (RFC 4648 section 4): no whitespace, no URL alphabet, exact padding."""
    try:
        octets = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    # Padding after a complete quantum: the strict mode of Python 3.11 lets it pass.
    return octets if len(text) == (len(octets) + 2) // 3 * 4 else None


class JsonObject:
    """One JSON object and where in the message it sits.

    Plain readers raise `BadField`; `..._or_none` readers give None for absent, null and wrong.
    """

    __slots__ = ("_path", "members")

    def __init__(self, members: dict[str, object], path: str = "") -> None:
        self.members: Final = members
        self._path: Final = path

    def text(self, key: str) -> str:
        """A string, possibly empty."""
        value = self.members.get(key)
        if not isinstance(value, str):
            self.refuse(key)
        return well_formed(value)

    def text_or_none(self, key: str) -> str | None:
        """A string, possibly empty."""
        value = self.members.get(key)
        return well_formed(value) if isinstance(value, str) else None

    def identifier(self, key: str) -> str:
        """A string that is not empty: an empty identifier names nothing and counts as missing."""
        value = self.text(key)
        if not value:
            raise BadField(Fault.MISSING_FIELD, self._path + key)
        if len(value) > MAX_IDENTIFIER_CHARS:
            raise BadField(Fault.TOO_LONG, self._path + key)
        return value

    def word_or_none(self, key: str) -> str | None:
        """A peer's word, cut to what may be logged."""
        value = self.members.get(key)
        return clipped(value) if isinstance(value, str) else None

    def integer(self, key: str) -> int:
        """See `as_integer`."""
        value = as_integer(self.members.get(key))
        if value is None:
            self.refuse(key)
        return value

    def integer_or_none(self, key: str) -> int | None:
        """See `as_integer`."""
        return as_integer(self.members.get(key))

    def count(self, key: str) -> int:
        """An integer that is not negative."""
        value = self.count_or_none(key)
        if value is None:
            self.refuse(key)
        return value

    def count_or_none(self, key: str) -> int | None:
        """An integer that is not negative."""
        value = as_integer(self.members.get(key))
        return None if value is None or value < 0 else value

    def flag_or_none(self, key: str) -> bool | None:
        """`true` or `false`."""
        value = self.members.get(key)
        return value if isinstance(value, bool) else None

    def audio(self, key: str) -> bytes:
        """See `base64_or_none`."""
        value = self.members.get(key)
        if not isinstance(value, str):
            self.refuse(key)
        audio = base64_or_none(value)
        if audio is None:
            raise BadField(Fault.BAD_BASE64, self._path + key)
        return audio

    def child(self, key: str) -> JsonObject:
        """The object under `key`."""
        value = self.members.get(key)
        if not isinstance(value, dict):
            self.refuse(key)
        return JsonObject(value, f"{self._path}{key}.")

    def child_or_empty(self, key: str) -> JsonObject:
        """The object under `key`; an empty one for absent, null and wrong."""
        value = self.members.get(key)
        return JsonObject(value if isinstance(value, dict) else {}, f"{self._path}{key}.")

    def children(self, key: str) -> list[JsonObject]:
        """The objects in the array under `key`; whatever else is there is passed over."""
        value = self.members.get(key)
        entries = value if isinstance(value, list) else []
        path = f"{self._path}{key}[]."
        return [JsonObject(entry, path) for entry in entries if isinstance(entry, dict)]

    def refuse(self, key: str) -> NoReturn:
        """Raise `BadField` for `key`: missing if it is absent, of the wrong type if not."""
        fault = Fault.WRONG_TYPE if key in self.members else Fault.MISSING_FIELD
        raise BadField(fault, self._path + key)
