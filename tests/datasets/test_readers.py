"""Each reader on small files of the exact form the field publishes."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.support.sources import amazon2014, lcrec, movielens_latest, write_gz
from trialigngr.catalog.dataset import load_dataset
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.datasets.readers.registry import import_data
from trialigngr.foundation.errors import CatalogError


def tables(out: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.read_parquet(out / "items.parquet"), pl.read_parquet(out / "interactions.parquet")


@pytest.mark.parametrize("literal", [True, False], ids=["python literals", "json"])
@pytest.mark.parametrize("by_file", [True, False], ids=["file", "folder"])
def test_amazon2014(tmp_path: Path, literal: bool, by_file: bool) -> None:
    source = amazon2014(tmp_path / "source", literal)
    counts = import_data("amazon2014", source / "reviews_Beauty_5.json.gz" if by_file else source, tmp_path / "out")
    items, log = tables(tmp_path / "out")
    assert counts == {"users": 2, "items": 3, "items_known_by_id_only": 1, "interactions": 3}
    assert items.row(0, named=True) == {
        "item_id": "B1",
        "title": "Nail Polish & Remover",
        "description": "It's red.",
        "brand": "OPI",
        "categories": ["Beauty", "Makeup", "Nails"],
        "image_url": "http://images/1.jpg",
        "price": 12.99,
    }
    assert items["item_id"].to_list() == ["B1", "B2", "B9"]
    assert items.row(2, named=True)["title"] is None
    assert log.rows() == [
        ("A1", "B1", 1405209600, 5.0),
        ("A2", "B2", 1405209601, 2.0),
        ("A2", "B9", 1405209602, 3.0),
    ]


def test_literals_are_read_never_run(tmp_path: Path) -> None:
    source = amazon2014(tmp_path / "source", literal=True)
    trap = tmp_path / "sprung"
    write_gz(source / "meta_Beauty.json.gz", [f"{{'asin': __import__('pathlib').Path({str(trap)!r}).touch()}}"])
    with pytest.raises(CatalogError, match=r"meta_Beauty\.json\.gz, line 1: not a record"):
        import_data("amazon2014", source, tmp_path / "out")
    assert not trap.exists()


def test_amazon2018(tmp_path: Path) -> None:
    reviews = [
        {
            "overall": 5.0,
            "verified": True,
            "reviewTime": "09 1, 2016",
            "reviewerID": "A1",
            "asin": "B1",
            "style": {"Size:": " 7.0 oz"},
            "unixReviewTime": 1472688000,
        }
    ]
    meta = {
        "category": ["Luxury Beauty", "Skin Care &amp; More"],
        "tech1": "",
        "description": ["One.", "", "Two."],
        "title": "Cream",
        "image": ["https://thumb/1._SX38_.jpg"],
        "imageURLHighRes": ["https://big/1.jpg"],
        "brand": "Acme",
        "feature": [],
        "rank": "2,938,573 in Beauty",
        "price": "$1,034.50",
        "asin": "B1",
    }
    broken = {"asin": "B2", "title": "var aPageStart = (new Date()).getTime();", "price": "$1.00 - $2.00", "image": []}
    write_gz(tmp_path / "Luxury_Beauty_5.json.gz", [json.dumps(review) for review in reviews])
    write_gz(tmp_path / "meta_Luxury_Beauty.json.gz", [json.dumps(row) for row in (meta, broken, meta)])
    import_data("amazon2018", tmp_path / "Luxury_Beauty_5.json.gz", tmp_path / "out")
    items, log = tables(tmp_path / "out")
    assert items.rows() == [
        ("B1", "Cream", "One. Two.", "Acme", ["Luxury Beauty", "Skin Care & More"], "https://big/1.jpg", 1034.5),
        ("B2", None, None, None, [], None, None),
    ]
    assert log.rows() == [("A1", "B1", 1472688000, 5.0)]


def test_amazon2023(tmp_path: Path) -> None:
    review = {
        "rating": 4.0,
        "title": "fine",
        "text": "…",
        "images": [],
        "asin": "B1-RED",
        "parent_asin": "B1",
        "user_id": "AE2",
        "timestamp": 1588687728923,
        "helpful_vote": 0,
        "verified_purchase": True,
    }
    meta = {
        "main_category": "All Beauty",
        "title": "Spray",
        "average_rating": 4.8,
        "rating_number": 10,
        "features": [],
        "description": ["Sea salt."],
        "price": None,
        "images": [{"thumb": "t", "large": "l", "variant": "MAIN", "hi_res": None}],
        "videos": [],
        "store": "Howard",
        "categories": [],
        "details": {"Brand": "Howard"},
        "parent_asin": "B1",
        "bought_together": None,
    }
    write_gz(tmp_path / "All_Beauty.jsonl.gz", [json.dumps(review)])
    write_gz(tmp_path / "meta_All_Beauty.jsonl.gz", [json.dumps(meta)])
    import_data("amazon2023", tmp_path, tmp_path / "out")
    items, log = tables(tmp_path / "out")
    assert items.rows() == [("B1", "Spray", "Sea salt.", "Howard", [], "l", None)]
    assert log.rows() == [("AE2", "B1", 1588687728923, 4.0)]


def test_movielens_latest(tmp_path: Path) -> None:
    import_data("movielens", movielens_latest(tmp_path), tmp_path / "out")
    items, log = tables(tmp_path / "out")
    assert items.rows() == [
        ("1", "Toy Story (1995)", ["Adventure", "Children"], "0114709", "862"),
        ("11", "American President, The (1995)", ["Drama"], "0112346", None),
        ("7", "Les Misérables (1995)", [], None, None),
    ]
    assert log.rows() == [("1", "1", 4.0, 964982703), ("1", "11", 4.5, 964981247)]


def test_movielens_100k(tmp_path: Path) -> None:
    flags = ["0"] * 19
    flags[3] = flags[5] = "1"
    film = f"2|Les Misérables (1995)|01-Jan-1995||http://us.imdb.com/M/x|{'|'.join(flags)}\n"
    (tmp_path / "u.item").write_bytes(film.encode("latin-1"))
    (tmp_path / "u.data").write_bytes(b"196\t2\t3\t881250949\n")
    import_data("movielens", tmp_path, tmp_path / "out")
    items, log = tables(tmp_path / "out")
    assert items.rows() == [("2", "Les Misérables (1995)", ["Animation", "Comedy"], "01-Jan-1995")]
    assert log.rows() == [("196", "2", 3.0, 881250949)]


def test_movielens_1m(tmp_path: Path) -> None:
    (tmp_path / "movies.dat").write_bytes("1::Misérables, Les (1995)::Drama|Musical\n".encode("latin-1"))
    (tmp_path / "ratings.dat").write_bytes(b"1::1::5::978300760\n2::1::3::978302109\n")
    import_data("movielens", tmp_path, tmp_path / "out")
    items, log = tables(tmp_path / "out")
    assert items.rows() == [("1", "Misérables, Les (1995)", ["Drama", "Musical"])]
    assert log.rows() == [("1", "1", 5.0, 978300760), ("2", "1", 3.0, 978302109)]


def test_recbole(tmp_path: Path) -> None:
    (tmp_path / "shop.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t3\t881250949.0\n"
    )
    (tmp_path / "shop.item").write_text(
        "item_id:token\ttitle:token_seq\tcategories:token_seq\tprice:float\tvector:float_seq\tclass:token_seq\n"
        "i1\tA red hat\t'Clothing, Shoes & Jewelry', \"Women's\"\t9.5\t0.5 -1\ta b\n"
        "i2\t\tFood, Coffee\t\t\t\n"
    )
    import_data("recbole", tmp_path, tmp_path / "out")
    items, log = tables(tmp_path / "out")
    assert items["categories"].to_list() == [["Clothing, Shoes & Jewelry", "Women's"], ["Food", "Coffee"]]
    assert items.row(0, named=True)["title"] == "A red hat"
    assert items["price"].to_list() == [9.5, None]
    assert items["vector"].to_list()[0] == [0.5, -1.0]
    assert log.rows() == [("u1", "i1", 881250949.0, 3.0)]


def test_recbole_without_time_and_items_keeps_the_file_order(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\nu\tb\nu\ta\nu\tc\n")
    import_data("recbole", tmp_path, tmp_path / "out")
    prepare_catalog(CatalogSettings(k_core=0), tmp_path / "out", tmp_path)
    dataset = load_dataset(tmp_path)
    assert [dataset.catalog.item_ids[row] for row in dataset.histories.user_sequence(0)] == ["b", "a", "c"]


def test_recbole_films_have_spaced_genres_and_movie_titles(tmp_path: Path) -> None:
    (tmp_path / "ml.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n1\t1\t5\n")
    (tmp_path / "ml.item").write_text(
        "item_id:token\tmovie_title:token_seq\tyear:token\tclass:token_seq\n1\tToy Story\t1995\tAnimation Comedy\n"
    )
    import_data("recbole", tmp_path, tmp_path / "out")
    items, _ = tables(tmp_path / "out")
    assert items.rows() == [("1", "Toy Story", "1995", ["Animation", "Comedy"])]


def test_lcrec(tmp_path: Path) -> None:
    import_data("lcrec", lcrec(tmp_path), tmp_path / "out")
    items, log = tables(tmp_path / "out")
    assert items.rows() == [
        ("0", "Strings", "Nickel.", "D'Addario", ["Music", "Guitar", "Strings"], "<a_1><b_2>"),
        ("1", None, None, None, [], "<a_1><b_3>"),
        ("2", None, None, None, None, None),
    ]
    assert log.rows() == [("0", "0", 0), ("0", "2", 1), ("0", "1", 2), ("1", "2", 0)]


def test_what_is_imported_prepares(tmp_path: Path) -> None:
    import_data("lcrec", lcrec(tmp_path), tmp_path / "out")
    prepare_catalog(CatalogSettings(k_core=0), tmp_path / "out", tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.catalog[0].attributes == {"sid": "<a_1><b_2>"}
    assert dataset.histories.user_sequence(0).tolist() == [0, 2, 1]
