"""Decoding on a GPU: users a second, the share of what the card could do, and a masked step as the others write it.

Random weights in the shapes of Qwen2-0.5B and Qwen3-1.7B. Needs torch, transformers and numpy alone. On a CPU,
``BENCH_SMALL=1`` proves that it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import isnan
from typing import Any

import torch
from transformers import LogitsProcessorList, Qwen2Config, Qwen2ForCausalLM

from benchmarks.decoding.data import ITEMS, LAYERS, SIZES, SMALL, TOKENS_LK, VOCABULARY, WIDTH, model, prompts, search
from benchmarks.decoding.others import VectorisedMask, callback, generated, rectokens, vectorised
from benchmarks.harness import Check, at_least, seconds_of, side_by_side

USERS, ROUNDS = 16, 2
LENGTHS, BEAMS = (256, 1024, 2048), (20, 100, 512)
EXPANDED_BYTES = 40e9
"""Keys and values that the others may hold, who keep a prompt once a beam: they decode as many users as that lets."""


@dataclass(frozen=True)
class Shape:
    """A backbone's sizes; weights are bf16 and embeddings are tied."""

    name: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int = 151_936

    def build(self, device: str) -> Any:
        """Return a model of this shape with random weights."""
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            head_dim=self.head_width,
            tie_word_embeddings=True,
            dtype=torch.bfloat16,
        )
        with torch.device(device):
            return Qwen2ForCausalLM(config).to(torch.bfloat16).eval()

    @property
    def block_parameters(self) -> int:
        """Weights of all layers, which every token is multiplied with."""
        attention = 2 * self.width * self.head_width * (self.heads + self.key_heads)
        return self.layers * (attention + 3 * self.width * self.feed_forward)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return 4 * self.layers * self.key_heads * self.head_width

    def operations(self, tokens: int, pairs: int, logits: int) -> float:
        """Return the floating-point operations of a pass: ``pairs`` are a query and a key that it sees."""
        attention = 4 * self.layers * self.heads * self.head_width * pairs
        return 2.0 * self.block_parameters * tokens + attention + 2 * self.vocabulary * self.width * logits


SHAPES = (
    Shape("0.5B", 24, 896, 4864, 14, 2, 64),
    Shape("1.7B", 28, 2048, 6144, 16, 8, 128),
)
TINY = Shape("tiny", 2, 32, 48, 2, 1, 16, VOCABULARY)


@dataclass(frozen=True)
class Card:
    """What a device was measured to do: bf16 operations a second, and bytes a second."""

    operations: float
    bytes: float

    @classmethod
    def measured(cls, device: str, side: int, megabytes: int) -> Card:
        """Multiply two square matrices, and copy some megabytes (read once, written once)."""
        left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
        block = torch.empty(megabytes * 2**20, dtype=torch.uint8, device=device)
        taken = side_by_side(
            {"matmul": _awaited(device, lambda: left @ left), "copy": _awaited(device, block.clone)}, rounds=5
        )
        return cls(2.0 * side**3 / taken["matmul"], 2.0 * len(block) / taken["copy"])

    def least_seconds(self, shape: Shape, users: int, length: int, beams: int) -> float:
        """Return what a decode takes at least: per pass, the longer of its operations and of weights and cache read.

        One pass over the prompts, then one for each level but the last, whose beams see the prompt once a user.
        """
        head = 2 * shape.vocabulary * shape.width
        read = 2 * shape.block_parameters + head
        pairs = users * length * (length + 1) // 2
        total = max(shape.operations(users * length, pairs, users) / self.operations, read / self.bytes)
        for _ in SIZES[1:]:
            new = users * beams
            step = shape.operations(new, new * length, new) / self.operations
            total += max(step, (read + users * length * shape.cache_bytes) / self.bytes)
        return total


def measure() -> list[Check]:
    """Return how many times faster than the masked step each setting is."""
    if not torch.cuda.is_available() and not SMALL:
        sys.exit("There is no CUDA device; BENCH_SMALL=1 proves on the CPU that this runs.")
    if SMALL:
        return table("cpu", [TINY], (40,), (4,), Card.measured("cpu", 128, 1)) + against_others("cpu")
    card = Card.measured("cuda", 8192, 4096)
    print(torch.cuda.get_device_name())
    return table("cuda", SHAPES, LENGTHS, BEAMS, card) + against_others("cuda")


