"""Quality figures by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trialigngr.sids.depth_curve import DepthCurve, compute_depth_curve, draw_depth_curve, format_depth_curve
from trialigngr.sids.formats import read_parquet
from trialigngr.sids.quality import (
    QualityInputs,
    compute_neighbor_recall,
    compute_prefix_entropy,
    compute_purity,
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
    # Depth 1: prefix 0 holds a, b, a: 1 pair of 3. Depth 2: only (a, b), 0 of 1. By chance: 3 pairs of 6.
    depths, chance = compute_purity(CODES, ["a", "b", "a", "a"])
    assert depths == pytest.approx((1 / 3, 0.0))
    assert chance == pytest.approx(3 / 6)
    depths, chance = compute_purity(CODES, ["a", None, "a", "a"])
    assert depths[0] == 1.0
    assert np.isnan(depths[1])


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
    quality = measure_quality(SIDS, QualityInputs(quantizer, embeddings_ND, ["a", "b", "a", "a"], targets, [0.5, 0.6]))
    assert (quality.num_items, quality.num_distinct_sids, quality.largest_bucket) == (4, 3, 2)
    assert quality.largest_sid == "<a_0><b_0>"
    assert (quality.collisions_items, quality.unique_share, quality.collisions_sids) == (0.5, 0.5, 0.25)
    assert quality.collisions_targets == 0.25
    assert quality.fidelity == pytest.approx((1, 1))
    assert quality.fidelity_held_out == (0.5, 0.6)
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
    }
    text = format_quality({"mine": quality, "theirs": quality})
    assert "items that share a SID" in text
    assert "50.00%  50.00%" in " ".join(text.split("\n")[4].split("  ")).replace("   ", "  ") or "50.00%" in text
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
