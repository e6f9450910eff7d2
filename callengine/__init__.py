"""callengine: put a speech-to-speech AI on the phone, interruptible like a person.

Importing it opens no socket, starts no thread and adds no log handler.
"""

from __future__ import annotations

from callengine.agent import (
    Agent,
    AgentChoice,
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
    StartedBeforeFork,
    StoreUnavailable,
    UnsupportedHost,
)
from callengine.logs import configure_logging, to_stdlib
from callengine.messages import EndCause
from callengine.settings import Prices, Settings, WhenFull
from callengine.summary import CallSummary

__all__ = [
    "Agent",
    "AgentChoice",
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
    "Prices",
    "RemoteError",
    "Settings",
    "SettingsError",
    "StartedBeforeFork",
    "StoreUnavailable",
    "StreamStarted",
    "Tool",
    "UnsupportedHost",
    "VadConfig",
    "WhenFull",
    "configure_logging",
    "to_stdlib",
]

__version__ = "0.1.0"
