"""A comparison of systems as text, Markdown, LaTeX and JSON; the protocol stands above every table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trialigngr.evaluate.paper import PaperRows
from trialigngr.metrics.intervals import Estimate

METRICS = ("HR@5", "NDCG@5", "HR@10", "NDCG@10")
SLICED = ("HR@10", "NDCG@10")
"""The metrics of a table of slices."""


@dataclass(frozen=True)
class Line:
    """A system's figures; ``seeds`` has mean and spread where it was trained with several (figures are the first's)."""

    name: str
    figures: Mapping[str, Estimate]
    seeds: Mapping[str, Mapping[str, Any]] | None = None
    lists: Mapping[str, float] = field(default_factory=dict)
    """What its lists are like (`metrics.lists`)."""


@dataclass(frozen=True)
class Versus:
    """First line minus another system: paired differences, and p values that Holm corrected over the whole table."""

    name: str
    differences: Mapping[str, Estimate]
    p: Mapping[str, float]


@dataclass(frozen=True)
class SliceLines:
    """The figures of all systems on some of the targets."""

    name: str
    rule: str
    targets: int
    figures: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Comparison:
    """Systems on the same targets, the first against each other one.

    ``others`` says where another run's protocol differs from the first's, run by run.
    """

    protocol: Mapping[str, Any]
    lines: tuple[Line, ...]
    versus: tuple[Versus, ...]
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper: PaperRows | None = None
    slices: tuple[SliceLines, ...] = ()


def protocol_lines(found: Comparison) -> list[str]:
    """Return what the figures mean, and where a run differs from the first."""
    said = found.protocol
    seeds = ", ".join(str(seed) for seed in said["seeds"])
    return [
        f"{said['test_targets']:,} test targets of {said['test_users']:,} users; {said['split']}, "
        f"{said['k_core']}-core; candidates: {said['candidates']}; seen items {said['seen_items'].split(' (')[0]}",
        f"history ≤ {said['history_cap']}, which {said['test_history']}; "
        "item level: items that share a SID share its places",
        f"task {said['task']}, {said['beams']} beams, normalised over the {said['normalisation']}, "
        f"invalid {said['invalid_rate']:.2%}; seed {seeds}; "
        f"selection by {said['selection']} of {said['valid_users']:,} users",
        f"[…]: {said['interval']}; p: paired bootstrap, Holm over this table",
        *(f"{name} differs: {_differing(own)}" for name, own in found.others.items()),
    ]


def _differing(own: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in own.items())


def as_text(found: Comparison) -> str:
    """Return the table for a terminal."""
    paper = [f"paper: {system}" for system in found.paper.rows] if found.paper else []
    width = max(12, *(len(name) for name in (*(line.name for line in found.lines), *paper))) + 2

    def row(name: str, cells: Iterable[str]) -> str:
        return f"{name:{width}s}" + "".join(f"{cell:>28s}" for cell in cells)

    rows = [*protocol_lines(found), "", row("", METRICS)]
    rows += [row(line.name, (_interval(line.figures[name]) for name in METRICS)) for line in found.lines]
    for line in found.lines:
        if line.seeds:
            rows.append(row(f"{line.name} ×", (_seeds(line.seeds[name]) for name in METRICS)))
    if found.paper:
        rows += [
            row(f"paper: {name}", (f"{own[m]:.4f}" + " " * 17 for m in METRICS))
            for name, own in found.paper.rows.items()
        ]
        rows.append(f"paper: {found.paper.data}; {found.paper.says}.")
    if found.versus:
        rows += ["", f"{found.lines[0].name} minus, paired over users:"]
    for other in found.versus:
        rows.append(row(other.name, (_interval(other.differences[name], "+") for name in METRICS)))
        rows.append(row("", (_p(other.p[name]) for name in METRICS)))
    if listed := list_columns(found):
        rows += ["", row("", listed)]
        rows += [row(line.name, list_cells(line, listed)) for line in found.lines]
    for part in found.slices:
        rows += ["", row("", SLICED) + f"   {part.name}: {part.rule}, {part.targets:,} targets"]
        rows += [row(name, (_interval(own[metric]) for metric in SLICED)) for name, own in part.figures.items()]
    return "\n".join(rows)


def list_columns(found: Comparison) -> list[str]:
    """Return what is told of lists beside being right: at K = 10, and what is invalid."""
    if not any(line.lists for line in found.lines):
        return []
    return ["MRR@10", "Coverage@10", "Novelty@10", "PopularityBias@10", "invalid"]


def list_cells(line: Line, columns: Sequence[str]) -> list[str]:
    """Return a system's cells below `list_columns`."""

    def cell(name: str) -> str:
        if name in line.figures:
            return f"{line.figures[name].value:.4f}"
        if name not in line.lists:
            return "–"
        value = line.lists[name]
        return f"{value:.2%}" if name.startswith(("Coverage", "invalid")) else f"{value:.2f}"

    return [cell(name) for name in columns]


