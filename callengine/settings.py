"""Settings: frozen, checked once, units in names. Libraries take objects; programs read the
environment with `Settings.from_env()`."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from callengine.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPENAI_URL = "wss://api.openai.com/v1/realtime"
WELL_KNOWN = {"OPENAI_API_KEY": "openai_api_key", "TWILIO_AUTH_TOKEN": "twilio_auth_token"}
"""Variables that other programs read too; our own go before them."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens of the model."""

    audio_in: float
    audio_out: float
    text_in: float
    text_out: float
    cached_in: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise SettingsError(f"the price {each.name} is {value!r}; it must be 0 or more")


class TurnAway(StrEnum):
    """What is done with a caller for whom there is no room."""

    BUSY = "busy"
    SAY = "say"
    QUEUE = "queue"
    DIAL = "dial"


@dataclass(frozen=True, slots=True)
class WhenFull:
    """What the webhook answers when there is no room for the call. As text:

    - `busy`: the busy tone. The call is not answered, and nobody pays for it.
    - `say:All our lines are busy.`: the carrier says that, in its own voice, and hangs up.
    - `queue:support`: the caller waits in a queue at the carrier; who takes him out is up to you.
    - `dial:+15550100`: he is put through to another number.
    """

    how: TurnAway = TurnAway.BUSY
    target: str = ""
    """The words, the name of the queue, or the number."""

    def __post_init__(self) -> None:
        if not _TARGETS[self.how].fullmatch(self.target):
            raise SettingsError(f"when_full is {self.how}:{self.target}; it must be {WHEN_FULL}")

    @classmethod
    def parse(cls, text: str) -> WhenFull:
        """Read the text. Raises ValueError if it is none of these."""
        how, _, target = text.partition(":")
        return cls(TurnAway(how), target.strip())


WHEN_FULL: Final = (
    "busy, say:<up to 1000 characters>, queue:<up to 64> or dial:<a number like +15550100>"
)

