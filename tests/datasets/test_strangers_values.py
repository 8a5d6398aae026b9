"""Values that strangers' files hold: null ids, lists as text, half characters, HTML, what was not taken, doubles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.sources import lcrec, movielens_latest
from trialigngr.catalog.data_folder import read_items
from trialigngr.catalog.listed import read_list
from trialigngr.datasets.readers.markup import plain_text
from trialigngr.datasets.readers.registry import import_data
from trialigngr.foundation.errors import CatalogError


def amazon(folder: Path, year: str, reviews: list[Any], items: list[Any]) -> Path:
    """Write a dump; a text stands for its line as it is."""
    ending = "jsonl" if year == "amazon2023" else "json"
    for name, rows in (("A", reviews), ("meta_A", items)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{name}.{ending}").write_text("".join(line + "\n" for line in lines))
    return folder


def review(year: str, user: Any = "u", item: Any = "p") -> dict[str, Any]:
    if year == "amazon2023":
        return {"user_id": user, "parent_asin": item, "timestamp": 1, "rating": 5}
    return {"reviewerID": user, "asin": item, "unixReviewTime": 1, "overall": 5}


def item(year: str, item_id: Any = "p", **fields: Any) -> dict[str, Any]:
    return {"parent_asin" if year == "amazon2023" else "asin": item_id, **fields}


def imported(format: str, source: Path) -> list[dict[str, Any]]:
    out = source / "out"
    import_data(format, source, out)
    return pl.read_parquet(out / "items.parquet").to_dicts()


def refused(format: str, source: Path, sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence) as caught:
        import_data(format, source, source / "out")
    assert "\n" not in str(caught.value)


YEARS = ["amazon2014", "amazon2018", "amazon2023"]


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "is null"), ("", "is empty"), (["a"], r"is \"\['a'\]\""), (True, "is 'True'"), ("a\ud83d", "half a char")],
)
def test_ids_that_are_none_in_amazon(tmp_path: Path, year: str, given: Any, said: str) -> None:
    for user, product in ((given, "p"), ("u", given)):
        amazon(tmp_path, year, [review(year), review(year, user, product)], [item(year)])
        refused(year, tmp_path, rf"A\.jsonl?, line 2: .*{said}")
    amazon(tmp_path, year, [review(year)], [item(year), item(year, given)])
    refused(year, tmp_path, rf"meta_A\.jsonl?, line 2: .*{said}")


def test_ids_that_are_whole_floats_are_those_whole_numbers(tmp_path: Path) -> None:
    amazon(tmp_path, "amazon2018", [review("amazon2018", 7.0, 3)], [item("amazon2018", 3.0, title="t")])
    assert [row["title"] for row in imported("amazon2018", tmp_path)] == ["t"]
    assert pl.read_parquet(tmp_path / "out" / "interactions.parquet")["user_id"].to_list() == ["7"]


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([1, None, 2], "in the history of user 'u', an item is null"),
        ([[1, 2], [3]], r"in the history of user 'u', an item is '\[1, 2\]'"),
        ([{"id": 1}], "in the history of user 'u', an item is"),
    ],
)
def test_histories_of_lcrec_that_are_none(tmp_path: Path, history: Any, said: str) -> None:
    (lcrec(tmp_path) / "Shop.inter.json").write_text(f'{{"v": [1],\n"u": {json.dumps(history)}}}')
    refused("lcrec", tmp_path, rf"Shop\.inter\.json, line 2: {said}")


@pytest.mark.parametrize("categories", [5, [1, 2], [["a"], ["b"]], {"a": 1}])
def test_categories_that_are_no_names(tmp_path: Path, categories: Any) -> None:
    amazon(tmp_path, "amazon2023", [review("amazon2023")], [item("amazon2023", categories=categories)])
    refused("amazon2023", tmp_path, r"line 1: not a record of this format \(categories are")
    (lcrec(tmp_path) / "Shop.item.json").write_text(json.dumps({"0": {"categories": categories}}))
    refused("lcrec", tmp_path, r"Shop\.item\.json, line 1: item '0' cannot be read: categories are")
    for path in tmp_path.glob("*.json"):
        path.unlink()
    amazon(tmp_path, "amazon2018", [review("amazon2018")], [item("amazon2018", category=categories)])
    refused("amazon2018", tmp_path, r"line 1: not a record of this format \(categories are")


def test_keys_that_stand_twice_in_importers(tmp_path: Path) -> None:
    twice = '{"asin": "p", "title": "a", "title": "b"}'
    for year in ("amazon2014", "amazon2018"):
        amazon(tmp_path, year, [review(year)], [twice])
        refused(year, tmp_path, r"meta_A\.json, line 1: .*'title' more than once")
    amazon(tmp_path, "amazon2014", [review("amazon2014")], [twice.replace('"', "'")])
    refused("amazon2014", tmp_path, r"meta_A\.json, line 1: .*'title' more than once")
    (lcrec(tmp_path) / "Shop.inter.json").write_text('{"7": [1], "7": [2]}')
    refused("lcrec", tmp_path, r"Shop\.inter\.json .*'7' more than once")


def test_items_that_stand_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for year in ("amazon2014", "amazon2023"):
        amazon(tmp_path, year, [review(year)], [item(year, title="a"), item(year, title="b")])
        refused(year, tmp_path, r"meta_A\.jsonl?, line 2: the item 'p' stands here once more; leave")
    year = "amazon2018"
    amazon(tmp_path, year, [review(year)], [item(year, title="a"), item(year, title="b")])
    assert [row["title"] for row in imported(year, tmp_path)] == ["a"]
    assert "1 lines name an item once more; the first line of each item counts" in capsys.readouterr().err


def test_items_that_stand_twice_in_recbole_and_movielens(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\nu\ti1\n")
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token\ni1\tA\ni1\tB\n")
    refused("recbole", tmp_path, r"x\.item, line 3: the item 'i1' stands here once more")
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token\titem_id:token\ni1\tA\ti2\n")
    refused("recbole", tmp_path, r"x\.item, line 1: the field 'item_id' stands twice")
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token\ni1\tA\n\tB\n")
    refused("recbole", tmp_path, r"x\.item, line 3: an item without an id")
    with (movielens_latest(tmp_path) / "links.csv").open("a") as file:
        file.write("11,1,2\n")
    refused("movielens", tmp_path, r"links\.csv: film '11' stands more than once")
    with (movielens_latest(tmp_path) / "movies.csv").open("a") as file:
        file.write("11,Again,Drama\n")
    refused("movielens", tmp_path, r"movies\.csv, line 5: the item '11' stands here once more")


@pytest.mark.parametrize("line", ["\ti1\t1", "u\t\t1", "u\ti1\tsoon", "u\ti\x1f1\t1"])
def test_logs_with_fields_that_are_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.inter").write_text(f"user_id:token\titem_id:token\ttimestamp:float\nu\ti\t1\n{line}\n")
    refused("recbole", tmp_path, r"x\.inter, line 3: ")


def test_logs_that_are_not_utf8_keep_their_ids_apart(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_bytes(b"user_id:token\titem_id:token\nu\ti\ncaf\xe8\ti\ncaf\xe9\ti\n")
    refused("recbole", tmp_path, r"x\.inter, line 3: not UTF-8")
    (tmp_path / "x.inter").write_bytes(b"user_id:token\titem_id:token\nu\ti\xc3")
    refused("recbole", tmp_path, r"x\.inter, line 2: not UTF-8")


@pytest.mark.parametrize("field", ["label", "click", "is_click"])
def test_what_was_shown_and_not_taken_is_dropped_and_counted(
    tmp_path: Path, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    head = f"user_id:token\titem_id:token\t{field}:float\ttimestamp:float\tsource:token\n"
    (tmp_path / "mind.inter").write_text(head + "u1\tn1\t0\t1\ta\nu1\tn2\t1\t1\tb\nu1\tn3\t0.0\t2\tb\n")
    imported("recbole", tmp_path)
    log = pl.read_parquet(tmp_path / "out" / "interactions.parquet")
    assert log.to_dicts() == [{"user_id": "u1", "item_id": "n2", "timestamp": 1.0, "rating": 1.0}]
    told = capsys.readouterr().err
    assert f"dropped 2 lines with {field} 0: shown, and not taken" in told
    assert "not read are the fields source" in told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("['Home', 'Kitchen & Dining']", ["Home", "Kitchen & Dining"]),
        ('["Home", "Toys"]', ["Home", "Toys"]),
        ("['Home' 'Toys'\n \"It's\"]", ["Home", "Toys", "It's"]),
        ("('Home', 'Toys')", ["Home", "Toys"]),
        ("{'Home'}", ["Home"]),
        (r"['It\'s', None, 'caf\xe9']", ["It's", "café"]),
        (r'["a\/b \u00e9 \ud83d\ude00 \ud83d", null]', ["a/b é 😀 \ufffd"]),
        ("[]", []),
        ("[Blu-ray]", None),
        ("[1, 2]", None),
        ("['Home'] and more", None),
        ("[['Home'], ['Toys']]", None),
        ("Home", None),
    ],
)
def test_lists_that_were_written_as_text(text: str, parts: list[str] | None) -> None:
    assert read_list(text) == parts


def test_lists_as_text_in_a_table(tmp_path: Path) -> None:
    rows = {
        "item_id": ["a", "b", "c", "d"],
        "title": ["[Blu-ray]", "['x']", "t", "u"],
        "categories": ["['Home', 'A|B']", '["Home", "Toys"]', "[]", "Home|[Sale]"],
        "description": ["['A fine', 'mug']", '["One.", ""]', "", "plain"],
    }
    pl.DataFrame(rows).write_csv(tmp_path / "items.csv")
    items = read_items(tmp_path / "items.csv", {})
    assert items["categories"].to_list() == [["Home", "A|B"], ["Home", "Toys"], None, ["Home", "[Sale]"]]
    assert items["description"].to_list() == ["A fine mug", "One.", None, "plain"]
    assert items["title"].to_list() == ["[Blu-ray]", "x", "t", "u"]


@pytest.mark.parametrize("given", ["[['Home'], ['Toys']]", "[1, 2]", "[3]"])
def test_text_that_is_no_list_of_names(tmp_path: Path, given: str) -> None:
    pl.DataFrame({"item_id": ["a"], "categories": [given]}).write_csv(tmp_path / "items.csv")
    with pytest.raises(CatalogError, match=r"items\.csv, line 2: categories .* is no list of names"):
        read_items(tmp_path / "items.csv", {})


def test_categories_that_are_floats_are_not_dropped(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["a", "b"], "categories": [12.0, None]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(CatalogError, match=r"categories '12.0' is no list of names"):
        read_items(tmp_path / "items.parquet", {})


def jsonl(folder: Path, *lines: str) -> pl.DataFrame:
    (folder / "items.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return read_items(folder / "items.jsonl", {})


def test_lists_beside_texts_in_jsonl(tmp_path: Path) -> None:
    items = jsonl(
        tmp_path,
        '{"item_id": "a", "description": ["A fine", "mug"], "categories": ["Home", "Mugs"]}',
        '{"item_id": "b", "description": "", "categories": ""}',
        '{"item_id": "c", "description": "plain", "categories": "Home|Toys"}',
        '{"item_id": "d", "description": null, "categories": []}',
    )
    assert items["categories"].to_list() == [["Home", "Mugs"], None, ["Home", "Toys"], None]
    assert items["description"].to_list() == ["A fine mug", None, "plain", None]


def test_half_characters_and_nuls_in_jsonl_are_shown_as_such(tmp_path: Path) -> None:
    items = jsonl(
        tmp_path,
        r'{"item_id": "a", "title": "cut \ud83d", "categories": ["x\ud83d", "\\ud83d"]}',
        r'{"item_id": "b", "title": "\ude00 \uD83D\uDE00 \u0000x", "description": "a\u0000b"}',
    )
    assert items["title"].to_list() == ["cut \ufffd", "\ufffd 😀 \ufffdx"]
    assert items["description"].to_list() == [None, "a\ufffdb"]
    assert items["categories"].to_list()[0] == ["x\ufffd", "\\ud83d"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"item_id": "b", "title": "x", "title": "y"}', "'title' more than once"),
        ('{"item_id": "b", "size": {"x": 1, "x": 2}}', "'x' more than once"),
        ('{"item_id": "b", "price": NaN}', "NaN is no JSON; write null"),
        ('{"item_id": "b", "price": -Infinity}', "-Infinity is no JSON"),
        ('{"item_id": "b"} {"item_id": "c"}', "Extra data"),
        ('["b"]', "one JSON object a line, not a list"),
        ('{"item_id": "b"', "Expecting"),
    ],
)
def test_lines_of_jsonl_that_are_none(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(CatalogError, match=rf"items\.jsonl cannot be read as jsonl, line 3: .*{said}"):
        jsonl(tmp_path, '{"item_id": "a"}', "", line)


def test_a_byte_order_mark_before_jsonl(tmp_path: Path) -> None:
    assert jsonl(tmp_path, '\ufeff{"item_id": "a"}', '{"item_id": "b"}')["item_id"].to_list() == ["a", "b"]


@pytest.mark.parametrize("year", YEARS)
def test_half_characters_in_amazon(tmp_path: Path, year: str) -> None:
    amazon(tmp_path, year, [review(year)], [item(year, title="cut \ud83d", description=["a\ude00", "😀"])])
    (row,) = imported(year, tmp_path)
    assert (row["title"], row["description"]) == ("cut \ufffd", "a\ufffd 😀")


def test_half_characters_in_python_literals(tmp_path: Path) -> None:
    line = r"{'asin': 'p', 'title': 'cut \ud83d', 'description': '\ud83d\ude00'}"
    amazon(tmp_path, "amazon2014", [review("amazon2014")], [line])
    (row,) = imported("amazon2014", tmp_path)
    assert (row["title"], row["description"]) == ("cut \ufffd", "😀")


def test_half_characters_in_lcrec(tmp_path: Path) -> None:
    features = r'{"0": {"title": "cut \ud83d", "categories": "a\ud83d,b"}}'
    (lcrec(tmp_path) / "Shop.item.json").write_text(features)
    row = imported("lcrec", tmp_path)[0]
    assert (row["title"], row["categories"]) == ("cut \ufffd", ["a\ufffd", "b"])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("One.<br>Two.<P class='x'>Three", "One. Two. Three"),
        ("<b>super</b>man &amp; <i>co</i>", "superman & co"),
        ('<a href="http://x?a=1&amp;b=2" target=_top>link</a>', "link"),
        ("&lt;b&gt;bold&lt;/b&gt;&nbsp;text", "bold text"),
        ("<script>if (a<b) {}</script>seen<style>p {}</style>", "seen"),
        ("<!-- <b>not</b> -->seen --> too", "seen --> too"),
        ("I <3 <Untitled>, 5 &lt; 6, a<b and c>d", "I <3 <Untitled>, 5 < 6, a<b and c>d"),
    ],
)
def test_html_as_text(text: str, plain: str) -> None:
    assert " ".join(plain_text(text).split()) == plain


def test_html_in_amazon(tmp_path: Path) -> None:
    fields = {"category": ["Home", '<span class="a">Kitchen &amp; Dining</span>', "</span></b>"]}
    year = "amazon2018"
    amazon(tmp_path, year, [review(year)], [item(year, description=["A<br>mug", ""], **fields)])
    (row,) = imported(year, tmp_path)
    assert (row["description"], row["categories"]) == ("A mug", ["Home", "Kitchen & Dining"])


@pytest.mark.parametrize(
    ("images", "url"),
    [
        ({"hi_res": [None, "h2"], "large": ["l1", "l2"], "thumb": ["t1", "t2"], "variant": ["MAIN", "PT01"]}, "l1"),
        ({"hi_res": ["h1"], "large": ["l1"], "thumb": []}, "h1"),
        ({"large": "l1"}, "l1"),
        ([{"hi_res": None, "large": "l1", "variant": "MAIN"}, {"hi_res": "h2"}], "l1"),
        ({}, None),
        (None, None),
    ],
)
def test_pictures_of_amazon2023(tmp_path: Path, images: Any, url: str | None) -> None:
    amazon(tmp_path, "amazon2023", [review("amazon2023")], [item("amazon2023", images=images)])
    assert imported("amazon2023", tmp_path)[0]["image_url"] == url
