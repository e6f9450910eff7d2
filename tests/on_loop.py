"""To do something on a loop's thread, from a test's; and a clock that stands still for it."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar

from callengine.actors import loop as loop_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from callengine.actors.loop import Loop

T = TypeVar("T")

PATIENCE_S = 5.0
"""Nothing here takes long; a test that waits so long has failed."""


def on_loop(loop: Loop, do: Callable[[], T]) -> T:
    """Do something on the loop's thread, and wait until all that came of it is done too.

    Raises on this thread what it raises.
    """
    results: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()
    settled: queue.SimpleQueue[None] = queue.SimpleQueue()

    def first() -> None:
        try:
            results.put((do(), None))
        except Exception as error:  # noqa: BLE001 - it is the test's
            results.put((None, error))
        loop.call_soon(lambda: settled.put(None))

    assert loop.call_soon(first)
    result, error = results.get(timeout=PATIENCE_S)
    settled.get(timeout=PATIENCE_S)
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def each(do: Callable[[T], object], given: Iterable[T]) -> Callable[[], None]:
    """To do the same with several things, one after the other, at once."""

    def all_of_it() -> None:
        for one in given:
            do(one)

    return all_of_it


@dataclass
class FrozenClock:
    """Stands still until a test moves it."""

    at: float = 0.0

    def monotonic(self) -> float:
        return self.at

    def sleep(self, _: float) -> None:
        """Nobody rests."""

    def pass_time(self, loop: Loop, seconds: float) -> None:
        """Let so much time pass, and what is due by then be done."""
        self.at += seconds
        on_loop(loop, lambda: None)


def freeze(monkeypatch: pytest.MonkeyPatch) -> FrozenClock:
    """A clock for every loop, in the place of the `time` module."""
    clock = FrozenClock()
    stands_in = SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep)
    monkeypatch.setattr(loop_module, "time", stands_in)
    return clock
