"""Which of several deadlines comes first."""

from __future__ import annotations


def earliest(*deadlines: float | None) -> float | None:
    """The first of them; None for one that is not set, and if none is."""
    first = None
    for at in deadlines:
        if at is not None and (first is None or at < first):
            first = at
    return first
