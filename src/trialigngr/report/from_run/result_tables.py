"""Fills the report's small tables: what lists are like, slices, the paper's rows, diagnostics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trialigngr.evaluate.paper_results import (
    PAPER_DIAGNOSTICS,
    PAPER_DIAGNOSTICS_NOTE,
    find_paper_diagnostics,
    find_paper_rows,
)
from trialigngr.evaluate.table import Table
from trialigngr.foundation.sealed import read_json
from trialigngr.runs.run import Run
from trialigngr.systems.registry import SYSTEMS

TABLE_METRICS = ("HR", "NDCG")
"""Metrics with a column in the large tables."""
DIAGNOSTICS_FILE = "diagnostics.json"
DIAGNOSTICS_VERSION = 2
"""Of what `diagnose` measures: a file of another one is not read."""
CONTROLS_NOTE = (
    "Beside: the probe fitted on shuffled labels, and the majority class; the title of another item (blind), and the "
    "true one; titles that are the item's own."
)


def build_result_tables(metrics: Mapping[str, Any]) -> tuple[Table, ...]:
    """Return the small tables below the results, from ``metrics.json``."""
    return (*_build_list_table(metrics), *_build_slice_table(metrics), *_build_paper_table(metrics))


def system_label(system: str) -> str:
    """Return what a system is called on the page."""
    return SYSTEMS[system].label if system in SYSTEMS else system


def _build_list_table(metrics: Mapping[str, Any]) -> tuple[Table, ...]:
    head = next(iter(metrics["lists"]))
    figures = {head: metrics["test"], **metrics["baselines"]}
    rows = tuple(
        (
            system_label(system),
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
    return (Table(columns, rows, "Beside being right", says),)


def _build_slice_table(metrics: Mapping[str, Any]) -> tuple[Table, ...]:
    systems = tuple(metrics["lists"])
    rows = tuple(
        (
            f"{part['name']} ({part['rule']})",
            f"{part['targets']:,}",
            *(f"{part['figures'][system]['HR@10']['value']:.4f}" for system in systems),
        )
        for part in metrics["slices"]
    )
    seen = metrics["protocol"]["seen_items"].split(" (")[0]
    says = (
        f"HR@10 on some of the targets, seen items {seen}. Head, middle and tail items have about a third of the "
        "training interactions each; slices without a target are left out. Intervals stand in metrics.json."
    )
    return (Table(("Slice", "Targets", *map(system_label, systems)), rows, "Who is served", says),)


def _build_paper_table(metrics: Mapping[str, Any]) -> tuple[Table, ...]:
    found = find_paper_rows(metrics["protocol"]["data"], [*map(system_label, metrics["baselines"])])
    if found is None:
        return ()
    columns = ("System", *next(iter(found.rows.values())))
    rows = tuple((name, *(f"{value:.4f}" for value in own.values())) for name, own in found.rows.items())
    return (Table(columns, rows, f"The paper's rows, {found.data_name}", f"For comparison with care: {found.note}."),)


def read_diagnostics(run: Run) -> dict[str, Any] | None:
    """Return what `diagnose` found for the model that stands in a run; None when it has not looked at it."""
    path = run.folder / DIAGNOSTICS_FILE
    if not path.is_file():
        return None
    body = read_json(path, "delete it and diagnose the run again.")
    asked = body["computed_for"]
    is_current = asked.get("version") == DIAGNOSTICS_VERSION
    return body if is_current and asked["model"] == run.read_stage_manifest("model").identity_text else None


OWN_SID_TASKS = {"title_to_sid": "own SID of a title", "visual_to_sid": "own SID of a caption"}
"""Task that writes the SID of one item from its text → what its figure is called."""
DIAGNOSTICS_COLUMNS = (
    "category probe", "title BLEU-4", "attribute recall", "hallucinated titles", *OWN_SID_TASKS.values(),
)  # fmt: skip


def format_diagnostics_cells(diagnostics: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what stands below `DIAGNOSTICS_COLUMNS`: a run's figure, and what it must be held against."""
    probe, titles, none = diagnostics["probe"], diagnostics["titles"], ("–", "")
    own_sids = tuple(_format_own_sids(diagnostics["own_sids"][name]) for name in OWN_SID_TASKS)
    first = none
    if "missing_reason" not in probe:
        found, shuffled, majority = (probe[name] for name in ("accuracy", "shuffled_labels", "majority_class"))
        first = (format_percent_interval(found), f"shuffled {shuffled['value']:.1%}, majority {majority['value']:.1%}")
    if "missing_reason" in titles:
        return (first, none, none, none, *own_sids)
    bleu, recall = titles["bleu_4"], titles["attribute_recall"]
    return (
        first,
        ("{value:.3f} [{low:.3f}, {high:.3f}]".format(**bleu["model"]), f"blind {bleu['other_title']['value']:.3f}"),
        (
            format_percent_interval(recall["model"]),
            f"blind {recall['other_title']['value']:.1%}, true {recall['true_title']['value']:.1%}",
        ),
        (
            format_percent_interval(titles["hallucination_rate"]),
            f"own {format_percent_interval(titles['own_title_rate'])}",
        ),
        *own_sids,
    )


