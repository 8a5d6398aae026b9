"""Files that are missing, empty or of another kind; and Parquet, damaged or with columns of any type."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from benchmarks.attacks.table_forms import FORMS, Case, Form, Reading, make_tables, pack, write_files, write_lines

SEED = 27
NO_RECORDS = ("empty", "blanks", "header alone")


def wrong_files(form: Form) -> Iterator[Case]:
    """Yield a case for every file that cannot be what its name says."""
    for file in (form.items_file, form.log_file):
        lines = form.lines(make_tables())[file]
        wrong: dict[str, bytes | None] = {
            "empty": b"",
            "blanks": b" \n \n",
            "is Parquet": pack(file, _parquet_bytes(pl.DataFrame({"item_id": ["i1"]}))),
            "UTF-16": pack(file, "\n".join(lines).encode("utf-16")),
        }
        if form.headers[0]:
            wrong["header alone"] = pack(file, (lines[0] + "\n").encode())
        if not (file == form.items_file and form.importer in ("recbole", "lcrec")):
            wrong["missing"] = None
        if file.endswith(".gz"):
            packed = write_lines(file, lines)
            wrong |= {"gzip cut": packed[: len(packed) * 2 // 3], "no gzip": b"x" * 50}
        for name, body in wrong.items():
            files = write_files(form, make_tables()) | {file: body}
            named = "data" if body is None else file
            whole = _without_records(form, file) if form.importer and name in NO_RECORDS else ()
            yield Case(f"{form.name}: {file}: {name}", form.importer, files, whole, named)


def _without_records(form: Form, file: str) -> tuple[Reading, ...]:
    """Return what an importer may make of a file without records: items known by their id only, or no log."""
    items, log = make_tables().reading(form.categories)
    bare = tuple((item_id, None, ()) for item_id, _, _ in items)
    return ((bare, log),) if file == form.items_file else ((items, ()),)


TYPES: dict[str, tuple[pl.Series, bool]] = {
    "lists": (pl.Series([["i"]] * 12), False),
    "booleans": (pl.Series([True, False] * 6), False),
    "bytes": (pl.Series([f"i{n}".encode() for n in range(12)]), False),
    "structs": (pl.Series([{"a": n} for n in range(12)]), False),
    "durations": (pl.Series(range(12)).cast(pl.Duration("us")), False),
    "a null": (pl.Series([None, *(f"i{n:02}" for n in range(1, 12))]), False),
    "an empty text": (pl.Series(["", *(f"i{n:02}" for n in range(1, 12))]), False),
    "NaN": (pl.Series([float("nan"), *(float(n) for n in range(1, 12))]), False),
    "infinity": (pl.Series([float("inf"), *(float(n) for n in range(1, 12))]), False),
    "all null": (pl.Series([None] * 12), False),
    "categories of polars": (pl.Series([f"i{n:02}" for n in range(12)], dtype=pl.Categorical), True),
}


def _parquet_bytes(table: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    table.write_parquet(out)
    return out.getvalue()


def odd_parquet() -> Iterator[Case]:
    """Yield data folders in Parquet: columns of every type, and damage."""
    form = replace(FORMS[0], name="parquet", items_file="items.parquet", log_file="interactions.parquet")
    tables = make_tables()
    items = pl.DataFrame(tables.items).with_columns(categories=pl.lit(["Home", "Kitchen"], pl.List(pl.String)))
    log = pl.DataFrame(tables.log)
    whole: dict[str, bytes | None] = {
        "items.parquet": _parquet_bytes(items),
        "interactions.parquet": _parquet_bytes(log),
    }
    base = (tables.reading(form.categories),)
    yield Case("parquet: sound", "", whole, base, "items.parquet", lawful=True)
    for name, (column, lawful) in TYPES.items():
        odd = whole | {"items.parquet": _parquet_bytes(items.with_columns(column.alias("item_id")))}
        yield Case(f"parquet: item_id: {name}", "", odd, base if lawful else (), "items.parquet", lawful=lawful)
        times = pl.Series(column.to_list()[:1] + column.to_list()[1:2] * (log.height - 1), dtype=column.dtype)
        for field in ("user_id", "item_id", "timestamp"):
            odd = whole | {"interactions.parquet": _parquet_bytes(log.with_columns(times.alias(field)))}
            if not lawful:
                yield Case(f"parquet: {field} of the log: {name}", "", odd, (), "interactions.parquet")
    draw = random.Random(SEED)
    for file in ("items.parquet", "interactions.parquet"):
        body = whole[file]
        assert body is not None
        for share in (0.1, 0.5, 0.9):
            yield Case(f"parquet: {file} cut at {share}", "", whole | {file: body[: int(len(body) * share)]}, (), file)
        for turn in range(8):
            place = draw.randrange(len(body))
            odd = whole | {file: body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]}
            yield Case(f"parquet: {file}, byte {place} ({turn})", "", odd, None, file)
        for name, other in {"CSV": b"item_id,title\ni1,a\n", "garbage": draw.randbytes(500), "empty": b""}.items():
            yield Case(f"parquet: {file} is {name}", "", whole | {file: other}, (), file)
