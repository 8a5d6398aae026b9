"""Tables in parts: a folder of Parquet files is a table, and errors name the part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trialigngr.catalog.data_folder import find_items_file, open_data_folder, read_items
from trialigngr.catalog.dataset import load_dataset
from trialigngr.catalog.fingerprint import fingerprint_data
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.foundation.errors import CatalogError

ITEMS = {"item_id": ["a", "b", "c"], "title": ["Apple", "Bread", "Cheese"], "price": [1, 2, 3]}
LOG = {"user_id": ["u", "u", "v", "v"], "item_id": ["a", "b", "c", "a"], "timestamp": [1, 1, 1, 1]}


def write_parts(path: Path, columns: dict[str, list[Any]], cut: int) -> None:
    """Write a table in two parts, with what Spark leaves beside them."""
    path.mkdir(parents=True)
    table = pl.DataFrame(columns)
    table[:cut].write_parquet(path / "part-00000.snappy.parquet")
    table[cut:].write_parquet(path / "part-00001.snappy.parquet")
    (path / "_SUCCESS").touch()
    (path / ".part-00000.crc").write_bytes(b"crc")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_parts(tmp_path / "data" / "items.parquet", ITEMS, 1)
    write_parts(tmp_path / "data" / "interactions.parquet", LOG, 3)
    return tmp_path / "data"


def prepare(data: Path) -> dict[str, Any]:
    out = data.with_name("out")
    out.mkdir(exist_ok=True)
    return prepare_catalog(CatalogSettings(k_core=0), data, out)


def test_parts_are_one_table_in_the_order_of_their_names(data: Path) -> None:
    prepare(data)
    dataset = load_dataset(data.with_name("out"))
    assert [item.title for item in dataset.catalog] == ["Apple", "Bread", "Cheese"]
    assert [dataset.histories.user_sequence(user).tolist() for user in range(2)] == [[0, 1], [2, 0]]
    assert dataset.catalog.root == data


def test_the_hash_follows_every_part(data: Path) -> None:
    before = fingerprint_data(data)
    assert fingerprint_data(data) == before
    pl.DataFrame({**ITEMS, "price": [1, 2, 4]})[1:].write_parquet(data / "items.parquet" / "part-00001.snappy.parquet")
    assert fingerprint_data(data) != before


def test_new_items_may_come_in_parts(data: Path) -> None:
    assert find_items_file(data / "items.parquet") == find_items_file(data) == data / "items.parquet"
    assert read_items(data / "items.parquet", {})["item_id"].to_list() == ["a", "b", "c"]


def test_an_error_names_the_part_and_its_row(data: Path) -> None:
    pl.DataFrame({**ITEMS, "item_id": ["a", "b", None]})[1:].write_parquet(
        data / "items.parquet" / "part-00001.snappy.parquet"
    )
    with pytest.raises(
        CatalogError, match=r"1 rows have no item_id, the first in row 1 of part-00001\.snappy\.parquet"
    ):
        prepare(data)


def refuse(data: Path, sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence) as caught:
        prepare(data)
    assert "\n" not in str(caught.value)


def test_a_folder_of_parts_that_is_none(data: Path, tmp_path: Path) -> None:
    (data / "items.parquet" / "year=2020").mkdir()
    refuse(data, r"items\.parquet holds year=2020, which is no \.parquet file")
    (data / "items.parquet" / "year=2020").rmdir()
    part = data / "items.parquet" / "part-00001.snappy.parquet"
    part.write_text("item_id\nd\n")
    refuse(data, r"part-00001\.snappy\.parquet cannot be read as parquet: it does not begin as one")
    pl.DataFrame({"item_id": [4], "title": ["Dates"], "price": [4]}).write_parquet(part)
    refuse(data, r"items\.parquet cannot be read as parquet: ")
    for path in (data / "items.parquet").iterdir():
        path.unlink()
    refuse(data, r"items\.parquet is a folder without \.parquet files")


def test_a_file_and_parts_of_another_form_are_one_too_many(data: Path) -> None:
    (data / "items.csv").write_text("item_id\na\n")
    with pytest.raises(CatalogError, match=r"holds items\.parquet and items\.csv; leave one"):
        open_data_folder(data)
