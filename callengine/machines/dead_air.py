"""How long the caller has heard nothing while he is owed an answer, and when that is too long.

It refuses to know why nothing comes: the model may be slow, lost, or busy with a tool.
"""

from __future__ import annotations

from typing import Final

REPEAT_S: Final = 4.0
"""After the fallback was heard the next silence may last longer: the caller knows we are there."""

MAX_FILLS: Final = 3
"""Times the fallback is played with no word of the model. By then the call has ended, or should
have."""


class DeadAir:
    """Silence of one call while something is owed. `limit_s` is the longest that is left alone."""

    def __init__(self, limit_s: float) -> None:
        self.longest_s = 0.0
        self._limit_s = limit_s
        self.owed = False
        self._fallback = b""  # as last told
        self._quiet_since: float | None = None
        self._fills = 0

    @property
    def at_rest(self) -> bool:
        """Nothing is owed, and no silence is counted."""
        return not self.owed and self._quiet_since is None and not self._fills

    def owe(self, fallback: bytes, since: float | None = None) -> None:
        """The caller waits: since then, or from now on, unless he did before."""
        if not self.owed:
            self._fills = 0
            self._quiet_since = since
        self.owed, self._fallback = True, fallback

    def settle(self, now: float) -> None:
        """He has what he waited for, or no longer waits."""
        self._end_silence(now)
        self.owed, self._fills = False, 0

    def begin_anew(self) -> None:
        """He hears the model, if not what he waits for: a silence behind it is a first one."""
        self._fills = 0

    def next_deadline(self) -> float | None:
        """When it has been too long."""
        if self._quiet_since is None or not self._fallback or self._fills >= MAX_FILLS:
            return None
        return self._quiet_since + (REPEAT_S if self._fills else self._limit_s)

    def listen(self, now: float, *, audible: bool, mid_sentence: bool = False) -> bytes | None:
        """Is anything heard? Returns the fallback if nothing was for too long.

        `mid_sentence`: the rest of what was begun is owed, whatever else is.
        """
        if audible or not (self.owed or mid_sentence):
            self._end_silence(now)
            return None
        if self._quiet_since is None:
            self._quiet_since = now
        self.longest_s = max(self.longest_s, now - self._quiet_since)
        due = self.next_deadline()
        if due is None or now < due:
            return None
        self._fills += 1
        self._end_silence(now)
        return self._fallback

    def _end_silence(self, now: float) -> None:
        if self._quiet_since is not None:
            self.longest_s = max(self.longest_s, now - self._quiet_since)
        self._quiet_since = None
