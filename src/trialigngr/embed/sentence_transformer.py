"""sentence-transformers: one text model, or the two towers of a CLIP-like one, as encoders."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
from PIL import Image

from trialigngr.embed.encoder import Encoder, Modality, encode_present
from trialigngr.embed.settings import EmbedSettings
from trialigngr.embed.text import trim_title
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.hub import reason_of
from trialigngr.images.colors import Float32Array


class SentenceTransformerEncoder:
    """One way into a model: its texts, or its pictures."""

    weight = 1.0

    def __init__(self, model: Any, name: str, modality: Modality, batch_size: int) -> None:
        self._model, self.modality, self.batch_size = model, modality, batch_size
        self.name = f"sentence-transformers:{name}:{modality}"
        self.dimension: int = model.get_embedding_dimension() or len(self._encode_values(["a"])[0])

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> Float32Array:
        """Return unit vectors [B, D] of the texts, or of the pictures with zeros where there is none."""
        if self.modality == "picture":
            return encode_present(images, self.dimension, self._encode_values)
        return self._encode_values([self.trim_title(text) for text in texts])

    def trim_title(self, text: str) -> str:
        """Return the text with its title cut so far that the tags are read too.

        A model of few tokens (CLIP: 77) would read a long title and nothing else.
        """
        if "\n" not in text or not getattr(self._model.tokenizer, "is_fast", False):
            return text
        return trim_title(
            text, self._model.max_seq_length - len(self._find_token_ends("\n", special=True)), self._find_token_ends
        )

    def _find_token_ends(self, text: str, special: bool = False) -> list[int]:
        """Return the place in the text where each of its tokens ends."""
        read = self._model.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        return [end for _, end in read["offset_mapping"]]

    def _encode_values(self, given: Sequence[Any]) -> Float32Array:
        vectors_BD: Float32Array = self._model.encode(
            list(given), batch_size=self.batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors_BD, np.float32)


def load_encoders(settings: EmbedSettings) -> list[Encoder]:
    """Return an encoder of texts and, where the model sees, one of pictures; raise `RecipeError` without a model."""
    model = _load_model(settings, "model", settings.model)
    if model.max_seq_length != inf:
        model.max_seq_length = min(settings.max_text_tokens, model.max_seq_length or settings.max_text_tokens)
    towers: list[Encoder] = [SentenceTransformerEncoder(model, settings.model, "text", settings.batch_size)]
    if "image" in model.modalities:
        towers.append(SentenceTransformerEncoder(model, settings.model, "picture", settings.batch_size))
    return towers


def load_image_encoder(settings: EmbedSettings) -> Encoder:
    """Return the encoder of pictures of ``image_model``; raise `RecipeError` without one, or for a text model."""
    model = _load_model(settings, "image_model", settings.image_model)
    if "image" not in model.modalities:
        raise RecipeError(
            f"embeddings.image_model = {settings.image_model!r} sees no pictures; take a CLIP-like model."
        )
    return SentenceTransformerEncoder(model, settings.image_model, "picture", settings.batch_size)


def _load_model(settings: EmbedSettings, setting: str, name: str) -> Any:
    from sentence_transformers import SentenceTransformer

    if not name:
        raise RecipeError(
            f"The encoder sentence-transformers needs embeddings.{setting}: a hub name or a local folder."
        )
    try:
        return SentenceTransformer(name, device=str(pick_device(settings.device)), trust_remote_code=False)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise RecipeError(f"embeddings.{setting} = {name!r} cannot be loaded: {reason_of(error)}.") from None
