"""`Table`: the one kind of table that people read, and how it is written for a terminal, as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Column names and rows of cells, a name first; a title above and a note below. A page shows it as HTML."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    note: str = ""


def format_table_text(table: Table) -> str:
    """Return one table for a terminal."""
    widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]

    def format_line(cells: Sequence[str]) -> str:
        first, *others = (
            f"{cell:{'>' if place else '<'}{width}}"
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "   ".join([first, *others]).rstrip()

    return "\n".join([*map(format_line, (table.columns, *table.rows)), *filter(None, [table.note])])


def format_table_markdown(table: Table) -> str:
    """Return one table as Markdown."""
    ruled = ("---", *["---:"] * (len(table.columns) - 1))
    cells = [[cell.replace("|", "/") for cell in row] for row in (table.columns, ruled, *table.rows)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    note = "  \n".join(table.note.splitlines())
    return f"{lines}\n\n{note}" if note else lines


_LATEX_ESCAPES = {
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
}
_LATEX_ESCAPES |= {"±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "<": "$<$", ">": "$>$"}


def escape_latex(text: str) -> str:
    """Return text with what LaTeX would read as a command made plain."""
    return "".join(_LATEX_ESCAPES.get(letter, letter) for letter in text.replace("\\", "/").replace("^", " "))


def format_table_latex(table: Table) -> str:
    """Return one table for ``booktabs``, its note as a comment above."""
    rows = [f"% {line}" for line in table.note.splitlines()]
    rows += [r"\begin{tabular}{l" + "c" * (len(table.columns) - 1) + "}", r"\toprule"]
    head, *lines = (" & ".join(map(escape_latex, row)) + r" \\" for row in (table.columns, *table.rows))
    return "\n".join([*rows, head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"])


TABLE_FORMATS: dict[str, Callable[[Table], str]] = {
    "text": format_table_text,
    "markdown": format_table_markdown,
    "latex": format_table_latex,
}
"""Name → how one table is written."""
