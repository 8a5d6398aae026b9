"""sentence-transformers: one text model, or the two towers of a CLIP-like one, as encoders."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
from PIL import Image

from trialigngr.embed.encoders import Encoder, Sight, where_there_are
from trialigngr.embed.settings import EmbedSettings
from trialigngr.embed.text import fitting
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.hub import reason_of
from trialigngr.images.colors import Floats


class Tower:
    """One way into a model: its texts, or its pictures."""

    share = 1.0

    def __init__(self, model: Any, name: str, sees: Sight, batch: int) -> None:
        self._model, self.sees, self.batch = model, sees, batch
        self.name = f"sentence-transformers:{name}:{sees}"
        self.dimension: int = model.get_embedding_dimension() or len(self._encode(["a"])[0])

    def encode(self, texts: Sequence[str], pictures: Sequence[Image.Image | None]) -> Floats:
        """Return unit vectors [B, D] of the texts, or of the pictures with zeros where there is none."""
        if self.sees == "picture":
            return where_there_are(pictures, self.dimension, self._encode)
        return self._encode([self.fitting(text) for text in texts])

    def fitting(self, text: str) -> str:
        """Return the text with its title cut so far that the tags are read too.

        A model of few tokens (CLIP: 77) would read a long title and nothing else.
        """
        if "\n" not in text or not getattr(self._model.tokenizer, "is_fast", False):
            return text
        return fitting(text, self._model.max_seq_length - len(self._ends("\n", special=True)), self._ends)

    def _ends(self, text: str, special: bool = False) -> list[int]:
        """Return the place in the text where each of its tokens ends."""
        read = self._model.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        return [end for _, end in read["offset_mapping"]]

    def _encode(self, given: Sequence[Any]) -> Floats:
        vectors_BD: Floats = self._model.encode(
            list(given), batch_size=self.batch, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors_BD, np.float32)


def load_towers(settings: EmbedSettings) -> list[Encoder]:
    """Return an encoder of texts and, where the model sees, one of pictures; raise `RecipeError` without a model."""
    model = _loaded(settings, "model", settings.model)
    if model.max_seq_length != inf:
        model.max_seq_length = min(settings.text_tokens, model.max_seq_length or settings.text_tokens)
    towers: list[Encoder] = [Tower(model, settings.model, "text", settings.batch)]
    if "image" in model.modalities:
        towers.append(Tower(model, settings.model, "picture", settings.batch))
    return towers


def load_picture_tower(settings: EmbedSettings) -> Encoder:
    """Return the encoder of pictures of ``picture_model``; raise `RecipeError` without one, or for a text model."""
    model = _loaded(settings, "picture_model", settings.picture_model)
    if "image" not in model.modalities:
        raise RecipeError(
            f"embeddings.picture_model = {settings.picture_model!r} sees no pictures; take a CLIP-like model."
        )
    return Tower(model, settings.picture_model, "picture", settings.batch)


def _loaded(settings: EmbedSettings, setting: str, name: str) -> Any:
    from sentence_transformers import SentenceTransformer

    if not name:
        raise RecipeError(
            f"The encoder sentence-transformers needs embeddings.{setting}: a hub name or a local folder."
        )
    try:
        return SentenceTransformer(name, device=str(pick_device(settings.device)), trust_remote_code=False)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise RecipeError(f"embeddings.{setting} = {name!r} cannot be loaded: {reason_of(error)}.") from None
