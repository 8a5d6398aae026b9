"""Small sources of the exact form the field publishes, made here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

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
