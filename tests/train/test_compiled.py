"""Compiled parts of layers, and FlexAttention where there is a GPU, learn what the plain ones learn."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.backbones import tiny_backbone
from tests.support.toy import fingerprint, toy
from tests.support.world import World
from trialigngr.models.layers import compile_layers
from trialigngr.tasks.packing import pack_micro_batches
from trialigngr.train import sft
from trialigngr.train.attention import ATTENTION_NAME
from trialigngr.train.loss import DeviceMicroBatch, compute_target_losses
from trialigngr.train.settings import AttentionKind

# torch's tracer looks at gradients that nobody asked for, and no warning passes the tests.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf", "ignore:TensorFloat32 tensor cores"
)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_compiled_run_is_the_plain_one(checkpointing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that returns what was traced: ours is what is traced, for which passes, and when. Dropout too."""
    traced = list[str]()

    def compiler(graph: Any, _: Any) -> Any:
        traced.append(graph.code)
        return graph.forward

    def validate(model: Any) -> dict[str, float]:
        before = len(traced)
        model(torch.tensor([[5, 6, 7]]))
        assert len(traced) == before, "decoding compiles nothing"
        return {"NDCG@10": fingerprint(model), "HR@10": 0.0}

    monkeypatch.setattr(sft, "compile_layers", partial(compile_layers, backend=compiler))
    plain, compiled = (
        toy(validate, max_steps=3, checkpointing=checkpointing, torch_compile=kind) for kind in (False, True)
    )
    for name in ("plain", "compiled"):
        (tmp_path / name).mkdir()
    plain.fit(tmp_path / "plain")
    assert not traced
    compiled.fit(tmp_path / "compiled")
    assert any("silu" in code for code in traced), "the feed-forward block"
    assert any("rsqrt" in code for code in traced), "a norm"
    for name, parameter in plain.parameters.items():
        torch.testing.assert_close(compiled.parameters[name], parameter, rtol=1e-4, atol=1e-5)


def learnt(model: Any, world: World, device: torch.device, attention: AttentionKind) -> tuple[Tensor, Tensor]:
    """Return the losses of T3's first examples in passes of unlike lengths, and all gradients."""
    model.set_attn_implementation(ATTENTION_NAME)
    examples = world.examples("sids_to_sid")
    parts = list(pack_micro_batches(examples.prompt_header, examples.draw_batch(0, 0, min(len(examples), 30)), 300))
    assert len({len(part.tokens_T) for part in parts}) > 1
    losses = torch.cat(
        [compute_target_losses(model, DeviceMicroBatch.from_micro_batch(part, device, attention)) for part in parts]
    )
    gradients = torch.autograd.grad(losses.sum(), [*model.parameters()])
    return losses.detach(), torch.cat([gradient.flatten() for gradient in gradients])


@on_a_gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "flex_attention"])
def test_a_gpu_learns_the_same(attention: AttentionKind, compiled: bool) -> None:
    world = World()
    model = tiny_backbone("qwen", len(world.chat.tokenizer))
    plain = learnt(model, world, torch.device("cpu"), "sdpa")
    model.cuda()
    if compiled:
        compile_layers(model, whole_layers=attention == "flex_attention")
    for mine, theirs in zip(learnt(model, world, model.device, attention), plain, strict=True):
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-3, atol=1e-3)
