"""A run of ``+counts+items``: what is written beside the model, and what it recommends, today's new items too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.support.commands import Done
from tests.support.runs import HISTORY, ids, linked, new_items, tiny
from trialigngr.catalog.queries import Queries
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.foundation.artifact import record_files
from trialigngr.foundation.errors import ArtifactError
from trialigngr.pipeline.add_items import append_items
from trialigngr.runs.run import Run, load

Cli = Callable[..., Done]
NAME = "trialigngr-demo+counts+items"
WORDS = tiny(model__items__hidden_size=8, model__items__num_negatives=20, train__max_steps=8)


@pytest.fixture(scope="module")
def items_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """Return the tiny run with a model that knows items."""
    run = linked(tiny_run, tmp_path_factory.mktemp("items") / "run")
    done = cli("run", NAME, "--out", run, *WORDS)
    assert done.code == 0, done.err
    assert "sids: unchanged, kept" in done.err
    return run


@pytest.fixture
def copied(items_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(items_run, tmp_path / "run"))


def mix_by_hand(run: Run, history: list[str]) -> np.ndarray:
    """Return the probability of every item on offer, of which none is left out."""
    live, recommender = run.catalog_snapshot, run.current_recommender.sid_recommender
    rows, leaf_N = np.array([live.catalog.row_by_id[item] for item in history]), live.trie.node_of_item[-1]
    prompt, items, chosen = recommender.build_prompt(rows), live.backbone.items, run.recipe.prior
    assert items is not None
    assert [~token for token in prompt if token < 0] == rows.tolist()
    with torch.inference_mode():
        state = recommender.search.model.start([prompt], 1).last_BD
        head_N = items.build_head()(state)[0].double().numpy()
    p_N = np.exp(compute_exact_scores(recommender.search, [prompt])[0].astype(np.float64))[leaf_N]
    mixed_N = (1 - chosen.items_weight) * p_N + chosen.items_weight * np.bincount(leaf_N, head_N)[leaf_N]
    prior = live.system_prior
    assert prior is not None
    (counts,) = prior.build(Queries([rows]), len(leaf_N))
    if counts is not None:
        q_N = np.zeros(len(leaf_N))
        q_N[counts.rows] = counts.weights / counts.weights.sum()
        mixed_N = (1 - counts.mixing_weight) * mixed_N + counts.mixing_weight * np.bincount(leaf_N, q_N)[leaf_N]
    return mixed_N


def check_recommendations(run: Run, history: list[str]) -> None:
    wanted_N = mix_by_hand(run, history)
    found = run.recommend(history, len(wanted_N), unseen=False)
    rows = [run.catalog_snapshot.catalog.row_by_id[item.item_id] for item in found]
    assert len(set(rows)) == len(wanted_N)
    assert [item.score for item in found] == pytest.approx(np.log(wanted_N[rows]), abs=2e-3)
    assert all(set(item.score_parts) == {"generator", "prior", "items", "from_prior"} for item in found)


def test_what_is_recommended_is_the_mixture_of_all_three(items_run: Path) -> None:
    run = load(items_run)
    check_recommendations(run, HISTORY)
    alone = run.recommend(HISTORY, 5, system="generator_alone")
    assert all(set(item.score_parts) == {"generator_alone"} for item in alone)
    assert ids(load(items_run).recommend(HISTORY, 5)) == ids(run.recommend(HISTORY, 5))


def test_the_checkpoint_is_a_plain_model_and_items_stand_beside_it(items_run: Path) -> None:
    model, told = AutoModelForCausalLM.from_pretrained(items_run / "model", output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    own = load(items_run).artifacts.backbone
    assert own.items is not None
    assert all(torch.equal(value, own.model.state_dict()[name]) for name, value in model.state_dict().items())
    beside = load_file(items_run / "model" / "items.safetensors")
    assert set(beside) == set(own.items.state_dict())
    assert beside["rows.weight"].shape == (len(own.items.features_NF), 8)
    assert not torch.equal(beside["shown.weight"], torch.zeros_like(beside["shown.weight"]))


def test_items_that_are_appended_have_their_share(copied: Path, tmp_path: Path) -> None:
    before = load(copied)
    check_recommendations(before, HISTORY)
    append_items(copied, new_items(copied, tmp_path / "new", 4))
    before.refresh_catalog()
    for run in (before, load(copied)):
        new = [item for item in run.catalog_snapshot.catalog.item_ids if item.startswith("new_")]
        assert len(new) == 4
        check_recommendations(run, [*HISTORY, new[0]])
        found = run.recommend(HISTORY, 5, only=new)
        assert all(item.score_parts["items"] > 0 for item in found)


def test_vectors_of_another_catalogue_are_a_sentence(copied: Path) -> None:
    path = copied / "model" / "items.safetensors"
    tensors = load_file(path)
    for changed in (
        {"rows.weight": tensors["rows.weight"][:-1]},
        {"shown.weight": tensors["shown.weight"].T.contiguous()},
    ):
        save_file(tensors | changed, path)
        record_files(copied / "model")
        with pytest.raises(ArtifactError, match="holds no item vectors of this catalogue and model"):
            load(copied).artifacts.backbone  # noqa: B018
    path.write_bytes(b"nothing")
    record_files(copied / "model")
    with pytest.raises(ArtifactError, match="holds no item vectors of this catalogue and model"):
        load(copied).artifacts.backbone  # noqa: B018


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("model.items.hidden_size=0", "prior.items_weight mixes in what model.items learns to score"),
        ("model.items.loss_weight=0", "prior.items_weight mixes in what model.items learns to score"),
        ("train.fsdp=true", "train.fsdp and model.items do not go together yet"),
        ('phases=["sft", "dpo"]', "model.items and phase dpo do not go together yet"),
        ("prior.items_weight=1.0", "prior.items_weight = 1.0 does not fit"),
        ("decode.score_softmax=full;train.loss_softmax=full", "needs decode.score_softmax = constrained"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, cli: Cli, change: str, sentence: str) -> None:
    changes = [word for one in change.split(";") for word in ("--set", one)]
    done = cli("run", "trialigngr-demo+items", "--out", tmp_path / "run", *changes)
    assert (done.code, sentence in done.err) == (2, True), done.err
    assert not (tmp_path / "run").exists()
