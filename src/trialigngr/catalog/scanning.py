"""A table file, lazily and as it stands: every record is a row, or an error names the line."""

from __future__ import annotations

import codecs
import csv
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.separated import BOM, BrokenTableError, Form, detect_table_format, find_repeated, read_mixed
from trialigngr.foundation.strict_json import mend_escapes, parse_json
from trialigngr.foundation.tables import count_rows, scan_json_lines, scan_table

SUFFIXES = ("parquet", "csv", "jsonl")
BATCH = 100_000
MAGIC = {
    b"PAR1": "Parquet; let its name end in .parquet",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"PK\x03\x04": "a ZIP archive or a workbook; save the table as CSV or Parquet",
    b"ARROW1": "Arrow; save the table as Parquet",
}
"""How files begin that are no text → what they are."""
KINDS = {bool: "truth value", int: "number", float: "number", str: "text", list: "list"}
"""Types of JSON → how they are called; all others are objects."""
IDS = ("user_id", "item_id")
SETTLED = 2_000_000_000
"""Nanoseconds without change after which what was seen of a file is remembered: its time tells of the next change."""


def is_parts(path: Path) -> bool:
    """Return whether a path is that of a table in parts: a folder whose name ends in .parquet."""
    return path.suffix == ".parquet" and path.is_dir()


def list_parts(path: Path) -> list[Path]:
    """Return the files of a table: itself, or its parts by their names. What begins with _ or a dot is none.

    Raises `CatalogError` for a folder without parts, and for one that holds anything else.
    """
    if not is_parts(path):
        return [path]
    found = sorted(part for part in path.iterdir() if part.name[0] not in "._")
    if odd := next((part for part in found if part.suffix != ".parquet" or not part.is_file()), None):
        raise CatalogError(f"{path} holds {odd.name}, which is no .parquet file; a folder of parts holds nothing else.")
    if not found:
        raise CatalogError(f"{path} is a folder without .parquet files; put the parts of the table there.")
    return found


def scan_data_file(path: Path) -> pl.LazyFrame:
    """Return a table lazily, its parts one after the other. CSV cells stay text, so that the id 007 does not become 7.

    Raises `CatalogError` for a file that is something else than its name says, for a column that is there twice, and,
    with the line, for one that is not of the form.
    """
    parts = list_parts(path)
    for part in parts:
        check_kind(part)
    if path.suffix == ".parquet":
        return scan_table(*parts)
    return _scan_csv(path) if path.suffix == ".csv" else _scan_jsonl(path)


@contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Turn what polars says about an unreadable file into a `CatalogError` that names the file."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise CatalogError(f"{path} cannot be read as {path.suffix[1:]}: {reason}.") from None


def check_kind(path: Path) -> None:
    """Raise `CatalogError` for a file that begins like another kind of file than its name says."""
    with path.open("rb") as file:
        start = file.read(8)
    kind = next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)
    if path.suffix == ".parquet":
        if start[:4] != b"PAR1":
            reason = (
                f"it is {kind}"
                if kind
                else "it does not begin as one; if it is text, let its name end in .csv or .jsonl"
            )
            raise CatalogError(f"{path} cannot be read as parquet: {reason}.")
    elif kind:
        raise CatalogError(f"{path} cannot be read as {path.suffix[1:]}: it is {kind}.")


