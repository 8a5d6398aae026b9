"""The forms that tables come in: what is written, record by record, and what a reading of it must give."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ITEMS, USERS, STEPS = 12, 8, 5
ROW = 4
"""The record that is mutated, counted from 0."""
Record = dict[str, Any]
Reading = tuple[tuple[Any, ...], tuple[Any, ...]]
"""Items (id, title, categories) by id; users and what they took in order, by user."""


@dataclass(frozen=True)
class Tables:
    """The records of both tables."""

    items: list[Record]
    log: list[Record]

    def reading(self, categories: Sequence[str]) -> Reading:
        """Return what a reader must give that loses and changes nothing."""
        taken: dict[str, list[tuple[float, str]]] = {}
        for row in self.log:
            taken.setdefault(row["user_id"], []).append((float(row["timestamp"]), row["item_id"]))
        items = sorted((row["item_id"], row["title"], tuple(categories)) for row in self.items)
        orders = {user: sorted(steps, key=lambda step: step[0]) for user, steps in taken.items()}
        return tuple(items), tuple(sorted((user, tuple(item for _, item in own)) for user, own in orders.items()))


def make_tables() -> Tables:
    """Return twelve items, and eight users who took five of them each."""
    items = [{"item_id": f"i{number:02}", "title": f"Thing {number}"} for number in range(ITEMS)]
    log = [
        {"user_id": f"u{user}", "item_id": f"i{(user * 3 + step) % ITEMS:02}", "timestamp": 1000 + user * 10 + step}
        for user in range(USERS)
        for step in range(STEPS)
    ]
    return Tables(items, log)


@dataclass(frozen=True)
class Form:
    """A format: its two files, their headers, and how a record becomes a line.

    ``kind`` is csv, json (a record a line), object (one JSON object a file), or plain (fields that nothing quotes);
    ``separator`` stands between the fields of csv and plain. Without an ``importer`` it is a data folder.
    """

    name: str
    importer: str
    kind: str
    items_file: str
    log_file: str
    item: Callable[[Record], str]
    step: Callable[[Record], str]
    headers: tuple[str, str] = ("", "")
    separators: tuple[str, str] = (",", ",")
    categories: tuple[str, ...] = ("Home", "Kitchen")
    doubled_items: str = ""
    """Whether an item that stands twice, word for word, ``must`` or ``may`` be taken once; else it is refused."""

    def lines(self, tables: Tables) -> dict[str, list[str]]:
        """Return both files as lines."""
        found = {self.items_file: self._lines(0, self.item, tables.items)}
        return found | {self.log_file: self._lines(1, self.step, tables.log)}

    def _lines(self, which: int, write: Callable[[Record], str], rows: list[Record]) -> list[str]:
        header = [self.headers[which]] if self.headers[which] else []
        if self.kind != "object":
            return header + [write(row) for row in rows]
        return [_object_of_items(rows, write) if which == 0 else _object_of_steps(rows)]

    def header_lines(self, file: str) -> int:
        """Return how many lines stand before the first record."""
        return int(bool(self.headers[0 if file == self.items_file else 1]))

    def separator(self, file: str) -> str:
        """Return what stands between the fields of a file."""
        return self.separators[0 if file == self.items_file else 1]


def _object_of_items(rows: list[Record], write: Callable[[Record], str]) -> str:
    # By hand, as a key may stand there twice.
    return "{" + ", ".join(f"{json.dumps(row['item_id'])}: {write(row)}" for row in rows) + "}"


def _object_of_steps(rows: list[Record]) -> str:
    users: dict[str, list[Any]] = {}
    for row in rows:
        users.setdefault(row["user_id"], []).append(row["item_id"])
    return json.dumps(users)


def csv_line(*cells: object) -> str:
    """Return cells as the csv module writes them."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()[:-1]


def _json(**fields: Any) -> str:
    return json.dumps(fields)


def _genre_flags(row: Record) -> str:
    return "|".join((str(row["item_id"]), str(row["title"]), "01-Jan-1995", "", "http://x", *"0100000000000000000"))


def _amazon(row: Record) -> str:
    return _json(reviewerID=row["user_id"], asin=row["item_id"], overall=5.0, unixReviewTime=row["timestamp"])


def _amazon2014(row: Record) -> str:
    return _json(asin=row["item_id"], title=row["title"], categories=[["Home", "Kitchen"]])


def _as_literal(write: Callable[[Record], str]) -> Callable[[Record], str]:
    return lambda row: repr(json.loads(write(row)))


def _fields(separator: str, *more: str) -> Callable[[Record], str]:
    return lambda row: separator.join((*map(str, row.values()), *more))


