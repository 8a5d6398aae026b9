"""CSV as strangers write it: each record is a row with its own values, or an error names the line."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trialigngr.catalog.data_folder import read_items
from trialigngr.catalog.scanning import scan_data_file
from trialigngr.foundation import separated
from trialigngr.foundation.errors import CatalogError

Rows = list[list[str]]
HEAD = ["item_id", "title", "note"]


def read(path: Path) -> Rows:
    return [[cell or "" for cell in row] for row in scan_data_file(path).collect().rows()]


def written(rows: Rows, **dialect: Any) -> str:
    text = io.StringIO()
    csv.writer(text, **dialect).writerows([HEAD, *rows])
    return text.getvalue()


def raw(rows: Rows) -> str:
    return "".join(",".join(row) + "\n" for row in [HEAD, *rows])


def put(folder: Path, text: str, name: str = "items.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def cells(letters: str) -> st.SearchStrategy[Rows]:
    cell = st.text(letters, max_size=5)
    row = st.tuples(st.from_regex(r"[a-z]\d", fullmatch=True), cell, cell).map(list)
    return st.lists(row, min_size=1, max_size=6)


def right_or_refused(path: Path, rows: Rows) -> None:
    with contextlib.suppress(CatalogError):
        assert read(path) == rows
        return
    with pytest.raises(CatalogError, match=r"line \d+: "):
        read(path)


@given(
    rows=cells("ab\",;|\t\n '\\é"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_csv_writer_wrote_is_read(
    rows: Rows, quoting: Any, delimiter: str, end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = written(rows, quoting=quoting, delimiter=delimiter, lineterminator=end)
    right_or_refused(put(tmp_path_factory.mktemp("csv"), text), rows)


@given(rows=cells('ab",\n '))
def test_quotes_behind_backslashes_are_read_or_refused(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = written(rows, doublequote=False, escapechar="\\", lineterminator="\n")
    right_or_refused(put(tmp_path_factory.mktemp("csv"), text), rows)


@given(rows=cells('ab" '))
def test_inch_marks_without_any_quoting_are_read_or_refused(
    rows: Rows, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for cell in [cell for row in rows for cell in row]:
        assume(not (len(cell) > 1 and cell[0] == cell[-1] == '"'))  # that is how text in quotes looks
    right_or_refused(put(tmp_path_factory.mktemp("csv"), raw(rows)), rows)


def test_inch_marks_within_texts_are_letters(tmp_path: Path) -> None:
    rows = [["a", 'Great 12" pan', "x"], ["b", "plain", "y"], ["c", 'The 10"', 'one 5"']]
    assert read(put(tmp_path, raw(rows))) == rows


def test_inch_marks_beside_texts_in_quotes_are_letters(tmp_path: Path) -> None:
    path = put(tmp_path, 'item_id,title,note\na,"Pan, large",x\n\nb,12" pan,\nc,"say ""hi""",z\n')
    assert read(path) == [["a", "Pan, large", "x"], ["b", '12" pan', ""], ["c", 'say "hi"', "z"]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('item_id,title\na,x\nb,"Best pan\nc,the 10"\n', "line 3: a quote opens a text that goes on in the next line"),
        ('item_id,title\na,x\nb,"Best" pan\n', "line 3: a quote opens a text that does not end where a field ends"),
        ('item_id,title\na,"two\nlines"\nb,12" pan\n', "line 2: a quote opens"),
        ('item_id,title\na,x\nb,"never closed\n', "line 3: a quote opens"),
        ('item_id,title\na,"a \\"word\\""\nb,y\n', r"line 2: a backslash stands before a quote.*\(\"\"\)"),
        ('item_id,title\na,12\\" pan\nb,y\n', "line 2: a backslash stands before a quote"),
        ('item_id,title\na,"x\ny z"\nb\n', "line 4: it has 1 fields where the first line has 2"),
        ("item_id,title\n\na,x,y\n", "line 3: it has 3 fields where the first line has 2"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        read(put(tmp_path, text))


def test_texts_of_several_lines_are_one_row(tmp_path: Path) -> None:
    rows = [["a", "one, two\n\nthree\n", "x"], ["b", "l1,l2\nl3", ""]]
    assert read(put(tmp_path, written(rows))) == rows


def test_every_block_of_a_large_file_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separated, "BLOCK", 64)
    rows = [[f"i{n}", f'say ""{n}""\nand "{n}"', "x" * (n % 7)] for n in range(300)]
    assert read(put(tmp_path, written(rows))) == rows
    broken = written(rows).replace("i250,", "i250,,")
    line = broken[: broken.index("i250,")].count("\n") + 1
    with pytest.raises(CatalogError, match=f"line {line}: it has 4 fields"):
        read(put(tmp_path, broken))


def test_a_quote_that_stays_open_is_not_read_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separated, "BLOCK", 64)
    monkeypatch.setattr(separated, "MAX_RECORD_BYTES", 1000)
    path = put(tmp_path, "item_id,title\n" + 'a,x\nb,"open\n' + "c,y\n" * 10_000)
    with pytest.raises(CatalogError, match="line 3: a quote opens"):
        read(path)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_taken_as_they_are(tmp_path: Path, separator: str) -> None:
    path = put(tmp_path, written([["a", "Pan, large", "4,5"]], delimiter=separator))
    assert read_items(path, {}).row(0, named=True)["title"] == "Pan, large"


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    path = put(tmp_path, '\ufeff"item_id","title"\r\n"a","x"\r\n\r\n\r\nb,y\r\n\r\n')
    assert read(path) == [["a", "x"], ["b", "y"]]


