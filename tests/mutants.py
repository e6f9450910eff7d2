"""Deliberate bugs of one line each, and a way to run the proof on a package that has one of them.

A proof that cannot fail proves nothing: each of these must break a law.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

MAX_CALLS = 100
DEPTH = 4


@dataclass(frozen=True)
class Mutant:
    """`line` of a module reads `instead`; the law that must catch it, in a call or exploring."""

    bug: str
    law: str
    module: str
    line: str
    instead: str
    start: str | None = None
    """Where the exploration begins that finds it; None if it is looked for in drawn calls."""
    seed: int | None = None
    """The drawn call that shows it; None if one of the first does."""


MACHINES = "callengine.machines."

MUTANTS = [
    Mutant(
        "no generation check at the send point",
        "L1",
        MACHINES + "transmission",
        "outdated = event.generation != self.playout.generation and not event.protected",
        "outdated = False",
        start="two generations",
    ),
    Mutant(
        "the clear is forgotten",
        "L15",
        MACHINES + "transmission",
        "            SendClear(),\n            Interrupted(",
        "            Interrupted(",
    ),
    Mutant(
        "the caller cannot interrupt what the model has finished",
        "L6",
        MACHINES + "transmission",
        "        if speaking is None",
        "        if speaking is None or speaking.complete",
    ),
    Mutant(
        "a protected greeting is not protected",
        "L9",
        MACHINES + "transmission",
        "return Floor.PROTECTED if speaking.protected or self._draining else Floor.TAKEN",
        "return Floor.TAKEN",
        seed=215,
    ),
    Mutant(
        "the model may interrupt a protected greeting",
        "L9",
        MACHINES + "conversation",
        "interrupt_response=not (greeting and greeting_protected)",
        "interrupt_response=True",
    ),
    Mutant(
        "a barge-in is counted although it was guarded",
        "L15",
        MACHINES + "transmission",
        "                self.counts.barge_ins_guarded += 1",
        "                self.counts.barge_in_events += 1",
    ),
    Mutant(
        "frames do not wait for their time",
        "pace",
        MACHINES + "transmission",
        "while self._grid.due_at <= now and (",
        "while (",
    ),
    Mutant(
        "a tail is padded in the middle of a response",
        "L11",
        MACHINES + "playout",
        "if queued_bytes >= FRAME_BYTES or (track.complete and queued_bytes):",
        "if queued_bytes:",
    ),
    Mutant(
        "marks that a clear brought back count as heard",
        "L3",
        MACHINES + "marks",
        "        if mark.clears != self._clears:",
        "        if False:",
    ),
    Mutant(
        "truncated to what was received",
        "L3",
        MACHINES + "track",
        "heard = min(max(self.heard - item.start, 0), item.received)",
        "heard = item.received",
    ),
    Mutant(
        "the carrier's own delay is forgotten",
        "L3",
        MACHINES + "playout",
        "        delay_s = self._marks.delay_s or 0.0\n",
        "        delay_s = 0.0\n",
    ),
    Mutant(
        "the flush keeps the generation, so that mailboxes are not flushed",
        "L2",
        MACHINES + "playout",
        "        self._split_playing_frame(now)\n        self.generation += 1\n",
        "        self._split_playing_frame(now)\n",
    ),
    Mutant(
        "a false alarm resumes without what was at the carrier",
        "L11",
        MACHINES + "playout",
        "            track.queued[:0] = audio\n",
        "            pass\n",
    ),
    Mutant(
        "a confirmed barge-in is resumed",
        "L1",
        MACHINES + "transmission",
        "        self.playout.discard_limbo()\n        self._wanted_from",
        "        self.playout.resume()\n        self._wanted_from",
    ),
    Mutant(
        "what was interrupted is not truncated",
        "L3",
        MACHINES + "conversation",
        "                return [*actions, *self._truncates(heard)]",
        "                return [*actions]",
    ),
    Mutant(
        "a cancel without an id",
        "L4",
        "callengine.actors.realtime_bridge",
        "encode.encode_response_cancel(event_id, response_id)",
        "encode.encode_response_cancel(event_id, response_id).replace('response_id', 'event_id')",
    ),
    Mutant(
        "the create does not wait while the slot is taken",
        "L12",
        MACHINES + "response",
        "        if self.state is not State.IDLE or not self._wanted:",
        "        if not self._wanted:",
    ),
    Mutant(
        "a create that was refused is forgotten",
        "L5",
        MACHINES + "response",
        "                self._put_back(replace(refused, not_before=later, refused_since=since))",
        "                pass",
        start="crossed",
    ),
    Mutant(
        "an answer with nothing to hear is not asked for again",
        "L13",
        MACHINES + "response",
        "        if event.failed and self.state in {State.REQUESTED, State.GENERATING}:",
        "        if False:",
    ),
    Mutant(
        "dropped audio is not counted",
        "L11",
        MACHINES + "conversation",
        "        self.counts.dropped_cancelled_bytes += len(event.audio)",
        "        pass",
    ),
    Mutant(
        "marks do not carry the generation",
        "L2",
        MACHINES + "playout",
        'name = f"g{self.generation}-',
        'name = f"g0-',
    ),
    Mutant(
        "the summary never comes",
        "L12",
        MACHINES + "lifecycle",
        "            return [Conclude()]",
        "            return []",
    ),
    Mutant(
        "an actor forgets to ask to be woken",
        "L13",
        "callengine.actors.shell",
        "            self.dispatcher.tell_at(due, self.actor_ref, _ALARM)",
        "            pass",
    ),
    Mutant(
        "the lock is released by a refusal of any cancel",
        "L10",
        MACHINES + "response",
        "if self.state is State.CANCELLING and caused_by in {None, self._event_id}:",
        "if self.state is State.CANCELLING:",
        start="cancelling",
    ),
    Mutant(
        "a reset is granted while a cancel is pending",
        "L10",
        MACHINES + "response",
        "            return Refusal.CANCEL_PENDING",
        "            return None",
        start="cancelling",
    ),
    Mutant(
        "the version of a reset is not compared",
        "L10",
        MACHINES + "response",
        "        if request.if_version != self.version:",
        "        if False:",
        start="asking",
    ),
    Mutant(
        "the cancel's deadline is never armed",
        "L4",
        MACHINES + "response",
        "        self._deadline = now + CANCEL_DEADLINE_S",
        "        self._deadline = None",
        start="cancelling",
    ),
    Mutant(
        "a response that was interrupted before it was created is not cancelled",
        "L1",
        MACHINES + "response",
        "            actions.append(self._send_cancel(event.response_id, now))\n",
        "            self.state = State.GENERATING\n",
        start="crossing",
    ),
    Mutant(
        "the greeting is said again when another model takes over",
        "L9",
        MACHINES + "dialogue",
        "        greets = lost.greeting_unheard\n",
        "        greets = self._brief.greeting is not None\n",
    ),
    Mutant(
        "what was owed when the model was lost is forgotten",
        "L13",
        MACHINES + "dialogue",
        "        apologises = lost.owes and not greets\n",
        "        apologises = False\n",
    ),
    Mutant(
        "a response that has run dry counts as heard",
        "L13",
        MACHINES + "transmission",
        "        audible = speaking is not None and not dry\n",
        "        audible = speaking is not None\n",
        seed=647,
    ),
    Mutant(
        "what the socket that was given up still says counts",
        "L12",
        "callengine.actors.realtime_bridge",
        "                message.session != self._session\n",
        "                False\n",
    ),
    Mutant(
        "the silence is counted from the beginning of the call",
        "L13",
        MACHINES + "dead_air",
        "            self._quiet_since = since\n",
        "            self._quiet_since = since or 0.0\n",
    ),
    Mutant(
        "nobody tells the pacer that an answer is owed",
        "L13",
        MACHINES + "conversation",
        "        if self._owed and not owed_before:\n",
        "        if False:\n",
    ),
    Mutant(
        "what is heard already counts as the answer",
        "L13",
        MACHINES + "transmission",
        "        if response_id not in self._not_owed:\n",
        "        if True:\n",
    ),
    Mutant(
        "a protected greeting is cut together with the fallback before it",
        "L9",
        MACHINES + "playout",
        "[track for track in self._tracks if not track.protected]\n"
        "        self._tracks = deque(track for track in self._tracks if track.protected)\n",
        "list(self._tracks)\n        self._tracks.clear()\n",
        seed=107,
    ),
]


def source_of(module: str) -> Path:
    """The file of a module, found without importing it."""
    root = Path(__file__).parent.parent
    return root.joinpath(*module.split(".")).with_suffix(".py")


class _Loader(importlib.abc.SourceLoader):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def get_filename(self, fullname: str) -> str:
        return str(source_of(fullname))

    def get_data(self, path: str | bytes) -> bytes:
        source = Path(str(path)).read_text("utf-8")
        return source.replace(self._mutant.line, self._mutant.instead).encode()


class _Finder(PathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(  # type: ignore[override]
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - as the protocol has it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return importlib.util.spec_from_loader(fullname, _Loader(self._mutant))


def laws_broken_by(mutant: Mutant) -> tuple[str, ...]:
    """Run the proof with this bug, in a process that has not imported the package yet."""
    assert "callengine" not in sys.modules
    sys.meta_path.insert(0, _Finder(mutant))
    return _by_exploring(mutant.start) if mutant.start else _in_calls(mutant)


def _in_calls(mutant: Mutant) -> tuple[str, ...]:
    from callengine.testing.prove.scenario import draw
    from callengine.testing.prove.trial import judge

    broken: list[str] = []
    for seed in range(1, MAX_CALLS + 1) if mutant.seed is None else (mutant.seed,):
        broken += [breach.law for breach in judge(draw(seed)).breaches]
        if mutant.law in {law.split()[0] for law in broken}:
            break
    return tuple(dict.fromkeys(broken))


def _by_exploring(start: str) -> tuple[str, ...]:
    from callengine.testing.explore import explore

    return tuple(violation.law for violation in explore(DEPTH, starts=[start]).violations)
