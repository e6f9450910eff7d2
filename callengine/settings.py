"""Settings: frozen, checked once, units in names. Libraries take objects; programs read the
environment with `Settings.from_env()`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from callengine.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPENAI_URL = "wss://api.openai.com/v1/realtime"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Settings:
    """How calls are held. Every field can be set as `CALLENGINE_<FIELD>` in the environment.

    - `realtime_url`, `realtime_model`, `openai_api_key`: the model. The key may also be
      `OPENAI_API_KEY`; a model on loopback needs none.
    - `lead_ms`: how much audio the carrier holds ahead of the caller's ear. See docs/pacing.md.
    - `onset_frames`: consecutive loud 20 ms frames that make an onset.
    - `onset_rms`: what is loud, on the 16-bit scale.
    - `false_trigger_ms`: how long an interruption may stay unconfirmed before it is taken back.
    - `workers`: threads shared by the actors of all calls.
    - `max_calls`: calls at the same time; the next socket is refused.
    """

    realtime_url: str = OPENAI_URL
    realtime_model: str = "gpt-realtime-2.1"
    openai_api_key: str | None = field(default=None, repr=False)
    lead_ms: int = 100
    onset_frames: int = 5
    onset_rms: int = 400
    false_trigger_ms: int = 500
    workers: int = 2
    max_calls: int = 100

    def __post_init__(self) -> None:
        _check("lead_ms", self.lead_ms, 0, 1000)
        _check("onset_frames", self.onset_frames, 1, 50)
        _check("onset_rms", self.onset_rms, 1, 32767)
        _check("false_trigger_ms", self.false_trigger_ms, 100, 5000)
        _check("workers", self.workers, 1, 64)
        _check("max_calls", self.max_calls, 1, 10_000)
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
        if "OPENAI_API_KEY" in environ:
            values.setdefault("openai_api_key", environ["OPENAI_API_KEY"])
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
    reader: Callable[[str], object] = int if kind == "int" else str
    try:
        return reader(text)
    except ValueError:
        raise SettingsError(f"{variable} is {text!r}; it must be a whole number") from None


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise SettingsError(f"{name} is {value}; it must be between {least} and {most}")
