"""Other libraries behind one call: fit on vectors, encode, decode. Those not installed are left out, and said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
LEVELS, CODES = 3, 256


@dataclass(frozen=True)
class Fitted:
    """A fitted tokenizer of any library."""

    encode: Callable[[Vectors], npt.NDArray[Any]]
    decode: Callable[[npt.NDArray[Any]], Vectors]


Fit = Callable[[Vectors, int], Fitted]
"""Vectors [N, D] and a seed → a fitted tokenizer."""


def fit_faiss(vectors_ND: Vectors, seed: int) -> Fitted:
    """Fit faiss' residual quantizer as it comes (beam of 5)."""
    import faiss

    quantizer = faiss.ResidualQuantizer(vectors_ND.shape[1], LEVELS, 8)
    quantizer.cp.seed = seed
    quantizer.train(vectors_ND)
    return Fitted(quantizer.compute_codes, quantizer.decode)


def fit_faiss_kmeans(vectors_ND: Vectors, seed: int) -> Fitted:
    """Fit faiss' k-means (25 iterations, all vectors) level by level on residuals."""
    import faiss

    books: list[Vectors] = []
    left_ND = vectors_ND
    for level in range(LEVELS):
        clusters = faiss.Kmeans(
            vectors_ND.shape[1], CODES, niter=25, seed=LEVELS * seed + level, max_points_per_centroid=10**7
        )
        clusters.train(np.ascontiguousarray(left_ND))
        books.append(np.asarray(clusters.centroids))
        left_ND = left_ND - books[-1][faiss.knn(left_ND, books[-1], 1)[1][:, 0]]

    def encode(rows_ND: Vectors) -> npt.NDArray[Any]:
        codes, left_ND = [], rows_ND
        for book_KD in books:
            codes.append(faiss.knn(np.ascontiguousarray(left_ND), book_KD, 1)[1][:, 0])
            left_ND = left_ND - book_KD[codes[-1]]
        return np.stack(codes, 1)

    def decode(codes_NL: npt.NDArray[Any]) -> Vectors:
        return np.sum([book[codes] for book, codes in zip(books, codes_NL.T, strict=True)], axis=0, dtype=np.float32)

    return Fitted(encode, decode)


def fit_semantic_id(vectors_ND: Vectors, seed: int) -> Fitted:
    """Fit `semantic-id`'s RQKMeans as it comes (scikit-learn, best of 10 starts)."""
    from semantic_id import RQKMeans

    model = RQKMeans(n_levels=LEVELS, n_clusters=CODES, random_state=seed)
    model.fit(vectors_ND)
    return Fitted(model.encode, model.decode)


def fit_rectokens(vectors_ND: Vectors, seed: int) -> Fitted:
    """Fit `rectokens`' RQ k-means: ten passes in batches of ten vectors a code, the size its own notes ask for.

    Its public methods are compiled on every new batch size, which would be timed; what they call is called instead.
    """
    import torch
    from rectokens.tokenizers.rq_kmeans import RQKMeansTokenizer

    inner = RQKMeansTokenizer(num_levels=LEVELS, codebook_size=CODES, dim=vectors_ND.shape[1], seed=seed)._rq
    rows_ND, generator = torch.from_numpy(vectors_ND), torch.Generator().manual_seed(seed)
    for _ in range(10):
        for batch in torch.randperm(len(rows_ND), generator=generator).split(10 * CODES):
            inner.fit_step(rows_ND[batch])

    def decode(codes_NL: npt.NDArray[Any]) -> Vectors:
        codes = torch.from_numpy(np.asarray(codes_NL)).long()
        total = sum(level.codebook.lookup(codes[:, index]) for index, level in enumerate(inner.levels))
        return np.asarray(total)

    return Fitted(lambda rows: inner.quantize(torch.from_numpy(rows)).codes.numpy(), decode)


def others() -> dict[str, Fit]:
    """Return the libraries that are installed, by name."""
    known = {"semantic-id": ("semantic_id", fit_semantic_id), "rectokens": ("rectokens", fit_rectokens)}
    found: dict[str, Fit] = {"faiss residual quantizer": fit_faiss}
    for name, (module, fit) in known.items():
        if find_spec(module) is None:
            print(f"{name} is not installed (pip install --no-deps {name}); its side is left out.")
        else:
            found[name] = fit
    return found
