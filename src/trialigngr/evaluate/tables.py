"""A comparison of systems as text, Markdown, LaTeX and JSON; the protocol stands above every table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from trialigngr.evaluate.comparison import Block, Comparison, below, blocks, over_seeds, protocol_lines


def as_text(found: Comparison) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join(["\n".join(protocol_lines(found)), *map(block_text, blocks(found))])


def block_text(block: Block) -> str:
    """Return one table for a terminal."""
    widths = [max(map(len, column)) for column in zip(block.head, *block.rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            f"{cell:{'>' if place else '<'}{width}}"
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "   ".join([first, *others]).rstrip()

    return "\n".join([*map(line, (block.head, *block.rows)), *filter(None, [block.note])])


def as_markdown(found: Comparison) -> str:
    """Return the tables with their protocol as Markdown."""
    return "\n\n".join(["  \n".join(protocol_lines(found)), *map(block_markdown, blocks(found))])


def block_markdown(block: Block) -> str:
    """Return one table as Markdown."""
    ruled = ("---", *["---:"] * (len(block.head) - 1))
    cells = [[cell.replace("|", "/") for cell in row] for row in (block.head, ruled, *block.rows)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    note = "  \n".join(block.note.splitlines())
    return f"{table}\n\n{note}" if note else table


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "<": "$<$", ">": "$>$"}


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text.replace("\\", "/").replace("^", " "))


def block_latex(block: Block) -> str:
    """Return one table for ``booktabs``, its note as a comment above."""
    rows = [f"% {line}" for line in block.note.splitlines()]
    rows += [r"\begin{tabular}{l" + "c" * (len(block.head) - 1) + "}", r"\toprule"]
    head, *lines = (" & ".join(map(_escaped, row)) + r" \\" for row in (block.head, *block.rows))
    return "\n".join([*rows, head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"])


def as_latex(found: Comparison) -> str:
    """Return the tables for ``booktabs``, the protocol as a comment above the first."""
    return "\n\n".join([_latex_systems(found), *map(block_latex, below(found))])


def _latex_systems(found: Comparison) -> str:
    """Return the systems below their protocol; ``*`` marks p < .05 against the first."""
    marks = {other.name: other.p for other in found.versus}
    rows = [f"% {line}" for line in protocol_lines(found)]
    rows += [r"\begin{tabular}{l" + "c" * len(found.metrics) + "}", r"\toprule"]
    rows += [" & ".join(["", *found.metrics]) + r" \\", r"\midrule"]
    for line in found.lines:
        own = marks.get(line.name, {})
        cells = (
            f"{line.figures[name].value:.4f}" + ("$^{*}$" if own.get(name, 1.0) < 0.05 else "")
            + r" {\scriptsize [" + f"{line.figures[name].low:.4f}, {line.figures[name].high:.4f}]" + "}"
            for name in found.metrics
        )  # fmt: skip
        rows.append(" & ".join([_escaped(line.name), *cells]) + r" \\")
    rows += [" & ".join(map(_escaped, row)) + r" \\" for row in over_seeds(found)]
    return "\n".join([*rows, *_latex_paper(found), r"\bottomrule", r"\end{tabular}"])


def _latex_paper(found: Comparison) -> list[str]:
    if found.paper is None:
        return []
    rows = [r"\midrule", rf"% {found.paper.data}: {found.paper.says}"]
    for name, own in found.paper.rows.items():
        cells = (f"{own[metric]:.4f}" if metric in own else "--" for metric in found.metrics)
        rows.append(" & ".join([f"paper: {_escaped(name)}", *cells]) + r" \\")
    return rows


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
BLOCK_FORMATS: dict[str, Callable[[Block], str]] = {
    "text": block_text,
    "markdown": block_markdown,
    "latex": block_latex,
}
"""Name → how one table is written."""
