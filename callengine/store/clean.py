"""What a database can take: text without what PostgreSQL refuses, numbers spelled one way."""

from __future__ import annotations

import math
import re
from typing import Final

REPLACEMENT: Final = "\ufffd"

# PostgreSQL has no NUL in text; a surrogate without its partner is not a character at all.
_NOT_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
_SEPARATORS: Final = re.compile(r"[\s().-]")
_PHONE_NUMBER: Final = re.compile(r"\+?[0-9]+")


def clean_text(text: str, limit: int | None = None) -> str:
    """The text with what is no character replaced, cut after `limit` characters."""
    return _NOT_TEXT.sub(REPLACEMENT, text[:limit])


def clean_json(value: object) -> object:
    """Plain values with clean texts; what JSON has no number for is null."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(each) for each in value]
    return value


def clean_number(number: str) -> str:
    """A phone number without what people put between its digits.

    What is not a number stays as it is, less the space around it: `sip:desk@example.com`,
    `anonymous`.
    """
    bare = _SEPARATORS.sub("", number)
    return bare if _PHONE_NUMBER.fullmatch(bare) else number.strip()
