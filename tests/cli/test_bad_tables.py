"""Tables and pictures that are not as they should be: one sentence and exit code 2, or what is counted and told."""

from __future__ import annotations

import shlex
import struct
import zlib
from collections.abc import Callable

import polars as pl
import pytest
from PIL import Image

from tests.support.data_folder import Row, Shop, items, log, write
from tests.support.runs import tiny


def test_the_shop_is_good_before_it_is_spoiled(shop: Shop) -> None:
    done = shop.run()
    assert done.code == 0, done.err
    assert shop.facts()["kept"] == {"users": 6, "items": 6, "interactions": 36}


@pytest.mark.parametrize(
    ("column", "file"), [("item_id", "items"), ("user_id", "interactions"), ("timestamp", "interactions")]
)
def test_a_missing_column(shop: Shop, column: str, file: str) -> None:
    path = shop.data / f"{file}.parquet"
    pl.read_parquet(path).rename({column: "other"}).write_parquet(path)
    sentence = shop.refused()
    assert f"{file}.parquet has no column '{column}'" in sentence
    assert "--set catalog.column_map." in sentence


def test_the_column_map_that_the_sentence_names_mends_it(shop: Shop) -> None:
    path = shop.data / "interactions.parquet"
    pl.read_parquet(path).rename({"user_id": "reviewer"}).write_parquet(path)
    assert shop.run("--set", "catalog.column_map.reviewer=user_id").code == 0


@pytest.mark.parametrize("theirs", ["user id", "user.id"])
def test_the_sentence_mends_columns_with_a_blank_or_a_dot(shop: Shop, theirs: str) -> None:
    path = shop.data / "interactions.parquet"
    pl.read_parquet(path).rename({"user_id": theirs}).write_parquet(path)
    words = shlex.split(shop.refused().partition("Map it with ")[2].rstrip("."))
    assert shop.run(*words).code == 0


def test_a_feedback_column_is_told_and_its_advice_works(shop: Shop) -> None:
    write(shop.data, items(), [row | {"label": int(row["timestamp"] >= 10)} for row in log()])
    done = shop.run()
    assert "has a column 'label', which is not read: every row counts as taken" in done.err
    assert shop.facts()["kept"]["interactions"] == 36
    words = ["--set", "catalog.column_map.label=rating", "--set", "catalog.min_rating=1"]
    assert shop.run(*words).code == 0
    assert shop.facts()["kept"]["interactions"] == 30


@pytest.mark.parametrize(
    ("change", "split", "reason"),
    [
        (lambda row: row["timestamp"] < 20, "leave-last", "leave-last takes three interactions of a user"),
        (lambda row: True, "global-temporal", "the cuts of global-temporal fall on the same moment"),
    ],
)
def test_what_cannot_be_tested_is_refused_by_the_catalogue(
    shop: Shop, change: Callable[[Row], bool], split: str, reason: str
) -> None:
    rows = [row for row in log() if change(row)]
    if split == "global-temporal":
        rows = [row | {"timestamp": 1 if row["timestamp"] < 30 else 2} for row in rows]
    write(shop.data, items(), rows)
    sentence = shop.refused("--set", "catalog.k_core=0", "--set", f"catalog.split={split}")
    assert "No user has an item for validation" in sentence
    assert reason in sentence


def test_duplicate_item_ids(shop: Shop) -> None:
    write(shop.data, [*items(), *items(2)], log())
    assert "2 item ids occur more than once; first: ['i0', 'i1']" in shop.refused()


def test_interactions_with_unknown_items(shop: Shop) -> None:
    write(shop.data, items(5), log())
    sentence = shop.refused("--set", "catalog.k_core=0")
    assert "6 interactions name items that are not in" in sentence
    assert "--set catalog.unknown_items=drop" in sentence
    done = shop.run("--set", "catalog.k_core=0", "--set", "catalog.unknown_items=drop")
    assert "dropped 6 interactions unknown item" in done.err
    assert shop.facts()["dropped"]["interactions_unknown_item"] == 6


def test_empty_titles_are_counted_and_the_items_stay(shop: Shop) -> None:
    spoiled = [row | {"title": title} for row, title in zip(items(), ["", "  ", None, "\n", "D", "E"], strict=True)]
    write(shop.data, spoiled, log())
    done = shop.run()
    assert done.code == 0
    assert "items without title 4" in done.err
    assert shop.facts()["without"]["title"] == 4
    assert shop.facts()["kept"]["items"] == 6


@pytest.mark.parametrize("hole", [None, float("nan")])
@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
def test_nan_and_null_in_interactions(shop: Shop, column: str, hole: float | None) -> None:
    numbers = [
        {"user_id": float(row["user_id"][1]), "item_id": float(row["item_id"][1]), "timestamp": float(row["timestamp"])}
        for row in log()
    ]
    goods = [row | {"item_id": number} for number, row in enumerate(items())]
    write(shop.data, goods, [*numbers, numbers[0] | {column: hole}])
    assert "1 interactions lack one of user_id, item_id, timestamp" in shop.refused()
    assert shop.run("--set", "catalog.incomplete_rows=drop").code == 0
    assert shop.facts()["dropped"]["interactions_incomplete"] == 1
    assert shop.facts()["kept"]["interactions"] == 36


