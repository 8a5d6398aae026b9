"""Embeddings, captions and interests on a GPU: items a second at batch sizes, in the shapes of the paper's models.

Random weights in the shapes of gme-Qwen2-VL-2B, Qwen2.5-VL-7B and Qwen2.5-7B, saved and loaded as real ones are (17 GB
of disk at most), random pictures, a small tokenizer. A model of random weights hardly ever ends an answer, so each has
its full length. On a CPU, ``BENCH_SMALL=1`` proves that it runs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from benchmarks.decoding.data import SMALL
from benchmarks.harness import Check, seconds_of
from benchmarks.servers.tiny_tokenizer import save_tokenizer
from trialigngr.embed.gme import GmeEncoder
from trialigngr.embed.settings import EmbedSettings
from trialigngr.enrich.settings import CaptionSettings, InterestSettings
from trialigngr.foundation.chunks import iter_batches
from trialigngr.llm.generator import GenerationRequest, GenerationResponse
from trialigngr.llm.settings import GeneratorSettings
from trialigngr.llm.transformers_generator import TransformersGenerator

TEXT = "a plain white mug for tea and coffee, interests of a weekend hiker; home barista. " * 8
SIDE = 512
"""Pixels of a picture's sides: 324 visual tokens."""
BATCHES = (1, 8, 32, 128)
Work = Callable[[list[str], list[Image.Image]], object]


@dataclass(frozen=True)
class Shape:
    """A model by the names of its class and configuration in transformers; ``text`` and ``vision`` are its sizes."""

    name: str
    kind: str
    text: dict[str, Any]
    vision: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Save a model of this shape with random bf16 weights, and what it reads with."""
        folder.mkdir()
        tokenizer = save_tokenizer(folder)
        torch.manual_seed(0)
        config: Any = getattr(transformers, f"{self.kind}Config")
        if self.vision:
            rope = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
            names = {"image_pad": "image", "vision_start": "vision_start", "vision_end": "vision_end"}
            ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{one}|>") for one, name in names.items()}
            sizes = config(text_config=self.text | {"rope_parameters": rope}, vision_config=self.vision, **ids)
            model_class: Any = getattr(transformers, f"{self.kind}ForConditionalGeneration")
            transformers.Qwen2VLImageProcessorPil().save_pretrained(folder)
        else:
            sizes, model_class = config(**self.text), getattr(transformers, f"{self.kind}ForCausalLM")
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model_class(sizes).to(torch.bfloat16).save_pretrained(folder)


def _text(width: int, feed_forward: int, layers: int, heads: int, key_heads: int, vocabulary: int) -> dict[str, Any]:
    return {
        "hidden_size": width, "intermediate_size": feed_forward, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": key_heads, "vocab_size": vocabulary,
    }  # fmt: skip


SEVEN = _text(3584, 18944, 28, 28, 4, 152_064)
GME = Shape(
    "gme-Qwen2-VL-2B", "Qwen2VL", _text(1536, 8960, 28, 12, 2, 151_936),
    {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16, "mlp_ratio": 4},
)  # fmt: skip
SEEING = Shape(
    "Qwen2.5-VL-7B", "Qwen2_5_VL", SEVEN,
    {"depth": 32, "hidden_size": 1280, "out_hidden_size": 3584, "num_heads": 16, "intermediate_size": 3420,
     "fullatt_block_indexes": [7, 15, 23, 31]},
)  # fmt: skip
READING = Shape("Qwen2.5-7B", "Qwen2", SEVEN)
TINY = _text(256, 96, 2, 2, 1, 512)
TINIES = (
    Shape("tiny gme", "Qwen2VL", TINY, {"depth": 1, "embed_dim": 32, "hidden_size": 256, "num_heads": 2}),
    Shape(
        "tiny VL", "Qwen2_5_VL", TINY,
        {"depth": 1, "hidden_size": 32, "out_hidden_size": 256, "num_heads": 2, "intermediate_size": 32,
         "fullatt_block_indexes": [0]},
    ),
    Shape("tiny", "Qwen2", TINY),
)  # fmt: skip


def _embedding(model: str, batch: int, tokens: int) -> Work:
    return GmeEncoder(EmbedSettings(encoder="gme", model=model, batch_size=batch)).encode


def _captioning(model: str, batch: int, tokens: int) -> Work:
    return _answering(CaptionSettings(model=model, max_tokens=tokens), batch, True)


def _mining(model: str, batch: int, tokens: int) -> Work:
    return _answering(InterestSettings(model=model, max_tokens=tokens), batch, False)


def _answering(settings: GeneratorSettings, batch: int, sees: bool) -> Work:
    generator = TransformersGenerator(settings, batch)

    def answered(texts: list[str], pictures: list[Image.Image]) -> object:
        pairs = enumerate(zip(texts, pictures, strict=True))
        answers: list[GenerationResponse] = []
        for some in iter_batches(pairs, batch):
            for number, (text, picture) in some:
                generator.submit(GenerationRequest(number, "", text, picture if sees else None))
            answers += generator.collect(wait=True)
        return answers

    return answered


STAGES = {"embeddings": _embedding, "captions": _captioning, "interests": _mining}


def measure() -> list[Check]:
    """Return the items a second of each stage at each batch size."""
    if SMALL:
        return table(dict(zip(STAGES, TINIES, strict=True)), (2,), 4, 56)
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device; BENCH_SMALL=1 proves on the CPU that this runs.")
    print(torch.cuda.get_device_name())
    return table(dict(zip(STAGES, (GME, SEEING, READING), strict=True)), BATCHES, 128, SIDE)


def table(shapes: dict[str, Shape], batches: Sequence[int], tokens: int, side: int) -> list[Check]:
    """Measure each stage on its model; answers are ``tokens`` long, pictures ``side`` pixels wide."""
    checks = []
    for stage, shape in shapes.items():
        with tempfile.TemporaryDirectory() as scratch:
            shape.save(Path(scratch) / "model")
            for batch in batches:
                items = _rate(STAGES[stage](str(Path(scratch) / "model"), batch, tokens), batch, side)
                what = f"{stage}, {shape.name}, batches of {batch}: items a second"
                checks.append(Check(what, items, "measured", items > 0))
    return checks


def _rate(work: Work, batch: int, side: int) -> float:
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)) for _ in range(batch)]
    texts = [TEXT] * batch
    work(texts, pictures)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    items = batch / seconds_of(lambda: work(texts, pictures))
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 1e9
        print(f"{batch} together: {items:.4g} items a second, {peak:.1f} GB at most", flush=True)
    return items
