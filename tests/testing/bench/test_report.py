from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from callengine.testing.bench import report
from callengine.testing.bench.figures import Point, point
from callengine.testing.bench.report import Report
from callengine.testing.bench.svg import plot
from tests.testing.bench.made import Run

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def points() -> tuple[Point, ...]:
    made = point(Run().measured)
    late = replace(made.pacing, lateness_p99_ms=math.inf)
    return (
        made,
        replace(made, calls=100, faults=("3 calls left in the engine",)),
        replace(made, calls=200, pacing=late),
        replace(made, calls=400, invalid=("the load was late itself: p99 20 ms",)),
    )


def test_the_table_has_a_row_for_each_point_and_a_line_for_each_fault(
    points: tuple[Point, ...],
) -> None:
    lines = report.table(points).splitlines()
    assert len(lines) == 2 + 4 + 2
    verdicts = ("ok", "FAULTS", "past the knee", "INVALID")
    for line, verdict in zip(lines[2:6], verdicts, strict=True):
        assert line.endswith(verdict)
    assert lines[6] == "100 calls: 3 calls left in the engine"
    assert lines[7] == "400 calls: INVALID: the load was late itself: p99 20 ms"


def test_the_report_is_written(points: tuple[Point, ...], tmp_path: Path) -> None:
    made = Report({"python": "3.11"}, pinned=True, seed=7, points=points, knee=100)
    told, drawn = report.write(made, tmp_path)
    body = json.loads(told.read_text("utf-8"))
    assert (body["machine"], body["pinned"], body["seed"]) == ({"python": "3.11"}, True, 7)
    assert (body["passed"], body["knee"]) == (False, 100)
    assert [each["calls"] for each in body["points"]] == [2, 100, 200, 400]
    assert body["points"][0]["cost"]["cpu_ms_per_call_s"] == 10.0
    assert drawn.read_text("utf-8") == plot(points, 100)


def test_it_passes_if_all_points_are_valid_and_no_law_is_broken(points: tuple[Point, ...]) -> None:
    good, faulty, slow, invalid = points
    for those, passed in (((good, slow), True), ((good, faulty), False), ((invalid,), False)):
        assert Report({}, pinned=True, seed=1, points=those).passed is passed


def test_the_plot_marks_points_and_the_knee(points: tuple[Point, ...]) -> None:
    drawn = ElementTree.fromstring(plot(points, 100))
    circles = drawn.findall(f"{SVG}circle")
    assert len(circles) == 8
    assert [each.get("fill") for each in circles].count("white") == 2
    assert "knee: 100" in [each.text for each in drawn.iter(f"{SVG}text")]
    for circle in circles:
        assert 0 <= float(circle.get("cx", "-1")) <= 760
        assert 0 <= float(circle.get("cy", "-1")) <= 600
    assert "knee" not in plot(points, None)


def test_a_single_point_can_be_drawn(points: tuple[Point, ...]) -> None:
    ElementTree.fromstring(plot(points[:1], 0))
