"""Collision rates and policies: hand-worked cases, and laws over drawn ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.sids.collisions import (
    compute_collision_rates,
    mark_shared_sids,
    move_to_free_codes,
    number_sid_groups,
    resolve_collisions,
)
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks, Codes, Float32Array
from trialigngr.sids.quantizers.sinkhorn import sinkhorn_codes
from trialigngr.sids.settings import CollisionPolicy

LINE = Codebooks([Codebook(np.float32([[0], [100]])), Codebook(np.float32([[0], [1], [2], [3]]))])
"""Codes on a line: 100 a + b."""


def run(policy: CollisionPolicy, codes_NL: Codes, latents_NZ: Float32Array, levels: Codebooks) -> Codes:
    return resolve_collisions(policy, codes_NL, lambda rows: latents_NZ[rows], levels)[0]


def points(*values: float) -> Float32Array:
    return np.float32(values)[:, None]


def test_both_rates_by_hand() -> None:
    codes_NL = np.int32([[0, 1], [0, 1], [0, 1], [2, 2], [3, 0]])
    # 3 of 5 items share; 3 distinct SIDs of 5 items
    assert compute_collision_rates(codes_NL) == {"items": pytest.approx(0.6), "sids": pytest.approx(0.4)}
    assert mark_shared_sids(codes_NL).tolist() == [True, True, True, False, False]
    assert compute_collision_rates(np.zeros((0, 3), dtype=np.int32)) == {"items": 0.0, "sids": 0.0}


def test_groups_are_numbered_in_lexicographic_order_even_where_one_number_a_row_would_overflow() -> None:
    codes_NL = np.int32([[1, 0], [0, 7], [1, 0], [0, 2]])
    assert number_sid_groups(codes_NL).tolist() == [2, 1, 2, 0]
    wide_NL = np.concatenate([codes_NL, np.full((4, 3), 2_000_000_000, dtype=np.int32)], axis=1)
    wide_NL[:, 2:] -= np.int32([[0, 0, 0], [1_999_999_999] * 3, [0, 0, 0], [5, 5, 5]])
    assert number_sid_groups(wide_NL).tolist() == [2, 1, 2, 0]


def test_the_closest_stays_and_the_others_take_the_nearest_free_codes() -> None:
    latents_NZ = points(0.4, 0.1, 0.9)
    codes_NL = np.int32([[0, 0], [0, 0], [0, 1]])
    # 0.1 is closest to code 0 and stays; 0.4 would like 1, which is taken, so it takes 2
    assert run("nearest_free", codes_NL, latents_NZ, LINE).tolist() == [[0, 2], [0, 0], [0, 1]]


def test_movers_of_one_prefix_are_matched_at_the_least_total_distance() -> None:
    levels = Codebooks([Codebook(np.float32([[0]])), Codebook(np.float32([[0], [1], [-3]]))])
    latents_NZ = points(0.0, 0.3, 0.2)
    codes_NL = np.int32([[0, 0], [0, 0], [0, 0]])
    # free: 1 and −3. (0.3 → 1, 0.2 → −3) costs .49 + 10.24; the other way .64 + 10.89
    assert run("nearest_free", codes_NL, latents_NZ, levels).tolist() == [[0, 0], [0, 1], [0, 2]]


def test_a_full_prefix_sends_items_to_the_nearest_prefix_with_room() -> None:
    latents_NZ = points(0, 0, 0, 0, 0, 101)
    codes_NL = LINE.encode(latents_NZ)
    found = run("nearest_free", codes_NL, latents_NZ, LINE)
    assert sorted(found[:4].tolist()) == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert found[4].tolist() == [1, 0]
    assert found[5].tolist() == [1, 1]


def test_rows_that_may_not_move_stay_even_if_a_movable_one_is_closer() -> None:
    latents_NZ = points(0.4, 0.0)
    codes_NL = np.int32([[0, 0], [0, 0]])
    found = move_to_free_codes(codes_NL, lambda rows: latents_NZ[rows], LINE, np.array([False, True]))
    assert found.tolist() == [[0, 0], [0, 1]]


def test_more_items_than_sids_is_refused() -> None:
    latents_NZ = np.zeros((9, 1), dtype=np.float32)
    with pytest.raises(SidError, match="9 items cannot have distinct SIDs of sizes \\(2, 4\\)"):
        run("nearest_free", LINE.encode(latents_NZ), latents_NZ, LINE)


def test_an_extra_level_numbers_the_items_of_a_sid_closest_first() -> None:
    latents_NZ = points(0.4, 0.1, 1.0, 0.2)
    codes_NL, sizes = resolve_collisions("extra_level", LINE.encode(latents_NZ), lambda rows: latents_NZ[rows], LINE)
    assert codes_NL.tolist() == [[0, 0, 2], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert sizes == (2, 4, 3)


def test_sinkhorn_spreads_a_batch_evenly() -> None:
    # both like code 0; the first likes it more
    assert sinkhorn_codes(np.float32([[0.0, 1.0], [0.1, 0.6]]), 0.1).tolist() == [0, 1]
    distances_BK = np.random.default_rng(0).random((64, 8)).astype(np.float32)
    assert np.bincount(sinkhorn_codes(distances_BK, 0.05), minlength=8).max() <= 12
    assert sinkhorn_codes(np.zeros((3, 4), dtype=np.float32), 0.003).shape == (3,)


def test_sinkhorn_re_encodes_groups_that_share() -> None:
    latents_NZ = points(0.4, 0.1, 3.0)
    found = run("sinkhorn", LINE.encode(latents_NZ), latents_NZ, LINE)
    assert compute_collision_rates(found)["items"] == 0
    assert found[2].tolist() == [0, 3]


def test_keep_changes_nothing() -> None:
    latents_NZ = points(0, 0)
    assert run("keep", LINE.encode(latents_NZ), latents_NZ, LINE).tolist() == [[0, 0], [0, 0]]


@st.composite
def crowded(draw: st.DrawFn) -> tuple[Codebooks, Float32Array]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    levels = Codebooks([Codebook(rng.normal(size=(size, 2)).astype(np.float32)) for size in sizes])
    count = draw(st.integers(1, int(np.prod(sizes))))
    latents_ND = rng.normal(size=(count, 2)).astype(np.float32)
    return levels, latents_ND[rng.integers(0, draw(st.integers(1, count)), count)]


@given(crowded())
def test_nearest_free_always_ends_with_distinct_sids_and_moves_only_who_must(
    case: tuple[Codebooks, Float32Array],
) -> None:
    levels, latents_NZ = case
    codes_NL = levels.encode(latents_NZ)
    found = run("nearest_free", codes_NL, latents_NZ, levels)
    assert len({tuple(codes) for codes in found.tolist()}) == len(found)
    assert (found >= 0).all()
    assert (found < np.array(levels.codebook_sizes)).all()
    moved = (found != codes_NL).any(1)
    assert moved.sum() == len(codes_NL) - len({tuple(codes) for codes in codes_NL.tolist()})
    assert np.array_equal(found, run("nearest_free", codes_NL, latents_NZ, levels))


@given(crowded())
def test_an_extra_level_always_parts_all_items_and_changes_no_code(case: tuple[Codebooks, Float32Array]) -> None:
    levels, latents_NZ = case
    codes_NL = levels.encode(latents_NZ)
    found = run("extra_level", codes_NL, latents_NZ, levels)
    assert np.array_equal(found[:, :-1], codes_NL)
    assert compute_collision_rates(found)["items"] == 0


def test_thousands_of_identical_items_end_distinct() -> None:
    levels = Codebooks([Codebook(np.eye(size, 3, dtype=np.float32)) for size in (8, 16, 32)])
    latents_NZ = np.ones((3000, 3), dtype=np.float32)
    found = run("nearest_free", levels.encode(latents_NZ), latents_NZ, levels)
    assert compute_collision_rates(found)["items"] == 0
