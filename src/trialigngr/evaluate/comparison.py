"""Systems on the same targets, side by side, and the protocol that stands above every table of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialigngr.evaluate.paper_results import PaperRows
from trialigngr.evaluate.table import Table
from trialigngr.metrics.intervals import Estimate

DEFAULT_METRICS = ("HR@5", "NDCG@5", "HR@10", "NDCG@10")
"""The columns where nothing else is asked for."""
SLICE_METRICS = ("HR@10", "NDCG@10")
LIST_METRICS = ("MRR@10", "Coverage@10", "Novelty@10", "PopularityBias@10", "invalid")
"""What is told of lists beside being right, where nothing else is asked for."""
TRAINING_COSTS = ("seconds", "parameters")
COUNTING_NOTE = (
    "seen masked: item level, what the user took before left out; nothing masked: not left out. "
    "SID level: a hit is the right SID, not the right item; nothing masked."
)


@dataclass(frozen=True)
class SystemRow:
    """A system's figures; ``seed_figures`` has mean and spread where it was trained with several (figures are the
    first's); ``list_figures`` says what its lists are like (`metrics.lists`), ``training_cost`` what fitting it took:
    seconds, and parameters."""

    name: str
    figures: Mapping[str, Estimate]
    seed_figures: Mapping[str, Mapping[str, Any]] | None = None
    list_figures: Mapping[str, float] = field(default_factory=dict)
    training_cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PairedComparison:
    """First line minus another system: paired differences, and p values that Holm corrected over the whole table."""

    name: str
    differences: Mapping[str, Estimate]
    p_values: Mapping[str, float]


@dataclass(frozen=True)
class SliceRows:
    """The figures of all systems on some of the targets; none for a run that has no such slice."""

    name: str
    rule: str
    targets: int
    figures: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Comparison:
    """Systems on the same targets, the first against each other one.

    ``protocol_differences`` says where another run's protocol differs from the first's, run by run. ``list_metrics``
    are the columns of the table of lists, ``alternative_rows`` systems counted otherwise than on item level with
    nothing masked.
    """

    protocol: Mapping[str, Any]
    rows: tuple[SystemRow, ...]
    paired_comparisons: tuple[PairedComparison, ...]
    metrics: tuple[str, ...] = DEFAULT_METRICS
    protocol_differences: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper: PaperRows | None = None
    slices: tuple[SliceRows, ...] = ()
    list_metrics: tuple[str, ...] = LIST_METRICS
    alternative_rows: tuple[SystemRow, ...] = ()


def describe_protocol(comparison: Comparison) -> list[str]:
    """Return what the figures mean, and where a run differs from the first."""
    said = comparison.protocol
    seeds = ", ".join(str(seed) for seed in said["seeds"])
    beside = said["max_history_beside"]
    return [
        f"{said['test_targets']:,} test targets of {said['test_users']:,} users; {said['split']}, "
        f"{said['k_core']}-core; candidates: {said['candidates']}; seen items {said['seen_items'].split(' (')[0]}",
        f"history ≤ {said['max_history']}{f' ({beside})' if beside else ''}, which {said['test_history']}; "
        "item level: items that share a SID share its places",
        f"task {said['task']}, {said['num_beams']} beams, {said['score_softmax']} softmax, {_format_prior(said)}"
        f"invalid {said['invalid_rate']:.2%}; seed {seeds}; "
        f"selection by {said['selection']} of {said['valid_users']:,} users",
        f"[…]: {said['interval']}; p: paired bootstrap, Holm over this table",
        *(
            f"{name} differs: {_format_protocol_difference(own)}"
            for name, own in comparison.protocol_differences.items()
        ),
    ]


def _format_prior(protocol: Mapping[str, Any]) -> str:
    """Return what is mixed in; a run of an earlier version tells of nothing."""
    prior = protocol.get("prior", "none")
    return "" if prior == "none" else f"prior {prior}, "


def _format_protocol_difference(difference: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in difference.items())


def build_tables(comparison: Comparison) -> Iterator[Table]:
    """Yield the tables of a comparison: the systems, and those below them."""
    yield _build_system_table(comparison)
    yield from build_secondary_tables(comparison)


def build_secondary_tables(comparison: Comparison) -> Iterator[Table]:
    """Yield the tables below the systems: paired differences, other ways to count, lists, training, slices."""
    if comparison.paired_comparisons:
        yield Table((f"{comparison.rows[0].name} minus", *comparison.metrics), tuple(_format_paired_rows(comparison)))
    if comparison.alternative_rows:
        yield Table(
            ("other ways to count", *comparison.metrics),
            tuple(_format_rows(comparison.alternative_rows, comparison.metrics)),
            note=COUNTING_NOTE,
        )
    if any(line.list_figures for line in comparison.rows):
        rows = ((line.name, *_format_list_cells(line, comparison.list_metrics)) for line in comparison.rows)
        yield Table(("lists", *comparison.list_metrics), tuple(rows))
    if any(line.training_cost for line in comparison.rows):
        rows = ((line.name, *_format_training_cells(line.training_cost)) for line in comparison.rows)
        yield Table(("training", *TRAINING_COSTS), tuple(rows))
    if comparison.slices:
        yield Table(("slice", "targets", "system", *SLICE_METRICS), tuple(_format_slice_rows(comparison.slices)))


def format_seed_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return a row of means and spreads for each system that was trained with several seeds."""
    return [
        (f"{line.name}, over seeds", *(_format_seed_cell(line.seed_figures.get(m)) for m in comparison.metrics))
        for line in comparison.rows
        if line.seed_figures
    ]