def _interval(figure: Estimate, sign: str = "") -> str:
    return f"{figure.value:{sign}.4f} [{figure.low:{sign}.4f}, {figure.high:{sign}.4f}]"


def _p(value: float) -> str:
    return "p < .001" if value < 0.001 else f"p = {value:.3f}"


def _seeds(over: Mapping[str, Any]) -> str:
    return f"{over['mean']:.4f} ± {over['spread']:.4f} ({len(over['values'])} seeds)"


def as_markdown(found: Comparison) -> str:
    """Return the table with its protocol as Markdown."""

    def row(*cells: str) -> str:
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

    rows = [row("system", *METRICS), row("---", *["---:"] * len(METRICS))]
    for line in found.lines:
        rows.append(row(line.name, *(_interval(line.figures[name]) for name in METRICS)))
        if line.seeds:
            rows.append(row(f"{line.name}, over seeds", *(_seeds(line.seeds[name]) for name in METRICS)))
    for other in found.versus:
        cells = (f"{_interval(other.differences[name], '+')}, {_p(other.p[name])}" for name in METRICS)
        rows.append(row(f"{found.lines[0].name} − {other.name}", *cells))
    blocks = ["  \n".join(protocol_lines(found)), "\n".join(rows)]
    if found.paper:
        head = [row(f"paper, {found.paper.data}", *METRICS), row("---", *["---:"] * len(METRICS))]
        own = [row(name, *(f"{figures[m]:.4f}" for m in METRICS)) for name, figures in found.paper.rows.items()]
        blocks += ["\n".join([*head, *own]), f"Paper: {found.paper.says}."]
    if listed := list_columns(found):
        head = [row("lists", *listed), row("---", *["---:"] * len(listed))]
        blocks.append("\n".join([*head, *(row(line.name, *list_cells(line, listed)) for line in found.lines)]))
    if found.slices:
        head = [row("slice", "targets", "system", *SLICED), row("---", "---:", "---", *["---:"] * len(SLICED))]
        own = [
            row(f"{part.name} ({part.rule})", f"{part.targets:,}", name, *(_interval(figures[m]) for m in SLICED))
            for part in found.slices
            for name, figures in part.figures.items()
        ]
        blocks.append("\n".join([*head, *own]))
    return "\n\n".join(blocks)


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}


def as_latex(found: Comparison) -> str:
    """Return the table for ``booktabs``, the protocol as a comment above it; ``*`` marks p < .05 against the first."""

    def name_of(text: str) -> str:
        return "".join(_LATEX.get(letter, letter) for letter in text.replace("\\", "/").replace("^", " "))

    marks = {other.name: other.p for other in found.versus}
    rows = [f"% {line}" for line in protocol_lines(found)]
    rows += [r"\begin{tabular}{l" + "c" * len(METRICS) + "}", r"\toprule"]
    rows += [" & ".join(["", *METRICS]) + r" \\", r"\midrule"]
    for line in found.lines:
        own = marks.get(line.name, {})
        cells = (
            f"{line.figures[name].value:.4f}" + ("$^{*}$" if own.get(name, 1.0) < 0.05 else "")
            + r" {\scriptsize [" + f"{line.figures[name].low:.4f}, {line.figures[name].high:.4f}]" + "}"
            for name in METRICS
        )  # fmt: skip
        rows.append(" & ".join([name_of(line.name), *cells]) + r" \\")
    if found.paper:
        rows += [r"\midrule", rf"% {found.paper.data}: {found.paper.says}"]
        for name, own in found.paper.rows.items():
            rows.append(" & ".join([f"paper: {name_of(name)}", *(f"{own[m]:.4f}" for m in METRICS)]) + r" \\")
    return "\n".join([*rows, r"\bottomrule", r"\end{tabular}"])


def as_json(found: Comparison) -> str:
    """Return everything as JSON."""
    return json.dumps(asdict(found), ensure_ascii=False, indent=2)


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "json": as_json,
}
"""Name → how a comparison is written."""
