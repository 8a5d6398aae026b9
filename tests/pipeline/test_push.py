"""A run on a hub: what goes up recommends the same, what is private stays, and names are not taken twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from huggingface_hub import constants
from huggingface_hub.repocard_data import model_index_to_eval_results

from tests.support.data_folder import Cli, the_sentence
from tests.support.hub import Hub, hub_server
from tests.support.runs import HISTORY
from trialigngr.foundation.errors import ArgumentError, ArtifactError
from trialigngr.pipeline.push import push_run
from trialigngr.runs import hub_runs
from trialigngr.runs.run import load


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    with hub_server() as one:
        monkeypatch.setenv("HF_ENDPOINT", one.url)
        yield one


def test_a_pushed_run_recommends_the_same_and_knows_nobody(tiny_run: Path, hub: Hub) -> None:
    mine = load(tiny_run)
    assert push_run(mine, "me/shop", license_name="apache-2.0", private=True) == "hf://me/shop"
    assert hub.private == {"me/shop"}
    theirs = load("hf://me/shop")
    assert theirs.recommend(HISTORY, k=5) == mine.recommend(HISTORY, k=5)
    assert [one.item_id for one in theirs.recommend([], k=5)] == [one.item_id for one in mine.recommend([], k=5)]
    assert theirs.search_items("a mug", k=2) == mine.search_items("a mug", k=2)
    users = mine.artifacts.histories.user_ids
    assert theirs.artifacts.histories.user_ids == ["everybody"]
    whole = b"".join(hub.repos["me/shop"].values())
    tables = [pl.read_parquet(path) for path in theirs.folder.rglob("*.parquet")]
    texts = {text for table in tables for column in table.select(pl.col(pl.String)).iter_columns() for text in column}
    assert {"p0003", "everybody"} <= texts
    assert not texts & set(users)
    assert str(tiny_run).encode() not in whole
    assert str(Path.home()).encode() not in whole
    assert theirs.artifacts.catalog.table["image_path"].is_null().all()
    assert {Path(path).suffix for path in hub.repos["me/shop"]} <= {*hub_runs.SUFFIXES, ".gitattributes", ""}


def test_the_card_is_one_that_the_hub_reads(tiny_run: Path, hub: Hub) -> None:
    run = load(tiny_run)
    push_run(run, "me/shop", license_name="apache-2.0")
    front = hub.repos["me/shop"]["README.md"].decode().split("---\n")[1]
    card = yaml.safe_load(front)
    assert (card["license"], card["library_name"]) == ("apache-2.0", "transformers")
    assert "base_model" not in card  # from scratch
    name, results = model_index_to_eval_results(card["model-index"])
    found = {one.metric_type: one.metric_value for one in results}
    assert (name, found["HR@10"]) == ("me/shop", run.metrics["test"]["HR@10"]["value"])
    assert "80 users" in results[0].dataset_name


def test_a_name_that_exists_is_replaced_when_told_to(tiny_run: Path, hub: Hub, cli: Cli) -> None:
    hub.repos["me/shop"] = {"old.txt": b"old"}
    with pytest.raises(ArgumentError, match=r"has me/shop already; take another name, or say --replace"):
        push_run(load(tiny_run), "me/shop")
    assert hub.repos["me/shop"] == {"old.txt": b"old"}
    done = cli("push", tiny_run, "me/shop", "--replace", "--with-users")
    assert (done.code, done.out) == (0, "hf://me/shop\n"), done.err
    assert "old.txt" not in hub.repos["me/shop"]
    user = load(tiny_run).artifacts.histories.user_ids[0]
    done = cli("recommend", "hf://me/shop", "--user", user, "-k", "3")
    assert done.out == cli("recommend", tiny_run, "--user", user, "-k", "3").out


def test_it_is_downloaded_once(tiny_run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    push_run(load(tiny_run), "me/shop")
    first = load("hf://me/shop").folder
    asked = len([path for path in hub.asked if "resolve" in path])
    assert load("hf://me/shop").folder == first
    assert len([path for path in hub.asked if "resolve" in path]) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load("hf://me/shop").folder == first


def test_what_cannot_be_loaded_is_one_sentence(hub: Hub, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hf://me/none cannot be loaded: " in the_sentence(cli("recommend", "hf://me/none", "--history", "a"))
    hub.repos["me/other"] = {"config.json": b"{}", "model.bin": b"pickle"}
    with pytest.raises(ArtifactError, match=r"hf://me/other is not a run: it has no recipe\.toml"):
        load("hf://me/other")
    monkeypatch.setattr(hub_runs, "MAX_BYTES", 3)
    with pytest.raises(ArtifactError, match=r"holds 0\.0 GB; a pushed run holds at most 0"):
        load("hf://me/other")
    with pytest.raises(ArgumentError, match="hf://shop is no address of a run"):
        load("hf://shop")


def test_what_is_no_plain_file_is_not_pushed(copied_run: Path, hub: Hub) -> None:
    run = load(copied_run)
    shutil.rmtree(copied_run / "evaluation")
    with pytest.raises(ArtifactError, match="evaluation"):
        push_run(run, "me/shop")
    assert hub.repos == {}
