"""The plot of a bench: CPU per call-second and lateness over the number of calls."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callengine.testing.bench.figures import Point

WIDTH: Final = 760
HEIGHT: Final = 300
LEFT: Final = 70
RIGHT: Final = 24
TOP: Final = 34
BOTTOM: Final = 46
GRID_LINES: Final = 4

_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
    'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
)


@dataclass(frozen=True, slots=True)
class _Panel:
    """One curve over the number of calls. A bucket's bound without end is drawn at the top."""

    title: str
    values: tuple[float, ...]
    calls: tuple[int, ...]
    knee: int | None
    offset: int

    @property
    def most(self) -> float:
        finite = [value for value in self.values if value != float("inf")]
        return max(*finite, 1.0, 1.0) * 1.1

    def x(self, calls: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * calls / max(*self.calls, 1, 1)

    def y(self, value: float) -> float:
        share = min(value / self.most, 1.0)
        return self.offset + TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def plot(points: Sequence[Point], knee: int | None) -> str:
    """An SVG document; points that are invalid are drawn hollow."""
    ordered = sorted(points, key=lambda point: point.calls)
    calls = tuple(point.calls for point in ordered)
    hollow = {point.calls for point in ordered if point.invalid}
    cpu = tuple(point.cost.cpu_ms_per_call_s for point in ordered)
    late = tuple(point.pacing.lateness_p99_ms for point in ordered)
    panels = (
        _Panel("CPU, ms per call-second", cpu, calls, knee, 0),
        _Panel("lateness p99 at most, ms", late, calls, knee, HEIGHT),
    )
    body = "".join(line + "\n" for panel in panels for line in _draw(panel, hollow))
    return _HEAD.format(width=WIDTH, height=HEIGHT * len(panels)) + body + "</svg>\n"


def _draw(panel: _Panel, hollow: set[int]) -> Iterator[str]:
    yield _text(LEFT, panel.offset + 20, panel.title, weight="bold")
    yield from _axes(panel)
    places = [
        (panel.x(calls), panel.y(value), calls, value)
        for calls, value in zip(panel.calls, panel.values, strict=True)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
    yield f'<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="2"/>'
    for x, y, calls, value in places:
        fill = "white" if calls in hollow else "#2563eb"
        told = f"{calls} calls: {value:g}"
        yield (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="#2563eb">'
            f"<title>{escape(told)}</title></circle>"
        )
    if panel.knee is not None:
        x = panel.x(panel.knee)
        bottom = panel.y(0)
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{panel.offset + TOP}" y2="{bottom:.1f}" '
            'stroke="#dc2626" stroke-dasharray="5 4"/>'
        )
        yield _text(x - 4, panel.offset + TOP + 12, f"knee: {panel.knee}", anchor="end")


def _axes(panel: _Panel) -> Iterator[str]:
    for n in range(GRID_LINES + 1):
        value = panel.most * n / GRID_LINES
        y = panel.y(value)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield _text(LEFT - 8, y + 4, f"{value:.1f}", anchor="end")
    bottom, shown_x = panel.y(0), float("-inf")
    for calls in sorted(set(panel.calls)):
        x = panel.x(calls)
        if x - shown_x > 28:
            yield _text(x, bottom + 18, str(calls), anchor="middle")
            shown_x = x
    yield _text((LEFT + WIDTH - RIGHT) / 2, bottom + 36, "calls", anchor="middle")


def _text(x: float, y: float, told: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(told)}</text>"
    )
