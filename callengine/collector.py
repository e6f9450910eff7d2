"""The garbage collector, for processes that hold calls and do nothing else.

A full pass looks at every object there is, and everybody waits: 0.8 ms per call in progress, which
is more than the carrier holds of any call when there are two hundred. Calls leave cycles behind,
about 0.2 MB each, so it has to run some time; by itself Python has it run whenever a quarter more
is there than at the last, which is when calls come in.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 10_000
"""More objects than at the last pass over the youngest: what three or four calls are made of."""

MIDDLE: Final = 10
FULL: Final = 30
"""A full pass after so many of the middle ones: about a thousand calls, and 200 MB at most."""


def pass_seldom() -> None:
    """Leave what is there now out of all passes, and let few of them be full ones."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, FULL)
