"""What Qwen2-VL and Qwen2.5-VL read: token ids, patches and positions of text with pictures, padded to one length.

Built from the tokenizer and the PIL image processor alone, which need neither torchvision nor remote code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import torch
from PIL import Image

from trialigngr.foundation.hub import load_tokenizer

VISUAL_TOKEN_SIDE = 28
"""Pixels of a visual token's side."""
INPUT_TOKEN_LIMITS = (4, 16_384)
"""Visual tokens to which a picture is brought when it is read, before the model's own limits."""
MAX_ASPECT_RATIO = 100
"""Longer pictures are put on white: the model refuses a ratio of sides above 200."""
IMAGE_PLACEHOLDER = "<|vision_start|><|image_pad|><|vision_end|>"
"""What stands in a prompt in the place of a picture."""


class QwenProcessor:
    """Turns prompts and pictures into a model's input. ``token_limits``: the fewest and most visual tokens of a
    picture."""

    def __init__(self, name: str, token_limits: tuple[int, int], padding_side: Literal["left", "right"]) -> None:
        from transformers import Qwen2VLImageProcessorPil

        self.tokenizer: Any = load_tokenizer(name)
        size = {
            "shortest_edge": token_limits[0] * VISUAL_TOKEN_SIDE**2,
            "longest_edge": token_limits[1] * VISUAL_TOKEN_SIDE**2,
        }
        self._image_processor: Any = Qwen2VLImageProcessorPil.from_pretrained(name, size=size, trust_remote_code=False)
        self._padding_side = padding_side
        self._pad_token_id: int = self.tokenizer.convert_tokens_to_ids("<|endoftext|>")
        self._image_token_id: int = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")

    def encode_with_special_tokens(self, text: str) -> list[int]:
        """Return the tokens of a text of our own, in which ``<|im_end|>`` and the like are what they say."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def encode_as_plain_text(self, text: str, max_tokens: int) -> list[int]:
        """Return at most ``max_tokens`` tokens of a text of others, in which nothing is a special token."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids[:max_tokens]

    def collate_prompts(self, prompts: Sequence[list[int]], images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
        """Return ``input_ids`` and ``attention_mask`` [B, T], and with pictures what the model wants of them.

        Each prompt holds one slot for each of its pictures, in their order.
        """
        seen: dict[str, torch.Tensor] = {}
        if images:
            # One after the other they take longer than a model of 2B on a large GPU (docs/log).
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                each = list(
                    pool.map(lambda one: self._image_processor([_resize_to_limits(one)], return_tensors="pt"), images)
                )
            seen = {name: torch.cat([one[name] for one in each]) for name in each[0]}
        counts = iter(
            (seen["image_grid_thw"].prod(1) // self._image_processor.merge_size**2).tolist() if images else []
        )
        filled = [[token for one in prompt for token in self._expand_image_token(one, counts)] for prompt in prompts]
        ids_BT, mask_BT = self._pad_rows(filled)
        inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, **seen}
        return inputs | ({"mm_token_type_ids": (ids_BT == self._image_token_id).int()} if images else {})

    def _expand_image_token(self, token: int, counts: Any) -> list[int]:
        return [token] * next(counts) if token == self._image_token_id else [token]

    def _pad_rows(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, rows))
        ids_BT = torch.full((len(rows), width), self._pad_token_id)
        mask_BT = torch.zeros_like(ids_BT)
        for place, row in enumerate(rows):
            where = slice(width - len(row), None) if self._padding_side == "left" else slice(len(row))
            ids_BT[place, where] = torch.tensor(row)
            mask_BT[place, where] = 1
        return ids_BT, mask_BT


def _resize_to_limits(picture: Image.Image) -> Image.Image:
    """Return the picture at the size that Qwen's own reader gives it: whole visual tokens within wide limits."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    even = _pad_to_aspect_ratio(picture)
    least, most = (tokens * VISUAL_TOKEN_SIDE**2 for tokens in INPUT_TOKEN_LIMITS)
    height, width = smart_resize(even.height, even.width, VISUAL_TOKEN_SIDE, least, most)
    return even.resize((width, height), Image.Resampling.BICUBIC)


def _pad_to_aspect_ratio(picture: Image.Image) -> Image.Image:
    long, short = max(picture.size), min(picture.size)
    if long <= MAX_ASPECT_RATIO * short:
        return picture
    room = math.ceil(long / MAX_ASPECT_RATIO)
    canvas = Image.new("RGB", (max(picture.width, room), max(picture.height, room)), "white")
    canvas.paste(picture, ((canvas.width - picture.width) // 2, (canvas.height - picture.height) // 2))
    return canvas
