"""callengine: put a speech-to-speech AI on the phone, interruptible like a person.

Importing it opens no socket, starts no thread and adds no log handler.
"""

from __future__ import annotations

from callengine.agent import (
    Agent,
    AgentSaid,
    CallerSaid,
    DtmfPressed,
    HostEvent,
    StreamStarted,
    Tool,
    VadConfig,
)
from callengine.engine import CallEngine
from callengine.errors import (
    CallEngineError,
    EdgeClosed,
    EngineStopped,
    LocalError,
    RemoteError,
    SettingsError,
)
from callengine.logs import configure_logging
from callengine.messages import EndCause
from callengine.settings import Settings
from callengine.summary import CallSummary

__all__ = [
    "Agent",
    "AgentSaid",
    "CallEngine",
    "CallEngineError",
    "CallSummary",
    "CallerSaid",
    "DtmfPressed",
    "EdgeClosed",
    "EndCause",
    "EngineStopped",
    "HostEvent",
    "LocalError",
    "RemoteError",
    "Settings",
    "SettingsError",
    "StreamStarted",
    "Tool",
    "VadConfig",
    "configure_logging",
]

__version__ = "0.1.0"
