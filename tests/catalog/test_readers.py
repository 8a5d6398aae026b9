"""Each reader on small files of the exact form the field publishes, made here; and what happens to broken ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from trialigngr.catalog.prepare import CatalogSettings, load_dataset, prepare
from trialigngr.catalog.readers import READERS, import_data
from trialigngr.foundation.errors import CatalogError

REVIEWS_2014 = [
    {
        "reviewerID": "A1",
        "asin": "B1",
        "reviewerName": "x",
        "helpful": [0, 0],
        "reviewText": "good",
        "overall": 5.0,
        "summary": "s",
        "unixReviewTime": 1405209600,
        "reviewTime": "07 13, 2014",
    },
    {"reviewerID": "A2", "asin": "B2", "overall": 2.0, "unixReviewTime": 1405209601},
    {"reviewerID": "A2", "asin": "B9", "overall": 3.0, "unixReviewTime": 1405209602},
]
META_2014 = [
    {
        "asin": "B1",
        "title": "Nail Polish &amp; Remover",
        "price": 12.99,
        "imUrl": "http://images/1.jpg",
        "brand": "OPI",
        "categories": [["Beauty", "Makeup", "Nails"], ["Beauty", "Gifts"]],
        "description": "It's  red.\n",
        "salesRank": {"Beauty": 7},
    },
    {"asin": "B2", "categories": [["Beauty"]]},
]


def write_gz(path: Path, lines: list[str]) -> Path:
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    return path


def amazon2014(folder: Path, literal: bool) -> Path:
    folder.mkdir()
    write_gz(folder / "reviews_Beauty_5.json.gz", [json.dumps(review) for review in REVIEWS_2014])
    write_gz(folder / "meta_Beauty.json.gz", [repr(meta) if literal else json.dumps(meta) for meta in META_2014])
    return folder


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


def movielens_latest(folder: Path) -> Path:
    (folder / "ratings.csv").write_bytes(
        b"userId,movieId,rating,timestamp\r\n1,1,4.0,964982703\r\n1,11,4.5,964981247\r\n"
    )
    films = (
        'movieId,title,genres\n1,Toy Story (1995),Adventure|Children\n11,"American President, The (1995)",Drama\n'
        "7,Les Misérables (1995),(no genres listed)\n"
    )
    (folder / "movies.csv").write_text(films, encoding="utf-8")
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n11,0112346,\n", encoding="utf-8")
    (folder / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,1,pixar,1139045764\n", encoding="utf-8")
    return folder


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
    prepare(CatalogSettings(k_core=0), tmp_path / "out", tmp_path)
    dataset = load_dataset(tmp_path)
    assert [dataset.catalog.ids[row] for row in dataset.histories.sequence(0)] == ["b", "a", "c"]


def test_recbole_films_have_spaced_genres_and_movie_titles(tmp_path: Path) -> None:
    (tmp_path / "ml.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n1\t1\t5\n")
    (tmp_path / "ml.item").write_text(
        "item_id:token\tmovie_title:token_seq\tyear:token\tclass:token_seq\n1\tToy Story\t1995\tAnimation Comedy\n"
    )
    import_data("recbole", tmp_path, tmp_path / "out")
    items, _ = tables(tmp_path / "out")
    assert items.rows() == [("1", "Toy Story", "1995", ["Animation", "Comedy"])]


def lcrec(folder: Path) -> Path:
    (folder / "Shop.inter.json").write_text(json.dumps({"0": [0, 2, 1], "1": [2]}))
    features = {
        "title": "Strings",
        "description": " Nickel. ",
        "brand": "D'Addario",
        "categories": "Music,Guitar, Strings",
    }
    (folder / "Shop.item.json").write_text(json.dumps({"0": features, "1": {"title": "", "categories": ""}}))
    (folder / "Shop.index.json").write_text(json.dumps({"0": ["<a_1>", "<b_2>"], "1": ["<a_1>", "<b_3>"]}))
    return folder


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
    prepare(CatalogSettings(k_core=0), tmp_path / "out", tmp_path)
    dataset = load_dataset(tmp_path)
    assert dataset.catalog[0].attributes == {"sid": "<a_1><b_2>"}
    assert dataset.histories.sequence(0).tolist() == [0, 2, 1]


def refuse(format: str, source: Path, sentence: str) -> None:
    out = source.parent / "refused" if source.is_file() else source / "refused"
    with pytest.raises(CatalogError, match=sentence):
        import_data(format, source, out)
    assert not out.exists()
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".refused")]


def test_unknown_format(tmp_path: Path) -> None:
    refuse("movielense", tmp_path, "Did you mean 'movielens'")


@pytest.mark.parametrize("format", READERS)
def test_missing_source_and_empty_folder(tmp_path: Path, format: str) -> None:
    with pytest.raises(CatalogError, match="to import"):
        import_data(format, tmp_path / "nowhere", tmp_path / "out")
    refuse(format, tmp_path, "holds no|no reviews file|no MovieLens folder")


def test_amazon_without_meta(tmp_path: Path) -> None:
    source = amazon2014(tmp_path / "source", literal=False)
    (source / "meta_Beauty.json.gz").unlink()
    refuse("amazon2014", source, r"needs meta_Beauty\.json\.gz beside it")


def test_amazon_with_two_reviews_files(tmp_path: Path) -> None:
    source = amazon2014(tmp_path / "source", literal=False)
    write_gz(source / "reviews_Sports_5.json.gz", [])
    refuse("amazon2014", source, "name one of them")


def test_malformed_amazon_line_is_named(tmp_path: Path) -> None:
    source = amazon2014(tmp_path / "source", literal=False)
    lines = [json.dumps(REVIEWS_2014[0]), '{"reviewerID": "A1", "asin":']
    write_gz(source / "reviews_Beauty_5.json.gz", lines)
    refuse("amazon2014", source, r"reviews_Beauty_5\.json\.gz, line 2: not a record")
    write_gz(source / "reviews_Beauty_5.json.gz", [lines[0], '{"reviewerID": "A1", "unixReviewTime": 3}'])
    refuse("amazon2014", source, r"line 2: no 'asin' in the record")
    write_gz(source / "reviews_Beauty_5.json.gz", [lines[0].replace("1405209600", "1e400")])
    refuse("amazon2014", source, r"line 1: not a record")


def test_truncated_gzip(tmp_path: Path) -> None:
    source = amazon2014(tmp_path / "source", literal=False)
    whole = (source / "meta_Beauty.json.gz").read_bytes()
    (source / "meta_Beauty.json.gz").write_bytes(whole[: len(whole) // 2])
    refuse("amazon2014", source, "cut off or damaged")
    (source / "meta_Beauty.json.gz").write_bytes(b"not gzip at all")
    refuse("amazon2014", source, "cut off or damaged")


def test_malformed_movielens(tmp_path: Path) -> None:
    movielens_latest(tmp_path)
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,1\n1,1,four,2\n")
    refuse("movielens", tmp_path, r"ratings\.csv, line 3: a field does not fit")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0\n")
    refuse("movielens", tmp_path, r"ratings\.csv, line 2: not 4 fields")
    (tmp_path / "ratings.csv").write_text("userId,rating,movieId,timestamp\n")
    refuse("movielens", tmp_path, r"ratings\.csv, line 1: the header is not")
    movielens_latest(tmp_path)
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Toy Story\n")
    refuse("movielens", tmp_path, r"movies\.csv, line 2: not 3 fields")
    (tmp_path / "movies.csv").unlink()
    refuse("movielens", tmp_path, r"movies\.csv is missing")


def test_empty_movielens_log(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_bytes(b"")
    (tmp_path / "movies.dat").write_bytes(b"")
    refuse("movielens", tmp_path, "is empty")


def test_malformed_recbole(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id\titem_id\nu\ti\n")
    refuse("recbole", tmp_path, "no typed header")
    (tmp_path / "x.inter").write_text("user_id:token\titem_id_list:token_seq\nu\ti j\n")
    refuse("recbole", tmp_path, "no field 'item_id'")
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\nu\ti\textra\n")
    refuse("recbole", tmp_path, r"x\.inter, line 2: not 2 fields")
    (tmp_path / "x.train.inter").write_text("")
    refuse("recbole", tmp_path, "leave one")


def test_malformed_lcrec(tmp_path: Path) -> None:
    lcrec(tmp_path)
    (tmp_path / "Shop.inter.json").write_text('{"0": [1],\n"1": [}')
    refuse("lcrec", tmp_path, r"Shop\.inter\.json, line 2: not JSON")
    (tmp_path / "Shop.inter.json").write_text('{"0": 3}')
    refuse("lcrec", tmp_path, "history of user '0' is not a list")
    lcrec(tmp_path)
    (tmp_path / "Shop.item.json").write_text('{"0": "Strings"}')
    refuse("lcrec", tmp_path, "item '0' is not an object")


def test_out_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    source, out = amazon2014(tmp_path / "source", literal=False), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(CatalogError, match="not empty"):
        import_data("amazon2014", source, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
