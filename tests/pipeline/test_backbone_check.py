"""A backbone that cannot read the recipe's prompts is refused before a stage is made, not after all but one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig, MistralConfig, T5Config

from tests.support.commands import Done
from tests.support.runs import tiny
from tests.support.world import KINDS
from trialigngr.foundation.errors import RecipeError
from trialigngr.pipeline.backbones import check_backbone
from trialigngr.recipes.recipe import read_recipe

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def shape_of(folder: Path, config: Any) -> Path:
    """Save all of a model but its weights, which nobody may want to read."""
    config.save_pretrained(folder)
    KINDS["qwen"]().save_pretrained(folder)
    return folder


def gpt2(folder: Path, positions: int) -> Path:
    return shape_of(folder, GPT2Config(n_positions=positions, n_embd=32, n_layer=2, n_head=2))


def checked(folder: Path, *changes: str) -> None:
    check_backbone(read_recipe("trialigngr-demo", (f"model.name_or_path={folder}", *changes)))


@pytest.mark.parametrize("until", [(), ("--until", "model")])
def test_too_few_positions_are_told_before_anything_is_made(tmp_path: Path, cli: Callable[..., Done], until: Any):
    model = gpt2(tmp_path / "small", 64)
    done = cli("run", "trialigngr-demo", "--out", tmp_path / "run", *tiny(model__name_or_path=str(model)), *until)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: model.name_or_path = ")
    assert "has 64 positions, and the shortest prompt and its answer take" in done.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_positions_are_held_against_what_the_prompts_may_take(tmp_path: Path):
    checked(gpt2(tmp_path / "enough", 512))
    model = gpt2(tmp_path / "some", 400)
    with pytest.raises(
        RecipeError, match=r"type 'gpt2' with 400 positions .* 512 tokens .* --set prompt.max_length=400"
    ):
        checked(model)
    checked(model, "prompt.max_length=400")
    with pytest.raises(RecipeError, match=r"prompt.max_length = 20 leaves no room .* Give at least \d+"):
        checked(model, "prompt.max_length=20")


def test_positions_that_are_turned_have_no_last_one(tmp_path: Path):
    checked(shape_of(tmp_path, LlamaConfig(max_position_embeddings=64, **SMALL)))


def test_a_window_is_told_as_early(tmp_path: Path):
    with pytest.raises(RecipeError, match="its sliding_window of 64 is shorter than the 512 tokens"):
        checked(shape_of(tmp_path, MistralConfig(sliding_window=64, **SMALL)))


def test_what_is_no_causal_language_model_is_told_as_early(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"cannot be loaded \(a model of type 't5' is no causal LM\)"):
        checked(shape_of(tmp_path / "t5", T5Config(d_model=32)))
    with pytest.raises(RecipeError, match=r"model.name_or_path = .* cannot be loaded"):
        checked(tmp_path / "nothing")
    GPT2Config().save_pretrained(tmp_path / "wordless")
    with pytest.raises(RecipeError, match="comes without a tokenizer"):
        checked(tmp_path / "wordless")


def test_a_model_without_a_chat_template_is_told_as_early(tmp_path: Path):
    model = gpt2(tmp_path, 512)
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(RecipeError, match="chat template"):
        checked(model)


@pytest.mark.parametrize("change", ["model.weight_dtype=bf16", "model.hidden_size=30", "model.num_kv_heads=3"])
def test_settings_that_no_model_can_have_are_told_as_early(change: str):
    with pytest.raises(RecipeError, match=change.partition("=")[0]):
        check_backbone(read_recipe("trialigngr-demo", ("model.num_heads=4", change)))
