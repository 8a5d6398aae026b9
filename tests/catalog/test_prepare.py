"""Order, k-core and splits, worked by hand; laws by hypothesis; the counts of the real data sets."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.catalog.dataset import Dataset, load_dataset
from trialigngr.catalog.kcore import find_k_core
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.catalog.split import split_global_temporal, split_leave_last
from trialigngr.foundation.config import parse_settings
from trialigngr.foundation.errors import CatalogError, RecipeError

Row = tuple[str, str, int]


def write(root: Path, log: list[Row], order: str = "timestamp", items: list[str] | None = None) -> Path:
    root.mkdir(exist_ok=True)
    named = items if items is not None else sorted({item for _, item, _ in log})
    pl.DataFrame({"item_id": named, "title": named}).write_parquet(root / "items.parquet")
    pl.DataFrame(log, schema=["user_id", "item_id", order], orient="row").write_parquet(root / "interactions.parquet")
    return root


def run(data: Path, **settings: Any) -> tuple[Dataset, dict[str, Any]]:
    out = data.with_name("out")
    out.mkdir(exist_ok=True)
    facts = prepare_catalog(CatalogSettings(**{"k_core": 0, **settings}), data, out)
    return load_dataset(out), facts


def sequences(dataset: Dataset) -> dict[str, str]:
    ids, histories = dataset.catalog.item_ids, dataset.histories
    return {
        user_id: "".join(ids[row] for row in histories.user_sequence(user))
        for user, user_id in enumerate(histories.user_ids)
    }


def test_order_is_time_then_place_in_the_file(tmp_path: Path) -> None:
    log = [("v", "d", 5), ("u", "c", 2), ("u", "b", 1), ("v", "a", 5), ("u", "a", 2), ("v", "c", 4)]
    dataset, facts = run(write(tmp_path / "data", log))
    assert sequences(dataset) == {"v": "cda", "u": "bca"}
    assert facts["order"] == {"by": ["timestamp", "row"], "users_with_a_tie": 2, "users_ending_on_a_tie": 2}


def test_position_breaks_ties_before_the_file_does(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [("u", "a", 1), ("u", "b", 1), ("u", "c", 0)])
    log = pl.read_parquet(data / "interactions.parquet").with_columns(position=pl.Series([2, 1, 9]))
    log.write_parquet(data / "interactions.parquet")
    dataset, facts = run(data)
    assert sequences(dataset) == {"u": "cba"}
    assert facts["order"] == {"by": ["timestamp", "position", "row"], "users_with_a_tie": 0, "users_ending_on_a_tie": 0}


def test_a_tie_that_is_not_at_the_end(tmp_path: Path) -> None:
    _, facts = run(write(tmp_path / "data", [("u", "a", 1), ("u", "b", 1), ("u", "c", 2), ("v", "a", 2)]))
    assert facts["order"]["users_with_a_tie"] == 1
    assert facts["order"]["users_ending_on_a_tie"] == 0


def test_many_ties_come_out_in_file_order_whatever_the_format_or_row_groups(tmp_path: Path) -> None:
    shuffle = random.Random(0)
    log = [(f"u{shuffle.randrange(50)}", f"i{shuffle.randrange(200):03}", shuffle.randrange(3)) for _ in range(5_000)]
    expected: dict[str, list[str]] = {user: [] for user, _, _ in log}
    for user, item, _ in sorted(log, key=lambda row: row[2]):  # sorted is stable
        expected[user].append(item)
    data = write(tmp_path / "data", log)
    table = pl.read_parquet(data / "interactions.parquet")
    for form in ("parquet", "csv"):
        (data / "interactions.parquet").unlink(missing_ok=True)
        if form == "parquet":
            table.write_parquet(data / "interactions.parquet", row_group_size=100)
        else:
            table.write_csv(data / "interactions.csv")
        dataset, _ = run(data)
        ids, histories = dataset.catalog.item_ids, dataset.histories
        found = {user: [ids[row] for row in histories.user_sequence(u)] for u, user in enumerate(histories.user_ids)}
        assert found == expected
        assert list(found) == list(expected)


def test_users_in_order_of_first_appearance_items_in_order_of_their_file(tmp_path: Path) -> None:
    dataset, _ = run(write(tmp_path / "data", [("z", "a", 9), ("y", "b", 1), ("z", "c", 2)], items=["c", "b", "a"]))
    assert dataset.histories.user_ids == ["z", "y"]
    assert dataset.catalog.item_ids == ["c", "b", "a"]
    assert dataset.histories.items.dtype == np.int64


def test_repeats_are_kept_or_the_first_in_time_is(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [("u", "a", 3), ("u", "b", 2), ("u", "a", 1), ("v", "a", 1), ("u", "b", 4)])
    assert sequences(run(data)[0]) == {"u": "abab", "v": "a"}
    dataset, facts = run(data, duplicates="keep_first")
    assert sequences(dataset) == {"u": "ab", "v": "a"}
    assert facts["dropped"]["interactions_repeated"] == 2


def test_items_outside_the_log_leave_or_stay(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [("u", "b", 1)], items=["a", "b", "c"])
    dataset, facts = run(data)
    assert dataset.catalog.item_ids == ["b"]
    assert facts["dropped"]["items_not_in_log"] == 2
    dataset, facts = run(data, item_scope="all")
    assert dataset.catalog.item_ids == ["a", "b", "c"]
    assert dataset.histories.items.tolist() == [1]
    assert facts["kept"]["items"] == 3


# u1 takes a b c, u2 takes a b, u3 takes a c, u4 takes d and a. The 2-core: d falls (one user), so u4 falls (one item);
# all else has two. The 3-core: b, c, d fall first, then every user.
STEPS: list[Row] = [
    *[("u1", "a", 1), ("u1", "b", 2), ("u1", "c", 3), ("u2", "a", 1), ("u2", "b", 2)],
    *[("u3", "a", 1), ("u3", "c", 2), ("u4", "d", 1), ("u4", "a", 2)],
]


def test_k_core_by_hand(tmp_path: Path) -> None:
    data = write(tmp_path / "data", STEPS)
    dataset, facts = run(data, k_core=2)
    assert sequences(dataset) == {"u1": "abc", "u2": "ab", "u3": "ac"}
    assert dataset.catalog.item_ids == ["a", "b", "c"]
    assert facts["dropped"]["interactions_outside_k_core"] == 2
    assert facts["loaded"] == {"users": 4, "items": 4, "interactions": 9}
    for k in (0, 1):
        assert run(data, k_core=k)[1]["kept"]["interactions"] == 9


def test_k_core_that_leaves_nothing(tmp_path: Path) -> None:
    data = write(tmp_path / "data", STEPS)
    with pytest.raises(CatalogError, match=r"3-core of .* leaves none of its 9 interactions; .*catalog\.k_core=2"):
        run(data, k_core=3)
    assert not list((tmp_path / "out").iterdir())


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60), st.integers(0, 4))
def test_k_core_is_the_largest_set_whose_members_have_k(pairs: list[tuple[int, int]], k: int) -> None:
    users, items = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    kept = find_k_core(users, items, k)
    left = list(range(len(pairs)))
    while True:  # one at a time, in the opposite order
        few = [
            p
            for p in left
            if sum(users[q] == users[p] for q in left) < k or sum(items[q] == items[p] for q in left) < k
        ]
        if not few:
            break
        left.remove(few[-1])
    assert kept.tolist() == left


def test_leave_last_by_hand() -> None:
    lengths = np.arange(1, 9)
    valid_from, test_from = split_leave_last(lengths, 1)
    assert valid_from.tolist() == [1, 2, 1, 2, 3, 4, 5, 6]
    assert test_from.tolist() == [1, 2, 2, 3, 4, 5, 6, 7]
    valid_from, test_from = split_leave_last(lengths, 3)
    assert valid_from.tolist() == [1, 2, 1, 2, 1, 2, 1, 2]
    assert test_from.tolist() == [1, 2, 2, 3, 3, 4, 4, 5]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 12))
def test_leave_last_laws(lengths: list[int], last: int) -> None:
    lengths_U = np.array(lengths)
    valid_from, test_from = split_leave_last(lengths_U, last)
    assert (valid_from >= 1).all()
    assert ((test_from - valid_from) == (lengths_U - test_from)).all()
    assert (lengths_U - test_from <= last).all()
    assert ((lengths_U - test_from == last) | (valid_from <= 2)).all()
    assert ((test_from < lengths_U) == (lengths_U >= 3)).all()


def test_users_with_too_little_are_in_training_only(tmp_path: Path) -> None:
    log = [("one", "a", 1), ("two", "a", 1), ("two", "b", 2), ("three", "a", 1), ("three", "b", 2), ("three", "c", 3)]
    dataset, facts = run(write(tmp_path / "data", log))
    assert facts["split"] == {"train": 4, "valid": 1, "test": 1, "users_not_validated": 2, "users_not_tested": 2}
    histories = dataset.histories
    assert histories.list_targets("test").users.tolist() == [2]
    assert histories.target_items(histories.list_targets("valid")).tolist() == [1]
    assert [histories.train_sequence(user).tolist() for user in range(3)] == [[0], [0, 1], [0]]


def test_global_temporal_by_hand() -> None:
    # Ten interactions at times 0…9: eight train, one validates (8), one tests (9).
    users, times = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), np.array([0, 2, 4, 6, 8, 1, 3, 5, 7, 9])
    valid_from, test_from = split_global_temporal(users, times, 2, 0.1, 0.1)
    assert valid_from.tolist() == [4, 4]
    assert test_from.tolist() == [5, 4]


def test_global_temporal_never_cuts_through_a_moment() -> None:
    users, times = np.arange(10), np.array([0, 1, 2, 3, 4, 5, 6, 9, 9, 9])
    valid_from, test_from = split_global_temporal(users, times, 10, 0.1, 0.1)
    assert valid_from.tolist() == test_from.tolist() == [1] * 7 + [0] * 3


def test_global_temporal_through_prepare(tmp_path: Path) -> None:
    log = [(f"u{moment % 2}", f"i{moment}", moment) for moment in range(20)]
    dataset, facts = run(write(tmp_path / "data", log), split="global-temporal", valid_ratio=0.2, test_ratio=0.1)
    assert facts["split"] == {"train": 14, "valid": 4, "test": 2, "users_not_validated": 0, "users_not_tested": 0}
    histories = dataset.histories
    ids = np.array(dataset.catalog.item_ids)
    assert sorted(ids[histories.target_items(histories.list_targets("test"))]) == ["i18", "i19"]
    positions = write(tmp_path / "positions", log, order="position")
    with pytest.raises(CatalogError, match="global-temporal needs a timestamp"):
        run(positions, split="global-temporal")


def test_prepare_comes_back_byte_for_byte(tmp_path: Path) -> None:
    data = write(tmp_path / "data", STEPS * 3)
    run(data)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    run(data)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    tables = {"items", "images", "histories", "item_attributes", "attribute_vocabulary"}
    assert set(first) == {*(f"{name}.parquet" for name in tables), "source.json"}


@pytest.mark.parametrize(("unit", "start"), [(1, 0), (1, 1.6e9), (10**3, 1.6e9), (10**6, 1.6e9), (10**9, 1.6e9)])
def test_times_are_kept_in_seconds(tmp_path: Path, unit: int, start: float) -> None:
    data = write(tmp_path / "data", [("u", item, int(start + 60 * n) * unit) for n, item in enumerate("abcd")])
    histories = run(data)[0].histories
    assert histories.times is not None
    assert histories.times.tolist() == [int(start) + 60 * n for n in range(4)]
    queries = histories.build_queries(histories.list_targets("test"))
    assert queries.users is not None
    assert queries.times is not None
    assert (queries.users.tolist(), [rows.tolist() for rows in queries.items]) == ([0], [[0, 1, 2]])
    assert queries.times[0].tolist() == histories.times[:3].tolist()


def test_an_order_without_times_has_none(tmp_path: Path) -> None:
    histories = run(write(tmp_path / "data", STEPS * 3, order="position"))[0].histories
    assert histories.times is None
    assert histories.build_queries(histories.list_targets("valid")).times is None


def test_settings_are_checked() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'k_core'"):
        parse_settings(CatalogSettings, {"kcore": 3}, "recipe")
    for values in ({"k_core": -1}, {"leave_last_n": 0}, {"split": "random"}, {"test_ratio": 0.5}):
        with pytest.raises(RecipeError, match=next(iter(values))):
            parse_settings(CatalogSettings, values, "recipe")


COUNTS = {
    "movielens_latest_small_posters": (610, 9742, 100836),
    "amazon_beauty": (22363, 12101, 198502),
    "amazon_sports": (35598, 18357, 296337),
    "amazon_instruments_lcrec": (24772, 9922, 206153),
    "amazon_instruments_mql4grec": (17112, 6250, 136226),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_the_real_data_sets(name: str, shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    facts = prepare_catalog(CatalogSettings(), shared_data(name), tmp_path)
    assert tuple(facts["loaded"].values()) == COUNTS[name]
    if name.startswith("amazon"):  # published as 5-cores, so ours changes nothing
        assert tuple(facts["kept"].values()) == COUNTS[name]


def test_movielens_ties_stay_in_file_order(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    data = shared_data("movielens_latest_small_posters")
    facts = prepare_catalog(CatalogSettings(k_core=0, item_scope="all"), data, tmp_path)
    assert facts["order"]["users_ending_on_a_tie"] == 94  # 15 % of 610
    dataset = load_dataset(tmp_path)
    ids = dataset.catalog.item_ids
    table = pl.read_parquet(data / "interactions.parquet")
    expected: dict[str, list[tuple[int, int, str]]] = {}
    for row, (user, item, at, _) in enumerate(table.iter_rows()):
        expected.setdefault(user, []).append((at, row, item))
    for number, user in enumerate(dataset.histories.user_ids):
        assert [ids[row] for row in dataset.histories.user_sequence(number)] == [
            step[2] for step in sorted(expected[user])
        ]
    assert facts["missing_images"] == 0
    assert facts["without"]["image_path"] == 9742 - 6391
