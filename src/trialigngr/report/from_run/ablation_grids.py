"""Fills the report's small tables: what lists are like, slices, the paper's rows, diagnostics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trialigngr.evaluate.comparison import Block
from trialigngr.evaluate.paper import DIAGNOSED, DIAGNOSED_SAYS, paper_diagnostics, paper_rows
from trialigngr.foundation.sealed import read_json
from trialigngr.report.page import Grid
from trialigngr.runs.run import Run

SHOWN = ("HR", "NDCG")
"""Metrics with a column in the large tables."""
DIAGNOSTICS = "diagnostics.json"
BESIDE = (
    "Beside: the probe fitted on shuffled labels, and the majority class; the title of another item (blind), and the "
    "true one; titles that are the item's own."
)


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


def diagnostics(run: Run) -> dict[str, Any] | None:
    """Return what `diagnose` found for the model that stands in a run; None when it has not looked at it."""
    path = run.folder / DIAGNOSTICS
    if not path.is_file():
        return None
    body = read_json(path, "delete it and diagnose the run again.")
    return body if body["of"]["model"] == run.manifest("model").identity else None


COLUMNS = ("category probe", "title BLEU-4", "attribute recall", "hallucinated titles")


def cells(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what stands below `COLUMNS`: a run's figure, and what it must be held against."""
    probe, titles, none = body["probe"], body["titles"], ("–", "")
    first = none
    if "absent" not in probe:
        found, shuffled, majority = (probe[name] for name in ("accuracy", "shuffled", "majority"))
        first = (interval(found), f"shuffled {shuffled['value']:.1%}, majority {majority['value']:.1%}")
    if "absent" in titles:
        return (first, none, none, none)
    bleu, recall = titles["bleu_4"], titles["attribute_recall"]
    return (
        first,
        (f"{bleu['model']:.3f}", f"blind {bleu['blind']:.3f}"),
        (f"{recall['model']:.1%}", f"blind {recall['blind']:.1%}, true {recall['true_title']:.1%}"),
        (f"{titles['hallucination']:.1%}", f"own {titles['own_title']:.1%}"),
    )


def interval(figure: Mapping[str, float]) -> str:
    """Return ``41.2% [38.0%, 44.4%]``."""
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found, and what the run's SIDs are made from, as the paper's Table 7 calls it."""

    enriched: str
    figures: Mapping[str, Any]


def enriched_by(run: Run) -> str:
    """Return what a run's SIDs are made from: ``text-only``, ``+CMSA``, ``+MDIM`` or ``full``."""
    chosen = run.recipe.embeddings
    captioned = chosen.use_captions and run.manifest("captions").facts["captions"] > 0
    tagged = chosen.use_interests and run.manifest("interests").facts["tags"] > 0
    return tuple(DIAGNOSED)[captioned + 2 * tagged]


def diagnosis_table(found: Mapping[str, Diagnosis]) -> Block:
    """Return the diagnostics of runs as one table, each run's figures above what chance reaches, the paper's below."""
    rows: list[tuple[str, ...]] = []
    for name, own in found.items():
        figures, beside = zip(*cells(own.figures), strict=True)
        rows += [(f"{name} ({own.enriched})", *figures), ("  beside", *beside)]
    rows += [(f"paper: {name}", *(own.get(c, "–") for c in COLUMNS)) for name, own in DIAGNOSED.items()]
    return Block(("", *COLUMNS), tuple(rows), "\n".join([BESIDE, *_said(found), f"Paper: {DIAGNOSED_SAYS}."]))


def _said(found: Mapping[str, Diagnosis]) -> Iterator[str]:
    """Yield how the runs were looked at, each way once."""
    ways: dict[str, list[str]] = {}
    for name, own in found.items():
        for part in ("probe", "titles"):
            ways.setdefault(own.figures[part].get("says") or own.figures[part]["absent"], []).append(name)
    for says, names in ways.items():
        yield f"{', '.join(names)}: {says.rstrip('.')}."


def diagnostic_grids(run: Run) -> tuple[Grid, ...]:
    """Return the diagnostics as small tables, and what the model wrote for some items; nothing when not run."""
    body = diagnostics(run)
    if body is None:
        return ()
    paper = paper_diagnostics(run.metrics["protocol"]["data"], enriched_by(run))
    rows: list[tuple[str, ...]] = [(name, *found) for name, found in zip(COLUMNS, cells(body), strict=True)]
    if paper:
        rows = [(*row, paper.get(row[0], "–")) for row in rows]
    says = " ".join(f"{body[part].get('says') or body[part]['absent']}." for part in ("probe", "titles"))
    columns = ("", "This run", "Beside", "The paper") if paper else ("", "This run", "Beside")
    beside = f"{BESIDE} {says}{f' The paper: {DIAGNOSED_SAYS}.' if paper else ''}"
    grids = [Grid("What the codes are known to mean", beside, columns, tuple(rows))]
    if examples := body["titles"].get("examples"):
        told = tuple((own["title"][:90], own["written"][:90]) for own in examples)
        grids.append(Grid("Titles written from SIDs", "The first of those drawn.", ("True title", "Written"), told))
    return tuple(grids)
