"""A finished run grows: new items are recommended by its model, published SIDs never move, withdrawn items are gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.servers.chat import MODEL, Script, chat_server, stats
from tests.support.commands import Done
from tests.support.runs import new_items, tiny
from trialigngr.embed.collaborative import compute_collaborative_vectors
from trialigngr.embed.embeddings import COLLABORATIVE, FUSION_FILE, load_embeddings
from trialigngr.embed.fusion import Fusion, l2_normalize
from trialigngr.foundation.artifact import read_manifest, write_manifest
from trialigngr.pipeline import add_items
from trialigngr.runs.run import load
from trialigngr.sequential.network import load_item_vectors

Cli = Callable[..., Done]
OPENAI = f'generator = "openai"\nmodel = "{MODEL}"'
LOCAL = "http://localhost:8000/v1"
HISTORY = ["p0003", "p0017"]


def published(run: Path) -> dict[str, str]:
    table = pl.read_parquet(run / "sids.parquet")
    return dict(zip(table["item_id"], table["sid"], strict=True))


def ids(run: Path, k: int = 500) -> list[str]:
    return [item.item_id for item in load(run).recommend(HISTORY, k)]


def by_parent(found: list[str], sids: dict[str, str]) -> dict[str, list[str]]:
    """Return the items that have SIDs in the order of a list, by all codes but the last."""
    families: dict[str, list[str]] = {}
    for item_id in found:
        if item_id in sids:
            families.setdefault(sids[item_id].rsplit("<", 1)[0], []).append(item_id)
    return families


def test_appended_items_are_recommended_and_nothing_published_moves(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    before, measured = published(copied_run), (copied_run / "metrics.json").read_text()
    recommended = by_parent(ids(copied_run), before)
    done = cli("sids", "append", copied_run, new_items(copied_run, tmp_path / "new", 7))
    assert done.code == 0
    assert "7 items added" in done.out
    assert "Fidelity" in done.out
    after = published(copied_run)
    assert {item_id: after[item_id] for item_id in before} == before
    assert len(set(after.values())) == len(after) == len(before) + 7
    # p0000 … p0006 have twins now, whose SIDs lie near by; the model writes them without having been trained again
    found = ids(copied_run)
    assert {item_id for item_id in found if item_id.startswith("new_")} == set(after) - set(before)
    # They take a share of what their neighbours had; those with one parent in the trie stand as they stood.
    assert by_parent(found, before) == recommended
    assert sum(len(family) > 1 for family in recommended.values()) > 3
    assert load(copied_run).recommend(["new_p0001", "p0003"], 3)
    assert (copied_run / "metrics.json").read_text() == measured


def test_a_twin_stands_beside_the_item_it_is_a_twin_of(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    assert cli("sids", "append", copied_run, new_items(copied_run, tmp_path / "new", 7)).code == 0
    sids = {item_id: sid.split("<b_")[0] for item_id, sid in published(copied_run).items()}
    near = [sids[item_id] == sids[item_id.removeprefix("new_")] for item_id in sids if item_id.startswith("new_")]
    assert sum(near) >= 5, "same picture and almost the same text: the first code is the twin's"


def test_growing_twice_with_the_same_items_changes_nothing(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    folder = new_items(copied_run, tmp_path / "new", 3)
    first = cli("sids", "append", copied_run, folder)
    sids = published(copied_run)
    second = cli("sids", "append", copied_run, folder / "items.parquet")
    assert (second.code, second.out) == (0, first.out)
    assert published(copied_run) == sids


def test_a_broken_append_goes_on_to_the_same_sids(
    cli: Cli, copied_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, whole = new_items(copied_run, tmp_path / "new", 5), tmp_path / "whole"
    shutil.copytree(copied_run, whole)
    recommended = ids(copied_run)
    assert cli("sids", "append", whole, folder).code == 0

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(add_items, "write_embeddings", full)
        assert cli("sids", "append", copied_run, folder).code != 0
    assert len(published(copied_run)) == len(published(whole)) - 5, "a batch that is not whole is not there"
    assert ids(copied_run) == recommended
    assert cli("sids", "append", copied_run, folder).code == 0
    assert published(copied_run) == published(whole)


def test_withdrawn_items_are_gone_and_their_sids_stay_reserved(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    before = published(copied_run)
    gone = ids(copied_run)[:3]
    done = cli("sids", "remove", copied_run, *gone)
    assert f"3 items withdrawn, {len(before) - 3} are on offer; their SIDs are reserved" in done.out
    assert not set(gone) & set(ids(copied_run))
    assert not set(gone) & {item.item_id for item in load(copied_run).recommend([], 60)}
    assert set(before) - set(published(copied_run)) == set(gone)
    assert load(copied_run).recommend(gone, 3), "a history may name them"
    assert cli("sids", "append", copied_run, new_items(copied_run, tmp_path / "new", 20)).code == 0
    new = {sid for item_id, sid in published(copied_run).items() if item_id.startswith("new_")}
    assert not new & set(before.values())


def test_a_freed_sid_can_be_given_again(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    before = published(copied_run)
    assert "are free" in cli("sids", "remove", copied_run, "p0002", "--free-sids").out
    assert cli("sids", "append", copied_run, new_items(copied_run, tmp_path / "new", 5)).code == 0
    after = published(copied_run)
    assert after["new_p0002"] == before["p0002"], "the twin takes the nearest SID, and that is free now"
    assert "new_p0002" in ids(copied_run)
    assert "p0002" not in ids(copied_run)


def test_what_cannot_be_appended_leaves_nothing(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    def refused(*words: str | Path) -> str:
        done = cli("sids", *words)
        assert (done.code != 0, done.out) == (True, "")
        assert "Traceback" not in done.err
        assert not (copied_run / "appended").exists()
        return done.err

    assert "items are in" in refused("append", copied_run, copied_run / "shop")
    assert "neither a folder" in refused("append", copied_run, tmp_path / "nothing")
    assert "drop --out" in refused("append", copied_run, copied_run / "shop", "--out", tmp_path / "out")
    assert "There is no item 'p9999'" in refused("remove", copied_run, "p9999")
    folder = new_items(copied_run, tmp_path / "leads_out", 2, image_path=pl.lit("../../etc/passwd"))
    done = cli("sids", "append", copied_run, folder)
    assert done.code != 0
    assert "leads out of" in done.err
    assert len(published(copied_run)) == len(load(copied_run).artifacts.sids)


def test_a_generator_that_cannot_work_is_told_before_new_items_are_enriched(
    cli: Cli, copied_run: Path, tmp_path: Path
) -> None:
    recipe = copied_run / "recipe.toml"
    text = recipe.read_text("utf-8")
    assert 'generator = "lexicon"\nmodel = ""' in text
    recipe.write_text(
        text.replace('generator = "lexicon"\nmodel = ""', OPENAI).replace(LOCAL, "http://127.0.0.1:9/v1"), "utf-8"
    )
    done = cli("sids", "append", copied_run, new_items(copied_run, tmp_path / "new", 3))
    assert (done.code, "cannot be reached" in done.err) == (2, True)
    assert not list((copied_run / add_items.APPENDED).glob("*/captions"))


def test_new_items_that_cost_money_are_asked_about(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    recipe, new = copied_run / "recipe.toml", new_items(copied_run, tmp_path / "new", 3)
    before = published(copied_run)
    with chat_server(Script()) as url:
        text = recipe.read_text("utf-8").replace('generator = "lexicon"\nmodel = ""', OPENAI)
        captions, interests = text.split("[calls.interests.openai]")
        priced = interests.replace("completion_price = 0.0", "completion_price = 1000.0", 1).replace(LOCAL, url, 1)
        recipe.write_text(f"{captions}[calls.interests.openai]{priced}", "utf-8")
        done = cli("sids", "append", copied_run, new)
        assert done.code == 2
        # Three items, at most 256 tokens at 0.001 each.
        assert "interests: 3 of 3 to do" in done.err
        assert "This will cost about 0.77; say --yes to go on." in done.err
        assert (stats(url)["calls"], published(copied_run)) == ({}, before)
        done = cli("sids", "append", copied_run, new, "--yes")
        assert done.code == 0, done.err
        assert sum(stats(url)["calls"].values()) == 3
        assert cli("sids", "append", copied_run, new).code == 0, "appended already: nothing is left to pay"
        assert sum(stats(url)["calls"].values()) == 3
    assert len(published(copied_run)) == len(before) + 3


def test_items_appended_to_other_sids_are_left_out(cli: Cli, copied_run: Path, tmp_path: Path) -> None:
    assert cli("sids", "append", copied_run, new_items(copied_run, tmp_path / "new", 3)).code == 0
    write_manifest(copied_run / "sids", replace(read_manifest(copied_run / "sids"), fingerprint="0" * 16))
    live = load(copied_run).catalog_snapshot
    assert live.batch_folders == []
    assert len(live.sids) == len(live.trained_artifacts.sids)
    assert np.array_equal(live.sids.codes_NL, live.trained_artifacts.sids.codes_NL)


def test_collaborative_vectors_of_sasrec(cli: Cli, copied_run: Path) -> None:
    own = {"collaborative_weight": 0.7, "collaborative_source": "sasrec"}
    changes = {f"embeddings__{name}": value for name, value in own.items()}
    words = tiny(sasrec__epochs=1, sasrec__hidden_size=8, **changes)
    assert cli("run", "trialigngr-demo", "--out", copied_run, "--until", "embeddings", *words).code == 0
    wide = Fusion.load(copied_run / "embeddings" / FUSION_FILE).block_widths()[COLLABORATIVE]
    vectors = l2_normalize(load_item_vectors(copied_run / "sasrec"))
    known = load(copied_run).artifacts.histories.count_train_items(len(vectors)) > 0
    settled = load_embeddings(copied_run / "embeddings")[:, -wide:]
    centred = l2_normalize(vectors[known] - vectors[known].mean(0))
    np.testing.assert_allclose(l2_normalize(settled[known]), centred, atol=1e-4)
    assert not settled[~known].any()


def test_items_that_the_log_does_not_know_yet_join_collaborative_ones(
    cli: Cli, copied_run: Path, tmp_path: Path
) -> None:
    own = ["--set", "embeddings.collaborative_weight=0.7", "--set", "sids.held_out_ratio=0"]
    assert cli("run", "trialigngr-demo", "--out", copied_run, *tiny(), *own).code == 0
    assert cli("sids", "append", copied_run, new_items(copied_run, tmp_path / "new", 3)).code == 0
    assert {item_id for item_id in ids(copied_run) if item_id.startswith("new_")}
    wide = Fusion.load(copied_run / "embeddings" / FUSION_FILE).block_widths()[COLLABORATIVE]
    (batch,) = (copied_run / add_items.APPENDED).glob("*/embeddings")
    assert not load_embeddings(batch)[:, -wide:].any()
    parts = load(copied_run).artifacts
    said = compute_collaborative_vectors(list(parts.histories.train_sequences()), len(published(copied_run)) - 3)
    settled = load_embeddings(copied_run / "embeddings")[:, -wide:]
    centred = l2_normalize(said[said.any(1)] - said[said.any(1)].mean(0))
    np.testing.assert_allclose(l2_normalize(settled[said.any(1)]), centred, atol=1e-4)