def test_columns_that_stand_twice(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="has 2 columns 'item_id'; leave one"):
        read(put(tmp_path, "item_id,title,item_id\na,x,b\n"))
    pl.DataFrame({"item_ix": ["a"], "item_id": ["b"]}).write_parquet(tmp_path / "items.parquet")
    body = (tmp_path / "items.parquet").read_bytes()
    (tmp_path / "items.parquet").write_bytes(body.replace(b"item_ix", b"item_id"))
    with pytest.raises(CatalogError, match=r"items\.parquet.*item_id"):
        read_items(tmp_path / "items.parquet", {})


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("items.parquet", b"item_id,title\na,x\n", "let its name end in .csv or .jsonl"),
        ("items.csv", b"PAR1\x15\x04\x15", "it is Parquet; let its name end in .parquet"),
        ("items.jsonl", b"PAR1\x15\x04\x15", "it is Parquet; let its name end in .parquet"),
        ("items.csv", b"\x1f\x8b\x08\x00", "compressed by gzip; unpack it"),
        ("items.csv", b"PK\x03\x04\x14", "a workbook; save the table as CSV or Parquet"),
        ("items.parquet", b"PK\x03\x04\x14", "a workbook"),
    ],
)
def test_files_that_are_not_what_their_names_say(tmp_path: Path, name: str, body: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(CatalogError, match=sentence):
        read_items(tmp_path / name, {})


@pytest.mark.parametrize(
    ("column", "advice"),
    [
        ("item id", """--set 'catalog.column_map."item id"=item_id'"""),
        ("item.id", """--set 'catalog.column_map."item.id"=item_id'"""),
        ("itemid", "--set catalog.column_map.itemid=item_id"),
        ('item"id', "Rename the column 'item\"id' to item_id in the file"),
        ("item=id", "Rename the column 'item=id' to item_id in the file"),
    ],
)
def test_the_advice_for_a_column_is_of_a_form_that_set_takes(tmp_path: Path, column: str, advice: str) -> None:
    pl.DataFrame({column: ["a"], "title": ["x"]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(CatalogError, match=re.escape(advice)):
        read_items(tmp_path / "items.parquet", {})


def test_what_was_seen_of_a_file_is_forgotten_when_it_changes(tmp_path: Path) -> None:
    path = put(tmp_path, "item_id,title\na,x\n")
    for body, time in (("item_id;title\na;x\n", 1), ("item_id,title\nb,y\n", 2)):
        path.write_text(body)
        os.utime(path, (time, time))
        assert read(path) == [["a", "x"] if ";" in body else ["b", "y"]]
