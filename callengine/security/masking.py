"""What peers wrote, made fit for a log: one line, of bounded length, no telephone number in full.

Decides how a number is hidden and which characters are written as escapes. Knows nothing of logs.
Scrubbing what is scrubbed changes nothing.
"""

from __future__ import annotations

import re
from typing import Final

MAX_TEXT_CHARS: Final = 8_000
"""What is longer is cut there; a trace of twenty calls has under 4 000."""

_CUT_SIGN: Final = "..."

_UNSHOWABLE: Final = re.compile(
    # Control characters (newlines, ANSI escapes), the line separators of Unicode, marks that turn
    # the direction of the text around them, and lone surrogates, which nobody can encode.
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_NUMBER: Final = re.compile(r"(?:\+|%2[Bb])[0-9](?:[ ().\-]{0,2}[0-9]){6,}")
"""E.164 has 7 to 15 digits; what is longer is hidden too. Spelled with separators, or in a URL."""


def scrubbed(text: str) -> str:
    """`text` as one line of bounded length in which every international number is masked."""
    text = _cut(text)
    if not (text.isascii() and text.isprintable()):
        text = text.replace("\n", "\\n")  # of which a trace has many, and seldom anything else
        text = _cut(_UNSHOWABLE.sub(_escape, text))
    if "+" in text or "%2" in text:
        text = _NUMBER.sub(lambda found: masked(found[0]), text)
    return text


def masked(number: str) -> str:
    """A telephone number or address of which at least four characters are hidden.

    `+15551234567` is `+1555***67`: enough to tell calls apart, not to call back.
    """
    shown = len(number) - 6
    return f"{number[: min(shown, 5)]}***{number[-2:]}" if shown > 0 else "***"


def _cut(text: str) -> str:
    return (
        text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - len(_CUT_SIGN)] + _CUT_SIGN
    )


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")
