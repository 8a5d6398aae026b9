"""Refusals name the line: of records of several lines, behind blank lines, and of values that are of another kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from trialigngr.catalog.data_folder import read_items
from trialigngr.catalog.scanning import place_of
from trialigngr.datasets.readers.registry import import_data
from trialigngr.foundation.errors import CatalogError

MANY_LINES = 'item_id,title\n\ni1,"a\nb of two lines"\n\ni2,"c, d"\n,e\n'


def test_a_record_stands_where_it_begins(tmp_path: Path) -> None:
    (path := tmp_path / "items.csv").write_text(MANY_LINES)
    assert [place_of(path, row) for row in range(3)] == ["line 3", "line 6", "line 7"]
    (path := tmp_path / "items.jsonl").write_text('{"item_id": "i1"}\n\n{"item_id": "i2"}\n')
    assert [place_of(path, row) for row in range(2)] == ["line 1", "line 3"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"item_id": true}', "line 2: item_id is of kind truth value, and of kind text on line 1"),
        ('{"item_id": ["i2"]}', "line 2: item_id is of kind list, and of kind text on line 1"),
        ('{"item_id": "i2", "title": {"en": "b"}}', "line 2: title is of kind object, and of kind text on line 1"),
        ('{"item_id": "i2", "price": [1]}', "line 2: price is of kind list, and of kind number on line 1"),
        (
            '{"item_id": "i2", "price": 1000000000000000000000000}',
            "line 2: price holds the number 10+, which",
        ),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_line(tmp_path: Path, line: str, says: str) -> None:
    (path := tmp_path / "items.jsonl").write_text('{"item_id": "i1", "title": "a", "price": 1}\n' + line + "\n")
    with pytest.raises(CatalogError, match=says):
        read_items(path, {})


def test_numbers_beside_texts_are_texts(tmp_path: Path) -> None:
    (path := tmp_path / "items.jsonl").write_text('{"item_id": 1, "title": "a"}\n{"item_id": "x", "title": 2}\n')
    assert read_items(path, {}).select("item_id", "title").rows() == [("1", "a"), ("x", "2")]


@pytest.mark.parametrize("value", ["NaN", "inf", "1e400"])
def test_times_that_are_no_numbers_are_refused_with_their_line(tmp_path: Path, value: str) -> None:
    (tmp_path / "x").mkdir()
    log = f"user_id:token\titem_id:token\ttimestamp:float\nu\ti1\t1\nu\ti2\t{value}\n"
    (tmp_path / "x" / "x.inter").write_text(log)
    with pytest.raises(CatalogError, match=r"x\.inter, line 3: a field does not fit"):
        import_data("recbole", tmp_path / "x", tmp_path / "out")


@pytest.mark.parametrize(
    ("films", "says"),
    [
        (b"1,A,Drama\n", "line 1: the header is not movieId,title,genres"),
        ("movieId,title,genres\n1,A,Drama\n".encode("utf-16"), "line 1: it holds NUL"),
    ],
)
def test_films_of_another_form_are_refused(tmp_path: Path, films: bytes, says: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,1\n")
    (tmp_path / "m" / "movies.csv").write_bytes(films)
    with pytest.raises(CatalogError, match=says):
        import_data("movielens", tmp_path / "m", tmp_path / "out")
