"""Items that share a SID: how many, and the policies that part them, each with what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks, Codes, Float32Array
from trialigngr.sids.quantizers.sinkhorn import sinkhorn_codes
from trialigngr.sids.settings import CollisionPolicy

Rows = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ComputeLatents = Callable[[Rows], Float32Array]
"""Rows [M] → their latents [M, Z]; asked only for the rows that share a SID."""


def number_sid_groups(codes_NL: Codes) -> Rows:
    """Return a number for each row [N], in lexicographic order of the codes; rows with equal codes share it."""
    if not codes_NL.size:
        return np.zeros(len(codes_NL), dtype=np.int64)
    shifted_NL = codes_NL.astype(np.int64) - codes_NL.min(0)
    spans_L = shifted_NL.max(0) + 1
    if np.prod(spans_L.astype(float)) < 2**62:  # one number a row sorts much faster than rows
        keys_N = np.ravel_multi_index(tuple(shifted_NL.T), tuple(spans_L))
        return np.unique(keys_N, return_inverse=True)[1]
    return np.unique(shifted_NL, axis=0, return_inverse=True)[1].reshape(-1)


def number_prefixes(codes_NL: Codes) -> list[Rows]:
    """Return the same of the first code, of the first two, … of all L."""
    return [number_sid_groups(codes_NL[:, :depth]) for depth in range(1, codes_NL.shape[1] + 1)]


def mark_shared_sids(codes_NL: Codes) -> BoolArray:
    """Return which rows bear a SID that another row bears too [N]."""
    group_N = number_sid_groups(codes_NL)
    shared_N: BoolArray = np.bincount(group_N)[group_N] > 1
    return shared_N


def compute_collision_rates(codes_NL: Codes) -> dict[str, float]:
    """Return both rates in use: ``items``, the share of items whose SID another bears too (the paper's), and ``sids``,
    (N − distinct) / N (LC-Rec's trainer)."""
    n = len(codes_NL)
    distinct = int(number_sid_groups(codes_NL).max(initial=-1)) + 1
    return {"items": float(mark_shared_sids(codes_NL).sum() / max(n, 1)), "sids": (n - distinct) / max(n, 1)}


def resolve_collisions(
    policy: CollisionPolicy, codes_NL: Codes, latents_of: ComputeLatents, codebooks: Codebooks
) -> tuple[Codes, tuple[int, ...]]:
    """Return the codes after the policy [N, L or L + 1] and the codebook sizes they lie in. Same input, same output."""
    if policy == "nearest_free":
        return move_to_free_codes(
            codes_NL, latents_of, codebooks, np.ones(len(codes_NL), dtype=bool)
        ), codebooks.codebook_sizes
    if policy == "sinkhorn":
        return reassign_with_sinkhorn(codes_NL, latents_of, codebooks), codebooks.codebook_sizes
    if policy == "extra_level":
        codes_NL = add_extra_level(codes_NL, latents_of, codebooks)
        return codes_NL, (*codebooks.codebook_sizes, int(codes_NL[:, -1].max()) + 1)
    return codes_NL, codebooks.codebook_sizes


def add_extra_level(codes_NL: Codes, latents_of: ComputeLatents, codebooks: Codebooks) -> Codes:
    """Return the codes and one more [N, L + 1]: 0, 1, 2 … among items that share the rest, closest first (TIGER)."""
    order_S, first_S = _sort_closest_first(codes_NL, latents_of, codebooks, np.ones(len(codes_NL), dtype=bool))
    places_S = np.arange(len(order_S))
    rank_N = np.zeros(len(codes_NL), dtype=np.int32)
    rank_N[order_S] = places_S - np.maximum.accumulate(np.where(first_S, places_S, 0))
    return np.column_stack([codes_NL, rank_N])


def reassign_with_sinkhorn(
    codes_NL: Codes, latents_of: ComputeLatents, codebooks: Codebooks, epsilon: float = 0.003, rounds: int = 20
) -> Codes:
    """Return the codes after LC-Rec's loop: each group that shares a SID chooses its last codes anew, evenly.

    Up to ``rounds`` times, for the groups that are left. Nothing looks at codes that other groups hold, so collisions
    may remain; the report says how many.
    """
    codes_NL = codes_NL.copy()
    for _ in range(rounds):
        rows_S = np.flatnonzero(mark_shared_sids(codes_NL))
        if not len(rows_S):
            break
        left_SZ = latents_of(rows_S) - codebooks.sum_codes(codes_NL[rows_S, :-1])
        for members_M in _list_group_members(number_sid_groups(codes_NL[rows_S])):
            distances_MK = codebooks[len(codebooks) - 1].code_distances(left_SZ[members_M])
            codes_NL[rows_S[members_M], -1] = sinkhorn_codes(distances_MK, epsilon)
    return codes_NL


def move_to_free_codes(
    codes_NL: Codes, latents_of: ComputeLatents, codebooks: Codebooks, movable_N: BoolArray
) -> Codes:
    """Return distinct codes [N, L]; of items that share a SID the closest to it stays, the others move to free ones.

    First the last code changes: within a prefix the movers and the free codes are matched at the least total squared
    distance. Movers that find no free code under their prefix go to the nearest prefix that has one (MACRec's rule, but
    matched, not greedy). Rows that are not ``movable_N`` stay whatever they share. Raises `SidError` if codes run out.
    """
    if len(codes_NL) > np.prod([float(size) for size in codebooks.codebook_sizes]):
        raise SidError(
            f"{len(codes_NL)} items cannot have distinct SIDs of sizes {codebooks.codebook_sizes}; take larger "
            "codebooks."
        )
    codes_NL, last = codes_NL.copy(), codebooks[len(codebooks) - 1]
    order_S, first_S = _sort_closest_first(codes_NL, latents_of, codebooks, movable_N)
    movers_M = np.sort(order_S[~first_S & movable_N[order_S]])
    left_MZ = latents_of(movers_M) - codebooks.sum_codes(codes_NL[movers_M, :-1])
    homeless: list[int] = []
    for members_P, under_R in _iter_prefixes(codes_NL, movers_M):
        free_F = np.setdiff1d(np.arange(last.num_codes), codes_NL[under_R, -1])
        seated, codes = _match_free_codes(left_MZ[members_P], last, free_F)
        codes_NL[movers_M[members_P[seated]], -1] = codes
        homeless += movers_M[np.delete(members_P, seated)].tolist()
    if homeless:
        _place_under_free_prefix(np.sort(np.array(homeless)), codes_NL, latents_of, codebooks)
    return codes_NL


def _sort_closest_first(
    codes_NL: Codes, latents_of: ComputeLatents, codebooks: Codebooks, movable_N: BoolArray
) -> tuple[Rows, BoolArray]:
    """Return the rows that share, by SID, in it the unmovable, then the closest; and which are first."""
    rows_S = np.flatnonzero(mark_shared_sids(codes_NL))
    group_S = number_sid_groups(codes_NL[rows_S])
    distance_S = np.square(latents_of(rows_S) - codebooks.sum_codes(codes_NL[rows_S])).sum(1)
    order_S = np.lexsort((rows_S, distance_S, movable_N[rows_S], group_S))
    first_S = np.ones(len(rows_S), dtype=bool)
    first_S[1:] = group_S[order_S][1:] != group_S[order_S][:-1]
    return rows_S[order_S], first_S


def _list_group_members(group_N: Rows) -> list[Rows]:
    """Return the places of each group's members, group by group."""
    order_N = np.argsort(group_N, kind="stable")
    return np.split(order_N, np.flatnonzero(np.diff(group_N[order_N])) + 1) if len(group_N) else []


def _iter_prefixes(codes_NL: Codes, movers_M: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield for each prefix with movers: their places in ``movers_M``, and the rows of all items under it."""
    prefix_N = number_sid_groups(codes_NL[:, :-1])
    order_N = np.argsort(prefix_N, kind="stable")
    starts = np.searchsorted(prefix_N[order_N], np.arange(prefix_N.max(initial=0) + 2))
    for members_P in _list_group_members(prefix_N[movers_M]):
        prefix = prefix_N[movers_M[members_P[0]]]
        yield members_P, order_N[starts[prefix] : starts[prefix + 1]]


def _match_free_codes(left_MZ: Float32Array, codebook: Codebook, free_F: Rows) -> tuple[Rows, Rows]:
    """Return which movers get a free code, and which code, at the least total squared distance."""
    from scipy.optimize import linear_sum_assignment

    cost_MF = codebook.code_distances(left_MZ)[:, free_F]
    nearest_M = np.arange(len(left_MZ))
    if len(free_F) < len(left_MZ):  # the nearest get the seats; the rest look elsewhere
        nearest_M = np.argsort(cost_MF.min(1, initial=np.inf), kind="stable")[: len(free_F)]
    rows, columns = linear_sum_assignment(cost_MF[nearest_M])
    return nearest_M[rows], free_F[columns]


def _place_under_free_prefix(rows_H: Rows, codes_NL: Codes, latents_of: ComputeLatents, codebooks: Codebooks) -> None:
    """Give each row, one after the other, at each level the nearest code below which there is still room."""
    room = [int(below) for below in np.cumprod([1, *codebooks.codebook_sizes[:0:-1]])[::-1]]
    settled = {tuple(codes) for codes in np.delete(codes_NL, rows_H, axis=0).tolist()}
    inside = Counter(prefix for codes in settled for prefix in accumulate(((code,) for code in codes), tuple.__add__))
    for row, left_Z in zip(rows_H, latents_of(rows_H), strict=True):
        codes: tuple[int, ...] = ()
        for depth, level in enumerate(codebooks):
            full_K = np.array([inside[(*codes, code)] >= room[depth] for code in range(level.num_codes)])
            code = int(np.where(full_K, np.inf, level.code_distances(left_Z[None])[0]).argmin())
            left_Z, codes = left_Z - level.vectors_KD[code], (*codes, code)
            inside[codes] += 1
        codes_NL[row] = codes
