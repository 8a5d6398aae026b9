"""`Codebooks`: codebooks that add up. Every quantizer here is a way into such a space and a way back out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.sids.errors import SidError

Float32Array = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
ROWS_AT_ONCE = 1 << 16


def iter_row_slices(n_rows: int, size: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Return slices that cover ``n_rows`` rows, ``size`` at a time, so that memory does not grow with N."""
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


BEYOND = 1e15
"""From here on squared distances leave the range of float32, and faiss ends the process instead of saying so."""


def refuse_overflow(vectors_ND: Float32Array) -> Float32Array:
    """Return vectors whose squared distances are numbers; raise `SidError` for others."""
    if vectors_ND.size and not max(float(vectors_ND.max()), -float(vectors_ND.min())) < BEYOND:
        raise SidError(
            f"Vectors to be quantised hold NaN or numbers beyond ±{BEYOND:g}; if a network was trained for it, it has "
            "diverged: set a smaller learning_rate."
        )
    return vectors_ND


@dataclass(frozen=True)
class Codebook:
    """One codebook: ``vectors_KD`` [K, D], and ``prices_K`` [K], what a code costs beyond its squared distance."""

    vectors_KD: Float32Array
    prices_K: Float32Array | None = None

    @property
    def num_codes(self) -> int:
        """The number of codes K."""
        return len(self.vectors_KD)

    def nearest_codes(self, residual_ND: Float32Array) -> Codes:
        """Return the cheapest code of each row [N]: least squared distance plus price; ties go to the lower code."""
        return self.nearest_k_codes(residual_ND, 1)[1][:, 0]

    def nearest_k_codes(self, residual_ND: Float32Array, count: int) -> tuple[Float32Array, Codes]:
        """Return the costs and codes of the ``count`` cheapest codes of each row, cheapest first [N, count]."""
        import faiss

        rows_ND, codes_KD = np.ascontiguousarray(refuse_overflow(residual_ND)), self.vectors_KD
        if self.prices_K is not None:  # one more coordinate, 0 in every row: its square is the price
            rows_ND = np.pad(rows_ND, ((0, 0), (0, 1)))
            codes_KD = np.column_stack([codes_KD, np.sqrt(self.prices_K - self.prices_K.min())])
        costs_NB, codes_NB = faiss.knn(rows_ND, np.ascontiguousarray(codes_KD), min(count, self.num_codes))
        return costs_NB, codes_NB.astype(np.int32)

    def code_distances(self, residual_ND: Float32Array) -> Float32Array:
        """Return squared distances of rows to codes [N, K], prices included."""
        cross_NK = residual_ND @ self.vectors_KD.T
        squares_K = np.square(self.vectors_KD).sum(1) + (0 if self.prices_K is None else self.prices_K)
        distances_NK = np.square(residual_ND).sum(1)[:, None] - 2 * cross_NK + squares_K
        return np.maximum(distances_NK, 0, dtype=np.float32)


@dataclass(frozen=True)
class PartialCodes:
    """The best partial codes of each row [N, B, l], best first, and what they leave of it [N, B, D]."""

    residual_NBD: Float32Array
    codes_NBL: Codes

    @classmethod
    def start_empty(cls, latents_ND: Float32Array) -> PartialCodes:
        """Return the one empty path of each row."""
        return cls(latents_ND[:, None], np.zeros((len(latents_ND), 1, 0), dtype=np.int32))

    def extend_with(self, codebook: Codebook, num_beams: int) -> PartialCodes:
        """Return the ``num_beams`` best paths that are a code of this level longer; ties go to the path that came
        first."""
        n, _, width = self.residual_NBD.shape
        costs_MC, codes_MC = codebook.nearest_k_codes(self.residual_NBD.reshape(-1, width), num_beams)
        best_NB = np.argsort(costs_MC.reshape(n, -1), axis=1, kind="stable")[:, :num_beams]
        parents_NB1 = (best_NB // codes_MC.shape[1])[:, :, None]
        codes_NB = np.take_along_axis(codes_MC.reshape(n, -1), best_NB, 1)
        codes_NBL = np.concatenate([np.take_along_axis(self.codes_NBL, parents_NB1, 1), codes_NB[:, :, None]], 2)
        residual_NBD = np.take_along_axis(self.residual_NBD, parents_NB1, 1) - codebook.vectors_KD[codes_NB]
        return PartialCodes(residual_NBD, codes_NBL)


@dataclass(frozen=True)
class Codebooks:
    """L codebooks over the same space; an item's vector is the sum of its codes' vectors (Eqs. 3–4)."""

    codebooks: Sequence[Codebook]
    num_beams: int = 1

    def __iter__(self) -> Iterator[Codebook]:
        return iter(self.codebooks)

    def __len__(self) -> int:
        return len(self.codebooks)

    def __getitem__(self, index: int) -> Codebook:
        return self.codebooks[index]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes, coarse to fine."""
        return tuple(level.num_codes for level in self.codebooks)

    def encode(self, latents_ND: Float32Array) -> Codes:
        """Return codes [N, L]: the nearest to the vector, then to what is left of it, level by level (Eqs. 3–4).

        With a ``num_beams`` wider than 1 the best partial codes are kept at each level, and the best whole code
        returned.
        """
        codes_NL = np.empty((len(latents_ND), len(self)), dtype=np.int32)
        for rows in iter_row_slices(len(latents_ND), ROWS_AT_ONCE // self.num_beams):
            codes_NL[rows] = (
                self._encode_greedily(latents_ND[rows])
                if self.num_beams == 1
                else self._encode_with_beam(latents_ND[rows])
            )
        return codes_NL

    def _encode_greedily(self, residual_ND: Float32Array) -> Codes:
        codes: list[Codes] = []
        for level in self.codebooks:
            codes.append(level.nearest_codes(residual_ND))
            residual_ND = residual_ND - level.vectors_KD[codes[-1]]
        return np.stack(codes, axis=1)

    def _encode_with_beam(self, latents_ND: Float32Array) -> Codes:
        paths = PartialCodes.start_empty(latents_ND)
        for level in self.codebooks:
            paths = paths.extend_with(level, self.num_beams)
        return paths.codes_NBL[:, 0]

    def sum_codes(self, codes_NL: Codes) -> Float32Array:
        """Return the sum of the codes' vectors [N, D]; fewer columns than levels give the coarser sum."""
        total_ND = np.zeros((len(codes_NL), self.codebooks[0].vectors_KD.shape[1]), dtype=np.float32)
        for level, codes_N in zip(self.codebooks, codes_NL.T, strict=False):
            total_ND += level.vectors_KD[codes_N]
        return total_ND

    def to_tensors(self) -> dict[str, Float32Array]:
        """Return what `from_tensors` reads, by name."""
        named = {f"level.{index}.vectors": level.vectors_KD for index, level in enumerate(self.codebooks)}
        prices = {f"level.{index}.prices": level.prices_K for index, level in enumerate(self.codebooks)}
        return named | {name: prices_K for name, prices_K in prices.items() if prices_K is not None}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Float32Array], num_beams: int) -> Codebooks:
        """Read what `tensors` gave."""
        count = sum(name.startswith("level.") and name.endswith(".vectors") for name in tensors)
        return cls(
            [Codebook(tensors[f"level.{i}.vectors"], tensors.get(f"level.{i}.prices")) for i in range(count)], num_beams
        )
