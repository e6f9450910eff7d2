"""Actors that do as they are told, for the tests of what runs actors."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from callengine.actors.dispatch import DispatchedActor

if TYPE_CHECKING:
    from callengine.actors.dispatch import Dispatcher

PATIENCE_S = 5.0
"""Nothing here takes long; a test that waits so long has failed."""


@dataclass(frozen=True)
class Hold:
    """Keeps the actor busy until the event is set. `begun` tells that it has begun."""

    until: threading.Event
    begun: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Fail:
    """Makes the actor raise."""

    error: BaseException


class Recorder(DispatchedActor):
    """Notes what it is told; answers an ask for "seen" with it, and anything else with itself."""

    def __init__(self, dispatcher: Dispatcher, log: list[Any] | None = None) -> None:
        super().__init__(dispatcher)
        self.seen: list[Any] = [] if log is None else log

    def on_receive(self, message: Any) -> Any:  # noqa: ANN401 - whatever a test sends
        match message:
            case "seen":
                return list(self.seen)
            case Hold(until, begun):
                begun.set()
                assert until.wait(PATIENCE_S)
            case Fail(error):
                raise error
            case _:
                self.seen.append(message)
        return message


class Chatter(DispatchedActor):
    """Tells its friends each number it is told, if it has friends; notes it if it has none."""

    def __init__(
        self, dispatcher: Dispatcher, name: str, friends: list[Any], log: list[Any]
    ) -> None:
        super().__init__(dispatcher)
        self.name, self.friends, self.log = name, friends, log

    def on_receive(self, message: Any) -> None:  # noqa: ANN401 - whatever a test sends
        if not self.friends:
            self.log.append((self.name, message))
        for friend in self.friends:
            friend.tell((self.name, message))
