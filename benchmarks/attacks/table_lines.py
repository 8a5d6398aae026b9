"""Lines of tables that are wrong, or only odd: ragged, cut, doubled, in another encoding, with stray quotes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from benchmarks.attacks.table_forms import (
    ROW,
    Case,
    Form,
    csv_line,
    line_places,
    make_tables,
    pack,
    write_files,
    write_lines,
)
from benchmarks.attacks.table_values import JSON

SEED = 27


def odd_lines(form: Form) -> Iterator[Case]:
    """Yield a case for everything that can befall the lines of either file."""
    for file in (form.items_file, form.log_file):
        for name, lines, end, places, may in _edited(form, file):
            files = write_files(form, make_tables())
            files[file] = lines if isinstance(lines, bytes) else write_lines(file, lines, end)
            base = (make_tables().reading(form.categories),)
            yield Case(
                f"{form.name}: {file}: {name}", form.importer, files, base if may else (), file,
                _named(form, name, places),
                may == "must",
            )  # fmt: skip


def _named(form: Form, name: str, lines: tuple[int, ...]) -> tuple[str, ...]:
    """Return what a refusal may name beside the file: a line, or the item that stands twice."""
    if form.kind == "object":
        return ()
    item = (repr(make_tables().items[ROW]["item_id"]),) if name == "item twice" else ()
    return (*item, *(place for line in lines for place in line_places(line)))


Edit = tuple[str, list[str] | bytes, str, tuple[int, ...], str]


def _edited(form: Form, file: str) -> Iterator[Edit]:
    """Yield what becomes of a file's lines, the lines that may be named, and whether it may or must be taken still."""
    lines, first = form.lines(make_tables())[file], form.header_lines(file)
    at = first + ROW if form.kind != "object" else 0
    body = "".join(line + "\n" for line in lines).encode()
    yield "CRLF", lines, "\r\n", (), "must"
    yield "no last newline", pack(file, body[:-1]), "", (), "must"
    yield "byte order mark", pack(file, b"\xef\xbb\xbf" + body), "", (), "may" if form.name == "jsonl" else "must"
    yield "blank line", [*lines[:at], "", *lines[at:]], "\n", (at + 1,), "may" if form.name == "csv" else "must"
    yield "ends inside a record", pack(file, _cut_short(form, file, body)), "", (len(lines),), ""
    noise = bytes(byte for byte in random.Random(SEED).randbytes(300) if byte not in b"\r\n")
    yield "line of garbage", pack(file, b"".join(_inserted(lines, at, noise))), "", (at + 1,), ""
    yield "line of NULs", pack(file, b"".join(_inserted(lines, at, b"\0" * 60))), "", (at + 1,), "may"
    if form.kind in ("csv", "plain"):
        yield from _fields_edited(form, file, lines, at)
    if form.kind in ("json", "literal"):
        yield from _json_edited(form, lines, at)
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
        yield "semicolons", [line.replace(",", ";") for line in lines], "\n", (), "may"
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


def _json_edited(form: Form, lines: list[str], at: int) -> Iterator[Edit]:
    here = (at + 1,)
    whole = lines[at]
    listed = '"categories": ["Home", "Kitchen"]'
    if form.name == "jsonl" and listed in whole:
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
