"""gme-Qwen2-VL (arXiv 2412.16855) with the Qwen2-VL classes of transformers: f_mm of Eq. 2, without remote code.

As published: the picture before the text, the last hidden state at the ``<|endoftext|>`` that closes the template, at
length 1. ``<|im_end|>`` in a title is text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from trialigngr.embed.encoders import Sight
from trialigngr.embed.settings import EmbedSettings
from trialigngr.embed.text import fitting
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.hub import reason_of
from trialigngr.images.colors import Floats
from trialigngr.pretrained.qwen_vl import SLOT, QwenInputs

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Gme:
    """A loaded gme-Qwen2-VL (2B: 1536 dimensions, 7B: 3584). One vector holds text and picture."""

    sees: Sight = "both"
    share = 1.0

    def __init__(self, settings: EmbedSettings) -> None:
        if not settings.model:
            raise RecipeError("The encoder gme needs embeddings.model: a hub name or a local folder.")
        self.settings, self.name = settings, f"gme:{settings.model}"
        tokens = (settings.least_visual_tokens, settings.most_visual_tokens)
        try:
            self._inputs = QwenInputs(settings.model, tokens, "right")
            self._model = _loaded(settings).to(pick_device(settings.device)).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise RecipeError(f"embeddings.model = {settings.model!r} cannot be loaded: {reason_of(error)}.") from None
        self.dimension: int = self._model.config.text_config.hidden_size
        head = f"<|im_start|>system\n{settings.instruction}<|im_end|>\n<|im_start|>user\n"
        self._head, self._seeing = self._inputs.trusted(head), self._inputs.trusted(head + SLOT)
        self._room = settings.text_tokens - len(self._ends("\n"))
        self._tail = self._inputs.trusted("<|im_end|>\n<|im_start|>assistant\n<|endoftext|>")

    def encode(self, texts: Sequence[str], pictures: Sequence[Image.Image | None]) -> Floats:
        """Return unit vectors [B, D]; an item without a picture is read as text alone."""
        vectors_BD = np.zeros((len(texts), self.dimension), np.float32)
        for rows in self._batches(pictures):
            shown = [picture for row in rows if (picture := pictures[row]) is not None]
            vectors_BD[rows] = self._vectors([texts[row] for row in rows], shown)
        return vectors_BD

    def _batches(self, pictures: Sequence[Image.Image | None]) -> Iterator[list[int]]:
        """Yield rows that all have a picture, or all have none, as the published code takes them."""
        for seen in (True, False):
            rows = [row for row, picture in enumerate(pictures) if (picture is not None) is seen]
            for first in range(0, len(rows), self.settings.batch):
                yield rows[first : first + self.settings.batch]

    @torch.inference_mode()
    def _vectors(self, texts: Sequence[str], pictures: Sequence[Image.Image]) -> Floats:
        prompts = [self._prompt(text, bool(pictures)) for text in texts]
        inputs = {name: one.to(self._model.device) for name, one in self._inputs.batch(prompts, pictures).items()}
        length = inputs["input_ids"].shape[1]
        if self.settings.positions == "1d":
            inputs["position_ids"] = torch.arange(length, device=self._model.device).expand(3, len(texts), length)
        hidden_BTD = self._model(**inputs, use_cache=False).last_hidden_state
        last_B = inputs["attention_mask"].sum(1) - 1
        last_BD = hidden_BTD[torch.arange(len(texts), device=last_B.device), last_B].float()
        vectors_BD: Floats = torch.nn.functional.normalize(last_BD, dim=-1).cpu().numpy()
        return vectors_BD

    def _prompt(self, text: str, seen: bool) -> list[int]:
        return [
            *(self._seeing if seen else self._head),
            *self._inputs.data(fitting(text, self._room, self._ends), self.settings.text_tokens),
            *self._tail,
        ]

    def _ends(self, text: str) -> list[int]:
        """Return the place in the text where each of its tokens ends."""
        how = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True}
        return [end for _, end in self._inputs.tokenizer(text, **how)["offset_mapping"]]


def _loaded(settings: EmbedSettings) -> Any:
    """Return the model without its language head; raise `RecipeError` when weights are missing or of other shapes."""
    from transformers import Qwen2VLForConditionalGeneration

    whole, found = Qwen2VLForConditionalGeneration.from_pretrained(
        settings.model, dtype=DTYPES[settings.dtype], output_loading_info=True, trust_remote_code=False
    )
    missing = [name for name in found["missing_keys"] if not name.startswith("lm_head")]
    if missing or found["mismatched_keys"]:
        raise RecipeError(
            f"embeddings.model = {settings.model!r} is no Qwen2-VL: {len(missing)} weights are missing and "
            f"{len(found['mismatched_keys'])} have other shapes; first: {[*missing, *found['mismatched_keys']][:2]}."
        )
    return whole.model
