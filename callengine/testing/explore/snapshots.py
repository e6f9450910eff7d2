"""The real machines as values: a step does not change a machine, it makes another one.

Most orders of moves differ only in what the other machine does meanwhile. So a step is remembered:
the same machine in the same state, told the same at the same time, is stepped once.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from callengine.testing.explore.broken import Broken
from callengine.testing.explore.fingerprint import Flattener

if TYPE_CHECKING:
    from callengine.testing.explore.fingerprint import Flat


@dataclass(eq=False, frozen=True, slots=True)
class Snapshot:
    """A machine that nobody changes any more. Equal ones are one object."""

    frozen: bytes
    due: float | None
    """The machine's next deadline."""
    flat: Flat

    def thaw(self) -> Any:  # noqa: ANN401 - whichever machine it is
        """A copy of the machine to look at, or to change."""
        return pickle.loads(self.frozen)  # noqa: S301 - our own bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What came of telling a machine something."""

    after: Snapshot
    actions: tuple[Any, ...]


class Machines:
    """The machines of one exploration, in every state they have been in."""

    def __init__(self) -> None:
        self.flattener = Flattener()
        self._snapshots: dict[bytes, Snapshot] = {}
        self._steps: dict[tuple[Snapshot, object, float], Step] = {}
        self._flats: dict[tuple[Snapshot, str], Flat] = {}

    def take(self, machine: Any) -> Snapshot:  # noqa: ANN401
        """The state that a machine is in."""
        frozen = pickle.dumps(machine, pickle.HIGHEST_PROTOCOL)
        known = self._snapshots.get(frozen)
        if known is None:
            flat = self.flattener.flat(machine)
            known = self._snapshots[frozen] = Snapshot(frozen, machine.next_deadline(), flat)
        return known

    def step(self, before: Snapshot, event: object, now: float) -> Step:
        """Tell a machine something. Raises `Broken` if the machine raises anything."""
        key = (before, event, now)
        step = self._steps.get(key)
        if step is None:
            machine = before.thaw()
            try:
                actions = tuple(machine.handle(event, now))
            except Exception as error:
                raise Broken("raised", f"{type(event).__name__}: {error!r}") from error
            step = self._steps[key] = Step(self.take(machine), actions)
        return step

    def but_for(self, ignored: str, machine: Snapshot) -> Flat:
        """The machine taken apart without one of its fields, named as in `RULES`."""
        flat = self._flats.get((machine, ignored))
        if flat is None:
            flat = Flattener(ignored=(ignored,), shapes=self.flattener.shapes).flat(machine.thaw())
            self._flats[machine, ignored] = flat
        return flat
