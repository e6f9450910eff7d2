"""Who answers a call: the host's choice, furnished with what the database knows of the number.

It runs on the call's thread for the host's code, never where audio is. If the database does not
answer, what it said last is used.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from callengine.agent import Agent
from callengine.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.agent import AgentChoice
    from callengine.messages import StreamStarted
    from callengine.store import Business, Store

OUTAGE_S: Final = 10.0
"""After a failure the database is not asked for so long: no caller waits for its time-out again."""


class Businesses:
    """What the store knows of called numbers; while it does not answer, what it said last."""

    def __init__(self, store: Store, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._lock = threading.Lock()
        self._not_before = float("-inf")

    def known(self, called: str) -> Business | None:
        """What was said last; waits for nobody."""
        return self._store.known_business(called)

    def find(self, called: str) -> Business | None:
        """Ask, unless the store was out of reach a moment ago."""
        with self._lock:
            if self._now() < self._not_before:
                return self.known(called)
        try:
            return self._store.business(called)
        except RemoteError:
            with self._lock:
                self._not_before = self._now() + OUTAGE_S
            return self.known(called)


class Reception:
    """An `AgentChoice`: the agent, or whom another choice names, as the called business wants it.

    `fallback` answers when that choice cannot be waited for.
    """

    def __init__(self, agent: Agent | AgentChoice, fallback: Agent, businesses: Businesses) -> None:
        self._agent = agent
        self._fallback = fallback
        self._businesses = businesses

    def __call__(self, started: StreamStarted) -> Agent:
        """Choose; may block, and raises what the host's choice raises."""
        business = self._businesses.find(started.called)  # first: the stand-in profits by it too
        agent = self._agent if isinstance(self._agent, Agent) else self._agent(started)
        return furnish(agent, business)

    def stand_in(self, started: StreamStarted) -> Agent:
        """Choose without waiting for anybody."""
        agent = self._agent if isinstance(self._agent, Agent) else self._fallback
        return furnish(agent, self._businesses.known(started.called))


def furnish(agent: Agent, business: Business | None, at: datetime | None = None) -> Agent:
    """The agent as this business wants it: what it leaves open stays the agent's.

    Out of hours `closed_text` takes the place of the greeting.
    """
    if business is None:
        return agent
    closed = business.closed_text and not business.is_open(at or datetime.now(UTC))
    return replace(
        agent,
        instructions=business.instructions or agent.instructions,
        greeting=f'Say this, word for word: "{business.closed_text}"'
        if closed
        else business.greeting or agent.greeting,
        voice=business.voice or agent.voice,
        language=business.language or agent.language,
        fallback=business.fallback_clip or agent.fallback,
        fallback_text=business.fallback_text or agent.fallback_text,
        farewell=business.farewell_clip or agent.farewell,
        farewell_text=business.farewell_text or agent.farewell_text,
        transfer_number=business.transfer_number or agent.transfer_number,
    )
