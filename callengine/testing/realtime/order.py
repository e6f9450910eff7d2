"""What is ordered of a response, how it may end, and what it is said to cost.

Plain data on the way from a request to its generation; decides no time and sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from callengine.testing.realtime.script import Ending

if TYPE_CHECKING:
    from callengine.testing.realtime.audio import AudioFormat
    from callengine.testing.realtime.plan import Output, Step

CONVERSATION_ID: Final = "conv_sim1"
OUTCOMES: Final[dict[Ending, tuple[str, dict[str, Any] | None]]] = {
    Ending.COMPLETED: ("completed", None),
    Ending.MAX_OUTPUT_TOKENS: ("incomplete", {"reason": "max_output_tokens"}),
    Ending.CONTENT_FILTER: ("incomplete", {"reason": "content_filter"}),
    Ending.RATE_LIMIT_EXCEEDED: (
        "failed",
        {
            "error": {
                "type": "rate_limit_error",
                "code": "rate_limit_exceeded",
                "message": "Rate limit reached. Please try again in 1.2s.",
            }
        },
    ),
    # The code of a server error is null, as captured.
    Ending.SERVER_ERROR: (
        "failed",
        {
            "error": {
                "type": "server_error",
                "code": None,
                "message": "The server had an error while processing your request.",
            }
        },
    ),
    Ending.MODEL_NOT_FOUND: (
        "failed",
        {
            "error": {
                "type": "invalid_request_error",
                "code": "model_not_found",
                "message": "The model does not exist or you do not have access to it.",
            }
        },
    ),
}
RATE_LIMITS: Final = [
    {"name": "tokens", "limit": 40_000, "remaining": 38_000, "reset_seconds": 3.0}
]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be generated."""

    outputs: tuple[Output, ...]
    steps: list[Step]
    ending: Ending
    audio_format: AudioFormat
    voice: str | dict[str, str]
    modalities: list[str]
    max_output_tokens: int | str

    def to_wire(self) -> dict[str, Any]:
        """The parts of a `response` object that were settled with the order."""
        audio = {"format": self.audio_format.to_wire(), "voice": self.voice}
        return {
            "output_modalities": self.modalities,
            "max_output_tokens": self.max_output_tokens,
            "audio": {"output": audio},
        }


def usage(heard_bytes: int, spoken_ms: int, written_characters: int) -> dict[str, Any]:
    """Plausible numbers: a token per 100 ms heard, per 50 ms spoken, per 4 characters."""
    heard, spoken, written = heard_bytes // 800, spoken_ms // 50, written_characters // 4
    nothing = {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0}
    return {
        "total_tokens": 60 + heard + spoken + written,
        "input_tokens": 60 + heard,
        "output_tokens": spoken + written,
        "input_token_details": {
            **nothing,
            "text_tokens": 60,
            "audio_tokens": heard,
            "cached_tokens": 0,
            "cached_tokens_details": nothing,
        },
        "output_token_details": {"text_tokens": written, "audio_tokens": spoken},
    }
