"""Every kind of bad input, as it is typed: one sentence and exit code 2, or the documented handling, counted."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from tests.conftest import Done, tiny

Cli = Callable[..., Done]
Row = dict[str, Any]


def items(n: int = 6) -> list[Row]:
    return [{"item_id": f"i{number}", "title": f"Item {number}", "image_path": None} for number in range(n)]


def log(n: int = 6, users: int = 6) -> list[Row]:
    return [
        {"user_id": f"u{user}", "item_id": f"i{(user + step) % n}", "timestamp": 10 * step + user}
        for user in range(users)
        for step in range(n)
    ]


def write(root: Path, the_items: list[Row], the_log: list[Row]) -> Path:
    root.mkdir(exist_ok=True)
    pl.DataFrame(the_items, infer_schema_length=None, schema_overrides={"image_path": pl.String}).write_parquet(
        root / "items.parquet"
    )
    pl.DataFrame(the_log, infer_schema_length=None).write_parquet(root / "interactions.parquet")
    return root


class Shop:
    """A data folder and a run folder beside each other, and the command that makes one from the other."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.data, self.out = cli, folder / "data", folder / "run"

    def run(self, *words: str | Path, until: str = "catalog") -> Done:
        return self.cli("run", "trialigngr-demo", "--data", self.data, "--out", self.out, "--until", until, *words)

    def refused(self, *words: str | Path, until: str = "catalog") -> str:
        """Run, expect a refusal that leaves nothing behind, and return the sentence."""
        done = self.run(*words, until=until)
        sentence = the_sentence(done)
        assert not (self.out / until).exists()
        assert not (self.out / "metrics.json").exists()
        return sentence

    def facts(self, stage: str = "catalog") -> dict[str, Any]:
        return dict(json.loads((self.out / stage / "manifest.json").read_text("utf-8"))["facts"])


def the_sentence(done: Done) -> str:
    """Return what follows ``Error:``, the last and only line of its kind."""
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    complaints = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert len(complaints) == 1
    assert done.err.endswith(complaints[0] + "\n")
    assert complaints[0].endswith((".", "?"))
    return complaints[0]


@pytest.fixture
def shop(cli: Cli, tmp_path: Path) -> Shop:
    made = Shop(cli, tmp_path)
    write(made.data, items(), log())
    return made


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
    assert "--set catalog.columns." in sentence


def test_the_column_map_that_the_sentence_names_mends_it(shop: Shop) -> None:
    path = shop.data / "interactions.parquet"
    pl.read_parquet(path).rename({"user_id": "reviewer"}).write_parquet(path)
    assert shop.run("--set", "catalog.columns.reviewer=user_id").code == 0


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
    assert shop.run("--set", "catalog.incomplete=drop").code == 0
    assert shop.facts()["dropped"]["interactions_incomplete"] == 1
    assert shop.facts()["kept"]["interactions"] == 36


def test_items_without_an_id(shop: Shop) -> None:
    write(shop.data, [*items(), {"item_id": None, "title": "Nobody", "image_path": None}], log())
    assert "1 rows have no item_id" in shop.refused()
    assert shop.run("--set", "catalog.incomplete=drop").code == 0
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
    assert shop.facts()["pictures_missing"] == 1
    assert sum(shop.facts("captions")["failed_pictures"].values()) == 4
    assert shop.facts("captions")["captions"] == 1
    captions = pl.read_parquet(shop.out / "captions" / "captions.parquet")
    assert captions.height == 6
    problems = dict(zip(names, captions["problem"], strict=True))
    assert problems["good"] is None
    assert None not in [problems[name] for name in names[1:5]]
    assert shop.facts("embeddings")["items"] == 6
    assert shop.facts("embeddings")["with_picture"] == 1


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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("catalog.kcore=3", "there is no setting 'catalog.kcore'. Did you mean 'k_core'?"),
        ("tasks.use=['T9']", "There is no task 'T9'"),
        ("tasks.use=['T1']", "no task that recommends SIDs"),
        ("tasks.weights.T33=1", "There is no task 'T33'"),
    ],
)
def test_a_recipe_that_does_not_fit_is_told_before_anything_is_made(shop: Shop, change: str, sentence: str) -> None:
    assert sentence in shop.refused("--set", change, until="evaluation")
    assert not shop.out.exists()


