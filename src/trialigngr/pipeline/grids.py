"""Fills the report's small tables: what lists are like, slices, the paper's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trialigngr.evaluate.paper import paper_rows
from trialigngr.report.page import Grid

SHOWN = ("HR", "NDCG")
"""Metrics with a column in the large tables."""


def result_grids(metrics: Mapping[str, Any]) -> tuple[Grid, ...]:
    """Return the small tables below the results, from ``metrics.json``."""
    return (*_lists(metrics), *_slices(metrics), *_paper(metrics))


def system_name(system: str) -> str:
    """Return what a system is called on the page."""
    return "TriAlignGR" if system == "model" else system


def _lists(metrics: Mapping[str, Any]) -> tuple[Grid, ...]:
    figures = {"model": metrics["test"], **metrics["baselines"]}
    rows = tuple(
        (
            system_name(system),
            f"{figures[system]['MRR@10']['value']:.4f}",
            f"{own['Coverage@10']:.1%}",
            f"{own['Novelty@10']:.2f}",
            f"{own['PopularityBias@10']:+.2f}",
            f"{own['invalid']:.2%}",
        )
        for system, own in metrics["lists"].items()
    )
    says = (
        "Of the first ten suggestions, nothing masked. Coverage: share of the catalogue that is suggested to "
        "somebody. Novelty: surprise of a suggested item in bits, more is less well known. Popularity bias: 0 when "
        "suggestions are as popular as what people take, 1 when twice as popular. Invalid: places that name "
        "no item, or one twice."
    )
    columns = ("System", "MRR@10", "Coverage", "Novelty", "Popularity bias", "Invalid")
    return (Grid("Beside being right", says, columns, rows),)


def _slices(metrics: Mapping[str, Any]) -> tuple[Grid, ...]:
    systems = tuple(metrics["lists"])
    rows = tuple(
        (
            f"{part['name']} ({part['rule']})",
            f"{part['targets']:,}",
            *(f"{part['figures'][system]['HR@10']['value']:.4f}" for system in systems),
        )
        for part in metrics["slices"]
    )
    says = (
        "HR@10 on some of the targets, nothing masked. Head, middle and tail items have about a third of the training "
        "interactions each; slices without a target are left out. Intervals stand in metrics.json."
    )
    return (Grid("Who is served", says, ("Slice", "Targets", *map(system_name, systems)), rows),)


def _paper(metrics: Mapping[str, Any]) -> tuple[Grid, ...]:
    found = paper_rows(metrics["protocol"]["data"])
    if found is None:
        return ()
    columns = ("System", *next(iter(found.rows.values())))
    rows = tuple((name, *(f"{value:.4f}" for value in own.values())) for name, own in found.rows.items())
    return (Grid(f"The paper's rows, {found.data}", f"For comparison with care: {found.says}.", columns, rows),)