def against_others(device: str) -> list[Check]:
    """Return how many times faster than the others we are on the model, prompts and beams of the table for CPUs."""
    own, asked, allowed = model().to(device), prompts(), callback(ITEMS)
    work: dict[str, Callable[[], object]] = {
        "ours": _decode(search(own), asked, BEAMS[0]),
        "callback": lambda: generated(own, asked, BEAMS[0], prefix_allowed_tokens_fn=allowed),
        "vectorised mask": vectorised(own, asked, BEAMS[0], ITEMS),
    }
    if theirs := rectokens(own, asked, BEAMS[0], ITEMS):
        work["rectokens"] = theirs
    taken = side_by_side({name: _awaited(device, one) for name, one in work.items()}, ROUNDS)
    print({name: f"{seconds:.4f} s" for name, seconds in taken.items()}, flush=True)
    ours = taken.pop("ours")
    what = f"{LAYERS} x {WIDTH}, vocabulary, {BEAMS[0]} beams: times faster than"
    return [at_least(f"{what} {name}", seconds / ours, 5) for name, seconds in taken.items()]


def table(
    device: str, shapes: Sequence[Shape], lengths: Sequence[int], beams: Sequence[int], card: Card
) -> list[Check]:
    """Print a line for each setting, and return its speed over the masked step's, where that fits into memory."""
    print(f"measured: {card.operations / 1e12:.3g} TFLOP/s in bf16, {card.bytes / 1e9:.4g} GB/s")
    checks: list[Check] = []
    for shape in shapes:
        built = shape.build(device)
        for length, width in product(lengths, beams):
            checks += _line(built, shape, length, width, card)
    return checks


def _line(model: Any, shape: Shape, length: int, beams: int, card: Card) -> list[Check]:
    device, asked = model.device.type, prompts(USERS, length)
    least = card.least_seconds(shape, USERS, length, beams)
    tokens_BT = torch.tensor(asked, device=device)
    ours = {name: search(model, ITEMS, name) for name in ("full", "constrained")}

    @torch.inference_mode()
    def forward() -> object:
        return model.base_model(input_ids=tokens_BT, use_cache=False)

    taken = side_by_side(
        {"forward": _awaited(device, forward)} | {name: _decode(own, asked, beams) for name, own in ours.items()},
        ROUNDS,
    )
    theirs = _masked_users_a_second(model, shape, asked, beams)
    what = f"{shape.name}, {length} tokens, {beams} beams"
    told = ", ".join(f"{name} {USERS / seconds:.4g}" for name, seconds in taken.items())
    print(f"{what}: users/s: {told}, masked step {theirs:.4g}; vocabulary is {least / taken['full']:.1%} of the")
    print(f"    roofline and takes {taken['full'] / taken['forward']:.2f} times the bare forward pass", flush=True)
    if isnan(theirs):
        return []
    return [at_least(f"{what}: vocabulary, times a masked step", USERS / taken["full"] / theirs, 5)]


def _decode(own: Any, asked: list[list[int]], beams: int) -> Callable[[], object]:
    return lambda: own(asked, beams)


def _awaited(device: str, work: Callable[[], object]) -> Callable[[], object]:
    """Return a call that ends when the device has finished."""

    def done() -> None:
        work()
        if device == "cuda":
            torch.cuda.synchronize()

    return done


def _masked_users_a_second(model: Any, shape: Shape, asked: list[list[int]], beams: int) -> float:
    """Return the speed of `generate` with a mask a step and every prompt kept once a beam; NaN where none fits."""
    device, length = model.device.type, len(asked[0])
    users = min(int(EXPANDED_BYTES / (shape.cache_bytes * (length + len(TOKENS_LK)) * beams)), len(asked))
    mask = LogitsProcessorList([VectorisedMask(ITEMS, length, device)])
    if not users:
        return float("nan")
    work = _awaited(device, lambda: generated(model, asked[:users], beams, logits_processor=mask))
    try:
        work()  # warms the caches
        return users / seconds_of(work)
    except torch.OutOfMemoryError:
        return float("nan")
