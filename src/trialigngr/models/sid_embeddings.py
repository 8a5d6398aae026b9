"""First values of the SID tokens' rows: near the mean of the old ones, or where the codebooks put their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trialigngr.foundation.seeds import derive_seed

Float32Array = npt.NDArray[np.float32]


def init_near_mean(model: Any, before: int, after: int) -> None:
    """Give rows ``before … after`` the mean of the old rows and a little noise, in and out."""
    if after > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(after, mean_resizing=False)
    for weight_VD in _token_embedding_weights(model):
        with torch.no_grad():
            old = weight_VD[:before]
            noise = torch.randn(after - before, old.shape[1], dtype=old.dtype) * old.std(0) * 0.1
            weight_VD[before:after] = old.mean(0) + noise


def init_from_codebooks(model: Any, sid_token_ids: Sequence[int], codebooks: Sequence[Float32Array], seed: int) -> None:
    """Put the rows of each level's tokens where its code vectors lie, turned into the model's width at random.

    ``codebooks[l]`` is [K, Z]. Distances within a level are kept up to one factor (Johnson and Lindenstrauss 1984), and
    the rows are spread as widely as all rows are. Levels without a codebook (an extra one against collisions) stay.
    """
    for weight_VD in _token_embedding_weights(model):
        first = 0
        for level, vectors_KZ in enumerate(codebooks):
            ids = list(sid_token_ids[first : first + len(vectors_KZ)])
            first += len(vectors_KZ)
            with torch.no_grad():
                rows_KD = _project_codebook(vectors_KZ, weight_VD.shape[1], derive_seed(seed, "codebook", level))
                weight_VD[ids] = (weight_VD.float().mean(0) + rows_KD * weight_VD.float().std()).to(weight_VD)


def _project_codebook(vectors_KZ: Float32Array, hidden_size: int, seed: int) -> Tensor:
    """Return rows [K, width] of mean 0 and standard deviation 1 over all their numbers."""
    turn_ZD = np.random.default_rng(seed).standard_normal((vectors_KZ.shape[1], hidden_size)).astype(np.float32)
    rows_KD = (vectors_KZ - vectors_KZ.mean(0)) @ turn_ZD
    return torch.from_numpy(rows_KD / max(float(rows_KD.std()), 1e-12))


def _token_embedding_weights(model: Any) -> list[Tensor]:
    """Return the weights that have a row for each token: one where input and output are tied."""
    weights = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    return list({weight.data_ptr(): weight for weight in weights}.values())
