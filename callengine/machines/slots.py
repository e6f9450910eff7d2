"""Is there room for another call? So many slots, promised before they are taken.

A webhook promises a slot, by the call it was asked for; the media socket of that call takes it. A
promise that nobody comes for expires. Between the two comes the door: whose socket it is, is said
by its `start`, and until then it is presumed to be one that is expected. So as long as there are
promises every socket may knock, and beyond them each that stands at the door holds a slot.

Slots that are promised and taken are never more than there are, so a promise is always kept. Time
is monotonic seconds.
"""

from __future__ import annotations


class Slots:
    """Counts `limit` slots; a promise lasts `promise_s`."""

    def __init__(self, limit: int, promise_s: float) -> None:
        self._limit = limit
        self._promise_s = promise_s
        self._promised: dict[str, float] = {}
        """Until when, by call; those that expire first come first."""
        self._at_door = 0
        self._taken = 0

    @property
    def taken(self) -> int:
        """Slots that calls have."""
        return self._taken

    def promised(self, now: float) -> int:
        """Slots that are held for calls whose sockets have not come yet."""
        self._forget(now)
        return len(self._promised)

    def free(self, now: float) -> int:
        """Slots that nobody has, and nobody is expected to take."""
        coming = max(self.promised(now), self._at_door)
        return max(self._limit - self._taken - coming, 0)

    def reserve(self, call: str, now: float) -> bool:
        """Promise a slot, or the same one for longer if `call` has been promised one."""
        self._forget(now)
        if self._promised.pop(call, None) is None and self.free(now) == 0:
            return False
        self._promised[call] = now + self._promise_s
        return True

    def knock(self, now: float) -> bool:
        """A socket comes to the door; False if it cannot be one that is expected."""
        welcome = self.promised(now) > 0 or self.free(now) > 0
        self._at_door += welcome
        return welcome

    def take(self, call: str | None, now: float) -> bool:
        """Somebody at the door takes the slot that `call` was promised, or one that nobody was.

        False if there is neither; then he is still at the door.
        """
        self._forget(now)
        expected = call is not None and self._promised.pop(call, None) is not None
        if not expected and self._taken + len(self._promised) >= self._limit:
            return False
        self._at_door -= 1
        self._taken += 1
        return True

    def go(self) -> None:
        """Somebody at the door goes away."""
        self._at_door -= 1

    def give_back(self) -> None:
        """A call that took a slot is over."""
        self._taken -= 1

    def _forget(self, now: float) -> None:
        while self._promised:
            first = next(iter(self._promised))
            if self._promised[first] > now:
                return
            del self._promised[first]
