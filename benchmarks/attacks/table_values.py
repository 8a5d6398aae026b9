"""Values in tables that are wrong, or only odd; each with all that a reader may make of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.attacks.table_forms import ROW, Case, Form, Record, Tables, line_places, make_tables, write_files

JSON = ("json", "object", "literal")


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
    Value("item_id", "a\x1fb", ("a\x1fb",)),
    Value("item_id", " lead", (" lead", "lead"), ("csv", "json", "object")),
    Value("item_id", "half \ud83d", ("half \ufffd",), JSON),
    Value("item_id", "a\0b", ("a\0b", "a\ufffdb")),
    Value("item_id", ""),
    *(Value("item_id", one, (), ("json", "literal")) for one in (None, True, ["i04"], {"id": "i04"}, INFINITY, NAN)),
    Value("item_id", 4, ("4",), ("json", "literal")),
    Value("item_id", 4.0, ("4", "4.0"), ("json", "literal")),
    *_same("user_id", "007", "None", "null", "ü"),
    Value("user_id", "a\x1fb", ("a\x1fb",)),
    Value("user_id", "half \ud83d", ("half \ufffd",), JSON),
    Value("user_id", ""),
    *(Value("user_id", one, (), ("json", "literal")) for one in (None, False, ["u0"], {"id": 1}, NAN)),
    *(Value("timestamp", one, (), NOT_OBJECT) for one in ("x", "", "NaN", "inf", "12:30", "1e400")),
    *(Value("timestamp", one, (), ("json", "literal")) for one in (None, [1], {"$date": 1}, NAN, 10**30)),
    Value("timestamp", "-5", (-5,)),
    Value("timestamp", "99999999999999999999", (10**20,)),
)  # fmt: skip


def case_of(
    form: Form, name: str, tables: Tables, means: Iterable[Tables], file: str, lawful: bool = False, **more: Any
) -> Case:
    """Return the case of tables that may be read as any of others."""
    readings = tuple(one.reading(form.categories) for one in means)
    return Case(f"{form.name}: {name}", form.importer, write_files(form, tables), readings, file, lawful=lawful, **more)


def odd_values(form: Form) -> Iterator[Case]:
    """Yield a case for every value that a form can write."""
    for value in VALUES:
        if form.kind not in value.kinds or (form.kind == "object" and value.field == "timestamp"):
            continue
        file = form.items_file if value.field == "title" else form.log_file
        named = f"{form.items_file}|{file}" if value.field == "item_id" else file
        if (form.kind == "plain" or form.importer == "movielens") and _cannot_bewrite_lines(form, file, value):
            continue
        if value.field == "item_id" and form.kind == "object" and not isinstance(value.value, str):
            continue
        shown, lawful = ascii(value.value)[:40], value.lawful and not (form.importer and "\n" in str(value.value))
        yield replace(
            case_of(
                form, f"{value.field} {shown}", _with(value.field, value.value),
                [_with(value.field, one) for one in value.means], named, lawful,
            ),
            places=_places(form, file, value),
        )  # fmt: skip


def _cannot_bewrite_lines(form: Form, file: str, value: Value) -> bool:
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
        return (*line_places(1), "i04", "u0", "user", "item")
    rows = {
        "title": [ROW],
        "user_id": range(5),
        "timestamp": [ROW],
        "item_id": [ROW, *(k for k, step in enumerate(make_tables().log) if step["item_id"] == f"i{ROW:02}")],
    }[value.field]
    first = 1 + form.header_lines(file)
    return tuple(place for row in rows for place in line_places(first + row))
