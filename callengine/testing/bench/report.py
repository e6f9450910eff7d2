"""What a bench leaves: a table for the terminal, `bench.json`, and the plot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callengine.testing.bench.svg import plot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from callengine.testing.bench.figures import Percentiles, Point


@dataclass(frozen=True, slots=True)
class Report:
    """All points of a bench. `knee` is the most calls that were held without fault, if sought."""

    machine: Mapping[str, object]
    pinned: bool
    seed: int
    points: tuple[Point, ...]
    knee: int | None = None

    @property
    def passed(self) -> bool:
        """All points are valid, and no law was broken in any."""
        return all(not each.faults and not each.invalid for each in self.points)


@dataclass(frozen=True, slots=True)
class _Column:
    head: tuple[str, str]
    of: Callable[[Point], str]


def _most(percentiles: Percentiles) -> str:
    return "-" if percentiles.most is None else f"{percentiles.most:.0f}"


def _p99(percentiles: Percentiles, digits: int = 0) -> str:
    return "-" if percentiles.p99 is None else f"{percentiles.p99:.{digits}f}"


def verdict(point: Point) -> str:
    """The worst that can be said of it, in a word or three."""
    if point.invalid:
        return "INVALID"
    if point.faults:
        return "FAULTS"
    if not point.within_knee:
        return "past the knee"
    return "disturbed" if point.disturbed else "ok"


_COLUMNS: Final = (
    _Column(("", "calls"), lambda p: str(p.calls)),
    _Column(("CPU ms per", "call-s"), lambda p: f"{p.cost.cpu_ms_per_call_s:.2f}"),
    _Column(("core", "%"), lambda p: f"{100 * p.cost.core_share:.0f}"),
    _Column(("others", "%"), lambda p: f"{100 * p.cost.others_share:.0f}"),
    _Column(("AI", "%"), lambda p: f"{100 * p.hearing.speaking_share:.0f}"),
    _Column(("MB per", "call"), lambda p: f"{p.cost.rss_mb_per_call:.2f}"),
    _Column(("", "threads"), lambda p: f"{p.cost.threads_before}>{p.cost.threads_peak}"),
    _Column(("late ms", "p50"), lambda p: f"<={p.pacing.lateness_p50_ms:.0f}"),
    _Column(("", "p99"), lambda p: f"<={p.pacing.lateness_p99_ms:.0f}"),
    _Column(("", "max"), lambda p: f"{p.pacing.lateness_max_ms:.0f}"),
    _Column(("", "resets"), lambda p: str(p.pacing.resets)),
    _Column(("jitter", "p99"), lambda p: _p99(p.hearing.jitter_ms, 1)),
    _Column(("underrun", "%"), lambda p: f"{100 * p.hearing.underrun_share:.3f}"),
    _Column(("1st frame", "p99"), lambda p: _p99(p.hearing.first_frame_ms)),
    _Column(("barge", "-ins"), lambda p: str(p.interruptions.clears)),
    _Column(("silent ms", "p99"), lambda p: _p99(p.interruptions.onset_to_silence_ms)),
    _Column(("", "max"), lambda p: _most(p.interruptions.onset_to_silence_ms)),
    _Column(("clear", "p99"), lambda p: _p99(p.interruptions.decision_to_clear_ms, 1)),
    _Column(("load ms", "p99"), lambda p: f"{p.load.lateness_p99_ms:.0f}"),
    _Column(("", "max"), lambda p: f"{p.load.lateness_max_ms:.0f}"),
    _Column(("", "busy"), lambda p: f"{100 * p.load.busy:.0f}"),
    _Column(("", ""), verdict),
)


def table(points: Sequence[Point]) -> str:
    """One row per point, what was wrong below."""
    rows = [
        [column.head[0] for column in _COLUMNS],
        [column.head[1] for column in _COLUMNS],
        *([column.of(point) for column in _COLUMNS] for point in points),
    ]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    notes = [
        f"{point.calls} calls: {'INVALID: ' * (told in point.invalid)}{told}"
        for point in points
        for told in (*point.invalid, *point.faults)
    ]
    return "\n".join([*lines, *notes])


def write(report: Report, folder: Path) -> list[Path]:
    """Write the files into a folder that exists; returns where."""
    told, drawn = folder / "bench.json", folder / "bench.svg"
    body = {
        "machine": report.machine,
        "pinned": report.pinned,
        "seed": report.seed,
        "passed": report.passed,
        "knee": report.knee,
        "points": [each.to_dict() for each in report.points],
    }
    told.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
    drawn.write_text(plot(report.points, report.knee), "utf-8")
    return [told, drawn]
