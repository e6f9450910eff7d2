"""The session of the simulated server: its defaults, what an update may say, and how it merges.

An update is all or nothing: `check` refuses it at its first fault, and only then may it be applied.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from callengine.testing.realtime.audio import PCM, AudioFormat, format_of
from callengine.testing.realtime.rules import (
    Refusal,
    Rule,
    anything,
    by_type,
    either,
    fields,
    flag,
    list_of,
    nullable,
    number,
    one_of,
    string_pairs,
    text,
    whole,
)

if TYPE_CHECKING:
    from callengine.testing.realtime.script import Behaviour

MAX_METADATA_PAIRS: Final = 16
_VOICES_OF_2024 = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
VOICES: Final = (*_VOICES_OF_2024, "marin", "cedar")
TURN_DETECTION_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    # 200 ms of silence was seen in a real session.created, although the documents say 500.
    "server_vad": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    },
    "semantic_vad": {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    },
}

_TYPE: Final[dict[str, Rule]] = {"type": anything}
_FORMAT = by_type(
    {
        "audio/pcm": fields({**_TYPE, "rate": one_of(24_000)}),
        "audio/pcmu": fields(_TYPE),
        "audio/pcma": fields(_TYPE),
    }
)
_VOICE = either(fields({"id": text}, ("id",)), one_of(*VOICES))
_TRANSCRIPTION = fields(
    {
        **dict.fromkeys(("model", "language", "prompt"), text),
        "delay": anything,
        **dict.fromkeys(("languages", "keywords"), list_of(text)),
    }
)
_TURNS: Final[dict[str, Rule]] = {
    **_TYPE,
    "create_response": flag,
    "interrupt_response": flag,
}
_TURN_DETECTION = by_type(
    {
        "server_vad": fields(
            {
                **_TURNS,
                "threshold": number(0.0, 1.0),
                "prefix_padding_ms": whole(0),
                "silence_duration_ms": whole(0),
                "idle_timeout_ms": nullable(whole(5_000, 30_000)),
            }
        ),
        "semantic_vad": fields({**_TURNS, "eagerness": one_of("low", "medium", "high", "auto")}),
    }
)
_TOOL = by_type(
    {
        "function": fields(
            {**_TYPE, "name": text, "description": text, "parameters": anything}, ("name",)
        ),
        "mcp": anything,
    }
)
_TOOL_CHOICE = either(
    fields({**_TYPE, "name": text, "server_label": text}, ("type",)),
    one_of("auto", "none", "required"),
)
_SHARED: Final[dict[str, Rule]] = {
    "output_modalities": one_of(["audio"], ["text"]),
    "instructions": text,
    "tools": list_of(_TOOL),
    "tool_choice": _TOOL_CHOICE,
    "max_output_tokens": either(one_of("inf"), whole(1, 4_096)),
    "parallel_tool_calls": flag,
    "prompt": nullable(anything),
    "reasoning": fields({"effort": one_of("minimal", "low", "medium", "high", "xhigh")}),
}
_SESSION = fields(
    {
        **_SHARED,
        "type": one_of("realtime"),
        "model": text,
        "include": nullable(list_of(one_of("item.input_audio_transcription.logprobs"))),
        "tracing": nullable(anything),
        "truncation": anything,
        "audio": fields(
            {
                "input": fields(
                    {
                        "format": _FORMAT,
                        "transcription": nullable(_TRANSCRIPTION),
                        "noise_reduction": nullable(
                            by_type(
                                dict.fromkeys(
                                    ("near_field", "far_field"),
                                    fields({**_TYPE, "strength": anything}),
                                )
                            )
                        ),
                        "turn_detection": nullable(_TURN_DETECTION),
                    }
                ),
                "output": fields({"format": _FORMAT, "voice": _VOICE, "speed": number(0.25, 1.5)}),
            }
        ),
    },
    ("type",),
)
RESPONSE: Final = fields(
    {
        **_SHARED,
        "audio": fields({"output": fields({"format": _FORMAT, "voice": _VOICE})}),
        "conversation": one_of("auto", "none"),
        "input": list_of(anything),
        "metadata": nullable(string_pairs(MAX_METADATA_PAIRS)),
    }
)
"""What the `response` object of a `response.create` may hold."""


class Session:
    """The configuration in force."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._config: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_sim0001",
            "model": behaviour.model,
            "output_modalities": ["audio"],
            "instructions": "You are a helpful assistant.",
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "expires_at": behaviour.expires_at,
            "audio": {
                "input": {
                    "format": PCM.to_wire(),
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": dict(TURN_DETECTION_DEFAULTS["server_vad"]),
                },
                "output": {"format": PCM.to_wire(), "voice": "marin", "speed": 1.0},
            },
            "include": None,
        }

    def check(self, update: object, *, audio_was_sent: bool) -> None:
        """Raise `Refusal` unless every part of the update may be applied."""
        _SESSION(update, "session")
        assert isinstance(update, dict)
        voice = update.get("audio", {}).get("output", {}).get("voice", self.voice)
        if audio_was_sent and voice != self.voice:
            raise Refusal(
                "cannot_update_voice",
                "Cannot update a conversation's voice if assistant audio is present.",
            )

    def apply(self, update: dict[str, Any], *, keep_formats: bool = False) -> None:
        """Merge a checked update: what it omits stays, null clears."""
        changes = deepcopy(update)
        audio = changes.pop("audio", {})
        changes.pop("model", None)  # the model of a connection cannot be changed
        self._config.update(changes)
        for direction, part in audio.items():
            self._apply_audio(self._config["audio"][direction], part, keep_formats=keep_formats)

    def put(self, path: str, value: object) -> None:
        """Set what is at a dotted path, whatever was asked for."""
        *parents, leaf = path.split(".")
        place = self._config
        for name in parents:
            place = place[name]
        place[leaf] = value

    def describe(self) -> dict[str, Any]:
        """The full `session` object, as session.created and session.updated show it."""
        return deepcopy(self._config)

    @property
    def input_format(self) -> AudioFormat:
        """How appended bytes are read."""
        return format_of(self._config["audio"]["input"]["format"])

    @property
    def output_format(self) -> AudioFormat:
        """How replies are spoken."""
        return format_of(self._config["audio"]["output"]["format"])

    @property
    def voice(self) -> str | dict[str, str]:
        """The voice of the replies."""
        voice: str | dict[str, str] = self._config["audio"]["output"]["voice"]
        return voice

    @property
    def turn_detection(self) -> dict[str, Any] | None:
        """The turn detection in force, with all defaults filled in."""
        settings: dict[str, Any] | None = self._config["audio"]["input"]["turn_detection"]
        return settings

    @property
    def transcribes(self) -> bool:
        """Whether the caller's speech is transcribed."""
        return self._config["audio"]["input"]["transcription"] is not None

    def output_modalities(self) -> list[str]:
        """`["audio"]` or `["text"]`."""
        return list(self._config["output_modalities"])

    def max_output_tokens(self) -> int | str:
        """1 to 4096, or `inf`."""
        limit: int | str = self._config["max_output_tokens"]
        return limit

    @staticmethod
    def _apply_audio(config: dict[str, Any], part: dict[str, Any], *, keep_formats: bool) -> None:
        if keep_formats:
            part.pop("format", None)
        if part.get("format", {}).get("type") == PCM.name:
            part["format"] = PCM.to_wire()
        turns = part.get("turn_detection")
        if turns is not None:
            in_force = config["turn_detection"] or {}
            same_kind = in_force.get("type") == turns["type"]
            base = in_force if same_kind else TURN_DETECTION_DEFAULTS[turns["type"]]
            part["turn_detection"] = {**base, **turns}
        config.update(part)
