"""What callers of one number hear: a value for the host and the engine, kept by the store.

It says whether the business is open; what follows from that is the agent's affair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import UTC
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from callengine.errors import SettingsError
from callengine.store.clean import clean_number
from callengine.store.models import NAME_CHARACTERS, NUMBER_CHARACTERS, TEXT_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

WEEKDAYS: Final = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)

MAX_CLIP_BYTES: Final = 480_000
"""One minute of mu-law; a longer clip is refused."""

_DAY_MIN: Final = 24 * 60
_WEEK_MIN: Final = 7 * _DAY_MIN
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")
_CHARACTERS: Final = {
    "called": NUMBER_CHARACTERS,
    "transfer_number": NUMBER_CHARACTERS,
    "name": NAME_CHARACTERS,
    "voice": NAME_CHARACTERS,
    "language": NAME_CHARACTERS,
    "timezone": NAME_CHARACTERS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Business:
    """The business behind a called number. None leaves a choice to the agent.

    - `called`: its number, E.164 (`+15550100`).
    - `fallback_text`, `farewell_text`: spoken when the model cannot answer, and before hanging up;
      the clips are mu-law, 8 bytes a millisecond, and go before the texts.
    - `business_hours`: weekday (`monday`) -> spans such as `("09:00", "17:00")`, by the clock of
      `timezone`; a span that ends at or before its start ends on the next day. Days that are not
      listed are closed; no hours at all mean always open.
    - `closed_text`: what to say while closed.

    Raises SettingsError for what cannot be kept, naming the field.
    """

    called: str = field(repr=False)
    name: str = ""
    greeting: str | None = None
    instructions: str = ""
    voice: str | None = None
    language: str | None = None
    fallback_text: str = ""
    fallback_clip: bytes = field(default=b"", repr=False)
    farewell_text: str = ""
    farewell_clip: bytes = field(default=b"", repr=False)
    closed_text: str = ""
    transfer_number: str | None = field(default=None, repr=False)
    business_hours: Mapping[str, Iterable[Iterable[str]]] = field(default_factory=dict)
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        object.__setattr__(self, "called", clean_number(self.called))
        if self.transfer_number is not None:
            object.__setattr__(self, "transfer_number", clean_number(self.transfer_number))
        if not self.called:
            raise SettingsError("a business needs the number it is called at")
        for each in fields(self):
            _check_size(each.name, getattr(self, each.name))
        try:
            ZoneInfo(self.timezone)
        except (OSError, ValueError, LookupError):
            raise SettingsError(
                f"timezone is {self.timezone!r}; it must be a name such as Europe/Berlin"
                " (on Windows and in bare containers: pip install tzdata)"
            ) from None
        object.__setattr__(self, "business_hours", _read_hours(self.business_hours))

    def is_open(self, at: datetime) -> bool:
        """Whether the business is open at a moment, an aware datetime."""
        if at.tzinfo is None:
            raise ValueError("a datetime without a time zone; use datetime.now(UTC)")
        if not self.business_hours:
            return True
        local = at.astimezone(UTC).astimezone(ZoneInfo(self.timezone))
        now_min = local.weekday() * _DAY_MIN + local.hour * 60 + local.minute
        return any(
            (now_min - WEEKDAYS.index(day) * _DAY_MIN - opens) % _WEEK_MIN < open_min
            for day, spans in self.business_hours.items()
            for opens, open_min in (_minutes(tuple(span)) for span in spans)
        )


def _check_size(name: str, value: object) -> None:
    if isinstance(value, bytes) and len(value) > MAX_CLIP_BYTES:
        raise SettingsError(
            f"{name} has {len(value)} bytes; at most {MAX_CLIP_BYTES} (one minute) are kept"
        )
    limit = _CHARACTERS.get(name, TEXT_CHARACTERS)
    if isinstance(value, str) and len(value) > limit:
        raise SettingsError(f"{name} has {len(value)} characters; at most {limit} are kept")


def _read_hours(
    hours: Mapping[str, Iterable[Iterable[str]]],
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The hours as tuples, days in order; SettingsError if they cannot be read."""
    try:
        unknown = hours.keys() - set(WEEKDAYS)
        read = {day: tuple(tuple(span) for span in hours[day]) for day in WEEKDAYS if day in hours}
        if unknown:
            raise SettingsError(f"business_hours name {sorted(unknown)}; days are {WEEKDAYS}")
        for spans in read.values():
            for span in spans:
                _minutes(span)
    except (AttributeError, TypeError):
        raise SettingsError(
            'business_hours must look like {"monday": [["09:00", "17:00"]]}'
        ) from None
    return read


def _minutes(span: tuple[str, ...]) -> tuple[int, int]:
    """When a span begins, in minutes of its day, and how long it is."""
    clocks = [_CLOCK.fullmatch(text) for text in span]
    if len(clocks) != 2 or not all(clocks) or span[0] in {"24:00", span[1]}:
        raise SettingsError(
            f"business_hours have the span {list(span)}; it must be two different times such as"
            ' ["09:00", "17:00"]; the end of a day is "24:00"'
        )
    begins, ends = (int(text[:2]) * 60 + int(text[3:]) for text in span)
    return begins, (ends - begins) % _DAY_MIN or _DAY_MIN
