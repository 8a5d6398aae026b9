"""What is wrong with a table, or only odd about it: values, lines, files; each with all that may be made of it."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from benchmarks.attacks.table_forms import FORMS, Form, Reading, Record, Tables, csv_line, make_tables

SEED = 27
ROW = 4
"""The record that is mutated, counted from 0."""
JSON = ("json", "object", "literal")


@dataclass(frozen=True)
class Case:
    """Files as they are written. ``readings`` are all that may be taken, none: it must be refused; None: any may.

    ``file`` is to be named by a refusal, and one of ``places`` where it is not empty. ``lawful``: it must be taken.
    """

    name: str
    importer: str
    files: dict[str, bytes | None]
    readings: tuple[Reading, ...] | None
    file: str
    places: tuple[str, ...] = ()
    lawful: bool = False


@dataclass(frozen=True)
class Value:
    """A value in a record, and what it may be read as; none: it must be refused. ``kinds`` of forms can write it."""

    field: str
    value: Any
    means: tuple[Any, ...] = ()
    kinds: tuple[str, ...] = ("csv", "plain", *JSON)
    lawful: bool = False


def _same(field: str, *values: str, kinds: tuple[str, ...] = ("csv", "plain", *JSON)) -> list[Value]:
    """Return values that must be taken as they are (white space within a title may become one space)."""
    return [Value(field, one, tuple({one, " ".join(one.split())}), kinds, True) for one in values]


NOT_OBJECT = ("csv", "plain", "json", "literal")
INFINITY, NAN = float("inf"), float("nan")
LONG = "long " * 20_000 + "title"
VALUES = (
    *_same("title", 'Great 12" pan', '"The One"', "a, b; c", "it's", "None", "null", "NaN", "N/A", "true", "007"),
    *_same("title", "שלום 👩‍🚀 é", "=1+1", 'a \\"b\\" c', "x\\", LONG, "1e5", "[1, 2]", "{", "a\x1fb", "#", "\\N", "-"),
    *_same("title", "a\tb", "two\nlines", "two\n\nlines", kinds=("csv", *JSON)),
    *(Value("title", f"a{one}b", (f"a{one}b", "a b", "ab")) for one in "\u2028\x85\x0c\x1c"),
    Value("title", "two\rparts", ("two\rparts", "two parts"), ("csv", *JSON)),
    Value("title", "a\0b", ("a\0b", "a\ufffdb", "a b", "ab")),
    Value("title", "cut \ud83d", ("cut \ufffd",), JSON, True),
    Value("title", "\ufeffx", ("\ufeffx", "x")),
    Value("title", "", (None,), lawful=True),
    Value("title", "   ", (None,), lawful=True),
    Value("title", None, (None,), JSON, True),
    Value("title", 7, ("7",), JSON),
    Value("title", True, ("true", "True"), JSON),
    Value("title", ["a", "b"], ("a b",), JSON),
    Value("title", {"a": "b"}, (), JSON),
    *_same("item_id", "007", "a-b", "ü", "None", "null", "NaN", "1.0", "1e5", "0", "-1", "i" * 300),
    *_same("item_id", 'a"b', "a,b", kinds=("csv", "json", "object")),
    Value("item_id", "a\x1fb", ("a\x1fb",), lawful=True),
    Value("item_id", " lead", (" lead", "lead"), ("csv", "json", "object")),
    Value("item_id", "half \ud83d", ("half \ufffd",), JSON),
    Value("item_id", "a\0b", ("a\0b", "a\ufffdb")),
    Value("item_id", ""),
    *(Value("item_id", one, (), ("json", "literal")) for one in (None, True, ["i04"], {"id": "i04"}, INFINITY, NAN)),
    Value("item_id", 4, ("4",), ("json", "literal")),
    Value("item_id", 4.0, ("4", "4.0"), ("json", "literal")),
    *_same("user_id", "007", "None", "null", "ü"),
    Value("user_id", "a\x1fb", ("a\x1fb",), lawful=True),
    Value("user_id", "half \ud83d", ("half \ufffd",), JSON),
    Value("user_id", ""),
    *(Value("user_id", one, (), ("json", "literal")) for one in (None, False, ["u0"], {"id": 1}, NAN)),
    *(Value("timestamp", one, (), NOT_OBJECT) for one in ("x", "", "NaN", "inf", "12:30", "1e400")),
    *(Value("timestamp", one, (), ("json", "literal")) for one in (None, [1], {"$date": 1}, NAN, 10**30)),
    Value("timestamp", "-5", (-5,)),
    Value("timestamp", "99999999999999999999", (10**20,)),
)  # fmt: skip


def all_cases() -> list[Case]:
    """Return every case of every form, in a fixed order."""
    found = [case for form in FORMS for case in (*_sound(form), *_values(form), *_lines(form), *_wrong_files(form))]
    return [*found, *_parquet()]


def _sound(form: Form) -> Iterator[Case]:
    yield _case(form, "sound", make_tables(), [make_tables()], form.items_file, lawful=True)


# --- files from tables ---


def _packed(name: str, body: bytes) -> bytes:
    return gzip.compress(body, mtime=0) if name.endswith(".gz") else body


def _files(form: Form, tables: Tables) -> dict[str, bytes | None]:
    return {name: _written(name, lines) for name, lines in form.lines(tables).items()}


def _written(name: str, lines: list[str], end: str = "\n") -> bytes:
    return _packed(name, "".join(line + end for line in lines).encode("utf-8", "surrogatepass"))


def _case(
    form: Form, name: str, tables: Tables, means: Iterable[Tables], file: str, lawful: bool = False, **more: Any
) -> Case:
    readings = tuple(one.reading(form.categories) for one in means)
    return Case(f"{form.name}: {name}", form.importer, _files(form, tables), readings, file, lawful=lawful, **more)


# --- values ---


def _values(form: Form) -> Iterator[Case]:
    for value in VALUES:
        if form.kind not in value.kinds or (form.kind == "object" and value.field == "timestamp"):
            continue
        file = form.items_file if value.field == "title" else form.log_file
        if (form.kind == "plain" or form.importer == "movielens") and _cannot_be_written(form, file, value):
            continue
        if value.field == "item_id" and form.kind == "object" and not isinstance(value.value, str):
            continue
        shown, lawful = ascii(value.value)[:40], value.lawful and not (form.importer and "\n" in str(value.value))
        yield replace(
            _case(
                form, f"{value.field} {shown}", _with(value.field, value.value),
                [_with(value.field, one) for one in value.means], file, lawful,
            ),
            places=_places(form, file, value),
        )  # fmt: skip


def _cannot_be_written(form: Form, file: str, value: Value) -> bool:
    """Say whether a value would end a field that nothing quotes; of MovieLens only the titles are quoted."""
    quoted = form.kind == "csv" and value.field == "title"
    return not quoted and form.separator(file) in str(value.value)


def _with(field: str, value: Any) -> Tables:
    """Return the tables with a value in the place of another, an id wherever it stands."""
    tables = deepcopy(make_tables())
    if field in ("title", "item_id"):
        row: Record = tables.items[ROW]
        old, row[field] = row["item_id"], value
        if field == "item_id":
            for step in tables.log:
                step["item_id"] = value if step["item_id"] == old else step["item_id"]
    elif field == "user_id":
        for step in tables.log[:5]:
            step["user_id"] = value
    else:
        tables.log[ROW]["timestamp"] = value
    return tables


def _places(form: Form, file: str, value: Value) -> tuple[str, ...]:
    """Return what a refusal may name, beside the file: lines, or (where a file is one line) the user or the item."""
    if form.kind == "object":
        return (*_numbers(1), "i04", "u0", "user", "item")
    rows = {
        "title": [ROW],
        "user_id": range(5),
        "timestamp": [ROW],
        "item_id": [ROW, *(k for k, step in enumerate(make_tables().log) if step["item_id"] == f"i{ROW:02}")],
    }[value.field]
    first = 1 + form.header_lines(file)
    return tuple(place for row in rows for place in _numbers(first + row))


def _numbers(line: int) -> tuple[str, ...]:
    return tuple(rf"\b{word}s? {line}\b" for word in ("line", "row", "record"))


# --- lines ---


def _lines(form: Form) -> Iterator[Case]:
    for file in (form.items_file, form.log_file):
        for name, lines, end, places, may in _edited(form, file):
            files = _files(form, make_tables())
            files[file] = lines if isinstance(lines, bytes) else _written(file, lines, end)
            base = (make_tables().reading(form.categories),)
            yield Case(
                f"{form.name}: {file}: {name}", form.importer, files, base if may else (), file,
                () if form.kind == "object" else tuple(place for line in places for place in _numbers(line)),
                may == "must",
            )  # fmt: skip


Edit = tuple[str, list[str] | bytes, str, tuple[int, ...], str]


def _edited(form: Form, file: str) -> Iterator[Edit]:
    """Yield what becomes of a file's lines, the lines that may be named, and whether it may or must be taken still."""
    lines, first = form.lines(make_tables())[file], form.header_lines(file)
    at = first + ROW if form.kind != "object" else 0
    body = "".join(line + "\n" for line in lines).encode()
    yield "CRLF", lines, "\r\n", (), "must"
    yield "no last newline", _packed(file, body[:-1]), "", (), "must"
    yield "byte order mark", _packed(file, b"\xef\xbb\xbf" + body), "", (), "may" if form.name == "jsonl" else "must"
    yield "blank line", [*lines[:at], "", *lines[at:]], "\n", (at + 1,), "may" if form.name == "csv" else "must"
    yield "ends inside a record", _packed(file, _cut_short(form, file, body)), "", (len(lines),), ""
    noise = bytes(byte for byte in random.Random(SEED).randbytes(300) if byte not in b"\r\n")
    yield "line of garbage", _packed(file, b"".join(_inserted(lines, at, noise))), "", (at + 1,), ""
    yield "line of NULs", _packed(file, b"".join(_inserted(lines, at, b"\0" * 60))), "", (at + 1,), "may"
    if form.kind in ("csv", "plain"):
        yield from _fields_edited(form, file, lines, at)
    if form.kind in ("json", "literal"):
        yield from _json_edited(lines, at)
    if form.kind == "object":
        doubled = lines[0].replace("{", "{" + lines[0][1:].split(": ")[0] + ": {}, ", 1)
        yield "key twice", [doubled], "\n", (1,), ""
        yield "deep nesting", [lines[0].replace(": ", ": " + "[" * 100_000, 1)], "\n", (1,), ""
    if file == form.items_file and form.kind != "object":
        yield "item twice", [*lines, lines[at]], "\n", (at + 1, len(lines) + 1), form.doubled_items


