"""HostCalls: the only place where the host's code runs, on a thread that carries no audio."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from callengine.actors.shell import Shell
from callengine.logs import trace_of
from callengine.messages import HostEvent, ToolCalled, ToolReturned
from callengine.reports import HostCounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loguru import Logger

    from callengine.actors.dispatch import Dispatcher
    from callengine.agent import Agent


class HostCalls(Shell):
    """Hears what the model wants run and what the host wants to know; tells results.

    The host's code gets no context of the host: no request, no app, no session of its database.
    What it raises is counted as a context error and harms nothing.
    """

    ROUTES: ClassVar = {ToolReturned: ("bridge",)}

    def __init__(self, dispatcher: Dispatcher, log: Logger, agent: Agent) -> None:
        super().__init__(dispatcher, log)
        self._agent = agent
        self._functions = {tool.name: tool.function for tool in agent.tools}
        self.renew()

    def renew(self) -> None:
        """See `Shell.renew`."""
        self._counts = HostCounts()

    def bequeath(self, message: object) -> Iterable[object]:
        """See `Shell.bequeath`: the model waits for every tool."""
        if isinstance(message, ToolCalled):
            return [ToolReturned(message.call_id, json.dumps({"error": "the tool was lost"}))]
        return []

    def handle(self, message: ToolCalled | HostEvent, now: float) -> Iterable[object]:  # noqa: ARG002
        """See `Shell.handle`."""
        if isinstance(message, ToolCalled):
            return [ToolReturned(message.call_id, self._run(message))]
        self._notify(message)
        return []

    def report(self) -> HostCounts:
        """See `Shell.report`."""
        return self._counts

    def _run(self, call: ToolCalled) -> str:
        function = self._functions.get(call.name)
        if function is None:
            return json.dumps({"error": f"there is no tool named {call.name!r}"})
        arguments = _arguments(call)
        if arguments is None:
            return json.dumps({"error": "the arguments are not a JSON object"})
        try:
            return json.dumps(function(**arguments))
        except BaseException as error:  # noqa: BLE001 - even sys.exit() in a tool ends nothing
            self._failed(f"tool {call.name}", error)
            return json.dumps({"error": f"the tool failed: {type(error).__name__}"})

    def _notify(self, event: HostEvent) -> None:
        if self._agent.on_event is None:
            return
        try:
            self._agent.on_event(event)
        except BaseException as error:  # noqa: BLE001 - even sys.exit() in a tool ends nothing
            self._failed("on_event", error)

    def _failed(self, what: str, error: BaseException) -> None:
        self._counts.context_errors += 1
        self.log.warning("host code failed", what=what, **trace_of(error))


def _arguments(call: ToolCalled) -> dict[str, object] | None:
    """What the model wrote, if it can be used: that it cannot is no fault of the host."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None