def _format_own_sids(found: Mapping[str, Any]) -> tuple[str, str]:
    """Return how often the own SID is among the first, and what chance would reach; a dash where nothing is known."""
    if "missing_reason" in found:
        return ("–", "")
    beside = f"first {found['first']['value']:.1%}, chance {found['chance']:.1%}"
    return (format_percent_interval(found["among_first"]), beside)


def format_percent_interval(figure: Mapping[str, float]) -> str:
    """Return ``41.2% [38.0%, 44.4%]``."""
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"


@dataclass(frozen=True)
class RunDiagnosis:
    """What `diagnose` found, and what the run's SIDs are made from, as the paper's Table 7 calls it."""

    sid_inputs: str
    diagnostics: Mapping[str, Any]


def classify_sid_inputs(run: Run) -> str:
    """Return what a run's SIDs are made from: ``text-only``, ``+CMSA``, ``+MDIM`` or ``full``."""
    chosen = run.recipe.embeddings
    captioned = chosen.use_captions and run.read_stage_manifest("captions").facts["captions"] > 0
    tagged = chosen.use_interests and run.read_stage_manifest("interests").facts["tags"] > 0
    return tuple(PAPER_DIAGNOSTICS)[captioned + 2 * tagged]


def build_diagnostics_table(diagnoses: Mapping[str, RunDiagnosis]) -> Table:
    """Return the diagnostics of runs as one table, each run's figures above what chance reaches, the paper's below."""
    rows: list[tuple[str, ...]] = []
    for name, own in diagnoses.items():
        figures, beside = zip(*format_diagnostics_cells(own.diagnostics), strict=True)
        rows += [(f"{name} ({own.sid_inputs})", *figures), ("  beside", *beside)]
    rows += [
        (f"paper: {name}", *(own.get(c, "–") for c in DIAGNOSTICS_COLUMNS)) for name, own in PAPER_DIAGNOSTICS.items()
    ]
    return Table(
        ("", *DIAGNOSTICS_COLUMNS),
        tuple(rows),
        note="\n".join([CONTROLS_NOTE, *_collect_notes(diagnoses), f"Paper: {PAPER_DIAGNOSTICS_NOTE}."]),
    )


def _collect_notes(diagnoses: Mapping[str, RunDiagnosis]) -> Iterator[str]:
    """Yield how the runs were looked at, each way once."""
    ways: dict[str, list[str]] = {}
    for name, own in diagnoses.items():
        parts = [own.diagnostics["probe"], own.diagnostics["titles"], *own.diagnostics["own_sids"].values()]
        for says in filter(None, (part.get("note") or part.get("missing_reason") for part in parts)):
            ways.setdefault(says, []).append(name)
    for says, names in ways.items():
        yield f"{', '.join(names)}: {says.rstrip('.')}."


def build_diagnostics_tables(run: Run) -> tuple[Table, ...]:
    """Return the diagnostics as small tables, and what the model wrote for some items; nothing when not run."""
    body = read_diagnostics(run)
    if body is None:
        return ()
    paper = find_paper_diagnostics(run.metrics["protocol"]["data"], classify_sid_inputs(run))
    rows: list[tuple[str, ...]] = [
        (name, *found) for name, found in zip(DIAGNOSTICS_COLUMNS, format_diagnostics_cells(body), strict=True)
    ]
    if paper:
        rows = [(*row, paper.get(row[0], "–")) for row in rows]
    says = " ".join(f"{body[part].get('note') or body[part]['missing_reason']}." for part in ("probe", "titles"))
    columns = ("", "This run", "Beside", "The paper") if paper else ("", "This run", "Beside")
    beside = f"{CONTROLS_NOTE} {says}{f' The paper: {PAPER_DIAGNOSTICS_NOTE}.' if paper else ''}"
    grids = [Table(columns, tuple(rows), "What the codes are known to mean", beside)]
    if examples := body["titles"].get("examples"):
        pairs = tuple((own["title"][:90], own["generated"][:90]) for own in examples)
        grids.append(Table(("True title", "Written"), pairs, "Titles written from SIDs", "The first of those drawn."))
    return tuple(grids)
