"""Text files line by line, gzipped or not, with errors that name file and line; and delimited logs, lazily."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl

from trialigngr.foundation.console import show_progress
from trialigngr.foundation.errors import CatalogError

UNUSED_SEPARATOR = "\x1f"
"""A separator that `delimited` refuses in a file, so that polars gives whole lines (it knows none of two letters)."""


def malformed_line_error(path: Path, line: int, why: str) -> CatalogError:
    """Return the error for one line of a file."""
    return CatalogError(f"{path}, line {line}: {why}.")


def read_numbered_lines(path: Path, fallback: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield (line number, text without its end); UTF-8, or ``fallback`` for lines that are not; no blank lines."""
    number = 0
    with path.open("rb") as packed, show_progress(f"Reading {path.name}", path.stat().st_size) as advance:
        lines = cast(BinaryIO, gzip.GzipFile(fileobj=packed)) if path.suffix == ".gz" else packed
        done = 0
        try:
            for number, line in enumerate(lines, 1):
                if number % 10_000 == 0:
                    advance(packed.tell() - done)
                    done = packed.tell()
                if line.strip():
                    yield number, _decode_line(line.rstrip(b"\r\n"), path, number, fallback)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise CatalogError(f"{path} is cut off or damaged after line {number}; fetch it again.") from None


def _decode_line(line: bytes, path: Path, number: int, fallback: str | None) -> str:
    if b"\0" in line:
        raise malformed_line_error(
            path, number, "it holds NUL, as no text does; is it UTF-16, or another kind of file?"
        )
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        if fallback is None:
            raise malformed_line_error(path, number, "not UTF-8") from None
        return line.decode(fallback)


def read_header(path: Path) -> str:
    """Return the first line; raise `CatalogError` for an empty file."""
    for _, line in read_numbered_lines(path):
        return line
    raise CatalogError(f"{path} is empty.")


def scan_delimited_file(
    path: Path, separator: str, names: Sequence[str], types: Mapping[str, pl.DataType], skip_header: bool = False
) -> pl.LazyFrame:
    """Return the columns ``types`` of a file without quotes whose lines hold ``names``, lazily and in file order.

    Raises `CatalogError` that names the first line with too few or too many fields, or with one that does not fit.
    """
    if path.stat().st_size == 0:
        raise CatalogError(f"{path} is empty.")
    _refuse_unreadable(path)
    lines = pl.scan_csv(
        path.absolute(),
        separator=UNUSED_SEPARATOR,
        has_header=False,
        quote_char=None,
        infer_schema=False,
        new_columns=["line"],
        row_index_name="number",
        row_index_offset=1,
        truncate_ragged_lines=True,
        glob=False,
    )
    lines = lines.slice(int(skip_header)).drop_nulls("line")
    fields = pl.col("line").str.split(separator)
    table = lines.with_columns(
        (fields.list.len() == len(names)).alias("whole"),
        *(
            fields.list.get(names.index(name), null_on_oob=True).cast(dtype, strict=False).alias(name)
            for name, dtype in types.items()
        ),
    )
    ids = pl.all_horizontal(pl.col(name) != "" for name, dtype in types.items() if dtype == pl.String)
    finite = (pl.col(name).is_finite() for name, dtype in types.items() if dtype.is_float())
    known = (pl.col(name).is_not_null() for name in types)
    fits = pl.all_horizontal(pl.col("whole"), ids, *known, *finite)
    misfit = table.filter(fits.not_()).select("number", "line", "whole").head(1).collect()
    if misfit.height:
        number, line, whole = misfit.row(0)
        wanted = ", ".join(f"{name} ({types[name]})" if name in types else name for name in names)
        why = "a field does not fit" if whole else f"not {len(names)} fields"
        raise malformed_line_error(
            path, number, f"{why}: {line[:80]!r}; wanted are {wanted} separated by {separator!r}"
        )
    return table.select(*types)


def _refuse_unreadable(path: Path) -> None:
    """Raise `CatalogError` with the first line that is not UTF-8 or that holds `UNUSED_SEPARATOR`: ids must stay
    apart."""
    mark, line = UNUSED_SEPARATOR.encode(), 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        ended = False
        while not ended:
            block = file.read(1 << 22)
            ended = not block
            try:
                decoder.decode(block, final=ended)
            except UnicodeDecodeError as error:
                raise malformed_line_error(
                    path, line + error.object.count(b"\n", 0, error.start), "not UTF-8"
                ) from None
            if mark in block:
                raise malformed_line_error(
                    path, line + block.count(b"\n", 0, block.index(mark)), "a control character"
                ) from None
            line += block.count(b"\n")
