"""A comparison of systems as text, Markdown, LaTeX and JSON; the protocol stands above every table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trialigngr.metrics.intervals import Estimate

METRICS = ("HR@5", "NDCG@5", "HR@10", "NDCG@10")


@dataclass(frozen=True)
class Line:
    """A system's figures; ``seeds`` has mean and spread where it was trained with several (figures are the first's)."""

    name: str
    figures: Mapping[str, Estimate]
    seeds: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Versus:
    """First line minus another system: paired differences, and p values that Holm corrected over the whole table."""

    name: str
    differences: Mapping[str, Estimate]
    p: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """Systems on the same targets, the first against each other one."""

    protocol: Mapping[str, Any]
    lines: tuple[Line, ...]
    versus: tuple[Versus, ...]


def protocol_lines(said: Mapping[str, Any]) -> list[str]:
    """Return what the figures mean, in three lines."""
    return [
        f"{said['test_targets']:,} test targets of {said['test_users']:,} users; {said['split']}, "
        f"{said['k_core']}-core, history ≤ {said['history_cap']}, whole catalogue, "
        f"seen items {said['seen_items'].split(' (')[0]}",
        f"item level; {said['beams']} beams, normalised over the {said['normalisation']}; "
        f"selection by {said['selection']}",
        f"[…]: {said['interval']}; p: paired bootstrap, Holm over this table",
    ]


def as_text(found: Comparison) -> str:
    """Return the table for a terminal."""
    width = max(12, *(len(line.name) for line in found.lines)) + 2
    rows = [*protocol_lines(found.protocol), "", " " * width + "".join(f"{name:>28s}" for name in METRICS)]
    for line in found.lines:
        cells = (_interval(line.figures[name]) for name in METRICS)
        rows.append(f"{line.name:{width}s}" + "".join(f"{cell:>28s}" for cell in cells))
    for line in found.lines:
        if line.seeds:
            spread = (f"{_seeds(line.seeds[name])}" for name in METRICS)
            rows.append(f"{line.name + ' ×':{width}s}" + "".join(f"{cell:>28s}" for cell in spread))
    if found.versus:
        rows += ["", f"{found.lines[0].name} minus, paired over users:"]
    for other in found.versus:
        cells = (_interval(other.differences[name], "+") for name in METRICS)
        rows.append(f"{other.name:{width}s}" + "".join(f"{cell:>28s}" for cell in cells))
        rows.append(" " * width + "".join(f"{_p(other.p[name]):>28s}" for name in METRICS))
    return "\n".join(rows)


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
    return "\n\n".join(["  \n".join(protocol_lines(found.protocol)), "\n".join(rows)])


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}


def as_latex(found: Comparison) -> str:
    """Return the table for ``booktabs``, the protocol as a comment above it; ``*`` marks p < .05 against the first."""

    def name_of(text: str) -> str:
        return "".join(_LATEX.get(letter, letter) for letter in text.replace("\\", "/").replace("^", " "))

    marks = {other.name: other.p for other in found.versus}
    rows = [f"% {line}" for line in protocol_lines(found.protocol)]
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
