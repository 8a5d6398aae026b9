"""Compiled layers, and FlexAttention where there is a GPU, learn what the plain ones learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tasks.conftest import World
from tests.tasks.test_packing import tiny
from tests.train.toy import toy
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks.packing import passes
from trialigngr.train.attention import NAME
from trialigngr.train.compiled import compile_layers
from trialigngr.train.loss import Attention, DevicePass, target_losses

# torch's tracer looks at gradients that nobody asked for, and no warning passes the tests.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def learnt(model: Any, world: World, name: str, device: torch.device, attention: Attention) -> tuple[Tensor, Tensor]:
    """Return the losses of a task's first examples in three passes of unlike lengths, and all gradients."""
    model.set_attn_implementation(NAME)
    examples = world.examples(name)
    parts = list(passes(examples.header, examples.batch(0, 0, min(len(examples), 30)), 300))
    assert len({len(part.tokens_T) for part in parts}) > 1
    losses = torch.cat([target_losses(model, DevicePass.of(part, device, attention)) for part in parts])
    gradients = torch.autograd.grad(losses.sum(), [*model.parameters()])
    return losses.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def test_compiled_layers_learn_the_same() -> None:
    world, cpu = World(), torch.device("cpu")
    model = tiny("qwen", len(world.chat.tokenizer))
    plain = learnt(model, world, "sids_to_sid", cpu, "blocks")
    compile_layers(model)
    for mine, theirs in zip(learnt(model, world, "sids_to_sid", cpu, "blocks"), plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_compiled_shares_are_a_sentence() -> None:
    with pytest.raises(RecipeError, match=r"train\.compile and train\.shard do not go together"):
        toy(compile=True, shard=True)


@on_a_gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("attention", ["blocks", "flex"])
def test_a_gpu_learns_the_same(attention: Attention, compiled: bool) -> None:
    world = World()
    model = tiny("qwen", len(world.chat.tokenizer))
    plain = learnt(model, world, "sids_to_sid", torch.device("cpu"), "blocks")
    model.cuda()
    if compiled:
        compile_layers(model)
    for mine, theirs in zip(learnt(model, world, "sids_to_sid", model.device, attention), plain, strict=True):
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-3, atol=1e-3)
