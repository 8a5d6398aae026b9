"""LoRA: what is trained moves, what is frozen does not, and the merged checkpoint is the model that was trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.backbones import IDS, SIDS, logits, pretrained
from trialigngr.foundation.errors import RecipeError
from trialigngr.models.backbone import Backbone, count_parameters, load_backbone
from trialigngr.models.build import build_backbone
from trialigngr.models.settings import BackboneSettings, LoraSettings

pytest.importorskip("peft")
WIDTH, RANK = 32, 4


def adapted(folder: Path, *, tied: bool = True, kind: str = "qwen", **more: Any) -> Backbone:
    pretrained(folder, kind, tied=tied, spare=3)
    settings = BackboneSettings(name_or_path=str(folder), lora=LoraSettings(rank=RANK), **more)
    return build_backbone(settings, SIDS, [], seed=0)


def train(backbone: Backbone, steps: int = 5) -> None:
    ids = torch.tensor([[*backbone.sid_token_ids, 5, 6, 7]])
    parameters = [parameter for parameter in backbone.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    backbone.model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        backbone.model(ids, labels=ids).loss.backward()
        optimizer.step()


def table(weight_of: Any) -> torch.Tensor:
    """Return an embedding table as a forward pass sees it."""
    return weight_of(torch.arange(weight_of.weight.shape[0])).detach().clone()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["qwen", "llama"])
def test_only_sid_rows_and_added_matrices_move(tmp_path: Path, tied: bool, kind: str):
    made = adapted(tmp_path, tied=tied, kind=kind)
    frozen = {name: value.detach().clone() for name, value in made.model.named_parameters() if not value.requires_grad}
    before = table(made.model.get_input_embeddings())
    head = logits(made.model)
    train(made)
    after = table(made.model.get_input_embeddings())
    moved = (before != after).any(1).nonzero().flatten().tolist()
    assert moved == made.sid_token_ids
    assert frozen
    for name, value in made.model.named_parameters():
        if name in frozen:
            assert torch.equal(value, frozen[name]), name
    assert not torch.equal(logits(made.model), head)
    names = [name for name, value in made.model.named_parameters() if value.requires_grad]
    assert sum("trainable_tokens_delta" in name for name in names) == (1 if tied else 2)


def test_what_is_trained_by_hand(tmp_path: Path):
    # Two layers: rank × (in + out) for q, k, v, o (one key head of 16), and the three feed-forward matrices; the rows.
    made = adapted(tmp_path, tied=True)
    layer = 2 * RANK * (32 + 32) + 2 * RANK * (32 + 16) + 3 * RANK * (32 + 48)
    assert count_parameters(made.model)["trained"] == 2 * layer + len(SIDS) * WIDTH


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_merged_and_loaded_is_the_trained_model(tmp_path: Path, tied: bool, weights: str):
    """With tied tables a merged checkpoint elsewhere loses its trained rows (transformers 45127)."""
    made = adapted(tmp_path / "old", tied=tied, weight_dtype=weights)
    untrained = logits(made.model)
    train(made)
    trained = logits(made.model)
    made.save(tmp_path / "new")
    loaded = load_backbone(tmp_path / "new", SIDS)
    head, embedding = loaded.model.get_output_embeddings().weight, loaded.model.get_input_embeddings().weight
    assert (head.data_ptr() == embedding.data_ptr()) is tied
    assert not any("lora" in name or "trainable" in name for name, _ in loaded.model.named_parameters())
    close = {"rtol": 1e-4, "atol": 1e-4} if weights == "fp32" else {"rtol": 0.1, "atol": 0.15}
    torch.testing.assert_close(logits(loaded.model), trained.float(), **close)
    assert (trained - untrained).abs().max() > 1


def test_frozen_weights_are_bf16_and_trained_ones_fp32(tmp_path: Path):
    made = adapted(tmp_path, weight_dtype="bf16")
    kinds = {(value.requires_grad, value.dtype) for value in made.model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_bf16_without_lora_is_a_sentence(tmp_path: Path):
    pretrained(tmp_path, "qwen", tied=True, spare=0)
    with pytest.raises(RecipeError, match=r"model\.weight_dtype = bf16 is for frozen weights"):
        build_backbone(BackboneSettings(name_or_path=str(tmp_path), weight_dtype="bf16"), SIDS, [], seed=0)


def test_without_peft_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RecipeError, match=r"needs peft; install it with: pip install 'trialigngr\[lora\]'"):
        adapted(tmp_path)


def test_checkpointing_changes_no_gradient(tmp_path: Path):
    plain, again = (adapted(tmp_path, gradient_checkpointing=on) for on in (False, True))
    for made in (plain, again):
        made.model.train()
        made.model(IDS, labels=IDS).loss.backward()
    assert again.model.model.layers[0].gradient_checkpointing
    for one, other in zip(plain.model.parameters(), again.model.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad)
