"""Who answers the phone: the part of a call that the host writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callengine.errors import SettingsError
from callengine.messages import AgentSaid, CallerSaid, DtmfPressed, HostEvent, StreamStarted
from callengine.wire.realtime_client import SessionConfig, ToolSpec, VadConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Agent",
    "AgentSaid",
    "CallerSaid",
    "DtmfPressed",
    "HostEvent",
    "StreamStarted",
    "Tool",
    "VadConfig",
]

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
    - `farewell`: mu-law audio, played before hanging up when the model, or the engine's side of
      it, is lost; none by default.
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
    farewell: bytes = field(default=b"", repr=False)
    on_event: Callable[[HostEvent], None] | None = None

    def __post_init__(self) -> None:
        names = [tool.name for tool in self.tools]
        if len(set(names)) != len(names):
            raise SettingsError("two tools of an agent have the same name; rename one")

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