def _inserted(lines: list[str], at: int, raw: bytes) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number == at:
            yield raw + b"\n"
        yield line.encode() + b"\n"


def _cut_short(form: Form, file: str, body: bytes) -> bytes:
    """Return a file that ends where the rest of its last record cannot be guessed."""
    head, _, last = body[:-1].rpartition(b"\n")
    if form.kind in JSON:
        return body[: -len(last) // 2]
    return head + b"\n" + last[: last.index(form.separator(file).encode()) + len(form.separator(file)) + 1]


def _fields_edited(form: Form, file: str, lines: list[str], at: int) -> Iterator[Edit]:
    separator, here = form.separator(file), (at + 1,)

    def instead(line: str) -> list[str]:
        return [*lines[:at], line, *lines[at + 1 :]]

    yield "field missing", instead(lines[at].rpartition(separator)[0]), "\n", here, ""
    yield "field too many", instead(f"{lines[at]}{separator}x"), "\n", here, ""
    if form.headers[0]:
        if file == form.log_file:
            yield "header again", [*lines[:at], lines[0], *lines[at:]], "\n", here, ""
        yield "no header", lines[1:], "\n", (), ""
        first = lines[0].split(separator)[0]
        yield (
            "column twice",
            [f"{lines[0]}{separator}{first}", *(f"{one}{separator}x" for one in lines[1:])],
            "\n",
            (),
            "",
        )
    if form.kind == "csv":
        yield "semicolons", [line.replace(",", ";") for line in lines], "\n", (), ""
    if form.name == "csv" and file == form.log_file:
        for name, one, two in (("stray quotes", 'Great 12" pan', 'The 10" one'), ("quote opened", '"Great', "Good")):
            odd = [line.replace("Good", {at: one, at + 9: two}.get(n, "Good")) for n, line in enumerate(lines)]
            yield name, odd, "\n", (at + 1, at + 10), "may"
        escaped = [line.replace("Good", r'"a \"b\" c"' if n == at else "Good") for n, line in enumerate(lines)]
        yield "escaped quotes", escaped, "\n", here, "may"
    if form.name == "csv" and file == form.items_file:
        for text in ("['Home', 'Kitchen']", '["Home", "Kitchen"]', "Home > Kitchen", " Home | Kitchen "):
            cell = csv_line(text)
            yield (
                f"categories as {text}",
                [lines[0], *(one.replace("Home|Kitchen", cell) for one in lines[1:])],
                "\n",
                (),
                "may",
            )


def _json_edited(lines: list[str], at: int) -> Iterator[Edit]:
    here = (at + 1,)
    whole = lines[at]
    listed = '"categories": ["Home", "Kitchen"]'
    if listed in whole:
        for text in ("Home|Kitchen", "['Home', 'Kitchen']", '["Home", "Kitchen"]'):
            line = whole.replace(listed, f'"categories": {json.dumps(text)}')
            yield f"categories as {text}", [*lines[:at], line, *lines[at + 1 :]], "\n", here, "may"
    key, quote = whole[1:].split(":")[0], whole[1]
    for name, line in {
        "no JSON": whole.replace(quote, ""),
        "array": "[1, 2]",
        "number": "12",
        "null": "null",
        "cut record": whole[: len(whole) // 2],
        "two records": whole + whole,
        "key twice": f"{{{key}: {quote}other{quote}, {whole[1:]}",
        "deep nesting": whole.replace(": ", ": " + "[" * 100_000, 1),
        "key missing": "{" + whole.split(", ", 1)[1],
        "comma after the last": whole[:-1] + ",,}",
    }.items():
        yield name, [*lines[:at], line, *lines[at + 1 :]], "\n", here, ""


# --- files ---

NO_RECORDS = ("empty", "blanks", "header alone")


def _wrong_files(form: Form) -> Iterator[Case]:
    for file in (form.items_file, form.log_file):
        lines = form.lines(make_tables())[file]
        wrong: dict[str, bytes | None] = {
            "empty": b"",
            "blanks": b" \n \n",
            "is Parquet": _packed(file, _parquet_bytes(pl.DataFrame({"item_id": ["i1"]}))),
            "UTF-16": _packed(file, "\n".join(lines).encode("utf-16")),
        }
        if form.headers[0]:
            wrong["header alone"] = _packed(file, (lines[0] + "\n").encode())
        if not (file == form.items_file and form.importer in ("recbole", "lcrec")):
            wrong["missing"] = None
        if file.endswith(".gz"):
            packed = _written(file, lines)
            wrong |= {"gzip cut": packed[: len(packed) * 2 // 3], "no gzip": b"x" * 50}
        for name, body in wrong.items():
            files = _files(form, make_tables()) | {file: body}
            named = "data" if body is None else file
            whole = _without_records(form, file) if form.importer and name in NO_RECORDS else ()
            yield Case(f"{form.name}: {file}: {name}", form.importer, files, whole, named)


def _without_records(form: Form, file: str) -> tuple[Reading, ...]:
    """Return what an importer may make of a file without records: items known by their id only, or no log."""
    items, log = make_tables().reading(form.categories)
    bare = tuple((item_id, None, ()) for item_id, _, _ in items)
    return ((bare, log),) if file == form.items_file else ((items, ()),)


# --- Parquet ---

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


def _parquet() -> Iterator[Case]:
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
