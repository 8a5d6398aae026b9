"""Data that lacks what the method feeds on: no titles, no pictures, only ids. It runs, and says what it leaves out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.support.commands import Done
from tests.support.runs import tiny
from trialigngr.embed.embeddings import load_texts
from trialigngr.runs.run import load

Cli = Callable[..., Done]


def spoiled(tiny_run: Path, folder: Path, *without: str) -> Path:
    """Return the tiny shop's data without pictures, and without some other columns of its items."""
    data = folder / "data"
    data.mkdir()
    items = pl.read_parquet(tiny_run / "shop" / "items.parquet")
    items.drop("image_path", *without).write_parquet(data / "items.parquet")
    pl.read_parquet(tiny_run / "shop" / "interactions.parquet").write_parquet(data / "interactions.parquet")
    return data


def run(cli: Cli, data: Path, out: Path, *words: str, **changes: Any) -> Done:
    done = cli("run", "trialigngr-demo", "--data", data, "--out", out, *tiny(train__max_steps=4, **changes), *words)
    assert done.code == 0, done.err
    return done


def left_out(done: Done) -> set[str]:
    return {line.split()[0] for line in done.err.splitlines() if " is left out: this catalogue has no " in line}


def test_nothing_but_ids(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    data = spoiled(tiny_run, tmp_path, "title", "description", "brand", "categories")
    done = run(cli, data, tmp_path / "run", interests__generator="none")
    assert left_out(done) == {"T1", "T2", "T4", "T5", "T6", "T7", "T8"}
    found = load(tmp_path / "run")
    assert list(found.read_stage_manifest("model").facts["examples"]) == ["sids_to_sid"]
    assert load_texts(tmp_path / "run" / "embeddings") == found.artifacts.catalog.item_ids
    best = found.recommend(["p0003"], k=2)
    assert [item.title for item in best] == [item.item_id for item in best]
    assert "p0003" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_no_titles(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    data = spoiled(tiny_run, tmp_path, "title")
    done = run(cli, data, tmp_path / "run")
    assert "items without title 59" in done.err
    found = load(tmp_path / "run")
    item = found.artifacts.catalog[0]
    assert item.display_name == f"{item.brand} {item.categories[-1]} {item.item_id}"
    assert load_texts(tmp_path / "run" / "embeddings")[0].startswith(item.display_name)


def test_no_pictures(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    done = run(cli, spoiled(tiny_run, tmp_path), tmp_path / "run")
    assert left_out(done) == {"T7", "T8"}
    found = load(tmp_path / "run")
    assert found.read_stage_manifest("captions").facts["captions"] == 0
    assert found.read_stage_manifest("embeddings").facts["items_with_image"] == 0
    assert len(found.read_stage_manifest("model").facts["examples"]) == 6
    assert np.isfinite(found.metrics["test"]["HR@10"]["value"])


def test_some_items_without_a_title_or_a_caption(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    data = spoiled(tiny_run, tmp_path, "description")
    shutil.copytree(tiny_run / "shop" / "images", data / "images")
    items = pl.read_parquet(tiny_run / "shop" / "items.parquet").drop("description")
    ends = pl.col("item_id").str.slice(-1)
    title = pl.when(ends.is_in(["1", "2"])).then(None).otherwise("title")
    picture = pl.when(ends == "3").then(None).otherwise("image_path")
    items.with_columns(title=title, image_path=picture).write_parquet(data / "items.parquet")
    done = run(cli, data, tmp_path / "run", interests__generator="none")
    found = load(tmp_path / "run")
    facts, examples = found.read_stage_manifest("model").facts, found.read_stage_manifest("model").facts["examples"]
    for view, least, most, task in (("title", 10, 12, "title_to_sid"), ("caption", 5, 6, "visual_to_sid")):
        without = facts[f"items_without_{view}"]
        assert least <= without <= most
        assert f"{without} items without a {view} are left out of the tasks that need one" in done.err
        assert examples[task] == len(found.artifacts.catalog) - without


def test_a_recipe_of_tasks_that_the_data_cannot_have(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    data = spoiled(tiny_run, tmp_path, "title")
    words = ["run", "trialigngr-demo", "--data", data, "--out", tmp_path / "run", *tiny(tasks__use=["T1", "T4"])]
    done = cli(*words, "--set", "interests.generator=none")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "Error: None of tasks.use is possible on this data; add sids_to_sid (T3), which needs SIDs alone."
    )
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("split", ["leave-last", "global-temporal"])
def test_splits(cli: Cli, tiny_run: Path, tmp_path: Path, split: str) -> None:
    changes: dict[str, Any] = {"catalog__split": split}
    if split == "leave-last":
        changes["catalog__leave_last_n"] = 2
    data = spoiled(tiny_run, tmp_path)
    run(cli, data, tmp_path / "run", interests__generator="none", **changes)
    found = load(tmp_path / "run").metrics["protocol"]
    assert found["split"] == ("leave-last-2" if split == "leave-last" else "global-temporal")
    assert found["test_targets"] > found["test_users"]
