"""`RunCard`: what the page of a run shows, in the shape of the report's page, whose sections it borrows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from trialigngr.evaluate.table import Table
from trialigngr.report.from_run.page import build_differences, build_metric_charts, build_sid_section
from trialigngr.report.from_run.result_tables import build_result_tables
from trialigngr.report.page import MetricChart, PairedDifference, SidSection
from trialigngr.serve.served_run import ServedRun


@dataclass(frozen=True)
class RunCard:
    """The sections of the report that stand on a run's page too."""

    sid_section: SidSection
    metric_charts: tuple[MetricChart, ...] = ()
    differences: tuple[PairedDifference, ...] = ()
    result_tables: tuple[Table, ...] = ()
    protocol: dict[str, Any] = field(default_factory=dict)

    @property
    def headline_chart(self) -> MetricChart | None:
        """The first table."""
        return self.metric_charts[0] if self.metric_charts else None


@lru_cache(maxsize=4)
def build_run_card(run: ServedRun) -> RunCard:
    """Return what a run's report says of its SIDs and figures, without figures for a run that has none."""
    sid_section = build_sid_section(run.run, with_map=False)
    if not (run.run.folder / "metrics.json").is_file():
        return RunCard(sid_section)
    metrics = run.run.metrics
    return RunCard(
        sid_section,
        build_metric_charts(metrics, run.run.recipe.evaluate.head),
        build_differences(metrics),
        build_result_tables(metrics),
        metrics["protocol"],
    )