def _rated(separator: str) -> Callable[[Record], str]:
    return lambda row: separator.join(map(str, (row["user_id"], row["item_id"], 4.0, row["timestamp"])))


TAB, COLONS = ("\t", "\t"), ("::", "::")
FORMS = (
    Form(
        *("csv", "", "csv", "items.csv", "interactions.csv"),
        lambda row: csv_line(*row.values(), "Home|Kitchen"),
        lambda row: csv_line(*row.values(), "Good"),
        ("item_id,title,categories", "user_id,item_id,timestamp,summary"),
    ),
    Form(
        *("jsonl", "", "json", "items.jsonl", "interactions.jsonl"),
        lambda row: _json(**row, categories=["Home", "Kitchen"]),
        lambda row: _json(**row),
    ),
    Form(
        *("amazon2014", "amazon2014", "json", "meta_X.json", "reviews_X_5.json", _amazon2014, _amazon),
        doubled_items="may",
    ),
    Form(
        *("amazon2014 literals", "amazon2014", "literal", "meta_X.json", "reviews_X_5.json"),
        *(_as_literal(_amazon2014), _as_literal(_amazon)),
        doubled_items="may",
    ),
    Form(
        *("amazon2018", "amazon2018", "json", "meta_X.json", "X_5.json"),
        lambda row: _json(asin=row["item_id"], title=row["title"], category=["Home", "Kitchen"]),
        _amazon,
        doubled_items="must",
    ),
    Form(
        *("amazon2018 gzip", "amazon2018", "json", "meta_X.json.gz", "X_5.json.gz"),
        lambda row: _json(asin=row["item_id"], title=row["title"], category=["Home", "Kitchen"]),
        _amazon,
        doubled_items="must",
    ),
    Form(
        *("amazon2023", "amazon2023", "json", "meta_X.jsonl", "X.jsonl"),
        lambda row: _json(parent_asin=row["item_id"], title=row["title"], categories=["Home", "Kitchen"]),
        lambda row: _json(user_id=row["user_id"], parent_asin=row["item_id"], rating=5.0, timestamp=row["timestamp"]),
        doubled_items="may",
    ),
    Form(
        *("movielens csv", "movielens", "csv", "movies.csv", "ratings.csv"),
        lambda row: csv_line(*row.values(), "Home|Kitchen"),
        _rated(","),
        ("movieId,title,genres", "userId,movieId,rating,timestamp"),
    ),
    Form(
        *("movielens 100k", "movielens", "plain", "u.item", "u.data", _genre_flags, _rated("\t")),
        separators=("|", "\t"),
        categories=("Action",),
    ),
    Form(
        *("movielens dat", "movielens", "plain", "movies.dat", "ratings.dat"),
        *(_fields("::", "Home|Kitchen"), _rated("::")),
        separators=COLONS,
    ),
    Form(
        *("recbole", "recbole", "plain", "x.item", "x.inter", _fields("\t", "Home, Kitchen"), _fields("\t")),
        (
            "item_id:token\ttitle:token_seq\tcategories:token_seq",
            "user_id:token\titem_id:token\ttimestamp:float",
        ),
        TAB,
    ),
    Form(
        *("lcrec", "lcrec", "object", "X.item.json", "X.inter.json"),
        lambda row: _json(title=row["title"], categories="Home,Kitchen"),
        lambda row: "",
    ),
)


@dataclass(frozen=True)
class Case:
    """Files as they are written. ``readings`` are all that may be taken, none: it must be refused; None: any may.

    A refusal has to name ``file`` (one of several, with | between them), and one of ``places`` where there are any.
    ``lawful``: it must be taken.
    """

    name: str
    importer: str
    files: dict[str, bytes | None]
    readings: tuple[Reading, ...] | None
    file: str
    places: tuple[str, ...] = ()
    lawful: bool = False


def pack(name: str, body: bytes) -> bytes:
    """Return a file's bytes, gzipped where its name says so."""
    return gzip.compress(body, mtime=0) if name.endswith(".gz") else body


def write_files(form: Form, tables: Tables) -> dict[str, bytes | None]:
    """Return both files of a form by name."""
    return {name: write_lines(name, lines) for name, lines in form.lines(tables).items()}


def write_lines(name: str, lines: list[str], end: str = "\n") -> bytes:
    """Return the bytes of a file; half an emoji is written as it is."""
    return pack(name, "".join(line + end for line in lines).encode("utf-8", "surrogatepass"))


def line_places(line: int) -> tuple[str, ...]:
    """Return patterns of what a refusal may call a line."""
    return tuple(rf"\b{word}s? {line}\b" for word in ("line", "row", "record"))
