"""All orders of what may happen: the composed pure machines in a small bounded world.

The machines are the real ones: `Transmission`, the pacer's, and `Conversation`, the bridge's, which
are the response slot, playout and barge-in among others. Around them are small honest models: two
mailboxes, the lines to the model and to the carrier and back, a server with one active response, a
carrier that plays in real time, a caller, a tool, and a watchdog that doubts everything. Breadth
first, every order of up to a number of moves is made from each of the situations in `starts`; then
every world that came of it is left to itself until it comes to rest.

What is watched keeps books of its own from what crosses the lines, and knows no counter of ours:

- L1: nothing that the caller cut off or overtook is played, as it is written and as it arrives;
  nothing at all while nobody is sure.
- L2: a mark that a clear brings back teaches nothing.
- L3: a truncate tells what the ear heard, to one frame, never more than came, once per item; and
  what was not heard is truncated.
- L4: a cancel names the active response; it ends for a reason, and within its deadline.
- L5: a create is sent only while the slot is free as far as can be known; no tool's result is lost
  or asked about twice, no turn left without an answer.
- L6: the caller's voice over audio clears it at once. L9: unless the greeting is protected.
- L10: a reset that comes too late, or while a cancel is pending, changes nothing.
- Nothing is stuck: where nothing is under way and no deadline pending, nothing is undone.

What is assumed, and nothing else is left out but by the bounds and budgets of `terms` and `starts`:

- Actors are quicker than a frame: while time passes, mailboxes are empty. What is between us and
  the carrier takes a frame at the most.
- What the bridge waits for comes before its deadline (2 s for a cancel, 5 s for a create, 1.5 s for
  an automatic answer), except as often as the budget of lapses says, and when the server falls
  silent for good.
- A server that does not tell which create a response answers has read our create before it ends a
  response of its own that it began while the create was on its way. Without that, the client takes
  this response for the answer to its create, and cannot know that another is still to come.
"""

from __future__ import annotations

from callengine.testing.explore.search import (
    CI_DEPTH,
    Exploration,
    Violation,
    explore,
    report,
)
from callengine.testing.explore.starts import (
    STARTS,
    TELLING_ALL,
    TELLING_NOTHING,
    TELLING_SOME,
)

__all__ = [
    "CI_DEPTH",
    "STARTS",
    "TELLING_ALL",
    "TELLING_NOTHING",
    "TELLING_SOME",
    "Exploration",
    "Violation",
    "explore",
    "report",
]
