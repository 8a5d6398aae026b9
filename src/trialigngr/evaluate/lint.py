"""`lint-table`: anybody's table of HR, NDCG and MRR against the laws of such figures."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialigngr.foundation.errors import TriAlignError
from trialigngr.metrics.laws import Printed, broken_laws

LARGEST = 10_000_000
"""Bytes of a table at most."""
_NAMES = {"HR": "HR", "HIT": "HR", "H": "HR", "RECALL": "HR", "R": "HR", "NDCG": "NDCG", "N": "NDCG", "MRR": "MRR"}
_METRIC = re.compile(r"^(?P<group>.*?)[\s/_|:.-]*\b(?P<name>HR|HIT|H|RECALL|R|NDCG|N|MRR)\s*@\s*(?P<k>\d{1,4})$", re.I)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?(?P<decimals>\d*)|\.(?P<bare>\d+))(?:[eE][-+]?\d+)?")


@dataclass
class System:
    """A line of a table for one group of columns (a data set): its figures by (metric, K)."""

    name: str
    group: str
    figures: dict[tuple[str, int], Printed] = field(default_factory=dict)


def lint_table(path: Path) -> tuple[int, list[str]]:
    """Return how many rows were looked at and a sentence for each law that one breaks.

    Reads CSV, TSV, Markdown and JSON (rows as objects, or a run's ``metrics.json``); columns are found by their names
    (``HR@10``, ``Recall@5``, ``Beauty NDCG@10``), all else is taken for the system's name. Percent are recognised by a
    figure above 1. The laws hold for one relevant item a list. Raises `TriAlignError` for what is no such table.
    """
    systems = list(_systems(path))
    if not any(system.figures for system in systems):
        raise TriAlignError(
            f"{path} has no column of figures such as HR@10, Recall@5, NDCG@10 or MRR@10; "
            "give a CSV, TSV, Markdown or JSON table with one line a system."
        )
    percent = any(figure.value > 1 for system in systems for figure in system.figures.values())
    found = []
    for system in systems:
        figures = {
            key: Printed(figure.value / 100, figure.half_unit / 100) if percent else figure
            for key, figure in system.figures.items()
        }
        where = ", ".join(filter(None, (system.name, system.group)))
        found += [f"{where}: {sentence}" for sentence in broken_laws(figures)]
    return sum(bool(system.figures) for system in systems), found


def _systems(path: Path) -> Iterator[System]:
    if not path.is_file():
        raise TriAlignError(f"There is no file {path}.")
    if path.stat().st_size > LARGEST:
        raise TriAlignError(f"{path} is larger than {LARGEST:,} bytes; that is no table of figures.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _as_printed(list(_json_rows(json.loads(text)))) if path.suffix == ".json" else _text_rows(text)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise TriAlignError(f"{path} cannot be read as a table: {error}.") from None
    for row in rows:
        yield from _of_row(row)


def _text_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a Markdown, tab- or comma-separated table by column."""
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[0].lstrip().startswith("|"):
        cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if "|" in line]
        cells = [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    else:
        cells = list(csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ","))
    if not cells:
        return []
    return [dict(zip(cells[0], row, strict=False)) for row in cells[1:]]


def _json_rows(body: Any) -> Iterator[Mapping[str, Any]]:
    """Return the rows of a list of objects, or of name → figures, or of a run's ``metrics.json``."""
    if isinstance(body, list):
        yield from ({key: _value(value) for key, value in row.items()} for row in body if isinstance(row, Mapping))
    elif isinstance(body, Mapping):
        for name, figures in body.items():
            if isinstance(figures, Mapping) and any(_METRIC.match(key) for key in figures):
                yield {"": name, **{key: _value(figure) for key, figure in figures.items()}}
            elif name.startswith("baselines") and isinstance(figures, Mapping):
                yield from _json_rows(figures)


def _as_printed(rows: list[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return JSON's rows as text with the decimals of the longest number: JSON drops zeros at the end."""
    numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
    decimals = max((len(repr(number).partition(".")[2]) for number in numbers if "e" not in repr(number)), default=0)
    return [
        {name: f"{value:.{decimals}f}" if isinstance(value, float) else str(value) for name, value in row.items()}
        for row in rows
    ]


def _value(figure: Any) -> Any:
    return figure.get("value") if isinstance(figure, Mapping) else figure


def _of_row(row: Mapping[str, Any]) -> Iterator[System]:
    """Return a row's figures, apart for each group of columns."""
    names = [str(cell).strip() for column, cell in row.items() if cell and not _METRIC.match(str(column).strip())]
    groups: dict[str, System] = {}
    for column, cell in row.items():
        metric = _METRIC.match(str(column).strip())
        figure = _printed(str(cell))
        if metric is None or figure is None:
            continue
        group = metric["group"].strip()
        system = groups.setdefault(group, System(_plain(", ".join(names)), group))
        system.figures[_NAMES[metric["name"].upper()], int(metric["k"])] = figure
    yield from groups.values()


def _plain(name: str) -> str:
    return re.sub(r"[*_`]{1,3}", "", name)


def _printed(cell: str) -> Printed | None:
    """Return the first number of a cell, and half a unit of its last digit; None for a cell without one."""
    found = _NUMBER.search(cell)
    if found is None:
        return None
    decimals = len(found["decimals"] or found["bare"] or "")
    return Printed(float(found[0]), 0.5 * 10.0 ** -min(decimals, 12) + 1e-12)
