"""Backbones: checkpoints that open anywhere, pretrained models whose old words stay, dropout that leaves no trace."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.support.backbones import IDS, SIDS, SMALL, logits, pretrained
from tests.support.world import KINDS, TEXTS
from trialigngr.foundation.config import parse_settings
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.models.backbone import Backbone, count_parameters, load_backbone
from trialigngr.models.build import add_dropout, build_backbone
from trialigngr.models.settings import BackboneSettings
from trialigngr.tasks.chat_template import ChatTemplate


def scratch(seed: int = 0, **more: float | str) -> Backbone:
    return build_backbone(parse_settings(BackboneSettings, SMALL | more, "model"), SIDS, TEXTS, seed)


def test_a_checkpoint_from_scratch_opens_anywhere(tmp_path: Path):
    made = scratch()
    made.save(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert torch.equal(logits(model), logits(made.model))
    assert type(model).__name__ == "Qwen2ForCausalLM"
    texts = ["A red dress", "Kleid: größer — «été» 漢字 🙂", "<a_5><b_3><c_1>", "  two  blanks\n\n1234567"]
    for text in texts:
        assert tokenizer(text)["input_ids"] == made.tokenizer(text)["input_ids"]
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    messages = [{"role": "user", "content": "Title: A dress"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "<|user|>Title: A dress"
    assert tokenizer.chat_template == made.tokenizer.chat_template


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_a_server_shows_the_sids_that_a_saved_model_writes(tmp_path: Path, architecture: str):
    made = scratch(architecture=architecture)
    made.model.generation_config.update(do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.1)
    made.save(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert model.config.model_type == architecture
    assert torch.equal(logits(model), logits(made.model))
    sid = "<a_5><b_3><c_1>"
    ids = [*tokenizer(sid)["input_ids"], tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == sid
    assert tokenizer.batch_decode([ids], skip_special_tokens=True) == [sid]
    told = model.generation_config
    assert (told.do_sample, told.temperature, told.top_k, told.repetition_penalty) == (None,) * 4
    assert (told.eos_token_id, told.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~read_umask()}


def read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_text_does_not_become_a_sid(tmp_path: Path):
    made = scratch()
    (ids,) = ChatTemplate(made.tokenizer).encode(["look <a_5><b_3><c_1>"])
    assert not set(ids) & set(made.sid_token_ids)


def test_qwen3_turns_positions_as_its_servers_do():
    config = scratch(architecture="qwen3").model.config
    assert (config.head_dim, config.rope_parameters["rope_theta"]) == (16, 1_000_000.0)


def test_a_kind_that_was_always_there_is_not_written_down():
    assert "architecture" not in BackboneSettings().model_dump(mode="json")
    assert BackboneSettings(architecture="qwen3").model_dump(mode="json")["architecture"] == "qwen3"


def test_every_sid_token_is_one_word(tmp_path: Path):
    made = scratch()
    assert made.tokenizer("".join(SIDS), add_special_tokens=False)["input_ids"] == made.sid_token_ids
    assert len(set(made.sid_token_ids)) == len(SIDS)
    assert made.model.get_input_embeddings().weight.shape[0] == len(made.tokenizer)


def test_load_gives_back_what_was_saved(tmp_path: Path):
    made = scratch()
    made.save(tmp_path)
    loaded = load_backbone(tmp_path, SIDS)
    assert loaded.sid_token_ids == made.sid_token_ids
    assert torch.equal(logits(loaded.model), logits(made.model))


def test_a_model_is_a_function_of_the_seed_and_the_texts():
    assert torch.equal(logits(scratch(3).model), logits(scratch(3).model))
    assert not torch.equal(logits(scratch(3).model), logits(scratch(4).model))
    assert scratch().tokenizer.get_vocab() == scratch().tokenizer.get_vocab()


def test_sizes_from_scratch():
    made = scratch()
    words = len(made.tokenizer)
    # Two layers: q, k, v with bias, o, three feed-forward matrices, two norms; tied embeddings; the last norm.
    layer = 3 * (32 * 32 + 32) + 32 * 32 + 3 * 32 * 48 + 2 * 32
    assert count_parameters(made.model) == dict.fromkeys(("parameters", "trained"), 2 * layer + words * 32 + 32)


@pytest.mark.parametrize("spare", [0, 7, 40])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["qwen", "llama"])
def test_a_pretrained_model_gets_new_rows_and_keeps_the_old(tmp_path: Path, kind: str, tied: bool, spare: int):
    old = pretrained(tmp_path, kind, tied=tied, spare=spare)
    words = len(KINDS[kind]())
    made = build_backbone(BackboneSettings(name_or_path=str(tmp_path)), SIDS, [], seed=0)
    assert made.sid_token_ids == list(range(words, words + len(SIDS)))
    assert type(made.model) is type(old)
    layers = [model.get_input_embeddings().weight.data for model in (old, made.model)]
    heads = [model.get_output_embeddings().weight.data for model in (old, made.model)]
    assert (heads[1].data_ptr() == layers[1].data_ptr()) is tied
    for before, after in (layers, heads):
        assert after.shape[0] == max(words + len(SIDS), words + spare)
        assert torch.equal(after[:words], before[:words])
        new, known = after[made.sid_token_ids], before[:words]
        # Near the mean of the old words, and no two alike: noise of a tenth of their spread.
        assert (new.mean(0) - known.mean(0)).abs().max() < 0.1
        assert 0.03 < (new - known.mean(0)).std() < 0.08
        assert len(torch.unique(new, dim=0)) == len(SIDS)
    with torch.no_grad():
        ours, theirs = logits(made.model)[..., :words], logits(old)[..., :words]
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("tied", [True, False])
def test_a_pretrained_model_saved_and_loaded_is_the_same(tmp_path: Path, tied: bool):
    pretrained(tmp_path / "old", "qwen", tied=tied, spare=3)
    made = build_backbone(BackboneSettings(name_or_path=str(tmp_path / "old")), SIDS, [], seed=0)
    made.save(tmp_path / "new")
    loaded = load_backbone(tmp_path / "new", SIDS)
    assert torch.equal(logits(loaded.model), logits(made.model))
    assert loaded.sid_token_ids == made.sid_token_ids


def test_a_model_that_knows_the_sids_already_goes_on_with_them(tmp_path: Path):
    made = scratch()
    made.save(tmp_path)
    again = build_backbone(BackboneSettings(name_or_path=str(tmp_path)), SIDS, [], seed=9)
    assert again.sid_token_ids == made.sid_token_ids
    assert torch.equal(logits(again.model), logits(made.model))


def test_wrong_names_are_a_sentence(tmp_path: Path):
    with pytest.raises(
        RecipeError, match=r"model\.name_or_path = 'no/such-model' cannot be loaded .*; give a hub name"
    ):
        build_backbone(BackboneSettings(name_or_path="no/such-model"), SIDS, [], 0)
    with pytest.raises(RecipeError, match="cannot be loaded"):
        build_backbone(BackboneSettings(name_or_path=str(tmp_path)), SIDS, [], 0)
    tokenizer = KINDS["qwen"]()
    tokenizer.save_pretrained(tmp_path)
    shape = {"d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}
    T5ForConditionalGeneration(T5Config(vocab_size=400, **shape)).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="cannot be loaded"):
        build_backbone(BackboneSettings(name_or_path=str(tmp_path)), SIDS, [], 0)


def test_a_checkpoint_of_another_vocabulary(tmp_path: Path):
    scratch().save(tmp_path)
    with pytest.raises(ArtifactError, match=r"does not know 2 SID tokens, for example <c_4>: model and SIDs are of"):
        load_backbone(tmp_path, [*SIDS, "<c_4>", "<c_5>"])
    with pytest.raises(ArtifactError, match="holds no model"):
        load_backbone(tmp_path / "nothing", SIDS)
    for path in tmp_path.glob("*token*"):
        path.unlink()
    with pytest.raises(ArtifactError, match="cannot be opened: it comes without a tokenizer"):
        load_backbone(tmp_path, SIDS)
    with pytest.raises(RecipeError, match=r"cannot be loaded .it comes without a tokenizer"):
        build_backbone(BackboneSettings(name_or_path=str(tmp_path)), SIDS, [], 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": 30, "num_heads": 4},
        {"hidden_size": 12, "num_heads": 4},
        {"num_layers": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
    ],
)
def test_shapes_that_cannot_be(wrong: dict[str, float]):
    with pytest.raises(RecipeError):
        scratch(**wrong)


def test_dropout_acts_in_training_only_and_is_seeded():
    plain, dropping = scratch(), scratch(dropout=0.3)
    assert torch.equal(logits(plain.model), logits(dropping.model))
    model = dropping.model.train()

    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model(IDS).logits

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))
    assert not torch.equal(trained(1), logits(plain.model))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_expectation(rate: float):
    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(num_hidden_layers=1)
            self.embed_tokens, self.self_attn, self.mlp = (torch.nn.Identity() for _ in range(3))

    block = Block()
    add_dropout(block, rate)
    torch.manual_seed(0)
    values = block.mlp(torch.ones(1000, 400))
    kept = values[values != 0]
    # Rates go in steps of 1/256 on a CPU.
    assert abs(1 - len(kept) / values.numel() - rate) < 1 / 256
    assert values.mean().item() == pytest.approx(1, abs=0.005)
    assert kept.unique().numel() == 1
    block.eval()
    assert torch.equal(block.mlp(torch.ones(3, 4)), torch.ones(3, 4))


def test_dropout_that_would_miss_blocks_is_a_sentence() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=8, n_layer=2, n_head=2))
    with pytest.raises(RecipeError, match="does not find every block of a model of type 'gpt2'"):
        add_dropout(model, 0.1)


def test_dropout_drops_what_blocks_add_and_lets_gradients_through():
    made = scratch(dropout=0.4)
    seen: list[float] = []
    watched = [made.model.model.embed_tokens, made.model.model.layers[0].self_attn, made.model.model.layers[1].mlp]
    for module in watched:
        module.register_forward_hook(
            lambda _m, _i, out: seen.append(float(((out[0] if isinstance(out, tuple) else out) == 0).float().mean()))
        )
    made.model.train()(IDS).logits.sum().backward()
    assert seen == pytest.approx([0.4] * 3, abs=0.08)
    assert all(parameter.grad is not None for parameter in made.model.parameters())


def test_dropout_leaves_no_trace_in_the_checkpoint(tmp_path: Path):
    scratch().save(tmp_path / "plain")
    scratch(dropout=0.3).save(tmp_path / "dropped")
    plain, dropped = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "dropped"))
    assert plain.keys() == dropped.keys()
    assert all(torch.equal(plain[name], dropped[name]) for name in plain)
    bodies = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("plain", "dropped")]
    assert bodies[0] == bodies[1]
