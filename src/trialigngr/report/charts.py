"""Geometry of the page's drawings: where lines, ticks, bars and whiskers stand. The templates only draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trialigngr.metrics.intervals import Estimate
from trialigngr.report.page import TrainingCurves
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.tsne import CodeMap

Point = tuple[int, float]
MAX_POINTS = 120


@dataclass(frozen=True)
class AxisTick:
    """A place along an axis (in the drawing's units) and what is written there."""

    position: float
    label: str


@dataclass(frozen=True)
class LineChart:
    """A line in a ``width`` × ``height`` drawing; ``marked_point`` is the place of the chosen step."""

    width: int
    height: int
    left_margin: int
    bottom_margin: int
    points: tuple[tuple[float, float], ...]
    x_ticks: tuple[AxisTick, ...]
    y_ticks: tuple[AxisTick, ...]
    marked_point: tuple[float, float] | None = None

    @property
    def polyline_points(self) -> str:
        """The line as SVG polyline points."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


def downsample_points(points: Sequence[Point], max_points: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Return at most ``max_points`` points: means of neighbouring ones. Values that are not finite are left out."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    size = max(1, math.ceil(len(finite) / max_points))
    bins = [finite[start : start + size] for start in range(0, len(finite), size)]
    return [(sum(step for step, _ in part) / len(part), sum(value for _, value in part) / len(part)) for part in bins]


def format_tick(value: float) -> str:
    """Return a tick's number as people write it: ``1200`` → ``1.2k``, ``0.050`` → ``0.05``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def place_ticks(low: float, high: float, max_intervals: int) -> list[float]:
    """Return at most ``most + 1`` round numbers that span ``low`` … ``high``."""
    from matplotlib.ticker import MaxNLocator  # slow to import, and only a page with curves needs it

    return [float(value) for value in MaxNLocator(nbins=max_intervals, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


@dataclass(frozen=True)
class ChartFrame:
    """The sheet that charts are drawn on: its size, and round numbers along both axes from end to end."""

    width: int
    height: int
    last_step: float
    x_values: tuple[float, ...]
    y_values: tuple[float, ...]
    left_margin: int = 40
    bottom_margin: int = 24

    def step_to_x(self, step: float) -> float:
        """Return where a step stands."""
        return self.left_margin + (self.width - self.left_margin - 14) * step / self.last_step

    def value_to_y(self, value: float) -> float:
        """Return where a value stands."""
        low, high = self.y_values[0], self.y_values[-1]
        return self.height - self.bottom_margin - (self.height - self.bottom_margin - 10) * (value - low) / (high - low)

    def draw_line(self, points: Sequence[tuple[float, float]], marked_step: int | None = None) -> LineChart:
        """Return the chart of a line, with the point nearest to the step ``marked_step`` marked."""
        near = min(points, key=lambda point: abs(point[0] - marked_step)) if marked_step is not None else None
        return LineChart(
            self.width,
            self.height,
            self.left_margin,
            self.bottom_margin,
            tuple((self.step_to_x(step), self.value_to_y(value)) for step, value in points),
            tuple(AxisTick(self.step_to_x(step), format_tick(step)) for step in self.x_values),
            tuple(AxisTick(self.value_to_y(value), format_tick(value)) for value in self.y_values),
            (self.step_to_x(near[0]), self.value_to_y(near[1])) if near else None,
        )


def _build_frame(width: int, height: int, last_step: int, max_value: float) -> ChartFrame:
    steps = tuple(step for step in place_ticks(0, last_step or 1, 4) if 0 <= step <= (last_step or 1))
    return ChartFrame(width, height, last_step or 1, steps, tuple(place_ticks(0, max_value or 1.0, 4)))


def draw_validation_chart(curves: TrainingCurves, width: int) -> LineChart | None:
    """Return the chart of the validation metric in a drawing ``width`` wide, or None when there is no finite value."""
    line = downsample_points(curves.validation)
    if not line:
        return None
    return _build_frame(width, 220, curves.last_step, max(value for _, value in line)).draw_line(
        line, curves.chosen_step
    )


def draw_loss_charts(curves: TrainingCurves) -> dict[str, LineChart | None]:
    """Return a chart for each task, all on the same axes; None for a task without a finite loss."""
    lines = {name: downsample_points(points) for name, points in curves.loss.items()}
    highest = max((value for line in lines.values() for _, value in line), default=1.0)
    frame = _build_frame(260, 160, curves.last_step, highest)
    return {name: frame.draw_line(line) if line else None for name, line in lines.items()}


def scatter_points(code_map: CodeMap, size: int) -> list[tuple[float, float, int]]:
    """Return (x, y, group) of a map's items in a square ``size`` wide, others (−1) first so that they lie below."""
    dots = zip(*scale_places(code_map.places_M2, size).T.tolist(), code_map.groups_M.tolist(), strict=True)
    return sorted(dots, key=lambda dot: dot[2])


def scale_places(places_M2: Float32Array, size: int) -> Float32Array:
    """Return places scaled to fill a square ``size`` wide, but for a margin."""
    low_2, high_2 = places_M2.min(0), places_M2.max(0)
    span = float((high_2 - low_2).max()) or 1.0
    return 6 + (size - 12) * ((places_M2 - (low_2 + high_2) / 2) / span + 0.5)


def compute_scale_reach(estimates: Iterable[Estimate]) -> float:
    """Return how far from 0 a shared scale must go to hold all intervals."""
    return max((abs(edge) for estimate in estimates for edge in (estimate.low, estimate.high)), default=0.0) or 1.0


def place_interval(estimate: Estimate, low: float, high: float) -> Estimate:
    """Return where an estimate and its interval stand in a drawing 100 wide that shows ``low`` to ``high``."""

    def scale_value(value: float) -> float:
        return 4 + 92 * (value - low) / (high - low)  # room for the dot at both ends

    return Estimate(scale_value(estimate.value), scale_value(estimate.low), scale_value(estimate.high))
