"""The table of ranks: what is saved comes back with the same figures; runs on other targets are not compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trialigngr.catalog.histories import Histories
from trialigngr.evaluate import metrics_json as figures
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED, SID, TargetRanks
from trialigngr.foundation.errors import ArtifactError
from trialigngr.metrics.ranks import NOT_LISTED, Ranks

USERS = 30


def some_ranks(seed: int, n: int) -> Ranks:
    random = np.random.default_rng(seed)
    ahead = np.where(random.random(n) < 0.3, NOT_LISTED, random.integers(0, 12, n))
    return Ranks(ahead, np.where(ahead == NOT_LISTED, 1, random.integers(1, 4, n)))


@pytest.fixture
def tested() -> TargetRanks:
    # User ids whose order as text is not their order in the table; users have one or two test targets.
    lengths = np.array([4 + user % 2 for user in range(USERS)], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.arange(offsets[-1], dtype=np.int64) % 50
    ids = [f"u{(user * 7) % USERS}" for user in range(USERS)]
    histories = Histories(ids, offsets, items, np.full(USERS, 2), np.full(USERS, 3))
    targets = histories.list_targets("test")
    n = len(targets)
    ranks = {
        "model": {ITEM: some_ranks(0, n), SEEN_MASKED: some_ranks(1, n), SID: some_ranks(2, n)},
        "popularity": {ITEM: some_ranks(3, n), SEEN_MASKED: some_ranks(4, n)},
    }
    return TargetRanks.from_ranks(histories, targets, [f"i{row}" for row in range(50)], ranks)


def test_who_and_what_stand_beside_their_ranks(tested: TargetRanks):
    # User 1 ("u7") took items 4 … 8 and is tested on the fourth and fifth of them.
    assert [(tested.user_ids[m], tested.positions_M[m], tested.item_ids[m]) for m in (1, 2)] == [
        ("u7", 3, "i7"),
        ("u7", 4, "i8"),
    ]


def test_saved_and_loaded_gives_the_same_figures(tested: TargetRanks, tmp_path: Path):
    tested.save(tmp_path / "test.parquet")
    loaded = TargetRanks.load(tmp_path / "test.parquet")
    assert {system: set(ways) for system, ways in loaded.ranks.items()} == {
        "model": {ITEM, SEEN_MASKED, SID},
        "popularity": {ITEM, SEEN_MASKED},
    }
    for system, ways in tested.ranks.items():
        for way, ranks in ways.items():
            assert (loaded.ranks[system][way].ahead_M == ranks.ahead_M).all()
            assert (loaded.ranks[system][way].tied_M == ranks.tied_M).all()
    # Intervals too: the bootstrap must draw the same users whatever their names sort like.
    assert figures.build_test_figures(loaded, (5, 10)) == figures.build_test_figures(tested, (5, 10))


def test_the_table_opens_without_us(tested: TargetRanks, tmp_path: Path):
    tested.save(tmp_path / "test.parquet")
    table = pl.read_parquet(tmp_path / "test.parquet")
    assert table.columns[:4] == ["user_id", "position", "item_id", "model.item_ahead"]
    assert table.height == len(tested.user_ids)


def test_a_table_that_is_not_there(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"holds no test\.parquet"):
        TargetRanks.load(tmp_path / "test.parquet")


@pytest.mark.parametrize("field", ["user_ids", "positions_M", "item_ids"])
def test_other_targets_are_refused(tested: TargetRanks, field: str):
    values = getattr(tested, field)
    other = replace(tested, **{field: values[::-1]})
    with pytest.raises(ArtifactError, match="different targets"):
        tested.check_same_targets(other)
