"""Systems on the same targets, side by side, and the protocol that stands above every table of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialigngr.evaluate.paper import PaperRows
from trialigngr.metrics.intervals import Estimate

METRICS = ("HR@5", "NDCG@5", "HR@10", "NDCG@10")
"""The columns where nothing else is asked for."""
SLICED = ("HR@10", "NDCG@10")
LISTED = ("MRR@10", "Coverage@10", "Novelty@10", "PopularityBias@10", "invalid")
"""What is told of lists beside being right, where nothing else is asked for."""
WAYS_SAY = (
    "seen masked: item level, what the user took before left out. "
    "SID level: a hit is the right SID, not the right item; nothing masked."
)


@dataclass(frozen=True)
class Line:
    """A system's figures; ``seeds`` has mean and spread where it was trained with several (figures are the first's);
    ``lists`` says what its lists are like (`metrics.lists`)."""

    name: str
    figures: Mapping[str, Estimate]
    seeds: Mapping[str, Mapping[str, Any]] | None = None
    lists: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Versus:
    """First line minus another system: paired differences, and p values that Holm corrected over the whole table."""

    name: str
    differences: Mapping[str, Estimate]
    p: Mapping[str, float]


@dataclass(frozen=True)
class SliceLines:
    """The figures of all systems on some of the targets; none for a run that has no such slice."""

    name: str
    rule: str
    targets: int
    figures: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Comparison:
    """Systems on the same targets, the first against each other one.

    ``others`` says where another run's protocol differs from the first's, run by run. ``listed`` are the columns of the
    table of lists, ``ways`` systems counted otherwise than on item level with nothing masked.
    """

    protocol: Mapping[str, Any]
    lines: tuple[Line, ...]
    versus: tuple[Versus, ...]
    metrics: tuple[str, ...] = METRICS
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper: PaperRows | None = None
    slices: tuple[SliceLines, ...] = ()
    listed: tuple[str, ...] = LISTED
    ways: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Block:
    """One table as text: column names, rows (a name first), and a note below."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def protocol_lines(found: Comparison) -> list[str]:
    """Return what the figures mean, and where a run differs from the first."""
    said = found.protocol
    seeds = ", ".join(str(seed) for seed in said["seeds"])
    longer = f" (SASRec ≤ {said['sasrec_history']})" if "sasrec_history" in said else ""
    return [
        f"{said['test_targets']:,} test targets of {said['test_users']:,} users; {said['split']}, "
        f"{said['k_core']}-core; candidates: {said['candidates']}; seen items {said['seen_items'].split(' (')[0]}",
        f"history ≤ {said['history_cap']}{longer}, which {said['test_history']}; "
        "item level: items that share a SID share its places",
        f"task {said['task']}, {said['beams']} beams, normalised over the {said['normalisation']}, "
        f"invalid {said['invalid_rate']:.2%}; seed {seeds}; "
        f"selection by {said['selection']} of {said['valid_users']:,} users",
        f"[…]: {said['interval']}; p: paired bootstrap, Holm over this table",
        *(f"{name} differs: {_differing(own)}" for name, own in found.others.items()),
    ]


def _differing(own: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in own.items())


def blocks(found: Comparison) -> Iterator[Block]:
    """Yield the tables of a comparison: the systems, and those below them."""
    yield _systems(found)
    yield from below(found)


def below(found: Comparison) -> Iterator[Block]:
    """Yield the tables below the systems: paired differences, other ways to count, lists, slices."""
    if found.versus:
        yield Block((f"{found.lines[0].name} minus", *found.metrics), tuple(_differences(found)))
    if found.ways:
        yield Block(("other ways to count", *found.metrics), tuple(_rows(found.ways, found.metrics)), WAYS_SAY)
    if any(line.lists for line in found.lines):
        rows = ((line.name, *_list_cells(line, found.listed)) for line in found.lines)
        yield Block(("lists", *found.listed), tuple(rows))
    if found.slices:
        yield Block(("slice", "targets", "system", *SLICED), tuple(_slice_rows(found.slices)))


def over_seeds(found: Comparison) -> list[tuple[str, ...]]:
    """Return a row of means and spreads for each system that was trained with several seeds."""
    return [
        (f"{line.name}, over seeds", *(_seeds(line.seeds.get(m)) for m in found.metrics))
        for line in found.lines
        if line.seeds
    ]


def _systems(found: Comparison) -> Block:
    """Return every system's figures, and below them those over seeds and the paper's."""
    rows = [*_rows(found.lines, found.metrics), *over_seeds(found)]
    if found.paper is None:
        return Block(("system", *found.metrics), tuple(rows))
    for name, own in found.paper.rows.items():
        rows.append((f"paper: {name}", *(f"{own[m]:.4f}" if m in own else "–" for m in found.metrics)))
    return Block(("system", *found.metrics), tuple(rows), f"Paper: {found.paper.data}; {found.paper.says}.")


def _rows(lines: Sequence[Line], metrics: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for line in lines:
        yield (line.name, *(interval(line.figures[m]) for m in metrics))


def _differences(found: Comparison) -> Iterator[tuple[str, ...]]:
    for other in found.versus:
        yield (other.name, *(interval(other.differences[m], "+") for m in found.metrics))
        yield ("p", *("< .001" if other.p[m] < 0.001 else f"{other.p[m]:.3f}" for m in found.metrics))


def _list_cells(line: Line, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name in line.figures:
            yield f"{line.figures[name].value:.4f}"
        elif name not in line.lists:
            yield "–"
        else:
            share = name.startswith(("Coverage", "invalid"))
            yield f"{line.lists[name]:.2%}" if share else f"{line.lists[name]:.2f}"


def _slice_rows(slices: Sequence[SliceLines]) -> Iterator[tuple[str, ...]]:
    for part in slices:
        for name, figures in part.figures.items():
            yield (f"{part.name} ({part.rule})", f"{part.targets:,}", name, *_slice_cells(figures))


def _slice_cells(figures: Mapping[str, Estimate]) -> Iterator[str]:
    for name in SLICED:
        yield interval(figures[name]) if name in figures else "–"


def interval(figure: Estimate, sign: str = "") -> str:
    """Return ``0.1234 [0.1100, 0.1300]``."""
    return f"{figure.value:{sign}.4f} [{figure.low:{sign}.4f}, {figure.high:{sign}.4f}]"


def _seeds(over: Mapping[str, Any] | None) -> str:
    return "–" if over is None else f"{over['mean']:.4f} ± {over['spread']:.4f} ({len(over['values'])} seeds)"
