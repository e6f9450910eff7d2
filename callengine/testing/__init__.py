"""The public test kit: a simulated caller, a simulated model, and calls between them.

Both simulators are peers (`peer`) that run on real sockets (`sockets`) or, with the engine's real
actors, on a virtual clock (`simulation`). See docs/testing.md.
"""

from __future__ import annotations

from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.caller.record import CallRecord
from callengine.testing.caller.script import (
    BargeIn,
    CountFrom,
    Dial,
    DropSocket,
    HangUp,
    HoldBack,
    LoseFrames,
    RepeatFrame,
    Say,
    SendRaw,
    SkipTime,
    StopFrames,
    StopPlaying,
    SwapFrames,
    Wait,
    WaitUntil,
    WaitUntilHeard,
    WaitUntilQuiet,
)
from callengine.testing.realtime.record import Record
from callengine.testing.realtime.script import Behaviour, Ending, Reply, Speech, ToolCall, said
from callengine.testing.realtime.server import SimulatedRealtime
from callengine.testing.simulation import Simulation

__all__ = [
    "BargeIn",
    "Behaviour",
    "CallRecord",
    "CountFrom",
    "Dial",
    "DropSocket",
    "Ending",
    "HangUp",
    "HoldBack",
    "LoseFrames",
    "Record",
    "RepeatFrame",
    "Reply",
    "Say",
    "SendRaw",
    "SimulatedCaller",
    "SimulatedRealtime",
    "Simulation",
    "SkipTime",
    "Speech",
    "StopFrames",
    "StopPlaying",
    "SwapFrames",
    "ToolCall",
    "Wait",
    "WaitUntil",
    "WaitUntilHeard",
    "WaitUntilQuiet",
    "said",
]
