"""`lint-table`: anybody's table of HR, NDCG and MRR against the laws of such figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trialigngr.evaluate.table_reader import MetricColumn, TableRow, parse_metric_column, read_rows
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import TriAlignError
from trialigngr.metrics.consistency import RoundedValue, find_inconsistencies

_FIGURE_COLUMN = re.compile(r"\w\s*@\s*\d")
"""What a column of some figure at some K looks like."""
_NUMBER = re.compile(
    r"(?P<sign>[-+−–]?)(?P<digits>\d+(?:[.,](?P<decimals>\d*))?|[.,](?P<bare>\d+))(?P<power>e[-+]?\d+)?", re.IGNORECASE
)
_PERCENT = re.compile(r"[\s*_\\]*%")
_DIFFERENCE = re.compile(r"[\s*_`$(]*[-+−–]\s*[.,]?\d")
_IMPROVEMENT = re.compile(r"\bimprov(?!ed)|\bimp(?:\.|$)|^\W*Δ", re.IGNORECASE)


@dataclass(frozen=True)
class CellFigure:
    """A number as printed; ``percent`` where a sign behind it says so."""

    printed: RoundedValue
    percent: bool

    def to_share(self, table_in_percent: bool) -> RoundedValue:
        """Return it as a share, in a table of ``table_in_percent`` or of shares."""
        if not (table_in_percent or self.percent):
            return self.printed
        return RoundedValue(self.printed.value / 100, self.printed.half_unit / 100)


@dataclass(frozen=True)
class FigureRow:
    """A line of a table for one group of columns (a data set): the numbers in its cells by (metric, K)."""

    name: str
    group: str
    cells: dict[tuple[str, int], re.Match[str]] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """What it is called in a sentence."""
        return ", ".join(filter(None, (self.name, self.group)))

    @property
    def holds_differences(self) -> bool:
        """Whether its figures are improvements over others: by its name, or signed, with a plus or a percent sign."""
        if _IMPROVEMENT.search(self.name) or _IMPROVEMENT.search(self.group):
            return True
        cells = [found.string for found in self.cells.values()]
        return all(map(_DIFFERENCE.match, cells)) and (any("+" in c for c in cells) or all("%" in c for c in cells))


def lint_table(path: Path, report_line: Callable[[str], None] = log) -> tuple[int, list[str]]:
    """Return how many rows were looked at and a sentence for each law that one breaks; ``report_line`` what was left
    out.

    Reads CSV, TSV, Markdown and JSON (rows as objects, or a run's ``metrics.json``); columns are found by their names
    (``HR@10``, ``Recall@5``, ``Beauty NDCG@10``), all else is taken for the system's name. Percent are recognised by
    their sign, or by most figures of the table being above 1. The laws hold for one relevant item a list. Raises
    `TriAlignError` for what is no such table.
    """
    rows = read_rows(path)
    systems = [system for row in rows for system in _parse_figure_rows(path, row)]
    if not systems:
        raise TriAlignError(
            f"{path} has no column of figures such as HR@10, Recall@5, NDCG@10 or MRR@10; "
            "give a CSV, TSV, Markdown or JSON table with one line a system."
        )
    for sentence in _describe_unchecked(rows, systems):
        report_line(sentence)
    systems = [system for system in systems if not system.holds_differences]
    figures = [{key: _parse_figure(path, found) for key, found in system.cells.items()} for system in systems]
    percent = _is_in_percent(figures)
    found = [
        f"{system.full_name}: {sentence}"
        for system, own in zip(systems, figures, strict=True)
        for sentence in find_inconsistencies({key: figure.to_share(percent) for key, figure in own.items()})
    ]
    return len(systems), found


def _parse_figure_rows(path: Path, row: TableRow) -> Iterator[FigureRow]:
    """Yield a row's figures, apart for each group of columns, and for each set of columns where they are repeated."""
    columns = [(parse_metric_column(name), cell) for name, cell in row]
    _check_columns_repeat_evenly(path, [column for column, _ in columns if column])
    names = [
        cell.strip()
        for column, cell in row
        if cell and not parse_metric_column(column) and not _FIGURE_COLUMN.search(column)
    ]
    before: Counter[MetricColumn] = Counter()
    groups: dict[tuple[str, int], FigureRow] = {}
    for column, cell in columns:
        if column is None:
            continue
        before[column] += 1
        if found := _NUMBER.search(cell):
            time = before[column]
            group = column.group if time == 1 else f"{column.group} set {time}".lstrip()
            system = groups.setdefault((column.group, time), FigureRow(_strip_markup(", ".join(names)), group))
            system.cells[column.metric, column.k] = found
    yield from groups.values()


def _check_columns_repeat_evenly(path: Path, columns: Sequence[MetricColumn]) -> None:
    """Refuse columns of which some are repeated and others not: which belong together cannot be known."""
    times = Counter(columns)
    for group in {column.group for column in columns}:
        own = {column: count for column, count in times.items() if column.group == group}
        most, least = max(own, key=own.__getitem__), min(own, key=own.__getitem__)
        if own[most] > own[least]:
            raise TriAlignError(
                f"{path} has {own[most]} columns of {_column_label(most)} and {own[least]} of {_column_label(least)}; "
                "say in their names which belong together, such as 'Beauty HR@10', or leave one out."
            )


def _column_label(column: MetricColumn) -> str:
    return f"{column.group} {column.metric}@{column.k}".lstrip()


def _describe_unchecked(rows: Sequence[TableRow], systems: Sequence[FigureRow]) -> Iterator[str]:
    """Yield which columns and rows are not checked."""
    columns = dict.fromkeys(name.strip() for row in rows for name, _ in row)
    if unknown := [name for name in columns if _FIGURE_COLUMN.search(name) and parse_metric_column(name) is None]:
        yield f"Columns not checked, since their names are not known: {', '.join(unknown)}"
    if differences := dict.fromkeys(system.full_name for system in systems if system.holds_differences):
        yield f"Rows not checked, since they hold differences: {'; '.join(differences)}"


def _strip_markup(name: str) -> str:
    return re.sub(r"[*_`]{1,3}", "", name)


def _parse_figure(path: Path, match: re.Match[str]) -> CellFigure:
    """Return the first number of a cell, and half a unit of its last digit. Refuses one that reads in two ways."""
    rest = match.string[match.end() :]
    if re.match(r"[.,]\d", rest) or re.fullmatch(r"0\d+", match["digits"]):
        raise TriAlignError(
            f"{path}: the figure {match.string!r} can be read in more than one way; write it with one decimal point."
        )
    sign = match["sign"].replace("−", "-").replace("–", "-")
    decimals = len(match["decimals"] or match["bare"] or "")
    value = float(sign + match["digits"].replace(",", ".") + (match["power"] or ""))
    return CellFigure(RoundedValue(value, 0.5 * 10.0 ** -min(decimals, 12) + 1e-12), bool(_PERCENT.match(rest)))


def _is_in_percent(figures: Sequence[Mapping[tuple[str, int], CellFigure]]) -> bool:
    """Return whether most figures of a table that bear no percent sign are above 1."""
    above = [figure.printed.value > 1 for own in figures for figure in own.values() if not figure.percent]
    return 2 * sum(above) > len(above)
