"""Encoder–decoder generators in a run: stages, a row, an answer, and items that were appended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.commands import Done
from tests.support.runs import HISTORY, linked, new_items, tiny
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.pipeline.add_items import append_items
from trialigngr.runs.run import load

SMALL = {"num_layers": 1, "hidden_size": 16, "ffn_size": 16, "num_heads": 1, "epochs": 1}


def small(system: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a small generator, as `tiny` takes them."""
    return {f"{system}__{name}": value for name, value in (SMALL | changes).items()}


def test_a_run_trains_tiger_beside_the_generator_and_it_knows_new_items(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]
) -> None:
    run = linked(tiny_run, tmp_path / "run")
    done = cli(
        "run", "trialigngr-demo", "--out", run, *tiny(evaluate__systems=["popularity", "tiger"], **small("tiger"))
    )
    assert (done.code, "model: unchanged, kept" in done.err, "tiger: done in" in done.err) == (0, True, True), done.err
    opened = load(run)
    assert list(opened.metrics["baselines"]) == ["popularity", "tiger"]
    assert set(opened.read_stage_manifest("tiger").parents) == {"catalog", "sids"}
    assert "TIGER" in (run / "report.html").read_text("utf-8")
    first = opened.artifacts.catalog.item_ids[0]
    known = opened.recommend([first], k=500, system="tiger")
    append_items(run, new_items(run, tmp_path / "new", 3))
    assert opened.refresh_catalog()
    grown = opened.recommend([first], k=500, system="tiger")
    new = {item.item_id for item in grown} - {item.item_id for item in known}
    assert len(new) == 3
    assert opened.recommend([new.pop()], k=3, system="tiger").history_used != ()
    said = cli("recommend", run, "--history", first, "--system", "tiger", "-k", 3)
    assert (said.code, len(said.out.splitlines())) == (0, 3), said.err


def test_letter_has_sids_of_its_own_that_know_who_takes_what(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]
) -> None:
    run = linked(tiny_run, tmp_path / "run")
    own = small("letter", codebook_sizes=[6, 6, 6, 6]) | {"sids__letter__epochs": 2, "sasrec__epochs": 1}
    words = ("trialigngr-demo", "--out", run, *tiny(evaluate__systems=["letter"], **own))
    assert "letter_sids  to do" in cli("plan", *words).out
    done = cli("run", *words)
    assert (done.code, "sids: unchanged, kept" in done.err, "model: unchanged, kept" in done.err) == (0, True, True)
    opened = load(run)
    assert set(opened.read_stage_manifest("letter").parents) == {"catalog", "letter_sids"}
    assert set(opened.read_stage_manifest("letter_sids").parents) == {"embeddings", "sasrec"}
    assert opened.artifacts.load_sids("letter_sids").codebook_sizes == (6, 6, 6, 6)
    assert "LETTER" in (run / "report.html").read_text("utf-8")
    first = opened.artifacts.catalog.item_ids[0]
    assert opened.recommend([first], k=3, system="letter").num_beams == 20
    append_items(run, new_items(run, tmp_path / "new", 2))
    assert opened.refresh_catalog()
    asked = opened.recommend(["new_" + first, first], k=500, system="letter")
    assert [dropped.reason for dropped in asked.dropped] == ["unknown"]
    assert not any(item.item_id.startswith("new_") for item in asked)
    again = cli("run", *words, "--set", "letter.temperature=1.0")
    assert ("letter_sids: unchanged, kept" in again.err, "letter: done in" in again.err) == (True, True), again.err


def write_data(shop: Path, to: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    """Write a copy of a data folder with other items."""
    shutil.copytree(shop, to, copy_function=os.link, ignore=shutil.ignore_patterns("items.parquet"))
    items = pl.read_parquet(shop / "items.parquet")
    change(items).write_parquet(to / "items.parquet")
    return to


def list_stages(run: Path) -> set[str]:
    """Return the stages that stand in a run."""
    return {path.parent.name for path in run.glob("*/manifest.json")}


def test_letter_heads_a_table_without_a_language_model(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]
) -> None:
    run = tmp_path / "run"
    own = small("letter", codebook_sizes=[8, 9]) | {"sids__letter__epochs": 2, "sasrec__epochs": 1}
    words = ("--data", tiny_run / "shop", "--out", run, *tiny(evaluate__systems=["popularity"], **own))
    assert "model" not in cli("plan", "trialigngr-demo+letter", *words).out
    done = cli("run", "trialigngr-demo+letter", *words)
    assert done.code == 0, done.err
    stages = {"catalog", "captions", "interests", "embeddings", "sasrec", "letter_sids", "letter", "popularity"}
    assert list_stages(run) == stages | {"evaluation"}
    opened = load(run)
    assert set(opened.metrics["lists"]) == {"letter", "popularity"}
    assert opened.metrics["test_sid"]["HR@10"]["value"] >= opened.metrics["test"]["HR@10"]["value"]
    assert opened.metrics["sids"]["codebook_sizes"] == [8, 9]
    first = opened.artifacts.catalog.item_ids[0]
    (best,) = opened.recommend([first], k=1)
    assert (best.source, best.sid[:3]) == ("letter", "<a_")
    assert "LETTER" in (run / "report.html").read_text("utf-8")
    assert cli("recommend", run, "--history", first, "-k", 2).code == 0
    beside = cli("evaluate", run, tiny_run)
    assert beside.code == 0, beside.err
    assert {"run", "tiny", "popularity"} <= {line.split()[0] for line in beside.out.splitlines() if line}
    with pytest.raises(RecipeError, match="letter has SIDs of its own"):
        append_items(run, new_items(tiny_run, tmp_path / "new", 1))
    with pytest.raises(ArtifactError, match="model"):
        opened.search_items("red", k=1)