def test_items_without_an_id(shop: Shop) -> None:
    write(shop.data, [*items(), {"item_id": None, "title": "Nobody", "image_path": None}], log())
    assert "1 rows have no item_id" in shop.refused()
    assert shop.run("--set", "catalog.incomplete_rows=drop").code == 0
    assert shop.facts()["dropped"]["items_without_id"] == 1


def test_a_csv_that_is_not_utf8(shop: Shop) -> None:
    (shop.data / "items.parquet").unlink()
    rows = "".join(f"i{number},Caf\xe9 {number}\n" for number in range(6))
    (shop.data / "items.csv").write_bytes(f"item_id,title\n{rows}".encode("latin1"))
    sentence = shop.refused()
    assert "items.csv is not UTF-8 (line 2)" in sentence
    assert "iconv" in sentence


def bomb(side: int = 30_000) -> bytes:
    """Return a PNG of a few bytes that claims to be ``side`` × ``side``."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_pictures_that_cannot_be_used_are_counted_and_their_items_stay(shop: Shop) -> None:
    pictures = shop.data / "images"
    pictures.mkdir()
    Image.effect_noise((96, 96), 50).convert("RGB").save(pictures / "good.png")
    whole = (pictures / "good.png").read_bytes()
    (pictures / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "broken.png").write_bytes(b"this is no picture at all")
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "bomb.png").write_bytes(bomb())
    names = ["good", "truncated", "broken", "empty", "bomb", "missing"]
    spoiled = [row | {"image_path": f"images/{name}.png"} for row, name in zip(items(), names, strict=True)]
    write(shop.data, spoiled, log())
    done = shop.run(until="embeddings")
    assert done.code == 0, done.err
    assert "1 items name a picture file that is not there" in done.err
    assert shop.facts()["missing_images"] == 1
    assert sum(shop.facts("captions")["failed_images"].values()) == 4
    assert shop.facts("captions")["captions"] == 1
    captions = pl.read_parquet(shop.out / "captions" / "captions.parquet")
    assert captions.height == 6
    problems = dict(zip(names, captions["problem"], strict=True))
    assert problems["good"] is None
    assert None not in [problems[name] for name in names[1:5]]
    assert shop.facts("embeddings")["items"] == 6
    assert shop.facts("embeddings")["items_with_image"] == 1


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "images/../../x.png", "link.png", "away/x.png"])
def test_an_image_path_that_leaves_the_folder(shop: Shop, path: str) -> None:
    (shop.data.parent / "x.png").write_bytes(b"secret")
    (shop.data / "link.png").symlink_to("/etc/passwd")
    (shop.data / "away").symlink_to(shop.data.parent)
    first, *rest = items()
    write(shop.data, [first | {"image_path": path}, *rest], log())
    sentence = shop.refused()
    assert f"image_path {path!r} of item 'i0' leads out of" in sentence


def test_an_empty_log(shop: Shop) -> None:
    empty = pl.read_parquet(shop.data / "interactions.parquet").clear()
    empty.write_parquet(shop.data / "interactions.parquet")
    assert "interactions.parquet" in shop.refused()


def test_an_empty_catalogue(shop: Shop) -> None:
    pl.read_parquet(shop.data / "items.parquet").clear().write_parquet(shop.data / "items.parquet")
    assert "items.parquet is empty" in shop.refused()


@pytest.mark.parametrize("file", ["items", "interactions"])
@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing of use"])
def test_a_table_that_is_none(shop: Shop, file: str, content: bytes) -> None:
    (shop.data / f"{file}.parquet").write_bytes(content)
    assert f"{file}.parquet" in shop.refused()


def test_a_k_core_that_leaves_nothing(shop: Shop) -> None:
    sentence = shop.refused("--set", "catalog.k_core=7")
    assert "The 7-core of" in sentence
    assert "--set catalog.k_core=2" in sentence


def test_a_user_with_one_interaction_trains_and_is_not_tested(shop: Shop) -> None:
    write(shop.data, items(), [*log(), {"user_id": "once", "item_id": "i0", "timestamp": 99}])
    done = shop.run("--set", "catalog.k_core=0")
    assert done.code == 0
    assert "1 users are not tested" in done.err
    assert shop.facts()["split"]["users_not_tested"] == 1
    assert shop.facts()["kept"]["users"] == 7


def test_nobody_can_be_tested(shop: Shop) -> None:
    write(shop.data, items(), [row for row in log() if row["timestamp"] < 20])
    short = ["--set", "catalog.k_core=0", "--set", "captions.generator=none", "--set", "interests.generator=none"]
    sentence = shop.refused(*short, *tiny(), until="model")
    assert "three interactions" in sentence


def test_timestamps_as_text(shop: Shop) -> None:
    text = [
        row | {"timestamp": f"2024-05-{row['timestamp'] // 10 + 1:02d} 0{row['user_id'][1]}:00:00"} for row in log()
    ]
    write(shop.data, items(), text)
    assert shop.run().code == 0
    write(shop.data, items(), [*text, text[0] | {"timestamp": "the other day"}])
    shop.out = shop.out.with_name("another")
    sentence = shop.refused()
    assert "timestamp" in sentence
    assert "the other day" in sentence
