"""Slices by hand: who is in which, and what figures they get; lists come back from their table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.evaluate.target_lists import TargetLists, pad_lists
from trialigngr.evaluate.target_ranks import ITEM, TargetRanks
from trialigngr.evaluate.target_slices import build_slices, compute_slice_figures
from trialigngr.foundation.errors import ArtifactError
from trialigngr.metrics.ranks import Ranks

COUNTS = np.array([10, 4, 4, 6, 3, 2, 1, 0])  # 30 in all; sorted 10 6 4 4 3 2 1: held 10 16 20 …


def by_name(wanted: list[int], lengths: list[int]) -> dict[str, list[bool]]:
    return {part.name: part.inside_M.tolist() for part in build_slices(COUNTS, np.array(wanted), np.array(lengths))}


def test_bands_by_hand() -> None:
    found = by_name([0, 3, 1, 4, 6, 7], [1, 5, 6, 10, 20, 21])
    yes = {name: [place for place, inside in enumerate(own) if inside] for name, own in found.items()}
    assert yes == {
        "cold items": [5],
        "tail items": [3, 4],  # below 4, the count at which two thirds are reached
        "middle items": [1, 2],
        "head items": [0],  # item 0 alone holds a third
        "history 1–5": [0, 1],
        "history 6–10": [2, 3],
        "history 11–20": [4],
        "history 21+": [5],
    }


def test_a_slice_without_a_target_is_left_out() -> None:
    assert list(by_name([0], [3])) == ["head items", "history 1–5"]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any),
    st.lists(st.tuples(st.integers(0, 29), st.integers(1, 50)), min_size=1, max_size=30),
)
def test_every_target_is_in_one_band_of_each_kind(counts: list[int], targets: list[tuple[int, int]]) -> None:
    wanted = np.array([row % len(counts) for row, _ in targets])
    found = build_slices(np.array(counts), wanted, np.array([length for _, length in targets]))
    for kind in ("items", "history"):
        inside = np.sum([part.inside_M for part in found if kind in part.name], axis=0)
        assert inside.tolist() == [1] * len(targets)


def test_figures_are_those_of_the_slice() -> None:
    ranks = Ranks(np.array([0, 9, 3, 50]), np.ones(4, np.int64))
    test = TargetRanks(list("abcd"), np.arange(4), np.array([2, 2, 7, 7]), list("wxyz"), {"model": {ITEM: ranks}})
    found = compute_slice_figures(test, build_slices(COUNTS, np.array([0, 0, 0, 0]), test.positions_M), (5, 10))
    assert [(part["name"], part["targets"]) for part in found] == [
        ("head items", 4),
        ("history 1–5", 2),
        ("history 6–10", 2),
    ]
    assert [part["figures"]["model"]["HR@10"]["value"] for part in found] == [0.75, 1.0, 0.5]


def test_lists_come_back(tmp_path: Path) -> None:
    rows = pad_lists([np.array([3, 1, 2]), np.array([5]), np.array([], np.int64)], 2)
    assert rows.tolist() == [[3, 1], [5, -1], [-1, -1]]
    TargetLists({"model": {ITEM: rows}, "co.occurrence": {ITEM: rows}}).save(tmp_path / "lists.parquet")
    found = TargetLists.load(tmp_path / "lists.parquet")
    assert set(found.lists) == {"model", "co.occurrence"}
    assert found.lists["model"][ITEM].tolist() == rows.tolist()
    told = found.compute_list_metrics(ITEM, (2,), np.ones(8, np.int64), np.array([0]))
    assert (told["model"]["Coverage@2"], told["model"]["short"]) == (3 / 8, pytest.approx(2 / 3))
    with pytest.raises(ArtifactError, match=r"holds no nothing\.parquet"):
        TargetLists.load(tmp_path / "nothing.parquet")
