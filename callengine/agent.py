"""Who answers the phone: the part of a call that the host writes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Final, TypeAlias

from callengine.errors import SettingsError
from callengine.messages import AgentSaid, CallerSaid, DtmfPressed, HostEvent, StreamStarted
from callengine.wire.realtime_client import SessionConfig, ToolSpec, VadConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Agent",
    "AgentChoice",
    "AgentSaid",
    "CallerSaid",
    "DtmfPressed",
    "HostEvent",
    "StreamStarted",
    "Tool",
    "VadConfig",
]

E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")

DEFAULT_GREETING = "Greet the caller in one short sentence and ask how you can help."


@dataclass(frozen=True, slots=True)
class Tool:
    """Something the agent can do in the host.

    `function` is called with the model's arguments as keywords, on a thread of the call that
    carries no audio. It may block; a call has one such thread, so tools run one after another, and
    the model waits for each `TOOL_DEADLINE_S` at most. What it returns is given to the
    model as JSON; what it raises is logged, counted, and told to the model as a failure.
    """

    name: str
    description: str
    parameters: Mapping[str, object]
    function: Callable[..., object]


@dataclass(frozen=True, slots=True)
class Agent:
    """What the model is told, and how the call is held.

    - `greeting`: instructions for the first words; None lets the caller speak first.
    - `greeting_protected`: nobody interrupts it, neither here nor at the model; what the caller
      says meanwhile is answered after it.
    - `fallback`: mu-law audio for a caller who has waited too long for an answer, and
      `fallback_text` for the model to say once it is back after it was lost.
    - `farewell`: mu-law audio, played before hanging up when the call cannot go on: the model is
      lost for good, time or money is spent, the engine drains.
    - `transfer_number`: where the caller is put through then (E.164), in place of hanging up.
      `farewell_text` is what the carrier says before, if `farewell` is empty.

    Audio that is None is a clip in English of the library's own if `language` is not another one;
    `b""` is silence.
    - `on_event`: told that the call began (with its `<Parameter>`s), what is said and what is
      dialled, on the thread of the tools: events wait while a tool runs.
    """

    instructions: str = "You answer the phone. Be brief, friendly and helpful."
    greeting: str | None = DEFAULT_GREETING
    greeting_protected: bool = True
    voice: str = "marin"
    tools: tuple[Tool, ...] = ()
    vad: VadConfig = field(default_factory=VadConfig)
    transcription_model: str | None = "gpt-transcribe"
    language: str | None = None
    max_output_tokens: int | None = None
    fallback: bytes | None = field(default=None, repr=False)
    fallback_text: str | None = None
    farewell: bytes | None = field(default=None, repr=False)
    farewell_text: str | None = None
    transfer_number: str | None = None
    on_event: Callable[[HostEvent], None] | None = None

    def __post_init__(self) -> None:
        names = [tool.name for tool in self.tools]
        if len(set(names)) != len(names):
            raise SettingsError("two tools of an agent have the same name; rename one")
        if self.transfer_number is not None and not E164.fullmatch(self.transfer_number):
            raise SettingsError(
                "the transfer number is not of the form +15550100: a plus sign, then 7 to 15 digits"
            )

    def fallback_audio(self) -> bytes:
        """What is played to a caller who waits, mu-law; may be empty."""
        return self._or_clip(self.fallback, "one_moment")

    def farewell_audio(self) -> bytes:
        """What is played before hanging up, mu-law; may be empty."""
        return self._or_clip(self.farewell, "goodbye")

    def _or_clip(self, audio: bytes | None, name: str) -> bytes:
        if audio is not None:
            return audio
        return _clip(name) if (self.language or "en").lower().startswith("en") else b""

    def session_config(self) -> SessionConfig:
        """What the model's session is configured with."""
        return SessionConfig(
            instructions=self.instructions,
            voice=self.voice,
            vad=self.vad,
            transcription_model=self.transcription_model,
            language=self.language,
            tools=tuple(
                ToolSpec(tool.name, tool.description, tool.parameters) for tool in self.tools
            ),
            max_output_tokens=self.max_output_tokens,
        )


AgentChoice: TypeAlias = Callable[[StreamStarted], Agent]
"""Who answers a call, by what is known of it. May block for `AGENT_DEADLINE_S`."""


@functools.cache
def _clip(name: str) -> bytes:
    return resources.files("callengine").joinpath("clips", f"{name}.ulaw").read_bytes()
