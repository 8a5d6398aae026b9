"""Sources that are missing, cut off or malformed: a sentence that names file and line, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.sources import REVIEWS_2014, amazon2014, lcrec, movielens_latest, write_gz
from trialigngr.datasets.readers.registry import READERS, import_data
from trialigngr.foundation.errors import CatalogError


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
