"""What a call costs: tokens, and their price. It only ever adds up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from callengine.values import dataclass

if TYPE_CHECKING:
    from callengine.wire import realtime_events as wire

PER_TOKENS = 1_000_000


class TokenPrices(Protocol):
    """US dollars per million tokens: what `Settings.prices` says."""

    @property
    def audio_in(self) -> float:
        """Of what was heard."""

    @property
    def audio_out(self) -> float:
        """Of what was said."""

    @property
    def text_in(self) -> float:
        """Of what was read."""

    @property
    def text_out(self) -> float:
        """Of what was written."""

    @property
    def cached_in(self) -> float:
        """Of what was heard or read before."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one call may cost; None is no limit, or no price known."""

    max_tokens: int | None = None
    max_usd: float | None = None
    prices: TokenPrices | None = None


@dataclass(slots=True)
class Usage:
    """Tokens of a call. Cached and audio tokens are among the input's, audio among the output's."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cost_usd: float | None = None


class Meter:
    """Adds up what responses cost."""

    def __init__(self, budget: Budget) -> None:
        self.usage = Usage(cost_usd=None if budget.prices is None else 0.0)
        self._budget = budget

    def add(self, usage: wire.Usage) -> None:
        """One response is paid for."""
        mine = self.usage
        mine.input_tokens += usage.input_tokens
        mine.output_tokens += usage.output_tokens
        mine.cached_tokens += usage.cached_tokens
        mine.input_audio_tokens += usage.input_audio_tokens
        mine.output_audio_tokens += usage.output_audio_tokens
        if self._budget.prices is not None:
            mine.cost_usd = (mine.cost_usd or 0.0) + _cost_usd(usage, self._budget.prices)

    @property
    def exceeded(self) -> str | None:
        """What of the budget is spent, in words."""
        tokens = self.usage.input_tokens + self.usage.output_tokens
        cost_usd, budget = self.usage.cost_usd, self._budget
        if budget.max_tokens is not None and tokens >= budget.max_tokens:
            return f"{tokens} tokens of {budget.max_tokens} are spent"
        if budget.max_usd is not None and cost_usd is not None and cost_usd >= budget.max_usd:
            return f"{cost_usd:.4f} of {budget.max_usd} dollars are spent"
        return None


def _cost_usd(usage: wire.Usage, prices: TokenPrices) -> float:
    """Cached tokens are taken off the text first, which is cheaper: never less than it costs."""
    text_in = max(usage.input_tokens - usage.input_audio_tokens, 0)
    cached_text = min(usage.cached_tokens, text_in)
    cached_audio = min(usage.cached_tokens - cached_text, usage.input_audio_tokens)
    text_out = max(usage.output_tokens - usage.output_audio_tokens, 0)
    return (
        (usage.input_audio_tokens - cached_audio) * prices.audio_in
        + usage.output_audio_tokens * prices.audio_out
        + (text_in - cached_text) * prices.text_in
        + text_out * prices.text_out
        + (cached_text + cached_audio) * prices.cached_in
    ) / PER_TOKENS
