"""Anybody's table as rows of (column, cell): CSV, TSV, Markdown, JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialigngr.foundation.errors import TriAlignError
from trialigngr.foundation.separated import separator_of, split_line
from trialigngr.foundation.strict_json import parse_json

MAX_TABLE_BYTES = 10_000_000
"""Bytes of a table at most."""
MAX_NUMBER_DIGITS = 100
"""Digits of a whole number in JSON at most."""
TableRow = Sequence[tuple[str, str]]
"""(column, cell) from left to right; a column may be there more than once."""
_METRIC_NAMES = {"R": "HR", "RECALL": "HR", "N": "NDCG", "NDCG": "NDCG", "MRR": "MRR"}
"""Name → metric; all other names that `_COLUMN` knows are hit rates."""
_COLUMN = re.compile(
    r"(?P<group>.*?)[\s/_|:.-]*(?<![^\W_])"
    r"(?P<name>HR|HITS|HIT(?:[\s_-]?RAT(?:E|IO))?|H|RECALL|R|NDCG|N|MRR)\s*@\s*(?P<k>[1-9]\d{0,3})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class MetricColumn:
    """A column of figures: of which data set (or nothing), which metric, at which K."""

    group: str
    metric: str
    k: int


def parse_metric_column(name: str) -> MetricColumn | None:
    """Return what a column holds by its name; None where that is no HR, NDCG or MRR at a K from 1 on."""
    found = _COLUMN.fullmatch(name.strip(" *`"))
    if found is None:
        return None
    return MetricColumn(found["group"].strip(), _METRIC_NAMES.get(found["name"].upper(), "HR"), int(found["k"]))


def read_rows(path: Path) -> list[TableRow]:
    """Return the rows of a table below its head. Raises `TriAlignError` for a file that is no table."""
    if not path.is_file():
        raise TriAlignError(f"There is no file {path}.")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise TriAlignError(f"{path} is larger than {MAX_TABLE_BYTES:,} bytes; that is no table of figures.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _parse_json(text) if path.suffix == ".json" else _parse_text(text)
    except RecursionError:
        raise TriAlignError(f"{path} cannot be read as a table: it is nested too deeply.") from None
    except ValueError as error:
        raise TriAlignError(f"{path} cannot be read as a table: {error}.") from None


def _parse_text(text: str) -> list[TableRow]:
    """Return the rows of a Markdown table, or of one with tabs, semicolons or commas between its columns."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        return []
    first = lines[0][1]
    if first.lstrip().startswith("|"):
        inner = [line.strip().removeprefix("|").removesuffix("|") for _, line in lines if "|" in line]
        cells = [[cell.strip() for cell in line.split("|")] for line in inner]
        cells = [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    else:
        mark = separator_of(first, "\t;,")
        cells = [split_line(line, mark, number) for number, line in lines]
    return [_zip_header(cells[0], row) for row in cells[1:]]


def _zip_header(header: Sequence[str], row: Sequence[str]) -> TableRow:
    """Return a row's cells with their columns; cells that are missing at its end are empty."""
    if any(row[len(header) :]):
        raise ValueError(
            f"row {row[0]!r} has {len(row)} cells, but there are {len(header)} columns; "
            "where figures have decimal commas, put semicolons between the columns"
        )
    return list(zip(header, [*row, *[""] * len(header)], strict=False))


def _parse_json(text: str) -> list[TableRow]:
    return _to_printed_rows(list(_iterate_json_rows(parse_json(text, constant=float, parse_int=_parse_int))))


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_NUMBER_DIGITS:
        raise ValueError(f"it holds a number of {len(digits):,} digits")
    return int(digits)


def _iterate_json_rows(body: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a list of objects, or of name → figures, or of a run's ``metrics.json``."""
    if isinstance(body, list):
        yield from (
            {key: _figure_value(value) for key, value in row.items()} for row in body if isinstance(row, Mapping)
        )
    elif isinstance(body, Mapping):
        for name, figures in body.items():
            if isinstance(figures, Mapping) and any(map(parse_metric_column, figures)):
                yield {"": name, **{key: _figure_value(figure) for key, figure in figures.items()}}
            elif name.startswith("baselines") and isinstance(figures, Mapping):
                yield from _iterate_json_rows(figures)


def _figure_value(figure: Any) -> Any:
    return figure.get("value") if isinstance(figure, Mapping) else figure


def _to_printed_rows(rows: list[Mapping[str, Any]]) -> list[TableRow]:
    """Return JSON's rows as text with the decimals of the longest number: JSON drops zeros at the end."""
    numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
    decimals = max((len(repr(number).partition(".")[2]) for number in numbers if "e" not in repr(number)), default=0)
    return [
        [(name, f"{value:.{decimals}f}" if isinstance(value, float) else str(value)) for name, value in row.items()]
        for row in rows
    ]
