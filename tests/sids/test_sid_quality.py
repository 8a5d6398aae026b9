"""Quality figures by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trialigngr.sids.churn import KeptPrefixes, format_churn, measure_churn
from trialigngr.sids.depth_curve import DepthCurve, compute_depth_curve, draw_depth_curve, format_depth_curve
from trialigngr.sids.errors import SidError
from trialigngr.sids.fidelity import HeldOutFidelity
from trialigngr.sids.formats import read_parquet
from trialigngr.sids.prefix_agreement import TakenItems, compute_busiest_share, compute_cooccurrence, compute_purity
from trialigngr.sids.quality import (
    QualityInputs,
    compute_neighbor_recall,
    compute_prefix_entropy,
    measure_codebook_usage,
    measure_quality,
    pick_categories,
)
from trialigngr.sids.quality_text import format_quality
from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks
from trialigngr.sids.quantizers.latent_spaces import IdentitySpace
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.sids.settings import SidSettings
from trialigngr.sids.tsne import compute_code_map, draw_code_map

CODES = np.int32([[0, 0], [0, 0], [0, 1], [1, 2]])
SIDS = SemanticIds(["p", "q", "r", "s"], CODES, (4, 3))


def test_use_of_a_level_by_hand() -> None:
    use = measure_codebook_usage(CODES[:, 0], 4)  # counts 3, 1, 0, 0
    assert (use.used_codes, use.dead_codes, use.utilization) == (2, 2, 0.5)
    assert use.perplexity == pytest.approx(np.exp(-(0.75 * log(0.75) + 0.25 * log(0.25))))
    assert use.gini == pytest.approx(((-1) * 0 + 1 * 1 + 3 * 3 + (-3) * 0) / (4 * 4))
    assert measure_codebook_usage(np.int32([0, 1, 2, 3]), 4).gini == 0
    assert measure_codebook_usage(np.int32([5] * 10), 100).gini == pytest.approx(0.99)


def test_prefix_entropy_is_in_nats_at_every_depth() -> None:
    first = -(0.75 * log(0.75) + 0.25 * log(0.25))
    second = -(0.5 * log(0.5) + 2 * 0.25 * log(0.25))
    assert compute_prefix_entropy(CODES) == pytest.approx((first, second))


def test_purity_counts_pairs() -> None:
    # Depth 1: prefix 0 holds a, b, a: 1 pair of 3. Depth 2: only (a, b), 0 of 1.
    assert compute_purity(CODES, ["a", "b", "a", "a"]) == pytest.approx((1 / 3, 0.0))
    depths = compute_purity(CODES, ["a", None, "a", "a"])
    assert depths[0] == 1.0
    assert np.isnan(depths[1])


LOG = TakenItems(np.array([0, 1, 1, 3, 3, 2, 0]), np.array([0, 0, 0, 0, 1, 1, 1]))
"""User 0 took rows 0, 1, 1, 3; user 1 rows 3, 2, 0."""


def test_what_is_taken_in_a_row_begins_alike() -> None:
    # 0-1, 1-3, 3-2 and 2-0, not 1-1 (one item) nor 3-3 (two users). Depth 1: 0-1 and 2-0. Depth 2: 0-1 alone.
    assert compute_cooccurrence(CODES, LOG) == (2 / 4, 1 / 4)
    assert np.isnan(compute_cooccurrence(CODES, TakenItems(np.array([1, 1]), np.array([0, 0])))).all()


def test_the_most_popular_tenth_of_prefixes_is_one_of_few() -> None:
    # Depth 1: 5 of 7 below <a_0>. Depth 2: <0, 0> is taken 4 times, the two others once and twice.
    assert compute_busiest_share(CODES, LOG) == (5 / 7, 4 / 7)
    codes_NL = np.int32([[code] for code in range(20)])  # a tenth of 20 prefixes are two: 3 and 2 of 6 interactions
    assert compute_busiest_share(codes_NL, TakenItems(np.array([7, 7, 7, 9, 9, 1]), np.zeros(6, int))) == (5 / 6,)


def test_chance_is_what_shuffled_sids_have() -> None:
    rng = np.random.default_rng(0)
    codes_NL = np.repeat(np.int32([[a, b] for a in range(10) for b in range(10)]), 4, axis=0)
    sids = SemanticIds([str(row) for row in range(400)], codes_NL, (10, 10))
    log = TakenItems(np.arange(400), np.repeat(np.arange(100), 4))  # users take the four of a SID, one after the other
    labels = [str(codes[0]) for codes in codes_NL.tolist()]
    quality = measure_quality(sids, QualityInputs(categories=labels, targets=rng.integers(0, 400, 50), log=log))
    chance = quality.by_chance
    assert quality.category_purity == quality.cooccurrence == (1, 1)
    # 39 of the 399 others have the same first code, 3 the same SID: 399 pairs, 15 sampling errors either side.
    assert chance.category_purity[0] == pytest.approx(39 / 399, abs=0.02)
    assert chance.cooccurrence == pytest.approx((39 / 399, 3 / 399), abs=0.06)
    assert (quality.collisions_targets, chance.collisions_targets) == (1, 1)  # all SIDs are shared
    # Both levels dealt anew: 400 draws of 100 cells leave e^-4 of these empty, not none.
    assert chance.num_distinct_sids == pytest.approx(100 * (1 - np.exp(-4)), abs=2)
    assert chance.prefix_entropy[0] == quality.prefix_entropy[0]
    assert chance.prefix_entropy[1] < quality.prefix_entropy[1]
    assert 0 == quality.codebook_usage[0].gini < chance.codebook_usage[0].gini < 0.2
    assert measure_quality(sids).by_chance == measure_quality(sids).by_chance


def test_the_floor_is_of_items_that_nothing_tells_apart() -> None:
    vectors_ND = np.float32([[1, 0], [1, 0], [0, 1], [0, 1 + 1e-7], [0.6, 0.8], [0.6, 0.8], [0.8, 0.6]])

    def measure_floor(texts: list[str] | None) -> float | None:
        sids = SemanticIds(list("abcdefg"), np.int32([[row] for row in range(7)]), (7,))
        return measure_quality(sids, QualityInputs(embeddings_ND=vectors_ND, texts=texts)).collision_floor

    assert measure_floor(None) == pytest.approx(4 / 7)  # the two pairs of the same bytes
    # One text and one vector but for rounding: b and c differ in their pictures, e and f in their texts.
    assert measure_floor(["x", "x", "y", "y", "v", "w", "v"]) == pytest.approx(4 / 7)


def test_what_became_of_sids_by_hand() -> None:
    before = SemanticIds(list("abcdx"), np.int32([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]]), (2, 3))
    after = SemanticIds(list("ydcba"), np.int32([[0], [1], [1], [3], [3]]), (4,))
    churn = measure_churn(before, after)
    assert (churn.num_common_items, churn.num_gone_items, churn.num_new_items) == (4, 1, 1)
    # a 0 → 3, b 0 → 3, c 0 → 1, d 1 → 1: one kept its first code; of ab, ac, bc only ab stayed together.
    assert churn.kept == KeptPrefixes((1 / 4,), (1 / 3,))
    same = measure_churn(before, before)
    assert same.kept.same_codes == (1, 1)
    assert same.kept.pairs_kept[0] == 1
    assert np.isnan(same.kept.pairs_kept[1])  # no two items share a SID
    assert format_churn("one", {"two": churn})[1] == (
        f"  items with the same first codes, by depth: 25.0% (by chance {churn.by_chance.same_codes[0]:.1%})"
    )
    with pytest.raises(SidError, match="no item in common"):
        measure_churn(before, SemanticIds(["z"], np.int32([[0]]), (1,)))


def test_categories_are_those_of_the_first_depth_that_tells_items_apart() -> None:
    paths = [("Beauty", "Hair", "Gel"), ("Beauty", "Skin"), ("Beauty",)]
    assert pick_categories(paths) == ["Hair", "Skin", None]
    assert pick_categories([(), ()]) == [None, None]


def test_neighbours_are_all_kept_by_a_perfect_code_and_by_chance_by_a_blind_one() -> None:
    rows_ND = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    assert compute_neighbor_recall(rows_ND, rows_ND) == 1.0
    assert compute_neighbor_recall(rows_ND, np.ones_like(rows_ND)) < 0.1
    assert np.isnan(compute_neighbor_recall(rows_ND[:1], rows_ND[:1]))


def test_all_of_it_from_codes_and_what_stands_beside() -> None:
    levels = Codebooks(
        [Codebook(np.float32([[1, 0], [0, 1], [9, 9], [9, 9]])), Codebook(np.float32([[0, 0], [0.1, 0], [0, 1]]))]
    )
    quantizer = Quantizer("rqkmeans", {}, 2, IdentitySpace(), levels)
    embeddings_ND = np.float32([[1, 0], [1, 0], [1.1, 0], [0, 2]])
    targets = np.array([0, 2, 2, 3])  # one of four targets shares its SID
    held_out = HeldOutFidelity([0.5, 0.6], [0.1, 0.0])
    quality = measure_quality(
        SIDS, QualityInputs(quantizer, embeddings_ND, ["a", "b", "a", "a"], targets, held_out, ["v"] * 4, LOG)
    )
    assert (quality.num_items, quality.num_distinct_sids, quality.largest_bucket) == (4, 3, 2)
    assert quality.largest_sid == "<a_0><b_0>"
    assert (quality.collisions_items, quality.unique_share, quality.collisions_sids) == (0.5, 0.5, 0.25)
    assert quality.collisions_targets == 0.25
    assert quality.fidelity == pytest.approx((1, 1))
    assert quality.fidelity_held_out == (0.5, 0.6)
    assert quality.by_chance.fidelity_held_out == (0.1, 0.0)
    assert quality.collision_floor == 0.5
    assert not quality.not_computed


def test_what_cannot_be_computed_is_said() -> None:
    quality = measure_quality(SIDS)
    assert quality.fidelity is None
    assert set(quality.not_computed) == {
        "collisions_targets",
        "category_purity",
        "fidelity",
        "neighbor_recall",
        "fidelity_held_out",
        "collision_floor",
        "cooccurrence",
        "busiest_tenth",
    }
    text = format_quality({"mine": quality, "theirs": quality})
    shared, chance = "50.00%", f"{quality.by_chance.collisions_items:.2%}"
    assert f"items that share a SID {shared} {chance} {shared} {chance}" in " ".join(text.split())
    assert "mine: fidelity not computed: needs the embeddings and the quantizer." in text


def test_letters_published_sids_on_beauty(shared_data: Callable[[str], Path]) -> None:
    sids = read_parquet(shared_data("amazon_beauty") / "items.parquet")
    quality = measure_quality(sids)
    assert (quality.num_items, quality.num_distinct_sids) == (12_101, 12_088)
    assert quality.collisions_items == pytest.approx(24 / 12_101)


def test_the_depth_curve_rises_and_is_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors_ND = rng.normal(size=(300, 16)).astype(np.float32)
    curve = compute_depth_curve(SidSettings(quantizer="rqkmeans", codebook_sizes=(16, 8)), vectors_ND, depth=4)
    assert curve.codebook_sizes == (16, 8, 8, 8)
    assert list(curve.fitted) == sorted(curve.fitted)
    assert curve.held_out is not None
    assert curve.held_out[-1] < curve.fitted[-1]
    assert "0.591" in format_depth_curve(curve)
    draw_depth_curve(curve, tmp_path / "depth.png")
    assert (tmp_path / "depth.png").read_bytes()[:4] == b"\x89PNG"
    assert "held-out" not in format_depth_curve(DepthCurve((2,), (0.5,), None))


@pytest.mark.parametrize("n", [3, 60])
def test_the_picture_of_code_space_is_drawn(tmp_path: Path, n: int) -> None:
    decoded_ND = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    found = compute_code_map(decoded_ND, [None, *["a $x$", "b"] * n][:n])
    assert found.places_M2.shape == (n, 2)
    assert found.category_names[:1] == ("a $x$",)
    assert found.groups_M.tolist()[:3] == [-1, 0, 1]
    draw_code_map(found, tmp_path / "tsne.png")
    assert (tmp_path / "tsne.png").read_bytes()[:4] == b"\x89PNG"


def test_an_item_table_with_several_columns_of_sids_must_be_told_which(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pl.DataFrame({"item_id": ["1"], "my_sid": ["<a_1>"], "letter_sid": ["<a_2>"]}).write_parquet(path)
    with pytest.raises(Exception, match="one column of SIDs"):
        read_parquet(path)
    assert read_parquet(path, "my_sid").codes_NL.tolist() == [[1]]