def check_utf8(path: Path) -> None:
    """Raise `CatalogError` with the first line that is not UTF-8."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with path.open("rb") as file:
        while True:
            block = file.read(1 << 20)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise CatalogError(
                    f"{path} is not UTF-8 (line {line}); convert it, for example with iconv -f latin1 -t utf-8."
                ) from None
            if not block:
                return
            line += block.count(b"\n")


def _file_state(path: Path) -> tuple[int, ...]:
    """Return what changes with a file; of one that was changed just now it is never the same."""
    state = path.stat()
    age = time.time_ns() - state.st_mtime_ns
    return (state.st_size, state.st_mtime_ns, state.st_ino, 0 if age > SETTLED else time.monotonic_ns())


def place_of(path: Path, row: int) -> str:
    """Return where a row of a table stands in its file, in words: its line, or for Parquet its row, from 0."""
    if is_parts(path):
        return _place_in_parts(path, row)
    if path.suffix == ".parquet":
        return f"row {row}"
    if path.suffix == ".csv":
        return f"line {_csv_line(path, row)}"
    with path.open("rb") as file:
        numbers = (number for number, line in enumerate(file, 1) if line.strip())
        return f"line {next(islice(numbers, row, None))}"


def _place_in_parts(path: Path, row: int) -> str:
    for part in list_parts(path):
        height = count_rows(part)
        if row < height:
            return f"row {row} of {part.name}"
        row -= height
    raise AssertionError("a row of the table stands in one of its parts")


def _csv_line(path: Path, row: int) -> int:
    """Return the line where a record below the header begins."""
    form = _form_of(path, _file_state(path))
    if form.quotes != "doubled":
        with path.open("rb") as file:
            numbers = (number for number, line in enumerate(file, 1) if line.strip(b"\r\n"))
            return next(islice(numbers, row + 1, None))
    with path.open(encoding="utf-8-sig", newline="") as file:
        records, begins = csv.reader(file, delimiter=form.separator), list[int]()
        line = 1
        for record in records:
            if record:
                begins.append(line)
            if len(begins) > row + 1:
                break
            line = records.line_num + 1
    return begins[-1]


def _scan_csv(path: Path) -> pl.LazyFrame:
    form = _form_of(path, _file_state(path))
    if not any(form.names):
        raise CatalogError(f"{path} cannot be read as csv: it is empty.")
    _refuse_repeated(path, form.names)
    if form.quotes == "mixed":
        return _read_mixed(path, form).lazy()
    quote = '"' if form.quotes == "doubled" else None
    table = pl.scan_csv(path.absolute(), separator=form.separator, infer_schema=False, glob=False, quote_char=quote)
    return table.filter(pl.any_horizontal(pl.all().is_not_null())) if form.blank_lines else table


@lru_cache(maxsize=4)
def _form_of(path: Path, state: tuple[int, ...]) -> Form:
    with path.open("rb") as file:
        try:
            return detect_table_format(file)
        except BrokenTableError as error:
            raise CatalogError(f"{path} cannot be read as csv, line {error.line}: {error.why}.") from None


def _refuse_repeated(path: Path, names: list[str]) -> None:
    if twice := find_repeated(names):
        raise CatalogError(f"{path} has {names.count(twice[0])} columns {twice[0]!r}; leave one, or rename the others.")


def _read_mixed(path: Path, form: Form) -> pl.DataFrame:
    schema = dict.fromkeys(form.names, pl.String())
    parts = [pl.DataFrame(schema=schema)]
    with path.open("rb") as file:
        rows = read_mixed(file, form)
        while batch := list(islice(rows, BATCH)):
            parts.append(pl.DataFrame(batch, schema=schema, orient="row"))
    empty = pl.all().replace("", None)
    return pl.concat(parts, rechunk=False).with_columns(empty)


def _scan_jsonl(path: Path) -> pl.LazyFrame:
    if not _must_mend(path, _file_state(path)):
        return scan_json_lines(path)
    whole = mend_escapes(path.read_text(encoding="utf-8-sig"))
    return pl.scan_ndjson(io.BytesIO(whole.encode("utf-8")), infer_schema_length=None)


@lru_cache(maxsize=4)
def _must_mend(path: Path, state: tuple[int, ...]) -> bool:
    """Return whether a JSONL file must be mended: some text holds half a character, or it begins with a byte order
    mark. Raises `CatalogError` with a line that is no JSON object, that has a key twice, or that has a value of another
    kind than its column."""
    kinds: dict[str, tuple[str, int]] = {}
    with path.open("rb") as start:
        damaged = start.read(3) == BOM
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                body = parse_json(line)
            except (ValueError, RecursionError) as error:
                why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
                raise CatalogError(f"{path} cannot be read as jsonl, line {number}: {why}.") from None
            if not isinstance(body, dict):
                raise CatalogError(
                    f"{path} cannot be read as jsonl, line {number}: it holds one JSON object a line, "
                    f"not a {type(body).__name__}."
                )
            for name, value in body.items():
                _check_value(name, value, kinds, path, number)
            damaged = damaged or mend_escapes(line) != line
    return damaged


def _check_value(name: str, value: Any, kinds: dict[str, tuple[str, int]], path: Path, line: int) -> None:
    """Raise `CatalogError` for a number that no column holds, and for a value of another kind than those before it, of
    which polars would make text. Texts, numbers and lists go together, but for lists beside numbers, or as ids.

    ``kinds`` holds the kind of each column so far, and the line that it was first seen on.
    """
    if value is None:
        return
    where = f"{path} cannot be read as jsonl, line {line}"
    kind = KINDS.get(type(value), "object")
    if kind == "number" and not -(2**63) <= value < 2**63:
        raise CatalogError(f"{where}: {name} holds the number {value}, which is too large.")
    known, since = kinds.setdefault(name, (kind, line))
    if known == kind:
        return
    if {known, kind} == {"text", "number"} or ({known, kind} == {"text", "list"} and name not in IDS):
        kinds[name] = ("text", line)
        return
    raise CatalogError(
        f"{where}: {name} is of kind {kind}, and of kind {known} on line {since}; write all of them the same way."
    )
