"""FlexAttention sees what blocks see. (A CPU has no backward pass of it; the mask is all that is ours.)"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask

from tests.support.backbones import tiny_backbone
from tests.support.decoding import tiny as capped
from tests.support.toy import toy
from tests.support.world import World
from trialigngr.foundation.errors import RecipeError
from trialigngr.models.layers import compile_layers
from trialigngr.tasks.packing import Continuation, SharedPrefixRow, pack_micro_batches
from trialigngr.tasks.task import TASKS
from trialigngr.train.attention import ATTENTION_NAME
from trialigngr.train.flex import BLOCK_SIZE, BLOCKS_PER_HEADER_COPY, FlexLayout, flex_shared_prefix_attention
from trialigngr.train.loss import DeviceMicroBatch, compute_target_losses

CPU = torch.device("cpu")

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("name", TASKS)
def test_flex_finds_the_losses_of_blocks(world: World, name: str):
    model = tiny_backbone("qwen", len(world.chat.tokenizer))  # two heads, one of keys
    model.set_attn_implementation(ATTENTION_NAME)
    model.requires_grad_(False)
    examples = world.examples(name)
    for part in pack_micro_batches(examples.prompt_header, examples.draw_batch(0, 0, min(len(examples), 40)), 400):
        blocks, flexed = (
            compute_target_losses(model, DeviceMicroBatch.from_micro_batch(part, CPU, kind))
            for kind in ("sdpa", "flex_attention")
        )
        torch.testing.assert_close(flexed, blocks, rtol=1e-5, atol=1e-5)


def test_flex_caps_scores_as_blocks_do():
    model = capped("gemma2")
    model.set_attn_implementation(ATTENTION_NAME)
    sheet = SharedPrefixRow([11, 12, 13], [Continuation(1, [19], [15, 18]), Continuation(3, [19], [16, 18])])
    (part,) = pack_micro_batches([17, 17], [sheet], 99)
    with torch.no_grad():
        blocks, flexed = (
            compute_target_losses(model, DeviceMicroBatch.from_micro_batch(part, CPU, kind))
            for kind in ("sdpa", "flex_attention")
        )
        torch.testing.assert_close(flexed, blocks, rtol=1e-5, atol=1e-5)
        model.config.attn_logit_softcapping = None
        for layer in model.model.layers:
            layer.self_attn.attn_logit_softcapping = None
        assert (
            compute_target_losses(model, DeviceMicroBatch.from_micro_batch(part, CPU, "flex_attention")) - flexed
        ).abs().max() > 0.01


def test_the_mask_by_hand():
    """The pass of `tests/tasks/test_packing.py`: header 7 7, trunk 1 2 3, two branches; then a sheet of one token."""
    sheet = SharedPrefixRow([1, 2, 3], [Continuation(1, [9], [5, 8]), Continuation(3, [9], [6, 8])])
    (part,) = pack_micro_batches([7, 7], [sheet, SharedPrefixRow([], [Continuation(0, [4], [6])])], 99)
    copied = create_mask(FlexLayout.from_micro_batch(part, CPU).mask.mask_mod, None, None, 10, 12, device="cpu")[0, 0]
    assert not (copied[2:, :2]).any(), "who looks at the copy of the header looks at that alone"
    mask = copied[:, :10] | torch.nn.functional.pad(copied[:, 10:], (0, 8))
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 1, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    ]


def test_whole_layers_are_traced_once_for_all_masks(world: World):
    model = tiny_backbone("qwen", len(world.chat.tokenizer))
    model.set_attn_implementation(ATTENTION_NAME)
    model.requires_grad_(False)
    examples = world.examples("sids_to_sid")
    sheets = examples.draw_batch(0, 0, min(len(examples), 60))
    parts = [next(pack_micro_batches(examples.prompt_header, sheets[fewer:], 1 << 20)) for fewer in range(3)]
    assert all(len(part.tokens_T) > BLOCKS_PER_HEADER_COPY * BLOCK_SIZE for part in parts), (
        "one block, or one copy, is traced by itself"
    )
    assert len({len(part.tokens_T) for part in parts}) == len(parts)
    plain = [
        compute_target_losses(model, DeviceMicroBatch.from_micro_batch(part, CPU, "flex_attention")) for part in parts
    ]
    traced = list[str]()

    def compiler(graph: Any, _: Any) -> Any:
        traced.append(graph.code)
        return graph.forward

    compile_layers(model, whole_layers=True, backend=compiler)
    for part, losses_M in zip(parts, plain, strict=True):
        torch.testing.assert_close(
            compute_target_losses(model, DeviceMicroBatch.from_micro_batch(part, CPU, "flex_attention")), losses_M
        )
    assert len(traced) == 1
    assert all("flex_attention" in code and "silu" in code for code in traced)


def test_no_block_that_is_skipped_holds_a_key_that_is_seen(world: World):
    """A kernel computes these blocks alone. Sheets begin and end within them, and one is longer than one."""
    examples = world.examples("sids_to_sid")
    sheets = examples.draw_batch(0, 0, min(len(examples), 60))
    long = SharedPrefixRow([5] * 300, [Continuation(200, [9], [5, 8]), Continuation(300, [9], [6, 8])])
    (part,) = pack_micro_batches(examples.prompt_header, [long, *sheets], 1 << 20)
    layout, length = FlexLayout.from_micro_batch(part, CPU), len(part.tokens_T)
    keys = length + layout.copies_CH.numel()
    assert length > 4 * BLOCK_SIZE
    assert length % BLOCK_SIZE
    assert len(layout.copies_CH) > 2
    seen_QK = create_mask(layout.mask.mask_mod, None, None, length, keys, device="cpu")[0, 0]
    queries, blocks = -(-length // BLOCK_SIZE), -(-keys // BLOCK_SIZE)
    padded_QK = torch.zeros(queries * BLOCK_SIZE, blocks * BLOCK_SIZE, dtype=torch.bool)
    padded_QK[:length, :keys] = seen_QK
    needed = padded_QK.view(queries, BLOCK_SIZE, blocks, BLOCK_SIZE).any(3).any(1)
    computed = layout.mask.to_dense()[0, 0].bool()
    assert not (needed & ~computed).any()
    assert computed.sum() < queries * (queries + 1) / 2, "less than causal attention would compute"
    assert computed.sum(0).max() < queries, "no block of keys is seen by all queries"


def test_flex_without_cuda_is_a_sentence():
    with pytest.raises(RecipeError, match="flex_attention trains on CUDA alone"):
        toy(attn_implementation="flex_attention")


def test_dropped_attention_weights_are_a_sentence():
    (part,) = pack_micro_batches([7], [SharedPrefixRow([1] * 9, [Continuation(9, [9], [5])])], 99)
    heads = torch.zeros(1, 2, len(part.tokens_T), 4)
    with pytest.raises(RecipeError, match="no dropout of attention weights"):
        flex_shared_prefix_attention(heads, heads, heads, FlexLayout.from_micro_batch(part, CPU), 0.5, 0.1, None)
