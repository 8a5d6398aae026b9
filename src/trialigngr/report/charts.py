"""Geometry of the page's drawings: where lines, ticks, bars and whiskers stand. The templates only draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trialigngr.metrics.intervals import Estimate
from trialigngr.report.page import Curves
from trialigngr.sids.tsne import CodeMap

Point = tuple[int, float]
MOST_POINTS = 120


@dataclass(frozen=True)
class Tick:
    """A place along an axis (in the drawing's units) and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class LineChart:
    """A line in a ``width`` × ``height`` drawing; ``mark`` is the place of the chosen step, ``last`` the line's end."""

    width: int
    height: int
    left: int
    bottom: int
    points: tuple[tuple[float, float], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    mark: tuple[float, float] | None = None

    @property
    def path(self) -> str:
        """The line as SVG polyline points."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most ``most`` points: means of neighbouring ones. Values that are not finite are left out."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    size = max(1, math.ceil(len(finite) / most))
    bins = [finite[start : start + size] for start in range(0, len(finite), size)]
    return [(sum(step for step, _ in part) / len(part), sum(value for _, value in part) / len(part)) for part in bins]


def number(value: float) -> str:
    """Return a tick's number as people write it: ``1200`` → ``1.2k``, ``0.050`` → ``0.05``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most ``most + 1`` round numbers that span ``low`` … ``high``."""
    from matplotlib.ticker import MaxNLocator  # slow to import, and only a page with curves needs it

    return [float(value) for value in MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


@dataclass(frozen=True)
class Frame:
    """The sheet that charts are drawn on: its size, and round numbers along both axes from end to end."""

    width: int
    height: int
    last: float
    steps: tuple[float, ...]
    values: tuple[float, ...]
    left: int = 40
    bottom: int = 24

    def x(self, step: float) -> float:
        """Return where a step stands."""
        return self.left + (self.width - self.left - 14) * step / self.last

    def y(self, value: float) -> float:
        """Return where a value stands."""
        low, high = self.values[0], self.values[-1]
        return self.height - self.bottom - (self.height - self.bottom - 10) * (value - low) / (high - low)

    def chart(self, line: Sequence[tuple[float, float]], mark: int | None = None) -> LineChart:
        """Return the chart of a line, with the point nearest to the step ``mark`` marked."""
        near = min(line, key=lambda point: abs(point[0] - mark)) if mark is not None else None
        return LineChart(
            self.width,
            self.height,
            self.left,
            self.bottom,
            tuple((self.x(step), self.y(value)) for step, value in line),
            tuple(Tick(self.x(step), number(step)) for step in self.steps),
            tuple(Tick(self.y(value), number(value)) for value in self.values),
            (self.x(near[0]), self.y(near[1])) if near else None,
        )


def _frame(width: int, height: int, last: int, highest: float) -> Frame:
    steps = tuple(step for step in ticks(0, last or 1, 4) if 0 <= step <= (last or 1))
    return Frame(width, height, last or 1, steps, tuple(ticks(0, highest or 1.0, 4)))


def validation_chart(curves: Curves, width: int) -> LineChart | None:
    """Return the chart of the validation metric in a drawing ``width`` wide, or None when there is no finite value."""
    line = thinned(curves.validation)
    if not line:
        return None
    return _frame(width, 220, curves.last_step, max(value for _, value in line)).chart(line, curves.chosen_step)


def loss_charts(curves: Curves) -> dict[str, LineChart | None]:
    """Return a chart for each task, all on the same axes; None for a task without a finite loss."""
    lines = {name: thinned(points) for name, points in curves.loss.items()}
    highest = max((value for line in lines.values() for _, value in line), default=1.0)
    frame = _frame(260, 160, curves.last_step, highest)
    return {name: frame.chart(line) if line else None for name, line in lines.items()}


def scatter(found: CodeMap, size: int) -> list[tuple[float, float, int]]:
    """Return (x, y, group) of a map's items in a square ``size`` wide, others (−1) first so that they lie below."""
    low_2, high_2 = found.places_M2.min(0), found.places_M2.max(0)
    span = float((high_2 - low_2).max()) or 1.0
    places_M2 = 6 + (size - 12) * ((found.places_M2 - (low_2 + high_2) / 2) / span + 0.5)
    dots = zip(*places_M2.T.tolist(), found.groups_M.tolist(), strict=True)
    return sorted(dots, key=lambda dot: dot[2])


def reach(estimates: Iterable[Estimate]) -> float:
    """Return how far from 0 a shared scale must go to hold all intervals."""
    return max((abs(edge) for estimate in estimates for edge in (estimate.low, estimate.high)), default=0.0) or 1.0


def whisker(estimate: Estimate, low: float, high: float) -> Estimate:
    """Return where an estimate and its interval stand in a drawing 100 wide that shows ``low`` to ``high``."""

    def place(value: float) -> float:
        return 4 + 92 * (value - low) / (high - low)  # room for the dot at both ends

    return Estimate(place(estimate.value), place(estimate.low), place(estimate.high))
