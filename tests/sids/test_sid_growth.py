"""Growth: published SIDs never move, new ones are free, removal reserves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.sids.append_sids import append_sids, remove_sids
from trialigngr.sids.collisions import compute_collision_rates
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks
from trialigngr.sids.quantizers.latent_spaces import IdentitySpace
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import SemanticIds

LEVELS = Codebooks([Codebook(np.float32([[0], [100]])), Codebook(np.float32([[0], [1], [2], [3]]))])
QUANTIZER = Quantizer("rqkmeans", {}, 1, IdentitySpace(), LEVELS)
OLD = SemanticIds(["p", "q"], np.int32([[0, 0], [0, 1]]), (2, 4))


def points(*values: float) -> np.ndarray:
    return np.float32(values)[:, None]


def test_a_new_item_whose_sid_is_taken_gets_the_nearest_free_one() -> None:
    grown = append_sids(OLD, QUANTIZER, ["r", "s"], points(0.4, 103))
    assert grown.sids.item_ids == ["p", "q", "r", "s"]
    assert grown.sids.codes_NL.tolist() == [[0, 0], [0, 1], [0, 2], [1, 3]]
    assert (grown.num_added, grown.num_moved) == (2, 1)
    assert grown.drift is None


def test_with_keep_new_items_share() -> None:
    grown = append_sids(OLD, QUANTIZER, ["r"], points(0.4), policy="keep")
    assert grown.sids.codes_NL[2].tolist() == [0, 0]
    assert grown.collisions["items"] == pytest.approx(2 / 3)


def test_with_an_extra_level_new_items_take_the_next_rank_and_then_another_sid() -> None:
    old = SemanticIds(["p", "q", "r"], np.int32([[0, 0, 0], [0, 0, 1], [0, 1, 0]]), (2, 4, 2))
    grown = append_sids(old, QUANTIZER, ["s", "t"], points(1, 0), policy="extra_level")
    # s is the second item of (0, 1); (0, 0) has both ranks taken, and no model knows a third: t goes to (0, 2)
    assert grown.sids.codes_NL[3:].tolist() == [[0, 1, 1], [0, 2, 0]]


def test_a_removed_sid_is_reserved_until_it_is_freed() -> None:
    stays, gone = remove_sids(OLD, ["p"])
    assert (stays.item_ids, gone.item_ids) == (["q"], ["p"])
    reserved = append_sids(stays, QUANTIZER, ["r"], points(0), reserved_RL=gone.codes_NL)
    assert reserved.sids.codes_NL.tolist() == [[0, 1], [0, 2]]
    freed = append_sids(stays, QUANTIZER, ["r"], points(0))
    assert freed.sids.codes_NL.tolist() == [[0, 1], [0, 0]]


def test_drift_is_seen() -> None:
    levels = Codebooks([Codebook(np.float32([[1, 0], [0, 1]]))])
    quantizer = Quantizer("rqkmeans", {}, 2, IdentitySpace(), levels)
    old_ND = np.float32([[1, 0.01 * k] for k in range(20)])
    sids = SemanticIds([str(k) for k in range(20)], quantizer.encode(old_ND), (2,))
    same = append_sids(sids, quantizer, ["x", "y"], old_ND[3:5], policy="keep", old_ND=old_ND).drift
    other = append_sids(sids, quantizer, ["x"], np.float32([[1, 0.9]]), policy="keep", old_ND=old_ND).drift
    assert same is not None
    assert other is not None
    assert same.share_below_old_5_percent == 0
    assert other.share_below_old_5_percent == 1
    assert other.new_fidelity == pytest.approx(1 / np.sqrt(1.81))
    assert other.new_fidelity < other.old_fidelity


def test_mistakes_are_named() -> None:
    with pytest.raises(SidError, match=r"1 new items have SIDs already.*\['p'\]"):
        append_sids(OLD, QUANTIZER, ["p"], points(0))
    with pytest.raises(SidError, match=r"stand there twice.*\['r'\]"):
        append_sids(OLD, QUANTIZER, ["r", "r"], points(0, 1))
    with pytest.raises(SidError, match="1 new items but 2 embeddings"):
        append_sids(OLD, QUANTIZER, ["r"], points(0, 1))
    with pytest.raises(SidError, match="fitted on 1 dimensions; these vectors have 2"):
        append_sids(OLD, QUANTIZER, ["r"], np.float32([[0, 0]]))
    with pytest.raises(SidError, match=r"have no SID; first: \['z'\]"):
        remove_sids(OLD, ["z"])
    with pytest.raises(SidError, match="cannot have distinct SIDs"):
        append_sids(OLD, QUANTIZER, [str(k) for k in range(7)], points(*range(7)))


@given(st.lists(st.floats(-5, 110, width=32), min_size=1, max_size=6), st.integers(0, 2))
def test_no_published_sid_moves_and_all_end_distinct(values: list[float], removed: int) -> None:
    stays, gone = remove_sids(OLD, OLD.item_ids[:removed])
    ids = [f"new {k}" for k in range(len(values))]
    grown = append_sids(stays, QUANTIZER, ids, points(*values), reserved_RL=gone.codes_NL)
    assert np.array_equal(grown.sids.codes_NL[: len(stays)], stays.codes_NL)
    assert compute_collision_rates(np.concatenate([grown.sids.codes_NL, gone.codes_NL]))["items"] == 0