def _build_system_table(comparison: Comparison) -> Table:
    """Return every system's figures, and below them those over seeds and the paper's."""
    rows = [*_format_rows(comparison.rows, comparison.metrics), *format_seed_rows(comparison)]
    if comparison.paper is None:
        return Table(("system", *comparison.metrics), tuple(rows))
    for name, own in comparison.paper.rows.items():
        rows.append((f"paper: {name}", *(f"{own[m]:.4f}" if m in own else "–" for m in comparison.metrics)))
    return Table(
        ("system", *comparison.metrics),
        tuple(rows),
        note=f"Paper: {comparison.paper.data_name}; {comparison.paper.note}.",
    )


def _format_rows(rows: Sequence[SystemRow], metrics: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for line in rows:
        yield (line.name, *(format_interval(line.figures[m]) for m in metrics))


def _format_paired_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for other in comparison.paired_comparisons:
        yield (other.name, *(format_interval(other.differences[m], "+") for m in comparison.metrics))
        yield (
            "p",
            *("< .001" if other.p_values[m] < 0.001 else f"{other.p_values[m]:.3f}" for m in comparison.metrics),
        )


def _format_list_cells(row: SystemRow, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name in row.figures:
            yield f"{row.figures[name].value:.4f}"
        elif name not in row.list_figures:
            yield "–"
        else:
            share = name.startswith(("Coverage", "invalid"))
            yield f"{row.list_figures[name]:.2%}" if share else f"{row.list_figures[name]:.2f}"


def _format_training_cells(cost: Mapping[str, float]) -> Iterator[str]:
    for name in TRAINING_COSTS:
        yield f"{cost[name]:,.0f}" if name in cost else "–"


def _format_slice_rows(slices: Sequence[SliceRows]) -> Iterator[tuple[str, ...]]:
    for part in slices:
        for name, figures in part.figures.items():
            yield (f"{part.name} ({part.rule})", f"{part.targets:,}", name, *_format_slice_cells(figures))


def _format_slice_cells(figures: Mapping[str, Estimate]) -> Iterator[str]:
    for name in SLICE_METRICS:
        yield format_interval(figures[name]) if name in figures else "–"


def format_interval(figure: Estimate, sign: str = "") -> str:
    """Return ``0.1234 [0.1100, 0.1300]``."""
    return f"{figure.value:{sign}.4f} [{figure.low:{sign}.4f}, {figure.high:{sign}.4f}]"


def _format_seed_cell(seed_figure: Mapping[str, Any] | None) -> str:
    return (
        "–"
        if seed_figure is None
        else f"{seed_figure['mean']:.4f} ± {seed_figure['spread']:.4f} ({len(seed_figure['values'])} seeds)"
    )
