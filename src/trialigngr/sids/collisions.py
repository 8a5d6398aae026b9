"""Items that share a SID: how many, and the policies that part them, each with what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

import numpy as np
import numpy.typing as npt

from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.levels import Codes, Level, Levels, Vectors

Policy = Literal["keep", "nearest_free"]
Rows = npt.NDArray[np.int64]


def groups(codes_NL: Codes) -> Rows:
    """Return a number for each row [N]; rows with equal codes share it."""
    if not len(codes_NL):
        return np.zeros(0, dtype=np.int64)
    _, group_N = np.unique(codes_NL, axis=0, return_inverse=True)
    return group_N.reshape(-1)


def collisions(codes_NL: Codes) -> dict[str, float]:
    """Return both rates in use: ``items`` = share of items whose SID another bears too (the paper's, §5.3), and
    ``sids`` = (N − distinct) / N (LC-Rec's trainer)."""
    counts_G = np.bincount(groups(codes_NL))
    n = max(len(codes_NL), 1)
    return {"items": float(counts_G[counts_G > 1].sum() / n), "sids": float((len(codes_NL) - len(counts_G)) / n)}


def resolve(policy: Policy, codes_NL: Codes, latents_NZ: Vectors, levels: Levels) -> Codes:
    """Return the codes after the policy [N, L]. The same input gives the same output."""
    if policy == "keep":
        return codes_NL
    return to_nearest_free(codes_NL, latents_NZ, levels, movable_N=np.ones(len(codes_NL), dtype=bool))


def to_nearest_free(codes_NL: Codes, latents_NZ: Vectors, levels: Levels, movable_N: npt.NDArray[np.bool_]) -> Codes:
    """Return distinct codes [N, L]; of items that share a SID the closest to it stays, the others move to free ones.

    First the last code changes: within a prefix the movers and the free codes are matched at the least total squared
    distance. Movers that find no free code under their prefix go to the nearest prefix that has one (MACRec's rule, but
    matched, not greedy). Rows that are not ``movable_N`` stay whatever they share. Raises `SidError` if codes run out.
    """
    if len(codes_NL) > np.prod([float(size) for size in levels.sizes]):
        raise SidError(f"{len(codes_NL)} items cannot have distinct SIDs of sizes {levels.sizes}; take larger codebooks or more levels.")
    codes_NL = codes_NL.copy()
    movers_M = _movers(codes_NL, latents_NZ, levels, movable_N)
    left_NZ = latents_NZ[movers_M] - levels.sum(codes_NL[movers_M, :-1])
    rows_under = _rows_by_prefix(codes_NL, movers_M)
    homeless: list[int] = []
    for members_M, inside_R in rows_under:
        free_F = np.setdiff1d(np.arange(levels[len(levels) - 1].size), codes_NL[inside_R, -1])
        seated_M, codes_M = _match(left_NZ[members_M], levels[len(levels) - 1], free_F)
        codes_NL[movers_M[members_M[seated_M]], -1] = codes_M
        homeless += movers_M[np.delete(members_M, seated_M)].tolist()
    if homeless:
        _place(sorted(homeless), codes_NL, latents_NZ, levels)
    return codes_NL


def _movers(codes_NL: Codes, latents_NZ: Vectors, levels: Levels, movable_N: npt.NDArray[np.bool_]) -> Rows:
    """Return the rows that must move: of each group all movable ones but the closest, unless an unmovable one stays."""
    group_N = groups(codes_NL)
    distance_N = np.square(latents_NZ - levels.sum(codes_NL)).sum(1)
    order_N = np.lexsort((np.arange(len(codes_NL)), distance_N, movable_N, group_N))
    stays_N = np.ones(len(codes_NL), dtype=bool)
    stays_N[1:] = group_N[order_N][1:] != group_N[order_N][:-1]
    return np.sort(order_N[~stays_N & movable_N[order_N]])


def _rows_by_prefix(codes_NL: Codes, movers_M: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield for each prefix with movers: their positions in ``movers_M``, and the rows of all items under it."""
    prefix_N = groups(codes_NL[:, :-1])
    by_prefix_N, by_mover_M = np.argsort(prefix_N, kind="stable"), np.argsort(prefix_N[movers_M], kind="stable")
    starts = np.searchsorted(prefix_N[by_prefix_N], np.arange(prefix_N.max(initial=0) + 2))
    prefixes, first, counts = np.unique(prefix_N[movers_M][by_mover_M], return_index=True, return_counts=True)
    for prefix, start, count in zip(prefixes, first, counts, strict=True):
        yield by_mover_M[start : start + count], by_prefix_N[starts[prefix] : starts[prefix + 1]]


def _match(left_MZ: Vectors, level: Level, free_F: Rows) -> tuple[Rows, Rows]:
    """Return which movers get a free code, and which, at the least total squared distance; one mover, one code."""
    from scipy.optimize import linear_sum_assignment

    cost_MF = level.distances(left_MZ)[:, free_F]
    if len(free_F) < len(left_MZ):  # the nearest get the seats; the rest look elsewhere
        nearest_M = np.argsort(cost_MF.min(1, initial=np.inf), kind="stable")[: len(free_F)]
        rows_M, columns_M = linear_sum_assignment(cost_MF[nearest_M])
        return nearest_M[rows_M], free_F[columns_M]
    rows_M, columns_M = linear_sum_assignment(cost_MF)
    return rows_M, free_F[columns_M]


def _place(rows: list[int], codes_NL: Codes, latents_NZ: Vectors, levels: Levels) -> None:
    """Give each row, one after the other, the nearest code of each level below which there is still room."""
    settled = np.delete(codes_NL, rows, axis=0).tolist()
    room = [int(size) for size in np.cumprod([1, *levels.sizes[:0:-1]])[::-1]]
    inside = Counter(prefix for codes in {tuple(codes) for codes in settled} for prefix in accumulate(((code,) for code in codes), tuple.__add__))
    for row in rows:
        left_1Z, codes = latents_NZ[row][None], ()
        for depth, level in enumerate(levels):
            full_K = np.array([inside[(*codes, code)] >= room[depth] for code in range(level.size)])
            code = int(np.where(full_K, np.inf, level.distances(left_1Z)[0]).argmin())
            left_1Z, codes = left_1Z - level.vectors_KD[code], (*codes, code)
            inside[codes] += 1
        codes_NL[row] = codes
