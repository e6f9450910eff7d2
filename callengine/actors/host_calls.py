"""HostCalls: the only place where the host's code runs, on a thread that carries no audio."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from callengine.actors.shell import Shell
from callengine.agent import Agent
from callengine.errors import RemoteError
from callengine.logs import trace_of
from callengine.messages import (
    AgentChosen,
    AgentSettled,
    HostEvent,
    StreamStarted,
    ToolCalled,
    ToolReturned,
    Transferred,
    TransferWanted,
)
from callengine.reports import HostCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loguru import Logger

    from callengine.actors.dispatch import Dispatcher
    from callengine.agent import AgentChoice


class HostCalls(Shell):
    """Hears what the model wants run and what the host wants to know; tells results.

    The host's code gets no context of the host: no request, no app, no session of its database.
    What it raises is counted as a context error and harms nothing. `redirect` asks the carrier to
    take a call over (account sid, call sid, TwiML) and raises RemoteError if it would not; like the
    host's code it may block.
    """

    ROUTES: ClassVar = {
        ToolReturned: ("bridge",),
        AgentChosen: ("bridge",),
        Transferred: ("supervisor",),
    }

    def __init__(
        self,
        dispatcher: Dispatcher,
        log: Logger,
        agent: Agent | AgentChoice,
        redirect: Callable[[str, str, str], None] | None = None,
    ) -> None:
        super().__init__(dispatcher, log)
        self._choose = None if isinstance(agent, Agent) else agent
        self._agent = agent if isinstance(agent, Agent) else None
        self._early: list[HostEvent] = []  # told before it was settled who answers
        self._redirect = redirect
        self.renew()

    def renew(self) -> None:
        """See `Shell.renew`."""
        self._counts = HostCounts()

    def bequeath(self, message: object) -> Iterable[object]:
        """See `Shell.bequeath`: the model waits for every tool."""
        match message:
            case ToolCalled(call_id):
                return [ToolReturned(call_id, json.dumps({"error": "the tool was lost"}))]
            case StreamStarted() if self._agent is None:
                return [AgentChosen(None)]
            case TransferWanted():
                return [Transferred("it was lost")]
        return []

    def handle(
        self,
        message: ToolCalled | HostEvent | AgentSettled | TransferWanted,
        now: float,  # noqa: ARG002
    ) -> Iterable[object]:
        """See `Shell.handle`."""
        match message:
            case ToolCalled():
                return [ToolReturned(message.call_id, self._run(message))]
            case TransferWanted():
                return [self._transfer(message)]
            case AgentSettled(agent):
                self._agent = agent
                while self._early:
                    self._notify(self._early.pop(0), agent)
            case StreamStarted() if self._choose is not None:
                self._early.append(message)
                return [AgentChosen(self._chosen(message, self._choose))]
            case _ if self._agent is None:
                self._early.append(message)
            case _:
                self._notify(message, self._agent)
        return []

    def report(self) -> HostCounts:
        """See `Shell.report`."""
        return self._counts

    def _run(self, call: ToolCalled) -> str:
        tools = self._agent.tools if self._agent is not None else ()
        function = next((tool.function for tool in tools if tool.name == call.name), None)
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

    def _notify(self, event: HostEvent, agent: Agent) -> None:
        if agent.on_event is None:
            return
        try:
            agent.on_event(event)
        except BaseException as error:  # noqa: BLE001 - even sys.exit() in a tool ends nothing
            self._failed("on_event", error)

    def _chosen(self, started: StreamStarted, choose: AgentChoice) -> Agent | None:
        try:
            agent = choose(started)
            if not isinstance(agent, Agent):
                raise TypeError(f"agent= returned {type(agent).__name__}, not an Agent")  # noqa: TRY301
        except BaseException as error:  # noqa: BLE001 - somebody else answers then
            self._failed("agent", error)
            return None
        return agent

    def _transfer(self, wanted: TransferWanted) -> Transferred:
        if self._redirect is None:
            return Transferred("there is no twilio_auth_token to ask for it with")
        try:
            self._redirect(wanted.account_sid, wanted.call_sid, wanted.twiml)
        except RemoteError as error:
            return Transferred(str(error))
        return Transferred()

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
