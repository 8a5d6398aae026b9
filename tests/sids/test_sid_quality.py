"""Quality figures by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trialigngr.sids.assign import SidSettings
from trialigngr.sids.depth import DepthCurve, depth_curve, depth_text, draw_depth
from trialigngr.sids.exchange import read_parquet
from trialigngr.sids.quality import Beside, categories_of, level_use, measure, neighbours_kept, prefix_entropy, purity
from trialigngr.sids.quality_text import quality_text
from trialigngr.sids.quantizers.levels import Level, Levels
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.spaces import Plain
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.sids.tsne import code_map, draw_tsne

CODES = np.int32([[0, 0], [0, 0], [0, 1], [1, 2]])
SIDS = SemanticIds(["p", "q", "r", "s"], CODES, (4, 3))


def test_use_of_a_level_by_hand() -> None:
    use = level_use(CODES[:, 0], 4)  # counts 3, 1, 0, 0
    assert (use.used, use.dead, use.utilisation) == (2, 2, 0.5)
    assert use.perplexity == pytest.approx(np.exp(-(0.75 * log(0.75) + 0.25 * log(0.25))))
    assert use.gini == pytest.approx(((-1) * 0 + 1 * 1 + 3 * 3 + (-3) * 0) / (4 * 4))
    assert level_use(np.int32([0, 1, 2, 3]), 4).gini == 0
    assert level_use(np.int32([5] * 10), 100).gini == pytest.approx(0.99)


def test_prefix_entropy_is_in_nats_at_every_depth() -> None:
    first = -(0.75 * log(0.75) + 0.25 * log(0.25))
    second = -(0.5 * log(0.5) + 2 * 0.25 * log(0.25))
    assert prefix_entropy(CODES) == pytest.approx((first, second))


def test_purity_counts_pairs() -> None:
    # Depth 1: prefix 0 holds a, b, a: 1 pair of 3. Depth 2: only (a, b), 0 of 1. By chance: 3 pairs of 6.
    depths, chance = purity(CODES, ["a", "b", "a", "a"])
    assert depths == pytest.approx((1 / 3, 0.0))
    assert chance == pytest.approx(3 / 6)
    depths, chance = purity(CODES, ["a", None, "a", "a"])
    assert depths[0] == 1.0
    assert np.isnan(depths[1])


def test_categories_are_those_of_the_first_depth_that_tells_items_apart() -> None:
    paths = [("Beauty", "Hair", "Gel"), ("Beauty", "Skin"), ("Beauty",)]
    assert categories_of(paths) == ["Hair", "Skin", None]
    assert categories_of([(), ()]) == [None, None]


def test_neighbours_are_all_kept_by_a_perfect_code_and_by_chance_by_a_blind_one() -> None:
    rows_ND = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    assert neighbours_kept(rows_ND, rows_ND) == 1.0
    assert neighbours_kept(rows_ND, np.ones_like(rows_ND)) < 0.1
    assert np.isnan(neighbours_kept(rows_ND[:1], rows_ND[:1]))


def test_all_of_it_from_codes_and_what_stands_beside() -> None:
    levels = Levels(
        [Level(np.float32([[1, 0], [0, 1], [9, 9], [9, 9]])), Level(np.float32([[0, 0], [0.1, 0], [0, 1]]))]
    )
    quantizer = Quantizer("rqkmeans", {}, 2, Plain(), levels)
    embeddings_ND = np.float32([[1, 0], [1, 0], [1.1, 0], [0, 2]])
    targets = np.array([0, 2, 2, 3])  # one of four targets shares its SID
    quality = measure(SIDS, Beside(quantizer, embeddings_ND, ["a", "b", "a", "a"], targets, [0.5, 0.6]))
    assert (quality.items, quality.distinct, quality.largest_bucket) == (4, 3, 2)
    assert quality.largest_sid == "<a_0><b_0>"
    assert (quality.collisions_items, quality.unique, quality.collisions_sids) == (0.5, 0.5, 0.25)
    assert quality.collisions_targets == 0.25
    assert quality.fidelity == pytest.approx((1, 1))
    assert quality.fidelity_held_out == (0.5, 0.6)
    assert not quality.missing


def test_what_cannot_be_computed_is_said() -> None:
    quality = measure(SIDS)
    assert quality.fidelity is None
    assert set(quality.missing) == {"collisions_targets", "purity", "fidelity", "neighbours_kept", "fidelity_held_out"}
    text = quality_text({"mine": quality, "theirs": quality})
    assert "items that share a SID" in text
    assert "50.00%  50.00%" in " ".join(text.split("\n")[4].split("  ")).replace("   ", "  ") or "50.00%" in text
    assert "mine: fidelity not computed: needs the embeddings and the quantizer." in text


def test_letters_published_sids_on_beauty(shared_data: Callable[[str], Path]) -> None:
    sids = read_parquet(shared_data("amazon_beauty") / "items.parquet")
    quality = measure(sids)
    assert (quality.items, quality.distinct) == (12_101, 12_088)
    assert quality.collisions_items == pytest.approx(24 / 12_101)


def test_the_depth_curve_rises_and_is_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors_ND = rng.normal(size=(300, 16)).astype(np.float32)
    curve = depth_curve(SidSettings(quantizer="rqkmeans", sizes=(16, 8)), vectors_ND, depth=4)
    assert curve.sizes == (16, 8, 8, 8)
    assert list(curve.fitted) == sorted(curve.fitted)
    assert curve.held_out is not None
    assert curve.held_out[-1] < curve.fitted[-1]
    assert "0.591" in depth_text(curve)
    draw_depth(curve, tmp_path / "depth.png")
    assert (tmp_path / "depth.png").read_bytes()[:4] == b"\x89PNG"
    assert "held-out" not in depth_text(DepthCurve((2,), (0.5,), None))


@pytest.mark.parametrize("n", [3, 60])
def test_the_picture_of_code_space_is_drawn(tmp_path: Path, n: int) -> None:
    decoded_ND = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    found = code_map(decoded_ND, [None, *["a $x$", "b"] * n][:n])
    assert found.places_M2.shape == (n, 2)
    assert found.names[:1] == ("a $x$",)
    assert found.groups_M.tolist()[:3] == [-1, 0, 1]
    draw_tsne(found, tmp_path / "tsne.png")
    assert (tmp_path / "tsne.png").read_bytes()[:4] == b"\x89PNG"


def test_an_item_table_with_several_columns_of_sids_must_be_told_which(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pl.DataFrame({"item_id": ["1"], "my_sid": ["<a_1>"], "letter_sid": ["<a_2>"]}).write_parquet(path)
    with pytest.raises(Exception, match="one column of SIDs"):
        read_parquet(path)
    assert read_parquet(path, "my_sid").codes_NL.tolist() == [[1]]
