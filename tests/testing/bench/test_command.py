from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from callengine.errors import SettingsError
from callengine.testing.bench import command, run
from callengine.testing.bench.figures import Point, point
from tests.testing.bench.made import Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Held = Callable[[int], Point]


def fine(calls: int) -> Point:
    return replace(point(Run().measured), calls=calls)


def up_to(knee: int) -> Held:
    def held(calls: int) -> Point:
        made = fine(calls)
        return made if calls <= knee else replace(made, pacing=replace(made.pacing, resets=1))

    return held


def invalid_from(calls: int) -> Held:
    return lambda n: replace(fine(n), invalid=("too late",) if n >= calls else ())


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, dict]]:
    """Runs the command, with what each number of calls would give."""

    def go(held: Held, *calls: int, ramp: bool = False) -> tuple[int, dict]:
        monkeypatch.setattr(run, "hold", lambda plan, *_: held(plan.calls))
        options = argparse.Namespace(calls=calls, seconds=1, seed=1, ramp=ramp, out=tmp_path)
        status = command.run(options)
        return status, json.loads((tmp_path / "bench.json").read_text("utf-8"))

    return go


def test_every_number_of_calls_is_a_point(bench: Callable[..., tuple[int, dict]]) -> None:
    status, body = bench(fine, 10, 50)
    assert status == 0
    assert [each["calls"] for each in body["points"]] == [10, 50]
    assert body["knee"] is None


def test_a_ramp_finds_the_knee(
    bench: Callable[..., tuple[int, dict]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, body = bench(up_to(120), 50, ramp=True)
    assert status == 0  # being past the knee is no broken law
    assert [each["calls"] for each in body["points"]] == [50, 100, 200, 150, 125, 112, 118, 121]
    assert body["knee"] == 118
    printed = capsys.readouterr().out
    assert "knee: 118 calls" in printed
    assert "200 calls for 1 s ... past the knee, 10.00 ms of CPU per call-second" in printed


def test_a_knee_of_an_engine_that_was_disturbed_is_a_lower_bound(
    bench: Callable[..., tuple[int, dict]], capsys: pytest.CaptureFixture[str]
) -> None:
    def held(calls: int) -> Point:
        made = up_to(20)(calls)
        return replace(made, cost=replace(made.cost, others_share=0.4))

    bench(held, 20, ramp=True)
    assert "knee: 20 calls or more: the engine had to share" in capsys.readouterr().out


def test_a_point_that_says_nothing_ends_the_ramp(
    bench: Callable[..., tuple[int, dict]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, body = bench(invalid_from(100), 25, ramp=True)
    assert status == 1
    assert [each["calls"] for each in body["points"]] == [25, 50, 100]
    assert body["knee"] == 50
    assert "the load is past its own knee" in capsys.readouterr().out


def test_a_broken_law_is_told_by_the_status(bench: Callable[..., tuple[int, dict]]) -> None:
    status, body = bench(lambda n: replace(fine(n), faults=("a law",)), 10)
    assert (status, body["passed"]) == (1, False)


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    options = argparse.Namespace(calls=(1,), seconds=1, seed=1, ramp=False, out=tmp_path / "file")
    with pytest.raises(SettingsError, match="cannot be made"):
        command.run(options)