def test_an_unknown_recipe_key_in_a_file(shop: Shop, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "mine.toml").write_text('extends = "trialigngr-demo"\n[train]\nlearnin_rate = 1\n')
    done = cli("run", tmp_path / "mine.toml", "--data", shop.data, "--out", shop.out)
    assert "mine.toml: there is no setting 'train.learnin_rate'. Did you mean 'learning_rate'?" in the_sentence(done)
    assert not shop.out.exists()


@pytest.mark.parametrize(
    ("change", "stage", "sentence"),
    [
        ("captions.generator=masured", "captions", "Did you mean 'measured'?"),
        ("interests.generator=lexikon", "interests", "Did you mean 'lexicon'?"),
        ("embeddings.encoder=packed", "embeddings", "packaged"),
    ],
)
def test_a_generator_that_there_is_not(shop: Shop, change: str, stage: str, sentence: str) -> None:
    assert sentence in shop.refused("--set", "captions.generator=none", "--set", change, until=stage)


def test_no_data_folder(shop: Shop, cli: Cli) -> None:
    shop.data = shop.data / "nowhere"
    assert "There is no data folder" in shop.refused()
    assert not shop.out.exists()


def test_out_is_a_file(shop: Shop) -> None:
    shop.out.write_text("mine")
    assert "is a file" in the_sentence(shop.run())
    assert shop.out.read_text() == "mine"


def test_out_lies_below_a_file(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    shop.out = tmp_path / "file" / "run"
    assert "Not a directory" in the_sentence(shop.run())


def test_out_is_somebody_else_s_folder(shop: Shop) -> None:
    (shop.out / "model").mkdir(parents=True)
    (shop.out / "model" / "thesis.txt").write_text("ten years")
    assert "not a run" in the_sentence(shop.run())
    assert (shop.out / "model" / "thesis.txt").exists()


def test_a_folder_in_a_run_that_is_no_stage_is_not_replaced(shop: Shop) -> None:
    assert shop.run().code == 0
    (shop.out / "captions").mkdir()
    (shop.out / "captions" / "thesis.txt").write_text("ten years")
    assert "in the way" in the_sentence(shop.run(until="captions"))
    assert (shop.out / "captions" / "thesis.txt").exists()


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    out.mkdir(exist_ok=True)
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_two_processes_on_one_run(shop: Shop) -> None:
    with writing(shop.out):
        assert "Another process is writing to" in shop.refused()
    assert shop.run().code == 0


def edit_manifest(stage: Path, **changes: Any) -> None:
    path = stage / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize("changes", [{"version": 99}, {"version": 0}, {"version": 99, "new_field": "of the future"}])
def test_a_run_of_another_format_version(cli: Cli, copied_run: Path, changes: dict[str, Any]) -> None:
    for stage in ("sids", "model"):
        edit_manifest(copied_run / stage, **changes)
    before = {path: path.read_bytes() for path in copied_run.rglob("*") if path.is_file()}
    for words in (
        ["run", "trialigngr-demo", "--out", copied_run, *tiny()],
        ["recommend", copied_run, "--history", "p0003"],
        ["report", copied_run],
        ["plan", "trialigngr-demo", "--out", copied_run],
    ):
        done = cli(*words)
        complaint = [line for line in done.err.splitlines() if line.startswith("Error: ")]
        assert (done.code, len(complaint)) == (2, 1)
        assert f"format version {changes['version']}, this is version 1" in complaint[0]
    assert {path: path.read_bytes() for path in copied_run.rglob("*") if path.is_file()} == before


def test_a_manifest_that_is_none(cli: Cli, copied_run: Path) -> None:
    (copied_run / "sids" / "manifest.json").write_text("[]")
    sentence = the_sentence(cli("run", "trialigngr-demo", "--out", copied_run, *tiny()))
    assert "cannot be read as a manifest" in sentence


def test_a_run_that_is_none(cli: Cli, tmp_path: Path) -> None:
    for words in (["recommend", tmp_path, "--history", "p0003"], ["evaluate", tmp_path], ["report", tmp_path]):
        assert "is not a run" in the_sentence(cli(*words))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(shop: Shop, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in the_sentence(shop.run())
    finally:
        tmp_path.chmod(0o700)
