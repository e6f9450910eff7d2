"""Breadth first through all orders of moves, from every start at once.

Worlds that no future can tell apart are visited once: what is kept of one is 16 bytes, so that two
could be taken for one by chance, with a probability that nobody will see. When the depth is reached
every world of the last layer is left to itself, move by move in a fixed order, until nothing is
under way and no deadline pending: there, and wherever that is so on the way, nothing may be undone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from callengine.testing.explore.broken import Broken
from callengine.testing.explore.moves import MOVES, TO_REST, heard_by
from callengine.testing.explore.snapshots import Machines
from callengine.testing.explore.starts import STARTS, TELLING_ALL, TELLING_NOTHING
from callengine.testing.explore.world import World

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from callengine.testing.explore.server import Server

CI_DEPTH: Final = 6
MOST_TO_REST: Final = 300
"""Moves after which a world that is left to itself will never come to rest."""

_Trace: TypeAlias = "tuple[_Trace, str] | None"
_Node: TypeAlias = "tuple[World, _Trace]"


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that did not hold, and the moves that led there: none fewer break it so early."""

    law: str
    message: str
    start: str
    moves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was explored. `depth` is the number of moves of which all orders were made."""

    depth: int
    states: int
    transitions: int
    seconds: float
    violations: tuple[Violation, ...]


class _Search:
    """One exploration while it goes on."""

    def __init__(self) -> None:
        self.machines = Machines()
        self.transitions = 0
        self.seen: set[bytes] = set()
        self.rested: set[bytes] = set()
        self.found: dict[tuple[str, str], Violation] = {}
        self._starts: dict[str, World] = {}

    def begin(self, name: str, server: Server) -> list[_Node]:
        """The world to start from; none if a law is broken on the way there."""
        try:
            world = STARTS[name.split(",", maxsplit=1)[0]](self.machines, server)
        except Broken as broken:
            self._note(broken, (None, name))
            return []
        self._starts[name] = world
        return self._new(world, (None, name))

    def layer(self, frontier: Iterable[_Node], until: float) -> list[_Node]:
        """All worlds one move further that were not seen before."""
        after: list[_Node] = []
        for world, trace in frontier:
            if time.perf_counter() > until:
                return []
            possible = self._moves(world, trace)
            for made, new in possible:
                after += self._new(new, made)
            if not any(label in TO_REST for (_, label), _ in possible):
                self.leave(world, trace)
        return after

    def _moves(self, world: World, trace: _Trace) -> list[tuple[tuple[_Trace, str], World]]:
        possible = []
        for label, move in MOVES.items():
            made = (trace, label)
            try:
                new = move(world)
            except Broken as broken:
                self._note(broken, made)
                continue
            if new is not None:
                possible.append((made, new))
        return possible

    def _new(self, world: World, trace: _Trace) -> list[_Node]:
        self.transitions += 1
        if world.overfull or world.ended:
            return []
        key = world.key()
        if key in self.seen:
            return []
        self.seen.add(key)
        return [(world, trace)]

    def leave(self, world: World, trace: _Trace) -> None:
        """Leave a world to itself: it comes to rest, and nothing is left undone."""
        for _ in range(MOST_TO_REST):
            if world.ended or self._has_rested(world):
                return
            moved = self._move_on(world, trace)
            if moved is None:
                return
            world, trace = moved
        self._note(Broken("stuck", "it never comes to rest"), trace)

    def _move_on(self, world: World, trace: _Trace) -> _Node | None:
        """Make the first move that is to be made; None if it rests, or broke a law."""
        made = trace
        try:
            for label in TO_REST:
                made = (trace, label)
                new = MOVES[label](world)
                if new is not None:
                    return new, made
            made = trace
            world.at_rest()
        except Broken as broken:
            self._note(broken, made)
        return None

    def _has_rested(self, world: World) -> bool:
        """Where the world comes from here is known."""
        if world.under_way:
            return False  # most worlds differ only in this; soon they are the same
        key = world.key()
        known = key in self.rested
        self.rested.add(key)
        return known

    def _note(self, broken: Broken, trace: _Trace) -> None:
        """Keep the first of its kind from each start."""
        labels: list[str] = []
        while trace is not None:
            trace, label = trace
            labels.append(label)
        start, *moves = reversed(labels)
        kind = "".join(letter for letter in broken.message if not letter.isdigit())
        if (start, kind) not in self.found:
            told = tuple(self._told(start, moves))
            self.found[start, kind] = Violation(broken.law, broken.message, start, told)

    def _told(self, start: str, moves: Iterable[str]) -> Iterable[str]:
        """The moves once more, with what was heard."""
        world = self._starts.get(start, World())
        for label in moves:
            yield label + heard_by(world, label)
            try:
                world = MOVES[label](world) or world
            except Broken:
                return


def explore(
    depth: int = CI_DEPTH,
    *,
    starts: Collection[str] = tuple(STARTS),
    servers: Collection[Server] = (TELLING_ALL, TELLING_NOTHING),
    enough: int = 20,
    limit_s: float | None = None,
) -> Exploration:
    """Explore all orders of up to `depth` moves from each of the starts, with each server.

    It stops early, at the end of a layer, when `enough` violations were found, and after
    `limit_s`; the depth that is told is then that of the layers that were explored.
    """
    began = time.perf_counter()
    until = began + limit_s if limit_s is not None else float("inf")
    search = _Search()
    names = [(f"{name}, {server.manners}", server) for name in starts for server in servers]
    frontier = [node for name, server in names for node in search.begin(name, server)]
    reached = 0
    while reached < depth and len(search.found) < enough:
        further = search.layer(frontier, until)
        if time.perf_counter() > until:
            break
        frontier = further
        reached += 1
    if len(search.found) < enough:
        for world, trace in frontier:
            if time.perf_counter() > until:
                break
            search.leave(world, trace)
    seconds = time.perf_counter() - began
    found = tuple(search.found.values())
    return Exploration(reached, len(search.seen), search.transitions, seconds, found)


def report(exploration: Exploration) -> str:
    """What was explored and found, to be read by people."""
    counted = f"{exploration.states} states, {exploration.transitions} transitions"
    took = f"all orders of {exploration.depth} moves, in {exploration.seconds:.1f} s"
    lines = [f"{counted}, {took}", f"{len(exploration.violations)} violations"]
    for violation in exploration.violations:
        lines += ["", f"{violation.law}: {violation.message}", f"  {violation.start}"]
        lines += [f"  {number:3} {move}" for number, move in enumerate(violation.moves, 1)]
    return "\n".join(lines)
