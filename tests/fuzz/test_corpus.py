"""The inputs that once broke something, or go where few others do. Each name says what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.script import What, read
from tests.fuzz.targets import TARGETS, Target

if TYPE_CHECKING:
    from pathlib import Path

KEPT = [(target, path) for target in TARGETS.values() for path in target.corpus]


@pytest.mark.parametrize(
    ("target", "path"), KEPT, ids=[f"{target.name}/{path.name}" for target, path in KEPT]
)
def test_everything_holds_for(target: Target, path: Path) -> None:
    assert target.run(path.read_bytes()) > 0, "nothing of it was handled"


@pytest.mark.parametrize("path", TARGETS["call"].corpus, ids=lambda path: path.name)
def test_every_line_of_a_call_is_a_step(path: Path) -> None:
    script = read(path.read_bytes())
    assert len(script) == len(path.read_bytes().splitlines())
    assert {step.what for step in script} & {What.CARRIER, What.MODEL}


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_everything_holds_for_good_input(target: Target) -> None:
    assert [data for data in target.good if target.run(data) == 0] == []
