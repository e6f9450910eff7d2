"""One real actor among neighbours that only note what they are told, on a stepper."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from loguru import logger

from callengine.actors.dispatch import DispatchedActor, Dispatcher
from callengine.actors.shell import Barrier, Peers, Ref
from callengine.actors.stepper import Stepper

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Logger, Message

CALL_SID = "CA0123456789"

T = TypeVar("T")


class Neighbour(DispatchedActor):
    """Notes what it is told, and when."""

    def __init__(self, dispatcher: Dispatcher, told: list[tuple[float, Any]]) -> None:
        super().__init__(dispatcher)
        self._told = told

    def on_receive(self, message: Any) -> None:  # noqa: ANN401 - whatever it is told
        if not isinstance(message, Barrier):
            self._told.append((self.dispatcher.now(), message))


class CarrierTape:
    """A `CarrierLink` that notes what is done with it, in order. `unsent` messages of audio are
    still waiting when a clear comes."""

    def __init__(self, unsent: int = 0) -> None:
        self.tape: list[tuple[Any, ...]] = []
        self._unsent = unsent

    def send_media(self, message: str) -> None:
        self.tape.append(("send_media", message))

    def send(self, message: str) -> None:
        self.tape.append(("send", message))

    def send_first(self, message: str) -> tuple[int, int]:
        self.tape.append(("send_first", message))
        return self._unsent, 0

    def close(self, code: int, reason: str) -> None:
        self.tape.append(("close", code, reason))


class ModelTape:
    """A `ModelLink` that notes what is done with it, in order."""

    def __init__(self) -> None:
        self.tape: list[tuple[Any, ...]] = []
        self.tell_bridge: Callable[[object], None] | None = None

    def connect(self, tell_bridge: Callable[[object], None]) -> None:
        self.tape.append(("connect",))
        self.tell_bridge = tell_bridge

    def send_media(self, message: str) -> None:
        self.tape.append(("send_media", message))

    def send(self, message: str) -> None:
        self.tape.append(("send", message))

    def close(self) -> None:
        self.tape.append(("close",))


class Rig:
    """Place one actor in it, tell it things, read what its neighbours were told."""

    def __init__(self, seed: int = 0) -> None:
        self.stepper = Stepper(seed)
        self.log: Logger = logger.bind(call_sid=CALL_SID)
        self.records: list[Message] = []
        self._sink = logger.add(self.records.append, level="DEBUG", catch=False)
        logger.enable("callengine")
        self._told: dict[str, list[tuple[float, Any]]] = {}
        self._refs: dict[str, Ref] = {}
        for each in fields(Peers):
            self._told[each.name] = []
            self._refs[each.name] = Neighbour.start(self.stepper, self._told[each.name])

    def place(self, name: str, actor: Ref) -> Ref:
        """Put a real actor in the place of a neighbour, and introduce them."""
        self._refs[name].stop()
        self._refs[name] = self.actor = actor
        self.tell(Peers(**self._refs))
        return actor

    def tell(self, *messages: object) -> None:
        """Tell the actor, and let everybody handle what comes of it."""
        for message in messages:
            self.actor.tell(message)
        self.stepper.settle()

    def run(self, until: float) -> None:
        """Let time pass."""
        self.stepper.run(until)

    def told(self, name: str) -> list[Any]:
        """What a neighbour was told since this was last asked."""
        messages = [message for _, message in self._told[name]]
        self._told[name].clear()
        return messages

    def told_at(self, name: str, kind: type[T]) -> list[tuple[float, T]]:
        """What a neighbour was told of one kind, with the times; nothing is forgotten."""
        return [(at, message) for at, message in self._told[name] if isinstance(message, kind)]

    def told_to_all(self) -> dict[str, list[Any]]:
        """What each neighbour was told since last asked, if anything."""
        told = {name: self.told(name) for name in self._told}
        return {name: messages for name, messages in told.items() if messages}

    def kill(self, name: str) -> None:
        """Stop a neighbour."""
        self._refs[name].stop()

    def logged(self) -> list[tuple[str, str, dict[Any, Any]]]:
        """Level, text and values of every record so far."""
        return [
            (m.record["level"].name, m.record["message"], m.record["extra"]) for m in self.records
        ]

    def close(self) -> None:
        """Stop everybody."""
        logger.disable("callengine")
        logger.remove(self._sink)
        for ref in self._refs.values():
            ref.stop()