def test_etegrec_publishes_the_sids_that_it_learned(tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]) -> None:
    run = tmp_path / "run"
    own = small("etegrec", codebook_sizes=[6, 6], epochs=3, finish_epochs=1, pretrain_epochs=2) | {"sasrec__epochs": 1}
    words = ("--data", tiny_run / "shop", "--out", run, *tiny(evaluate__systems=["popularity"], **own))
    done = cli("run", "trialigngr-demo+etegrec", *words)
    assert done.code == 0, done.err
    assert list_stages(run) == {"catalog", "sasrec", "etegrec", "popularity", "evaluation"}
    opened = load(run)
    sids = opened.artifacts.load_sids("etegrec")
    assert (sids.codebook_sizes, opened.metrics["sids"]["codebook_sizes"]) == ((6, 6, 256), [6, 6, 256])
    first = opened.artifacts.catalog.item_ids[0]
    (best,) = opened.recommend([first], k=1)
    assert best.sid == sids.sid_text(sids.item_ids.index(best.item_id))
    again = cli("run", "trialigngr-demo+etegrec", *words)
    assert "etegrec: unchanged, kept" in again.err


def test_tiger_at_the_head_knows_new_items(tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]) -> None:
    run = tmp_path / "run"
    own = small("tiger") | {"sids__codebook_sizes": [8, 8], "sids__held_out_ratio": 0}
    words = tiny(**(own | {"evaluate__systems": ["popularity"]}))
    done = cli("run", "trialigngr-demo+tiger", "--data", tiny_run / "shop", "--out", run, *words)
    assert done.code == 0, done.err
    assert not (run / "model").exists()
    assert load(run).artifacts.sids.num_levels == 3
    append_items(run, new_items(tiny_run, tmp_path / "new", 2))
    assert sum(item.item_id.startswith("new_") for item in load(run).recommend(HISTORY, k=500)) == 2


def test_macrec_on_pictures_that_some_items_lack(tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]) -> None:
    some = pl.int_range(pl.len()) < 5
    data = write_data(
        tiny_run / "shop",
        tmp_path / "data",
        lambda items: items.with_columns(image_path=pl.when(~some).then(pl.col("image_path"))),
    )
    own = small("macrec", codebook_sizes=[8, 8, 8]) | {"sids__macrec__epochs": 2}
    run, words = tmp_path / "run", tiny(evaluate__systems=["macrec_mixture", "macrec_text", "macrec_image"], **own)
    done = cli("run", "trialigngr-demo+macrec", "--data", data, "--out", run, *words)
    assert done.code == 0, done.err
    opened = load(run)
    lacking = opened.artifacts.catalog.table["image_path"].null_count()
    assert opened.read_stage_manifest("macrec").facts["items_without_picture"] == lacking > 0
    assert opened.metrics["test_sid"] == {}
    assert list(opened.metrics["lists"]) == ["macrec", "macrec_mixture", "macrec_text", "macrec_image"]
    assert "MACRec, pictures alone" in (run / "report.html").read_text("utf-8")
    text, images = (opened.artifacts.load_sids(stage) for stage in ("macrec_sids", "macrec_sids/images"))
    assert len(images) == len(text) - lacking

    def add_columns(items: pl.DataFrame) -> pl.DataFrame:
        for name, sids in (("text_sid_llama", text), ("image_sid_vit", images)):
            found = {item: sids.sid_text(row).upper() for row, item in enumerate(sids.item_ids)}
            items = items.with_columns(pl.col("item_id").replace_strict(found, default=None).alias(name))
        return items.drop("title", "description", "brand", "categories", "image_path").drop_nulls("text_sid_llama")

    data = write_data(tiny_run / "shop", tmp_path / "named", add_columns)
    words = [*words, "--set", "catalog.unknown_items=drop"]
    done = cli("run", "trialigngr-demo+macrec-published", "--data", data, "--out", tmp_path / "published", *words)
    assert done.code == 0, done.err
    systems = {"macrec", "macrec_mixture", "macrec_text", "macrec_image"}
    assert list_stages(tmp_path / "published") == {"catalog", "macrec_sids", "evaluation", *systems}
    again = load(tmp_path / "published")
    assert again.artifacts.load_sids("macrec_sids").item_ids == text.item_ids
    assert again.read_stage_manifest("macrec").facts["items_without_picture"] == lacking
    wrong = cli(
        "run",
        "trialigngr-demo+macrec-published",
        "--data",
        data,
        "--out",
        tmp_path / "wrong",
        *words,
        "--set",
        """sids.published.columns=["text_sid"]""",
    )
    assert (wrong.code, "no column 'text_sid'" in wrong.err) == (2, True)
    assert list_stages(tmp_path / "wrong") == {"catalog"}


def test_macrec_without_pictures_is_one_sentence(tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]) -> None:
    data = write_data(tiny_run / "shop", tmp_path / "data", lambda items: items.drop("image_path"))
    done = cli("run", "trialigngr-demo+macrec", "--data", data, "--out", tmp_path / "run", *tiny())
    assert (done.code, "macrec pairs text with pictures, and no item has one" in done.err) == (2, True), done.err
    assert list_stages(tmp_path / "run") == {"catalog"}
