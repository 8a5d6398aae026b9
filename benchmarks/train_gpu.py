"""Training on a GPU: tokens/s and model FLOPs utilisation of our step, for a 0.5B-shaped Qwen2 and the small backbone.

Random weights and random histories; torch and transformers are all it needs, so a bare machine runs it:
``PYTHONPATH=src python -m benchmarks.train_gpu``. Both ways of attention are measured one after the other, without and
with compiled layers. ``--peak`` is the device's dense bf16 peak in TFLOP/s, known for a few. On a CPU it runs at
whatever size it is told to.
"""

from __future__ import annotations

import argparse
import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from trialigngr.foundation.device import autocast, pick_device
from trialigngr.models.layers import compile_layers
from trialigngr.tasks.packing import Continuation, MicroBatch, SharedPrefixRow, pack_micro_batches
from trialigngr.train.attention import ATTENTION_NAME
from trialigngr.train.loss import DeviceMicroBatch, TargetLosses

if TYPE_CHECKING:
    from benchmarks.harness import Check
    from trialigngr.train.settings import AttentionKind

PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0}
"""Dense bf16 TFLOP/s by a part of the device's name, as their makers' data sheets give them."""
SHAPES = {
    "Qwen2-0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
                   "num_key_value_heads": 2, "vocab_size": 151_936 + 3 * 256},
    "4 x 256": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4,
                "num_key_value_heads": 4, "vocab_size": 8_192 + 3 * 256},
    "tiny": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 1, "vocab_size": 512},
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """How a step computes."""

    attention: AttentionKind
    compiled: bool

    def __str__(self) -> str:
        return f"{self.attention}, compiled" if self.compiled else self.attention


@dataclass(frozen=True)
class Rate:
    """Tokens/s and FLOP/s of whole steps: forward, backward, AdamW."""

    tokens: float
    flops: float
    examples: float


def drawn(tokens: int, words: int, seed: int) -> MicroBatch:
    """Return a pass of about ``tokens`` tokens: histories of 2 to 20 items of 4 tokens, one target after each."""
    random = np.random.default_rng(seed)
    header, sheets, room = random.integers(0, words, 30).tolist(), [], tokens - 30
    while room > 0:
        items = int(random.integers(2, 21))
        trunk = random.integers(0, words, 4 * items).tolist()
        sheets.append(SharedPrefixRow(trunk, [Continuation(4 * k, trunk[:5], trunk[:4]) for k in range(1, items + 1)]))
        room -= len(sheets[-1])
    (part,) = pack_micro_batches(header, sheets, 1 << 40)
    return part


def flops(model: Any, part: MicroBatch) -> int:
    """Return the model's FLOPs of a step: 2 a weight and token forward, twice that backward; the head for targets only,
    4 a seen key, head and dimension for attention."""
    config = model.config
    head = config.vocab_size * config.hidden_size
    weights = sum(p.numel() for p in model.parameters()) - head  # tied: the table is counted once, as the head
    own_T = np.concatenate([np.arange(n) for n in (part.header_length, *part.row_lengths_S)]) - part.own_start_T + 1
    seen = int((own_T + part.prefix_length_T).sum()) + part.header_length * (len(part.tokens_T) - part.header_length)
    attention = 4 * config.num_hidden_layers * config.hidden_size * seen
    return 3 * (2 * weights * len(part.tokens_T) + 2 * head * len(part.source_place_M) + attention)


def rate(shape: str, way: Way, device: torch.device, tokens: int, steps: int) -> Rate:
    """Return what our step reaches on passes of ``tokens`` tokens, after three steps that warm it up."""
    torch.compiler.reset()
    gc.collect()  # a compiled model holds itself
    torch.manual_seed(0)
    model: Any = Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **SHAPES[shape])).to(device)
    model.set_attn_implementation(ATTENTION_NAME)
    if way.compiled:
        compile_layers(model, whole_layers=way.attention == "flex_attention")
    losses = TargetLosses(model, way.compiled)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    parts = [drawn(tokens, model.config.vocab_size, seed) for seed in range(steps + 3)]
    for number, part in enumerate(parts):
        if number == 3:
            start = _now(device)
        with autocast(device, "bf16"):
            loss = losses(DeviceMicroBatch.from_micro_batch(part, device, way.attention)).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds = _now(device) - start
    counted = parts[3:]
    return Rate(
        sum(len(part.tokens_T) for part in counted) / seconds,
        sum(flops(model, part) for part in counted) / seconds,
        sum(len(part.target_token_M) / 4 for part in counted) / seconds,
    )


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_of(device: torch.device) -> float:
    """Return the device's peak in TFLOP/s; NaN where it is not known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAKS.items() if part in name), float("nan"))


def table(shapes: list[str], tokens: int, steps: int, peak: float | None = None) -> dict[str, float]:
    """Print tokens/s and utilisation of each shape and way of attention; return the utilisation by name."""
    device = pick_device()
    most = peak or peak_of(device)
    kinds: list[AttentionKind] = ["sdpa", "flex_attention"] if device.type == "cuda" else ["sdpa"]
    ways = [Way(kind, compiled) for compiled in (False, True)[: len(kinds)] for kind in kinds]
    found = {}
    for shape in shapes:
        for way in ways:
            reached = rate(shape, way, device, tokens, steps)
            found[f"{shape}, {way}"] = used = reached.flops / most / 1e12
            print(
                f"{shape}, {way}: {reached.tokens:,.0f} tokens/s, {reached.examples:,.0f} examples/s, "
                f"{reached.flops / 1e12:.3g} TFLOP/s, utilisation {used:.1%}",
                flush=True,
            )
    return found


def measure() -> list[Check]:
    """Return the checks: 45 % of the peak for the 0.5B shape; nothing is measured without a GPU."""
    from benchmarks.harness import at_least

    if not torch.cuda.is_available():
        return []
    found = table(["Qwen2-0.5B", "4 x 256"], 32_768, 12)
    return [at_least(f"model FLOPs utilisation, {name}", used, 0.45) for name, used in found.items() if "0.5B" in name]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["Qwen2-0.5B", "4 x 256"])
    parser.add_argument("--tokens", type=int, default=32_768, help="tokens of a pass")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--peak", type=float, help="the device's dense bf16 peak, TFLOP/s")
    chosen = parser.parse_args()
    table(chosen.shapes, chosen.tokens, chosen.steps, chosen.peak)
