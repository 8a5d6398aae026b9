"""Residual k-means on the embeddings themselves: no network, no training, Eqs. 3–4 as they are printed."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from trialigngr.sids.quantizers.kmeans import KMeansSettings, residual_kmeans
from trialigngr.sids.quantizers.levels import Codes, Levels, Vectors


class RqKMeans:
    """Codebooks in the space of the embeddings; the decoded vector is the sum of the codes."""

    name: ClassVar[str] = "rqkmeans"

    def __init__(self, settings: KMeansSettings | None = None) -> None:
        self.settings = settings or KMeansSettings()
        self.levels = Levels([])

    def fit(self, vectors_ND: Vectors, sizes: tuple[int, ...], seed: int) -> None:
        """Fit one k-means a level."""
        self.levels = residual_kmeans(vectors_ND, sizes, self.settings, seed)

    def latents(self, vectors_ND: Vectors) -> Vectors:
        """Return the vectors: the codebooks lie among them."""
        return vectors_ND

    def encode(self, vectors_ND: Vectors) -> Codes:
        """Return the nearest code of each residual [N, L]."""
        return self.levels.encode(vectors_ND)

    def decode(self, codes_NL: Codes) -> Vectors:
        """Return the sum of the codes' vectors [N, D]."""
        return self.levels.sum(codes_NL)

    def tensors(self) -> dict[str, Vectors]:
        """Return the codebooks."""
        return self.levels.tensors()

    @classmethod
    def from_tensors(cls, settings: dict[str, Any], tensors: dict[str, Vectors]) -> Self:
        """Read what `tensors` gave."""
        quantizer = cls(KMeansSettings.model_validate(settings))
        quantizer.levels = Levels.from_tensors(tensors)
        return quantizer
