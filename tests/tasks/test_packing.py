"""Sharing is exact: packed sheets give the losses and gradients of plain rows, whatever is shared, cut or packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tests.tasks.conftest import World
from trialigngr.tasks.examples import plain_rows
from trialigngr.tasks.packing import Branch, Sheet, pack
from trialigngr.tasks.task import TASKS
from trialigngr.train.loss import DeviceRows, target_losses, visible

CPU = torch.device("cpu")


def tiny(kind: str, vocabulary: int) -> Any:
    torch.manual_seed(0)
    config, build = {"qwen": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}[kind]
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = build(config(vocab_size=vocabulary, num_key_value_heads=1, tie_word_embeddings=kind == "qwen", **shape))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)  # far from uniform, so that what is seen matters
    return model.eval()


@pytest.fixture(scope="module")
def models(world: World) -> dict[str, Any]:
    return {kind: tiny(kind, len(world.chat.tokenizer)) for kind in ("qwen", "llama")}


@pytest.fixture
def model(models: dict[str, Any]) -> Any:
    models["qwen"].set_attn_implementation("sdpa")
    return models["qwen"]


def packed_losses(model: Any, header: list[int], sheets: list[Sheet], row_tokens: int) -> Tensor:
    return target_losses(model, DeviceRows.of(pack(header, sheets, row_tokens, pad=0), CPU))


def alone(model: Any, header: list[int], sheet: Sheet, branch: Branch) -> Tensor:
    """Return the losses of one example as the model's own class computes them: one causal row, no mask of ours."""
    prompt = [*header, *sheet.trunk[: branch.cut], *branch.prompt]
    logits = model(torch.tensor([[*prompt, *branch.target]])).logits[0, len(prompt) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(branch.target), reduction="none")


def gradients(model: Any, loss: Tensor) -> Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in found])


COMPARED = [
    *[("qwen", "sdpa", name, room) for name in TASKS for room in (None, 24)],
    *[("qwen", "eager", name, 24) for name in ("title_to_sid", "sids_to_sid", "titles_to_title")],
    *[("llama", "sdpa", name, 24) for name in ("sid_to_title", "sids_to_title", "titles_to_sid")],
]


@pytest.mark.parametrize(("kind", "attention", "name", "room"), COMPARED)
def test_sharing_changes_nothing(
    world: World, models: dict[str, Any], kind: str, attention: str, name: str, room: int | None
):
    """``room`` None: everything fits; else the maximum length cuts texts and histories, beside the cap."""
    model = models[kind]
    model.set_attn_implementation(attention)
    examples = world.examples(name, room)
    sheets = examples.batch(0, 0, min(len(examples), 40))
    shared = packed_losses(model, examples.header, sheets, 200).mean()
    plain = packed_losses(model, examples.header, plain_rows(sheets), 1).mean()
    own = torch.cat([alone(model, examples.header, sheet, branch) for sheet in sheets for branch in sheet.branches])
    assert abs(shared - plain) < 1e-6 * max(1, plain)
    assert abs(shared - own.mean()) < 1e-6 * max(1, plain)
    ours, theirs = gradients(model, shared), gradients(model, own.mean())
    assert theirs.norm() > 0.01
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_every_single_target_has_the_loss_of_its_own_row(world: World, model: Any):
    examples = world.examples("sids_to_sid")
    sheets = examples.batch(0, 0, len(examples))
    assert max(len(sheet.branches) for sheet in sheets) > 4
    for sheet in sheets:
        ours = packed_losses(model, examples.header, [sheet], 512)
        theirs = torch.cat([alone(model, examples.header, sheet, branch) for branch in sheet.branches])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_leak_would_be_seen(world: World, model: Any):
    # The comparison above can fail: let one branch see its neighbour and the loss is another.
    examples = world.examples("sids_to_sid")
    rows = pack(examples.header, examples.batch(0, 0, 40), 200, pad=0)
    rows.own_from_BT[:] = np.maximum(rows.own_from_BT - 3, 0)
    leaked = target_losses(model, DeviceRows.of(rows, CPU)).mean()
    right = packed_losses(model, examples.header, examples.batch(0, 0, 40), 200).mean()
    assert abs(leaked - right) > 1e-3


def test_a_row_by_hand():
    """Header 7 7, trunk 1 2 3; one branch leaves after 1, one after 3; each reads 9 and writes two tokens."""
    sheet = Sheet([1, 2, 3], [Branch(1, [9], [5, 8]), Branch(3, [9], [6, 8])])
    rows = pack([7, 7], [sheet], 16, pad=0)
    assert rows.tokens_BT.tolist() == [[7, 7, 1, 2, 3, 9, 5, 9, 6, 0, 0, 0, 0, 0, 0, 0]]
    assert rows.positions_BT[0, :9].tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 6]
    assert rows.predict_place_M.tolist() == [5, 6, 7, 8]
    assert rows.predict_token_M.tolist() == [5, 8, 6, 8]
    assert rows.predict_row_M.tolist() == [0, 0, 0, 0]
    assert (rows.examples, rows.real_tokens, len(sheet)) == (2, 9, 7)
    bounds = (rows.header_BT, rows.trunk_from_BT, rows.trunk_to_BT, rows.own_from_BT)
    seen = visible(*map(torch.from_numpy, bounds))[0, 0, :9, :9].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 1, 0],
        [1, 1, 1, 1, 1, 0, 0, 1, 1],
    ]


def test_padding_sees_itself_and_nobody_sees_padding():
    rows = pack([7], [Sheet([1] * 9, [Branch(9, [9], [5])]), Sheet([], [Branch(0, [9], [5])])], 11, pad=0)
    assert rows.tokens_BT.shape == (2, 16)
    bounds = (rows.header_BT, rows.trunk_from_BT, rows.trunk_to_BT, rows.own_from_BT)
    seen_BTT = visible(*map(torch.from_numpy, bounds))[:, 0]
    for row, length in ((0, 11), (1, 2)):
        assert not seen_BTT[row, :length, length:].any()
        assert (seen_BTT[row, length:].sum(1) == 1).all()


def test_packing_keeps_every_sheet_and_fills_rows():
    random = np.random.default_rng(0)
    sheets = [Sheet([3] * int(n), [Branch(int(n), [9], [5, 6])]) for n in random.integers(1, 40, 60)]
    rows = pack([7, 7], sheets, 100, pad=0)
    assert rows.examples == len(sheets)
    assert sum(int(row) == 5 for row in rows.predict_token_M) == 60
    assert rows.tokens_BT.shape[1] <= 104
    assert rows.real_tokens == sum(map(len, sheets)) + 2 * len(rows.tokens_BT)
    assert rows.real_tokens > 0.85 * rows.tokens_BT.size


def test_a_sheet_longer_than_the_row_gets_one():
    rows = pack([7], [Sheet([1] * 50, [Branch(50, [9], [5])])], 10, pad=0)
    assert rows.tokens_BT.shape == (1, 56)
