"""Recipes that do not fit: told in one sentence before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data_folder import Cli, Shop, the_sentence


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


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        ("train.loss_softmax=level", "decode.score_softmax=full", "set decode.score_softmax = constrained"),
        ("train.torch_compile=true", "train.fsdp=true", "train.torch_compile and train.fsdp do not go together"),
    ],
)
def test_settings_that_do_not_go_together(shop: Shop, one: str, other: str, sentence: str) -> None:
    assert sentence in shop.refused("--set", one, "--set", other, until="evaluation")
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
