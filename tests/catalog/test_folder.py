"""A data folder in all its forms, and one sentence for each that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trialigngr.catalog.data_folder import open_data_folder, read_items, scan_interactions
from trialigngr.catalog.dataset import load_dataset
from trialigngr.catalog.fingerprint import fingerprint_data
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.foundation.errors import CatalogError

ITEMS: dict[str, list[Any]] = {"item_id": ["a", "b"], "title": ["Apple", "Bread"]}
LOG: dict[str, list[Any]] = {"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"], "timestamp": [1, 2, 3]}
Write = Callable[[pl.DataFrame, Path], None]


def write_jsonl(table: pl.DataFrame, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.iter_rows(named=True)), encoding="utf-8")


WRITERS: dict[str, Write] = {"parquet": pl.DataFrame.write_parquet, "csv": pl.DataFrame.write_csv, "jsonl": write_jsonl}


def folder(
    root: Path, items: dict[str, Any] = ITEMS, log: dict[str, Any] = LOG, suffix: str = "parquet", **schema: Any
) -> Path:
    root.mkdir(exist_ok=True)
    WRITERS[suffix](pl.DataFrame(items, strict=False), root / f"items.{suffix}")
    WRITERS[suffix](pl.DataFrame(log, strict=False, schema_overrides=schema), root / f"interactions.{suffix}")
    return root


def run(data: Path, **settings: Any) -> dict[str, Any]:
    out = data.with_name(f"{data.name}-out")
    return prepare_catalog(CatalogSettings(**{"k_core": 0, **settings}), data, out)


def made(data: Path) -> Any:
    return load_dataset(data.with_name(f"{data.name}-out"))


def refuse(data: Path, sentence: str, **settings: Any) -> None:
    out = data.with_name(f"{data.name}-out")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*")}
    with pytest.raises(CatalogError, match=sentence) as caught:
        run(data, **settings)
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*")} == before


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_three_forms_are_one(tmp_path: Path, suffix: str) -> None:
    data = folder(tmp_path / "data", suffix=suffix)
    run(data)
    dataset = made(data)
    assert [item.title for item in dataset.catalog] == ["Apple", "Bread"]
    assert dataset.histories.user_ids == ["u", "v"]
    assert dataset.histories.user_sequence(0).tolist() == [0, 1]
    assert dataset.catalog.root == data


@pytest.mark.parametrize("suffix", WRITERS)
def test_ids_are_text_as_written(tmp_path: Path, suffix: str) -> None:
    items = {"item_id": ["007", "7"], "title": ["Bond", "Seven"]}
    log = {"user_id": ["01", "01"], "item_id": ["7", "007"], "timestamp": [1, 2]}
    data = folder(tmp_path / "data", items, log, suffix)
    run(data)
    assert made(data).catalog.item_ids == ["007", "7"]
    assert made(data).histories.user_sequence(0).tolist() == [1, 0]


def test_ids_may_be_numbers_in_one_file_and_floats_in_the_other(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {"item_id": [1, 2]}, {**LOG, "item_id": [2.0, 1.0, 2.0]})
    run(data)
    assert made(data).catalog.item_ids == ["1", "2"]


def test_text_is_stripped_and_empty_text_is_null(tmp_path: Path) -> None:
    items = {
        "item_id": ["a", "b"],
        "title": ["  Apple ", "\t"],
        "description": [float("nan"), float("nan")],
        "brand": [None, ""],
        "color": ["red", ""],
        "price": [float("nan"), 2.0],
    }
    facts = run(folder(tmp_path / "data", items))
    first, second = made(tmp_path / "data").catalog
    assert (first.title, first.description, first.brand) == ("Apple", None, None)
    assert (second.title, second.description, second.brand) == (None, None, None)
    assert second.attributes["price"] == 2.0
    assert facts["without"]["title"] == 1
    assert facts["without"]["description"] == 2


def test_text_in_lists_is_joined_and_numbers_are_text(tmp_path: Path) -> None:
    items = {"item_id": ["a", "b"], "title": [2001, 1984], "description": [["One.", "Two."], []]}
    run(folder(tmp_path / "data", items))
    first, second = made(tmp_path / "data").catalog
    assert (first.title, first.description) == ("2001", "One. Two.")
    assert second.description is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([["Food", " Fruit "], ["", None]], [("Food", "Fruit"), ()]),
        (["Food|Fruit > Red", "Food > Bread"], [("Food", "Fruit > Red"), ("Food", "Bread")]),
        (["Food", None], [("Food",), ()]),
        ([None, None], [(), ()]),
        ([[], []], [(), ()]),
    ],
)
def test_categories(tmp_path: Path, given: list[Any], wanted: list[tuple[str, ...]]) -> None:
    run(folder(tmp_path / "data", {**ITEMS, "categories": given}))
    assert [item.categories for item in made(tmp_path / "data").catalog] == wanted


def test_other_columns_are_attributes(tmp_path: Path) -> None:
    run(folder(tmp_path / "data", {**ITEMS, "letter_sid": ["<a_1>", "<a_2>"]}))
    assert made(tmp_path / "data").catalog[1].attributes == {"letter_sid": "<a_2>"}


def test_column_map(tmp_path: Path) -> None:
    items = {"asin": ["a", "b"], "title": ["Apple", "Bread"]}
    log = {"reviewer": ["u", "u", "v"], "asin": ["a", "b", "a"], "timestamp": [1, 2, 3]}
    run(folder(tmp_path / "data", items, log), column_map={"asin": "item_id", "reviewer": "user_id"})
    assert made(tmp_path / "data").catalog.item_ids == ["a", "b"]


def test_column_map_of_nothing_or_onto_another(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {**ITEMS, "name": ["x", "y"]})
    refuse(data, "maps 'nam', but no file .* Did you mean 'name'", column_map={"nam": "title"})
    refuse(data, "two columns would be 'title'", column_map={"name": "title"})


def test_missing_columns_say_what_is_there_and_how_to_map(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {"itemId": ["a"], "title": ["Apple"]})
    refuse(data, r"no column 'item_id'; it has itemId, title\..*--set catalog\.column_map\.itemId=item_id")
    data = folder(tmp_path / "data", log={"user_id": ["u"], "item_id": ["a"]})
    refuse(data, "no column 'timestamp' or 'position'; it has user_id, item_id")
    data = folder(tmp_path / "data", log={"item_id": ["a"], "timestamp": [1]})
    refuse(data, r"no column 'user_id'; it has item_id, timestamp\..*=user_id")
    refuse(folder(tmp_path / "data"), "no column 'rating'", min_rating=3.0)


def test_no_folder_no_file_two_files(tmp_path: Path) -> None:
    refuse(tmp_path / "no", "There is no data folder")
    data = folder(tmp_path / "data")
    (data / "items.parquet").rename(data / "item.parquet")
    refuse(data, r"holds no items file .*Did you mean 'item\.parquet'")
    folder(data)
    (data / "items.csv").write_text("item_id\na\n")
    refuse(data, r"holds items\.parquet and items\.csv; leave one")


def test_duplicate_item_ids(tmp_path: Path) -> None:
    refuse(folder(tmp_path / "data", {"item_id": ["a", "b", "a"]}), r"1 item ids occur more than once; first: \['a'\]")


def test_null_ids_are_refused_or_dropped(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {"item_id": ["a", "", "b", None]})
    refuse(data, "2 rows have no item_id.*--set catalog.incomplete_rows=drop")
    assert run(data, incomplete_rows="drop")["dropped"]["items_without_id"] == 2
    times = [1.0, 2.0, 3.0, float("nan")]
    log = {"user_id": ["u", None, "u", "u"], "item_id": ["a", "a", "", "b"], "timestamp": times}
    data = folder(tmp_path / "data", log=log)
    refuse(data, "3 interactions lack one of user_id, item_id, timestamp.*--set catalog.incomplete_rows=drop")
    facts = run(data, incomplete_rows="drop")
    assert facts["dropped"]["interactions_incomplete"] == 3
    assert facts["loaded"] == {"users": 1, "items": 2, "interactions": 4}
    assert facts["kept"] == {"users": 1, "items": 1, "interactions": 1}


def test_unknown_items_are_refused_or_dropped(tmp_path: Path) -> None:
    log = {"user_id": ["u", "u", "u", "v"], "item_id": ["z", "a", "z", "y"], "timestamp": [1, 2, 3, 4]}
    data = folder(tmp_path / "data", log=log)
    refuse(data, r"3 interactions name items that are not in .*first: \['z', 'y'\].*catalog\.unknown_items=drop")
    facts = run(data, unknown_items="drop")
    assert facts["dropped"]["interactions_unknown_item"] == 3
    assert made(data).histories.user_ids == ["u"]


def test_non_utf8_csv_names_the_line(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", suffix="csv")
    (data / "items.csv").write_bytes("item_id,title\na,Apple\nb,Café\n".encode("latin-1"))
    refuse(data, r"items\.csv is not UTF-8 \(line 3\)")


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("items.parquet", b"PAR1 no", "cannot be read as parquet"),
        ("items.csv", b"", "cannot be read as csv"),
        ("items.csv", b"item_id,title\na,b,c\n", "cannot be read as csv"),
        ("items.jsonl", b'{"item_id": "a"}\n{"item_id":\n', "cannot be read as jsonl"),
        ("items.jsonl", b"", "cannot be read as jsonl"),
        ("items.csv", b"item_id,title\n", "is empty"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, body: bytes, sentence: str) -> None:
    data = folder(tmp_path / "data")
    (data / "items.parquet").unlink()
    (data / name).write_bytes(body)
    refuse(data, sentence)


def test_empty_log(tmp_path: Path) -> None:
    empty = {"user_id": [], "item_id": [], "timestamp": []}
    refuse(folder(tmp_path / "data", log=empty, suffix="csv"), "is empty: there is nothing to learn from")


def test_columns_of_the_wrong_type(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {**ITEMS, "title": [{"en": "x"}, {"en": "y"}]})
    refuse(data, r"column 'title' is of type Struct.*text is needed")
    data = folder(tmp_path / "data", {**ITEMS, "categories": [1, 2]})
    refuse(data, "column 'categories' is of type Int64")
    data = folder(tmp_path / "data", log={**LOG, "user_id": [[1], [2], [3]]})
    refuse(data, "column 'user_id' is of type List")
    data = folder(tmp_path / "data", log={**LOG, "timestamp": [True, False, True]})
    refuse(data, "column 'timestamp' is of type Boolean")


HOUR = 3_600_000_000
JULY = 1_404_172_800_000_000  # 2014-07-01 in microseconds


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["3", "1", " 2 "], [3, 1, 2]),
        (["3.5", "1e3", "2"], [3.5, 1000.0, 2.0]),
        (["2014-07-01", "2014-07-02", "2014-06-30"], [JULY, JULY + 24 * HOUR, JULY - 24 * HOUR]),
        (
            ["2014-07-01T01:00:00Z", "2014-07-01 01:00", "2014-07-01T01:00:00.5+02:00"],
            [JULY + HOUR, JULY + HOUR, JULY - HOUR + 500_000],
        ),
        ([date(2014, 7, 1), date(2014, 7, 2), date(2014, 7, 3)], [JULY, JULY + 24 * HOUR, JULY + 48 * HOUR]),
        ([datetime(2014, 7, 1, 1), datetime(2014, 7, 1), datetime(2014, 7, 1)], [JULY + HOUR, JULY, JULY]),
    ],
)
def test_timestamps_in_all_their_forms(tmp_path: Path, given: list[Any], wanted: list[float]) -> None:
    data = folder(tmp_path / "data", log={**LOG, "timestamp": given})
    log = scan_interactions(open_data_folder(data), with_rating=False).collect()
    assert log["timestamp"].to_list() == wanted


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["1", "yesterday", "3"], "timestamp 'yesterday' is neither a number nor an ISO date"),
        (["2014-07-01", "2014-13-01", "2014-07-02"], "timestamp '2014-13-01' is neither"),
        (["2014-07-01", "13", "2014-07-02"], "timestamp mixes numbers and dates"),
        (["01/07/2014", "02/07/2014", "03/07/2014"], "timestamp '01/07/2014' is neither"),
    ],
)
def test_timestamps_that_are_none(tmp_path: Path, given: list[str], sentence: str) -> None:
    refuse(folder(tmp_path / "data", log={**LOG, "timestamp": given}), sentence)


def test_rating_filter(tmp_path: Path) -> None:
    log = {**LOG, "rating": ["5", "2.5", ""]}
    data = folder(tmp_path / "data", log=log, suffix="csv")
    assert run(data)["kept"]["interactions"] == 3
    facts = run(data, min_rating=3.0)
    assert facts["dropped"]["interactions_rated_low"] == 2
    refuse_all = folder(tmp_path / "low", log=log, suffix="csv")
    refuse(refuse_all, r"No interaction .* is left after the filters \(3 rated low\)", min_rating=6.0)
    text = folder(tmp_path / "text", log={**LOG, "rating": ["5", "good", "1"]})
    refuse(text, "rating 'good' is not a number", min_rating=1)


def picture_folder(tmp_path: Path, path: str) -> Path:
    data = folder(tmp_path / "data", {**ITEMS, "image_path": ["images/a.jpg", path]})
    (data / "images").mkdir()
    (data / "images" / "a.jpg").write_bytes(b"jpeg")
    return data


def test_items_whose_picture_is_missing_stay(tmp_path: Path) -> None:
    facts = run(picture_folder(tmp_path, "images/none.jpg"))
    catalog = made(tmp_path / "data").catalog
    assert facts["missing_images"] == 1
    assert facts["without"]["image_path"] == 1
    assert catalog.image_file(0) == tmp_path / "data" / "images" / "a.jpg"
    assert catalog.image_file(1) is None


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "images/../../x.jpg", "..", "", "images/\0a.jpg"])
def test_image_path_stays_inside(tmp_path: Path, path: str) -> None:
    data = picture_folder(tmp_path, path)
    if path == "":
        assert run(data)["without"]["image_path"] == 1
    else:
        refuse(data, "of item 'b' leads out of .*inside the data folder")


def test_links_out_of_the_folder_are_refused_and_links_inside_are_fine(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    data = picture_folder(tmp_path, "images/b.jpg")
    (data / "images" / "b.jpg").symlink_to(secret)
    refuse(data, "'images/b.jpg' of item 'b' leads out of")
    (data / "images" / "b.jpg").unlink()
    (data / "images" / "b.jpg").symlink_to(data / "images" / "a.jpg")
    run(data)
    assert made(data).catalog.image_file(1) is not None


def test_a_linked_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    data = picture_folder(tmp_path, "elsewhere/b.jpg")
    (tmp_path / "b.jpg").write_bytes(b"b")
    (data / "elsewhere").symlink_to(tmp_path)
    refuse(data, "'elsewhere/b.jpg' of item 'b' leads out of")


def test_a_data_folder_reached_through_a_link_is_itself(tmp_path: Path) -> None:
    data = picture_folder(tmp_path, "images/a.jpg")
    (tmp_path / "link").symlink_to(data)
    assert run(tmp_path / "link")["missing_images"] == 0


def test_fingerprint_follows_tables_and_named_pictures(tmp_path: Path) -> None:
    data = picture_folder(tmp_path, "images/b.jpg")
    seen = [fingerprint_data(data)]
    (data / "notes.txt").write_text("not ours")
    assert fingerprint_data(data) == seen[0]
    (data / "images" / "b.jpg").write_bytes(b"b")
    seen.append(fingerprint_data(data))
    (data / "images" / "b.jpg").write_bytes(b"bb")
    seen.append(fingerprint_data(data))
    pl.DataFrame({**LOG, "timestamp": [1, 2, 4]}).write_parquet(data / "interactions.parquet")
    seen.append(fingerprint_data(data))
    pl.DataFrame({**ITEMS, "title": ["Apple", "Rye"]}).write_parquet(data / "items.parquet")
    seen.append(fingerprint_data(data))
    assert len(set(seen)) == 5
    assert fingerprint_data(data) == seen[-1]


def test_items_keep_the_order_of_their_file(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {"item_id": ["z", "m", "a"], "title": ["Z", None, "A"]})
    assert read_items(data / "items.parquet", {})["item_id"].to_list() == ["z", "m", "a"]
