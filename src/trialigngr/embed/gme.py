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

from trialigngr.embed.encoder import Modality
from trialigngr.embed.settings import EmbedSettings
from trialigngr.embed.text import trim_title
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.hub import reason_of
from trialigngr.images.colors import Float32Array
from trialigngr.pretrained.qwen_vl import IMAGE_PLACEHOLDER, QwenProcessor

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SYSTEM_MESSAGE = "You are a helpful assistant."
"""What it was trained with."""


class GmeEncoder:
    """A loaded gme-Qwen2-VL (2B: 1536 dimensions, 7B: 3584). One vector holds text and picture."""

    modality: Modality = "both"
    weight = 1.0

    def __init__(self, settings: EmbedSettings) -> None:
        if not settings.model:
            raise RecipeError("The encoder gme needs embeddings.model: a hub name or a local folder.")
        self.settings, self.name = settings, f"gme:{settings.model}"
        tokens = (settings.gme.min_visual_tokens, settings.gme.max_visual_tokens)
        try:
            self._processor = QwenProcessor(settings.model, tokens, "right")
            self._model = _load_model(settings).to(pick_device(settings.device)).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise RecipeError(f"embeddings.model = {settings.model!r} cannot be loaded: {reason_of(error)}.") from None
        self.dimension: int = self._model.config.text_config.hidden_size
        head = f"<|im_start|>system\n{SYSTEM_MESSAGE}<|im_end|>\n<|im_start|>user\n"
        self._text_prefix, self._image_prefix = (
            self._processor.encode_with_special_tokens(head),
            self._processor.encode_with_special_tokens(head + IMAGE_PLACEHOLDER),
        )
        self._max_text_tokens = settings.max_text_tokens - len(self._find_token_ends("\n"))
        self._suffix = self._processor.encode_with_special_tokens("<|im_end|>\n<|im_start|>assistant\n<|endoftext|>")

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> Float32Array:
        """Return unit vectors [B, D]; an item without a picture is read as text alone."""
        vectors_BD = np.zeros((len(texts), self.dimension), np.float32)
        for rows in self._iter_batches(images):
            shown = [picture for row in rows if (picture := images[row]) is not None]
            vectors_BD[rows] = self._encode_batch([texts[row] for row in rows], shown)
        return vectors_BD

    def _iter_batches(self, images: Sequence[Image.Image | None]) -> Iterator[list[int]]:
        """Yield rows that all have a picture, or all have none, as the published code takes them."""
        for seen in (True, False):
            rows = [row for row, picture in enumerate(images) if (picture is not None) is seen]
            for first in range(0, len(rows), self.settings.batch_size):
                yield rows[first : first + self.settings.batch_size]

    @torch.inference_mode()
    def _encode_batch(self, texts: Sequence[str], images: Sequence[Image.Image]) -> Float32Array:
        prompts = [self._make_prompt(text, bool(images)) for text in texts]
        inputs = {
            name: one.to(self._model.device) for name, one in self._processor.collate_prompts(prompts, images).items()
        }
        length = inputs["input_ids"].shape[1]
        if self.settings.gme.positions == "1d":
            inputs["position_ids"] = torch.arange(length, device=self._model.device).expand(3, len(texts), length)
        hidden_BTD = self._model(**inputs, use_cache=False).last_hidden_state
        last_B = inputs["attention_mask"].sum(1) - 1
        last_BD = hidden_BTD[torch.arange(len(texts), device=last_B.device), last_B].float()
        vectors_BD: Float32Array = torch.nn.functional.normalize(last_BD, dim=-1).cpu().numpy()
        return vectors_BD

    def _make_prompt(self, text: str, with_image: bool) -> list[int]:
        return [
            *(self._image_prefix if with_image else self._text_prefix),
            *self._processor.encode_as_plain_text(
                trim_title(text, self._max_text_tokens, self._find_token_ends), self.settings.max_text_tokens
            ),
            *self._suffix,
        ]

    def _find_token_ends(self, text: str) -> list[int]:
        """Return the place in the text where each of its tokens ends."""
        how = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True}
        return [end for _, end in self._processor.tokenizer(text, **how)["offset_mapping"]]


def _load_model(settings: EmbedSettings) -> Any:
    """Return the model without its language head; raise `RecipeError` when weights are missing or of other shapes."""
    from transformers import Qwen2VLForConditionalGeneration

    whole, found = Qwen2VLForConditionalGeneration.from_pretrained(
        settings.model, dtype=DTYPES[settings.gme.dtype], output_loading_info=True, trust_remote_code=False
    )
    missing = [name for name in found["missing_keys"] if not name.startswith("lm_head")]
    if missing or found["mismatched_keys"]:
        raise RecipeError(
            f"embeddings.model = {settings.model!r} is no Qwen2-VL: {len(missing)} weights are missing and "
            f"{len(found['mismatched_keys'])} have other shapes; first: {[*missing, *found['mismatched_keys']][:2]}."
        )
    return whole.model
