"""Each function call of the model is run once and answered once, in time.

The model announces a call up to three times (its arguments, its item, its response); the call id
tells that they are one. It does not know what a tool does or where it runs.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callengine.messages import ToolCalled, ToolReturned

if TYPE_CHECKING:
    from callengine.wire.realtime_events import FunctionCall

TOOL_DEADLINE_S: Final = 15.0
"""A tool that has not returned by then is answered for: the caller is waiting."""

MAX_PENDING: Final = 16
"""Calls that are not answered yet. One beyond is answered with an error at once."""

MAX_REMEMBERED: Final = 128


@dataclass(slots=True)
class ToolCounts:
    """What the summary says about tools."""

    tool_calls: int = 0
    tool_calls_refused: int = 0
    tool_timeouts: int = 0
    tool_results_late: int = 0


class ToolCalls:
    """The function calls of one call."""

    def __init__(self) -> None:
        self.counts = ToolCounts()
        self._deadlines: dict[str, float] = {}
        self._known: deque[str] = deque(maxlen=MAX_REMEMBERED)

    @property
    def pending(self) -> bool:
        """A tool is still running."""
        return bool(self._deadlines)

    def called(self, call: FunctionCall, now: float) -> ToolCalled | ToolReturned | None:
        """Take an announcement: run it, answer it with an error, or None if it is not new."""
        if call.call_id in self._known:
            return None
        self._known.append(call.call_id)
        self.counts.tool_calls += 1
        if len(self._deadlines) >= MAX_PENDING:
            self.counts.tool_calls_refused += 1
            return _failed(call.call_id, "too many tools are running")
        self._deadlines[call.call_id] = now + TOOL_DEADLINE_S
        return ToolCalled(call.call_id, call.name, call.arguments)

    def returned(self, result: ToolReturned) -> bool:
        """Take a result; False if it comes too late to be told."""
        if self._deadlines.pop(result.call_id, None) is not None:
            return True
        self.counts.tool_results_late += 1
        return False

    def next_deadline(self) -> float | None:
        """When the next tool is given up."""
        return min(self._deadlines.values()) if self._deadlines else None

    def expire(self, now: float) -> list[ToolReturned]:
        """Answer for every tool whose time is up."""
        late = [call_id for call_id, deadline in self._deadlines.items() if deadline <= now]
        for call_id in late:
            del self._deadlines[call_id]
        self.counts.tool_timeouts += len(late)
        return [_failed(call_id, "the tool did not answer in time") for call_id in late]


def _failed(call_id: str, why: str) -> ToolReturned:
    return ToolReturned(call_id, json.dumps({"error": why}))
