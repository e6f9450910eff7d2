"""The table of states is complete, says what the code says, and claims nothing without a proof."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import pkgutil
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import callengine.machines
from callengine.machines import response
from callengine.machines.stall import LIMITS
from tests.stuck.states import STATES, Asked, Deadline, Follows, Harmless, name_of, table

if TYPE_CHECKING:
    from types import ModuleType

TESTS = Path(__file__).parent.parent
MACHINES = [
    importlib.import_module(f"callengine.machines.{module.name}")
    for module in pkgutil.iter_modules(callengine.machines.__path__)
]


def states_of(module: ModuleType) -> list[Enum]:
    found = getattr(module, "State", None)
    own = found is not None and found.__module__ == module.__name__
    return list(found) if own and found is not None else []


@pytest.mark.parametrize("module", MACHINES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_state_of_every_machine_has_a_row(module: ModuleType) -> None:
    assert [state for state in states_of(module) if state not in STATES] == []


def test_there_is_no_row_for_a_state_that_is_gone() -> None:
    known = {state for module in MACHINES for state in states_of(module)}
    assert {state for state in STATES if isinstance(state, Enum)} == known
    assert len(known) > 25, "the machines are found"


def test_every_state_that_the_watchdog_knows_has_a_row() -> None:
    ways = [way for ways in STATES.values() for way in ways]
    assert {(way.owner, way.name) for way in ways if isinstance(way, Asked)} == LIMITS.keys()


def test_every_state_that_an_owner_reports_is_watched_or_idle() -> None:
    """Reported names are literals, or names of the slot's states."""
    reported = {state.name.lower() for state in response.State}
    for module in MACHINES:
        source = Path(module.__file__ or "").read_text("utf-8")
        reported |= set(re.findall(r'StateChanged\(Owner\.\w+, "(\w+)"', source))
        reported |= set(re.findall(r'_tell\("(\w+)"', source))
    assert reported <= {name for _, name in LIMITS} | {"idle"}


def value_of(constant: str, state: Enum | str) -> float:
    """What a constant is now, in seconds; a mapping has one for each state."""
    path, _, name = constant.rpartition(".")
    if path.startswith("settings."):
        module = importlib.import_module("callengine.settings")
        kind = getattr(module, path.removeprefix("settings."))
        (default,) = [each.default for each in dataclasses.fields(kind) if each.name == name]
        assert isinstance(default, int)
        return default / {"ms": 1000, "s": 1}[name.rpartition("_")[2]]
    found = getattr(importlib.import_module(f"callengine.machines.{path}"), name)
    return float(found[state] if isinstance(found, Mapping) else found)


DEADLINES = [
    (state, way) for state, ways in STATES.items() for way in ways if isinstance(way, Deadline)
]


@pytest.mark.parametrize(("state", "way"), DEADLINES, ids=lambda given: str(given)[:60])
def test_the_deadlines_are_those_of_the_code(state: Enum | str, way: Deadline) -> None:
    assert value_of(way.constant, state) == way.seconds


@functools.cache
def functions_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


PROOFS = {way.shown_by for ways in STATES.values() for way in ways if not isinstance(way, Harmless)}


@pytest.mark.parametrize("proof", sorted(PROOFS))
def test_every_proof_exists(proof: str) -> None:
    path, _, name = proof.partition("::")
    assert name in functions_in(TESTS / path)


def test_what_follows_another_state_ends_in_one_that_ends() -> None:
    for state, ways in STATES.items():
        seen = [state]
        while isinstance(ways[0], Follows):
            seen.append(ways[0].state)
            assert len(seen) == len(set(seen)), f"{seen} go round in a circle"
            ways = STATES[ways[0].state]  # noqa: PLW2901 - one step on the way
        assert len(seen) == 1 or not isinstance(ways[0], Harmless), seen


def test_the_table_has_a_line_for_every_state() -> None:
    lines = table().splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == [
        name_of(state) for state in STATES
    ]


def test_the_document_shows_the_table() -> None:
    """`python -m tests.stuck.states` writes it anew."""
    document = Path(__file__).parents[2] / "docs" / "correctness.md"
    assert table() in document.read_text("utf-8")
