"""L5 for the results of tools: each is asked about, none is lost, none is told twice.

It is told what the server really did, which the client learns later or never.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from callengine.testing.explore.broken import hold

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Wish:
    """A result that the model was told, and is to say something about."""

    create: str | None = None
    """The event id of the create that is to bring it, unless that was refused or has failed."""
    taken: bool = False
    """The server has begun a response to that create."""
    overtaken: bool = False
    """The caller interrupted after it was asked for, maybe."""
    put_off: bool = False
    """So too, and the client knows that it was asked for: if it was nothing, it asks again."""
    excused: bool = False
    """The caller took its place, or nobody can know what the server made of it."""

    @property
    def is_open(self) -> bool:
        """Somebody has still to ask."""
        return self.create is None and not self.put_off and not self.excused


@dataclass(frozen=True, slots=True)
class Wishes:
    """All of them that are not fulfilled."""

    all: tuple[Wish, ...] = ()

    def told(self) -> Wishes:
        """The model was told another result."""
        return Wishes((*self.all, Wish()))

    def ask(self, create: str) -> Wishes:
        """A response about results is asked for."""
        asked = any(wish.is_open or wish.excused for wish in self.all)
        hold("L5", "a create for results that were asked about", holds=asked)
        return self._each(lambda wish: replace(wish, create=create) if wish.is_open else wish)

    def take(self, create: str, *, may_double: bool) -> Wishes:
        """The server begins a response about results."""
        waiting = [wish for wish in self.all if wish.create == create and not wish.taken]
        excused = may_double or any(wish.excused for wish in self.all)
        hold("L5", "two responses about the same results", holds=bool(waiting) or excused)
        return self._each(lambda wish: replace(wish, taken=True) if wish in waiting else wish)

    def again(self, create: str) -> Wishes:
        """The client hears that this create brought nothing."""
        return self._each(
            lambda wish: replace(wish, create=None, taken=False) if wish.create == create else wish
        )

    def over(self, create: str) -> Wishes:
        """The client hears that the response to this create is over."""
        kept = (w for w in self.all if w.create != create or w.put_off or w.excused)
        return Wishes(tuple(kept))

    def overtake(self, out: str | None) -> Wishes:
        """The caller takes the place of what was asked for, not of what waits."""
        return self._each(
            lambda wish: (
                replace(wish, overtaken=True, put_off=wish.create == out) if wish.create else wish
            )
        )

    def judge(self, *, false_alarm: bool) -> Wishes:
        """Whether he really did is known."""

        def judged(wish: Wish) -> Wish:
            if not wish.overtaken:
                return wish
            if not false_alarm:
                return replace(wish, overtaken=False, put_off=False, excused=True)
            return Wish() if wish.put_off else replace(wish, overtaken=False)

        return self._each(judged)

    def excuse(self, create: str | None) -> Wishes:
        """What was asked for is asked for again: the server may do it twice, or not at all."""
        excused = self._each(
            lambda wish: (
                replace(wish, excused=True) if wish.create == create and not wish.taken else wish
            )
        )
        return Wishes((*excused.all, Wish(excused=True)))

    def wait_for(self, create: str | None) -> bool:
        """A response to this create is wanted."""
        return create is not None and any(
            wish.create == create and not wish.excused and not wish.put_off for wish in self.all
        )

    @property
    def lost(self) -> bool:
        """One is left that nobody will ask for any more."""
        return any(wish.is_open or (wish.create and not wish.excused) for wish in self.all)

    def _each(self, change: Callable[[Wish], Wish]) -> Wishes:
        return Wishes(tuple(change(wish) for wish in self.all))


NO_WISHES: Final = Wishes()
