"""Why a message could not become an event: one closed set for both peers."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """The cause carried by `Malformed`; its value is fit for a counter's label."""

    BINARY = "binary"
    """A binary message where the protocol knows only text."""
    OVERSIZE = "oversize"
    NOT_JSON = "not_json"
    """Also: invalid UTF-8, NaN and infinities, nesting or numbers beyond what can be parsed."""
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    """Absent, or an identifier that is the empty string."""
    TOO_LONG = "too_long"
    """An identifier that nobody would make; identifiers are kept, and so are bounded."""
    WRONG_TYPE = "wrong_type"
    BAD_BASE64 = "bad_base64"
