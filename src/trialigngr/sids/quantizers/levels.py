"""`Levels`: codebooks that add up. Every quantizer here is a way into such a space and a way back out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.sids.errors import SidError

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
ROWS_AT_ONCE = 1 << 16


def blocks(n_rows: int, size: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Return slices that cover ``n_rows`` rows, ``size`` at a time, so that memory does not grow with N."""
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


BEYOND = 1e15
"""From here on squared distances leave the range of float32, and faiss ends the process instead of saying so."""


def refuse_overflow(vectors_ND: Vectors) -> Vectors:
    """Return vectors whose squared distances are numbers; raise `SidError` for others."""
    if vectors_ND.size and not max(float(vectors_ND.max()), -float(vectors_ND.min())) < BEYOND:
        raise SidError(
            f"Vectors to be quantised hold NaN or numbers beyond ±{BEYOND:g}; if a network was trained for it, it has "
            "diverged: set a smaller learning_rate."
        )
    return vectors_ND


@dataclass(frozen=True)
class Level:
    """One codebook: ``vectors_KD`` [K, D], and ``prices_K`` [K], what a code costs beyond its squared distance."""

    vectors_KD: Vectors
    prices_K: Vectors | None = None

    @property
    def size(self) -> int:
        """The number of codes K."""
        return len(self.vectors_KD)

    def nearest(self, residual_ND: Vectors) -> Codes:
        """Return the cheapest code of each row [N]: least squared distance plus price; ties go to the lower code."""
        return self.nearest_few(residual_ND, 1)[1][:, 0]

    def nearest_few(self, residual_ND: Vectors, count: int) -> tuple[Vectors, Codes]:
        """Return the costs and codes of the ``count`` cheapest codes of each row, cheapest first [N, count]."""
        import faiss

        rows_ND, codes_KD = np.ascontiguousarray(refuse_overflow(residual_ND)), self.vectors_KD
        if self.prices_K is not None:  # one more coordinate, 0 in every row: its square is the price
            rows_ND = np.pad(rows_ND, ((0, 0), (0, 1)))
            codes_KD = np.column_stack([codes_KD, np.sqrt(self.prices_K - self.prices_K.min())])
        costs_NB, codes_NB = faiss.knn(rows_ND, np.ascontiguousarray(codes_KD), min(count, self.size))
        return costs_NB, codes_NB.astype(np.int32)

    def distances(self, residual_ND: Vectors) -> Vectors:
        """Return squared distances of rows to codes [N, K], prices included."""
        cross_NK = residual_ND @ self.vectors_KD.T
        squares_K = np.square(self.vectors_KD).sum(1) + (0 if self.prices_K is None else self.prices_K)
        distances_NK = np.square(residual_ND).sum(1)[:, None] - 2 * cross_NK + squares_K
        return np.maximum(distances_NK, 0, dtype=np.float32)


@dataclass(frozen=True)
class Paths:
    """The best partial codes of each row [N, B, l], best first, and what they leave of it [N, B, D]."""

    residual_NBD: Vectors
    codes_NBL: Codes

    @classmethod
    def at(cls, latents_ND: Vectors) -> Paths:
        """Return the one empty path of each row."""
        return cls(latents_ND[:, None], np.zeros((len(latents_ND), 1, 0), dtype=np.int32))

    def along(self, level: Level, beam: int) -> Paths:
        """Return the ``beam`` best paths that are a code of this level longer; ties go to the path that came first."""
        n, _, width = self.residual_NBD.shape
        costs_MC, codes_MC = level.nearest_few(self.residual_NBD.reshape(-1, width), beam)
        best_NB = np.argsort(costs_MC.reshape(n, -1), axis=1, kind="stable")[:, :beam]
        parents_NB1 = (best_NB // codes_MC.shape[1])[:, :, None]
        codes_NB = np.take_along_axis(codes_MC.reshape(n, -1), best_NB, 1)
        codes_NBL = np.concatenate([np.take_along_axis(self.codes_NBL, parents_NB1, 1), codes_NB[:, :, None]], 2)
        residual_NBD = np.take_along_axis(self.residual_NBD, parents_NB1, 1) - level.vectors_KD[codes_NB]
        return Paths(residual_NBD, codes_NBL)


@dataclass(frozen=True)
class Levels:
    """L codebooks over the same space; an item's vector is the sum of its codes' vectors (Eqs. 3–4)."""

    levels: Sequence[Level]
    beam: int = 1

    def __iter__(self) -> Iterator[Level]:
        return iter(self.levels)

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> Level:
        return self.levels[index]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codebook sizes, coarse to fine."""
        return tuple(level.size for level in self.levels)

    def encode(self, latents_ND: Vectors) -> Codes:
        """Return codes [N, L]: the nearest to the vector, then to what is left of it, level by level (Eqs. 3–4).

        With a ``beam`` wider than 1 the best partial codes are kept at each level, and the best whole code returned.
        """
        codes_NL = np.empty((len(latents_ND), len(self)), dtype=np.int32)
        for rows in blocks(len(latents_ND), ROWS_AT_ONCE // self.beam):
            codes_NL[rows] = self._greedy(latents_ND[rows]) if self.beam == 1 else self._beam(latents_ND[rows])
        return codes_NL

    def _greedy(self, residual_ND: Vectors) -> Codes:
        codes: list[Codes] = []
        for level in self.levels:
            codes.append(level.nearest(residual_ND))
            residual_ND = residual_ND - level.vectors_KD[codes[-1]]
        return np.stack(codes, axis=1)

    def _beam(self, latents_ND: Vectors) -> Codes:
        paths = Paths.at(latents_ND)
        for level in self.levels:
            paths = paths.along(level, self.beam)
        return paths.codes_NBL[:, 0]

    def sum(self, codes_NL: Codes) -> Vectors:
        """Return the sum of the codes' vectors [N, D]; fewer columns than levels give the coarser sum."""
        total_ND = np.zeros((len(codes_NL), self.levels[0].vectors_KD.shape[1]), dtype=np.float32)
        for level, codes_N in zip(self.levels, codes_NL.T, strict=False):
            total_ND += level.vectors_KD[codes_N]
        return total_ND

    def tensors(self) -> dict[str, Vectors]:
        """Return what `from_tensors` reads, by name."""
        named = {f"level.{index}.vectors": level.vectors_KD for index, level in enumerate(self.levels)}
        prices = {f"level.{index}.prices": level.prices_K for index, level in enumerate(self.levels)}
        return named | {name: prices_K for name, prices_K in prices.items() if prices_K is not None}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Vectors], beam: int) -> Levels:
        """Read what `tensors` gave."""
        count = sum(name.startswith("level.") and name.endswith(".vectors") for name in tensors)
        return cls([Level(tensors[f"level.{i}.vectors"], tensors.get(f"level.{i}.prices")) for i in range(count)], beam)
