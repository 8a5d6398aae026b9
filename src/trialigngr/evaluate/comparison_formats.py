"""A comparison of systems as text, Markdown, LaTeX and JSON; the protocol stands above every table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from trialigngr.evaluate.comparison import (
    Comparison,
    build_secondary_tables,
    build_tables,
    describe_protocol,
    format_seed_rows,
)
from trialigngr.evaluate.table import escape_latex, format_table_latex, format_table_markdown, format_table_text


def format_text(comparison: Comparison) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join(["\n".join(describe_protocol(comparison)), *map(format_table_text, build_tables(comparison))])


def format_markdown(comparison: Comparison) -> str:
    """Return the tables with their protocol as Markdown."""
    return "\n\n".join(
        ["  \n".join(describe_protocol(comparison)), *map(format_table_markdown, build_tables(comparison))]
    )


def format_latex(comparison: Comparison) -> str:
    """Return the tables for ``booktabs``, the protocol as a comment above the first."""
    return "\n\n".join(
        [_format_systems_latex(comparison), *map(format_table_latex, build_secondary_tables(comparison))]
    )


def _format_systems_latex(comparison: Comparison) -> str:
    """Return the systems below their protocol; ``*`` marks p < .05 against the first."""
    marks = {other.name: other.p_values for other in comparison.paired_comparisons}
    rows = [f"% {line}" for line in describe_protocol(comparison)]
    rows += [r"\begin{tabular}{l" + "c" * len(comparison.metrics) + "}", r"\toprule"]
    rows += [" & ".join(["", *comparison.metrics]) + r" \\", r"\midrule"]
    for line in comparison.rows:
        own = marks.get(line.name, {})
        cells = (
            f"{line.figures[name].value:.4f}" + ("$^{*}$" if own.get(name, 1.0) < 0.05 else "")
            + r" {\scriptsize [" + f"{line.figures[name].low:.4f}, {line.figures[name].high:.4f}]" + "}"
            for name in comparison.metrics
        )  # fmt: skip
        rows.append(" & ".join([escape_latex(line.name), *cells]) + r" \\")
    rows += [" & ".join(map(escape_latex, row)) + r" \\" for row in format_seed_rows(comparison)]
    return "\n".join([*rows, *_format_paper_latex(comparison), r"\bottomrule", r"\end{tabular}"])


def _format_paper_latex(comparison: Comparison) -> list[str]:
    if comparison.paper is None:
        return []
    rows = [r"\midrule", rf"% {comparison.paper.data_name}: {comparison.paper.note}"]
    for name, own in comparison.paper.rows.items():
        cells = (f"{own[metric]:.4f}" if metric in own else "--" for metric in comparison.metrics)
        rows.append(" & ".join([f"paper: {escape_latex(name)}", *cells]) + r" \\")
    return rows


def format_json(comparison: Comparison) -> str:
    """Return everything as JSON."""
    return json.dumps(asdict(comparison), ensure_ascii=False, indent=2)


COMPARISON_FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": format_text,
    "markdown": format_markdown,
    "latex": format_latex,
    "json": format_json,
}
"""Name → how a comparison is written."""