_TARGETS: Final = {
    TurnAway.BUSY: re.compile(""),
    TurnAway.SAY: re.compile(r"(?=.*\S).{1,1000}", re.DOTALL),
    TurnAway.QUEUE: re.compile(r"(?=.*\S).{1,64}"),
    TurnAway.DIAL: re.compile(r"\+[1-9][0-9]{6,14}"),
}
"""Twilio reads 4096 characters aloud, for minutes; names of its queues have 64; E.164."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How calls are held. Every field can be set as `CALLENGINE_<FIELD>` in the environment.

    - `realtime_url`, `realtime_model`, `openai_api_key`: the model. The key may also be
      `OPENAI_API_KEY`; a model on loopback needs none.
    - `lead_ms`: how much audio the carrier holds ahead of the caller's ear. See docs/pacing.md.
    - `onset_frames`: consecutive loud 20 ms frames that make an onset.
    - `onset_rms`: what is loud, on the 16-bit scale.
    - `false_trigger_ms`: how long an interruption may stay unconfirmed before it is taken back.
    - `host_threads`: threads for the host's code (tools, events); beyond, it waits its turn.
    - `max_calls`: calls at the same time.
    - `when_full`: what the next caller hears, see `WhenFull`.
    - `public_url`: where the carrier reaches us, `https://voice.example.com`. Signatures are made
      over it: what a request says of its own origin is not believed.
    - `twilio_auth_token`: what Twilio signs with; may also be `TWILIO_AUTH_TOKEN`.
    - `validate_signatures`: only for a server that nobody outside can reach may it be off.
    - `twilio_api_url`: where calls are transferred; regions have their own.
    - `max_sockets_per_address`: sockets of one address that have not shown a valid `start` yet.
    - `max_call_s`: the longest a call may take; then the caller hears the farewell.
    - `max_call_tokens`, `max_call_usd`: what one call may cost; the latter needs `prices`.
    - `prices`: what tokens cost; as a variable, JSON.
    - `fallback_after_ms`: how long a caller who is owed an answer hears nothing, at most. The model
      takes half a second to notice that he has finished: with that it is less than three.
    - `model_retries`: how often a lost model is connected to again, per outage.
    - `database_url`: where calls are written down and businesses looked up; nowhere if None.
    - `spill_path`: the file that takes what the database cannot; a temporary one if None.
    """

    realtime_url: str = OPENAI_URL
    realtime_model: str = "gpt-realtime-2.1"
    openai_api_key: str | None = field(default=None, repr=False)
    lead_ms: int = 100
    onset_frames: int = 5
    onset_rms: int = 400
    false_trigger_ms: int = 500
    host_threads: int = 32
    max_calls: int = 100
    when_full: WhenFull = WhenFull()
    public_url: str | None = None
    twilio_auth_token: str | None = field(default=None, repr=False)
    validate_signatures: bool = True
    twilio_api_url: str = "https://api.twilio.com"
    max_sockets_per_address: int = 50
    max_call_s: int = 3600
    max_call_tokens: int | None = None
    max_call_usd: float | None = None
    prices: Prices | None = None
    fallback_after_ms: int = 2300
    model_retries: int = 1
    database_url: str | None = field(default=None, repr=False)  # its password
    spill_path: str | None = None

    def __post_init__(self) -> None:
        _check("lead_ms", self.lead_ms, 0, 1000)
        _check("onset_frames", self.onset_frames, 1, 50)
        _check("onset_rms", self.onset_rms, 1, 32767)
        _check("false_trigger_ms", self.false_trigger_ms, 100, 5000)
        _check("host_threads", self.host_threads, 1, 1000)
        _check("max_calls", self.max_calls, 1, 10_000)
        _check("max_sockets_per_address", self.max_sockets_per_address, 1, 10_000)
        _check("max_call_s", self.max_call_s, 1, 24 * 3600)
        _check("fallback_after_ms", self.fallback_after_ms, 500, 10_000)
        _check("model_retries", self.model_retries, 0, 3)
        if self.max_call_tokens is not None:
            _check("max_call_tokens", self.max_call_tokens, 1, 10**9)
        if self.max_call_usd is not None and (self.max_call_usd <= 0 or self.prices is None):
            raise SettingsError(
                f"max_call_usd is {self.max_call_usd}; it must be above 0, and needs prices"
            )
        if self.public_url is not None:
            _check_origin(self.public_url)
        if urlsplit(self.realtime_url).scheme not in {"ws", "wss"}:
            raise SettingsError(
                f"realtime_url is {self.realtime_url!r}; it must begin with ws:// or wss://"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: object) -> Settings:
        """Settings from `CALLENGINE_*` variables; what is given and not None goes before them.

        Raises SettingsError naming the variable that cannot be read.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, object] = {}
        for each in fields(cls):
            variable = f"CALLENGINE_{each.name.upper()}"
            if variable in environ:
                values[each.name] = _read(variable, environ[variable], each.type)
        for variable, name in WELL_KNOWN.items():
            if variable in environ:
                values.setdefault(name, environ[variable])
        values.update({name: value for name, value in given.items() if value is not None})
        return cls(**values)  # type: ignore[arg-type]

    def model_address(self) -> str:
        """The model's URL with the model named in it."""
        if "model" in parse_qs(urlsplit(self.realtime_url).query):
            return self.realtime_url
        joint = "&" if urlsplit(self.realtime_url).query else "?"
        return f"{self.realtime_url}{joint}{urlencode({'model': self.realtime_model})}"

    def require_key(self) -> None:
        """Raise SettingsError if the model needs a key and there is none."""
        if self.openai_api_key or urlsplit(self.realtime_url).hostname in _LOOPBACK:
            return
        raise SettingsError(
            f"no key for {self.realtime_url}: set OPENAI_API_KEY, or point --realtime-url"
            " (CALLENGINE_REALTIME_URL) at a model on this machine"
        )


def _read(variable: str, text: str, kind: object) -> object:
    reader, wanted = _READERS[str(kind).removesuffix(" | None")]
    try:
        return reader(text)
    except (KeyError, TypeError, ValueError):
        raise SettingsError(f"{variable} is {text!r}; it must be {wanted}") from None


def _truth(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _prices(text: str) -> Prices:
    return Prices(**json.loads(text))


_READERS: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "str": (str, "a text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (_truth, "true or false"),
    "WhenFull": (WhenFull.parse, WHEN_FULL),
    "Prices": (_prices, 'JSON such as {"audio_in": 32, "audio_out": 64, "text_in": 4, ...}'),
}


def _check_origin(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"https", "wss"} or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(
            f"public_url is {url!r}; it must be https://, a host and no query, as Twilio sees it"
        )


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise SettingsError(f"{name} is {value}; it must be between {least} and {most}")
