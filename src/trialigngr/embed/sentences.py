"""sentence-transformers: one text model, or the two towers of a CLIP-like one, as encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from trialigngr.embed.encoders import Encoder, Sight, where_there_are
from trialigngr.embed.settings import EmbedSettings
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.packaged.colours import Floats


class Tower:
    """One way into a model: its texts, or its pictures."""

    share = 1.0

    def __init__(self, model: Any, name: str, sees: Sight, batch: int) -> None:
        self._model, self.sees, self.batch = model, sees, batch
        self.name = f"sentence-transformers:{name}:{sees}"
        self.dimension: int = model.get_embedding_dimension() or len(self._encode(["a"])[0])

    def encode(self, texts: Sequence[str], pictures: Sequence[Image.Image | None]) -> Floats:
        """Return unit vectors [B, D] of the texts, or of the pictures with zeros where there is none."""
        return (
            where_there_are(pictures, self.dimension, self._encode) if self.sees == "picture" else self._encode(texts)
        )

    def _encode(self, given: Sequence[Any]) -> Floats:
        vectors_BD: Floats = self._model.encode(
            list(given), batch_size=self.batch, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors_BD, np.float32)


def load_towers(settings: EmbedSettings) -> list[Encoder]:
    """Return an encoder of texts and, where the model sees, one of pictures; raise `RecipeError` without a model."""
    from sentence_transformers import SentenceTransformer

    if not settings.model:
        raise RecipeError("The encoder sentence-transformers needs embeddings.model: a hub name or a local folder.")
    try:
        model = SentenceTransformer(settings.model, device=str(pick_device(settings.device)), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"embeddings.model = {settings.model!r} cannot be loaded: {str(error).splitlines()[0]}"
        ) from None
    model.max_seq_length = min(settings.text_tokens, model.max_seq_length or settings.text_tokens)
    towers: list[Encoder] = [Tower(model, settings.model, "text", settings.batch)]
    if "image" in model.modalities:
        towers.append(Tower(model, settings.model, "picture", settings.batch))
    return towers
