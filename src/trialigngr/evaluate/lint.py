"""`lint-table`: anybody's table of HR, NDCG and MRR against the laws of such figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trialigngr.evaluate.reading import Column, Row, column_of, read_rows
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import TriAlignError
from trialigngr.metrics.laws import Printed, broken_laws

_ALIKE = re.compile(r"\w\s*@\s*\d")
"""What a column of some figure at some K looks like."""
_NUMBER = re.compile(
    r"(?P<sign>[-+−–]?)(?P<digits>\d+(?:[.,](?P<decimals>\d*))?|[.,](?P<bare>\d+))(?P<power>e[-+]?\d+)?", re.IGNORECASE
)
_PERCENT = re.compile(r"[\s*_\\]*%")
_DIFFERENCE = re.compile(r"[\s*_`$(]*[-+−–]\s*[.,]?\d")
_IMPROVEMENT = re.compile(r"\bimprov(?!ed)|\bimp(?:\.|$)|^\W*Δ", re.IGNORECASE)


@dataclass(frozen=True)
class Figure:
    """A number as printed; ``percent`` where a sign behind it says so."""

    printed: Printed
    percent: bool

    def share(self, percent: bool) -> Printed:
        """Return it as a share, in a table of ``percent`` or of shares."""
        if not (percent or self.percent):
            return self.printed
        return Printed(self.printed.value / 100, self.printed.half_unit / 100)


@dataclass(frozen=True)
class System:
    """A line of a table for one group of columns (a data set): the numbers in its cells by (metric, K)."""

    name: str
    group: str
    cells: dict[tuple[str, int], re.Match[str]] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """What it is called in a sentence."""
        return ", ".join(filter(None, (self.name, self.group)))

    @property
    def of_differences(self) -> bool:
        """Whether its figures are improvements over others: by its name, or signed, with a plus or a percent sign."""
        if _IMPROVEMENT.search(self.name) or _IMPROVEMENT.search(self.group):
            return True
        cells = [found.string for found in self.cells.values()]
        return all(map(_DIFFERENCE.match, cells)) and (any("+" in c for c in cells) or all("%" in c for c in cells))


def lint_table(path: Path, tell: Callable[[str], None] = log) -> tuple[int, list[str]]:
    """Return how many rows were looked at and a sentence for each law that one breaks; ``tell`` what was left out.

    Reads CSV, TSV, Markdown and JSON (rows as objects, or a run's ``metrics.json``); columns are found by their names
    (``HR@10``, ``Recall@5``, ``Beauty NDCG@10``), all else is taken for the system's name. Percent are recognised by
    their sign, or by most figures of the table being above 1. The laws hold for one relevant item a list. Raises
    `TriAlignError` for what is no such table.
    """
    rows = read_rows(path)
    systems = [system for row in rows for system in _systems(path, row)]
    if not systems:
        raise TriAlignError(
            f"{path} has no column of figures such as HR@10, Recall@5, NDCG@10 or MRR@10; "
            "give a CSV, TSV, Markdown or JSON table with one line a system."
        )
    for sentence in _left_out(rows, systems):
        tell(sentence)
    systems = [system for system in systems if not system.of_differences]
    figures = [{key: _figure(path, found) for key, found in system.cells.items()} for system in systems]
    percent = _in_percent(figures)
    found = [
        f"{system.where}: {sentence}"
        for system, own in zip(systems, figures, strict=True)
        for sentence in broken_laws({key: figure.share(percent) for key, figure in own.items()})
    ]
    return len(systems), found


def _systems(path: Path, row: Row) -> Iterator[System]:
    """Yield a row's figures, apart for each group of columns, and for each set of columns where they are repeated."""
    columns = [(column_of(name), cell) for name, cell in row]
    _refuse_uneven(path, [column for column, _ in columns if column])
    names = [cell.strip() for column, cell in row if cell and not column_of(column) and not _ALIKE.search(column)]
    before: Counter[Column] = Counter()
    groups: dict[tuple[str, int], System] = {}
    for column, cell in columns:
        if column is None:
            continue
        before[column] += 1
        if found := _NUMBER.search(cell):
            time = before[column]
            group = column.group if time == 1 else f"{column.group} set {time}".lstrip()
            system = groups.setdefault((column.group, time), System(_plain(", ".join(names)), group))
            system.cells[column.metric, column.k] = found
    yield from groups.values()


def _refuse_uneven(path: Path, columns: Sequence[Column]) -> None:
    """Refuse columns of which some are repeated and others not: which belong together cannot be known."""
    times = Counter(columns)
    for group in {column.group for column in columns}:
        own = {column: count for column, count in times.items() if column.group == group}
        most, least = max(own, key=own.__getitem__), min(own, key=own.__getitem__)
        if own[most] > own[least]:
            raise TriAlignError(
                f"{path} has {own[most]} columns of {_told(most)} and {own[least]} of {_told(least)}; "
                "say in their names which belong together, such as 'Beauty HR@10', or leave one out."
            )


def _told(column: Column) -> str:
    return f"{column.group} {column.metric}@{column.k}".lstrip()


def _left_out(rows: Sequence[Row], systems: Sequence[System]) -> Iterator[str]:
    """Yield which columns and rows are not checked."""
    columns = dict.fromkeys(name.strip() for row in rows for name, _ in row)
    if unknown := [name for name in columns if _ALIKE.search(name) and column_of(name) is None]:
        yield f"Columns not checked, since their names are not known: {', '.join(unknown)}"
    if differences := dict.fromkeys(system.where for system in systems if system.of_differences):
        yield f"Rows not checked, since they hold differences: {'; '.join(differences)}"


def _plain(name: str) -> str:
    return re.sub(r"[*_`]{1,3}", "", name)


def _figure(path: Path, found: re.Match[str]) -> Figure:
    """Return the first number of a cell, and half a unit of its last digit. Refuses one that reads in two ways."""
    rest = found.string[found.end() :]
    if re.match(r"[.,]\d", rest) or re.fullmatch(r"0\d+", found["digits"]):
        raise TriAlignError(
            f"{path}: the figure {found.string!r} can be read in more than one way; write it with one decimal point."
        )
    sign = found["sign"].replace("−", "-").replace("–", "-")
    decimals = len(found["decimals"] or found["bare"] or "")
    value = float(sign + found["digits"].replace(",", ".") + (found["power"] or ""))
    return Figure(Printed(value, 0.5 * 10.0 ** -min(decimals, 12) + 1e-12), bool(_PERCENT.match(rest)))


def _in_percent(figures: Sequence[Mapping[tuple[str, int], Figure]]) -> bool:
    """Return whether most figures of a table that bear no percent sign are above 1."""
    above = [figure.printed.value > 1 for own in figures for figure in own.values() if not figure.percent]
    return 2 * sum(above) > len(above)
