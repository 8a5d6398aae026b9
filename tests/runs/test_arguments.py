"""What Python may hand to a run: lists of ids as text or whole numbers; all else is a sentence, never a guess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trialigngr
from tests.support.runs import HISTORY, ids
from trialigngr.foundation.arguments import read_ids
from trialigngr.foundation.errors import ArgumentError, CatalogError
from trialigngr.recipes.recipe import read_recipe
from trialigngr.runs import batch_inference as everyone
from trialigngr.runs.run import Run

NO_LISTS = ["p0003", b"p0003", bytearray(b"p"), 3, 3.5, None, {"p0003": 1}, np.array(3)]
NO_IDS = [["p0003"], 3.0, float("nan"), None, True, b"p", np.float32(3), np.bool_(True), np.array(["p", "q"])]


@pytest.mark.parametrize("given", NO_LISTS, ids=repr)
def test_what_is_no_list_is_no_history_and_names_nothing(run: Run, given: Any) -> None:
    with pytest.raises(ArgumentError, match=r"history is .*give a list of ids"):
        run.recommend(given, 3)
    with pytest.raises(ArgumentError, match=r"deny is .*give a list of ids"):
        run.recommend(HISTORY, 3, deny=given)
    for ask in (run.recommend, lambda history, **asked: run.search_items("a mug", **asked), run.recommend):
        if given is not None:
            with pytest.raises(ArgumentError, match=r"only is .*give a list of ids"):
                ask(HISTORY, only=given)


@pytest.mark.parametrize("given", NO_IDS, ids=repr)
def test_what_is_no_id_is_named_with_its_place(run: Run, given: Any) -> None:
    for skip in (False, True):
        with pytest.raises(ArgumentError, match=r"history\[1\] is .*an id is a text or a whole number"):
            run.recommend(["p0003", given], 3, skip_unknown=skip)
    with pytest.raises(ArgumentError, match=r"deny\[0\] is .*an id is a text or a whole number"):
        run.recommend(HISTORY, 3, deny=[given])
    with pytest.raises(ArgumentError, match=r"user_id is .*an id is a text or a whole number"):
        run.recommend_user(given)


def test_whole_numbers_stand_for_ids() -> None:
    numbers = [[12, 0, -3], np.array([12, 0, -3]), np.array([12, 0, -3], dtype=np.int8), ("12", 0, np.str_("-3"))]
    for given in (*numbers, iter([12, 0, -3]), [np.int64(12), np.uint8(0), np.array(-3)]):
        found = read_ids(given, "history", ordered=True)
        assert found == ["12", "0", "-3"]
        assert {type(one) for one in found} == {str}
    assert read_ids([2**70], "history") == [str(2**70)]


def test_numbers_that_are_no_ids_are_unknown_items(run: Run) -> None:
    with pytest.raises(CatalogError, match="There is no item '3'"):
        run.recommend([3])
    assert run.recommend([3, *HISTORY], 3, skip_unknown=True) == run.recommend(HISTORY, 3)


def test_lists_of_any_kind_are_the_same_request(run: Run) -> None:
    best = run.recommend(HISTORY, 5)
    denied = ids(best)[:2]
    for kind in (tuple, np.array, iter):
        assert run.recommend(kind(HISTORY), 5) == best
    for kind in (tuple, set, frozenset, np.array, iter, lambda names: dict.fromkeys(names).keys()):
        assert run.recommend(HISTORY, 3, deny=kind(denied)) == run.recommend(HISTORY, 3, deny=denied)
        assert set(ids(run.recommend(HISTORY, 3, only=kind(denied)))) == set(denied)


def test_a_history_has_an_order(run: Run) -> None:
    for given in (set(HISTORY), frozenset(HISTORY)):
        with pytest.raises(ArgumentError, match="history is a set, which has no order"):
            run.recommend(given)


@pytest.mark.parametrize("k", [True, 3.0, "3", None, np.bool_(True), [3]], ids=repr)
def test_k_is_a_whole_number(run: Run, tmp_path: Path, k: Any) -> None:
    for ask in (
        lambda: run.recommend(HISTORY, k),
        lambda: run.search_items("a mug", k),
        lambda: run.recommend_user(run.artifacts.histories.user_ids[0], k),
        lambda: everyone.recommend_all(run, tmp_path / "out.parquet", k),
    ):
        with pytest.raises(ArgumentError, match=r"k is .*give a whole number"):
            ask()
    assert run.recommend(HISTORY, np.int64(3)) == run.recommend(HISTORY, 3)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"by": "SID"}, r"by = 'SID': the model writes 'sid' or 'title'. Did you mean 'sid'\?"),
        ({"by": "titles"}, r"Did you mean 'title'\?"),
        ({"by": None}, "by = None"),
        ({"by": ["sid"]}, r"by = \['sid'\]"),
        ({"unseen": "no"}, r"unseen is 'no' \(str\); give True or False"),
        ({"unseen": 1}, "unseen is 1"),
        ({"skip_unknown": "false"}, "skip_unknown is 'false'"),
        ({"category": ["Mugs"]}, r"category is \['Mugs'\] \(list\); give a text"),
        ({"category": 3}, "category is 3"),
    ],
)
def test_everything_else_is_checked(run: Run, asked: dict[str, Any], sentence: str) -> None:
    for history in (HISTORY, []):
        with pytest.raises(ArgumentError, match=sentence):
            run.recommend(history, 3, **asked)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda run: run.search_items(12), "text is 12"),
        (lambda run: run.search_items(["a", "mug"]), "text is .*give a text"),
        (lambda run: run.search_items("a mug", view="sid"), "view = 'sid': items are found by 'title' or 'visual'"),
        (lambda run: run.search_items("a mug", view=["title"]), "view = "),
        (lambda run: run.search_items("a mug", only="p0003"), "only is the text 'p0003'"),
        (lambda run: everyone.recommend_all(run, 3), "out is 3"),
        (lambda run: everyone.recommend_all(run, "out.parquet", deny="p0003"), "deny is the text 'p0003'"),
        (lambda run: everyone.recommend_all(run, "out.parquet", unseen="no"), "unseen is 'no'"),
    ],
)
def test_words_views_and_files_are_checked(run: Run, ask: Callable[[Run], object], sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        ask(run)


def test_a_view_may_be_named(run: Run) -> None:
    assert run.search_items("a mug", 3, "visual") == run.search_items(
        "a mug", 3, trialigngr.runs.recommender.View.VISUAL
    )


def test_signatures_say_what_may_be_asked() -> None:
    from inspect import signature

    asked = signature(Run.recommend).parameters
    assert list(asked)[1:] == ["history", "k", "unseen", "deny", "only", "category", "by", "skip_unknown", "system",
                               "user_id", "times"]  # fmt: skip
    assert all(parameter.annotation != parameter.empty for name, parameter in asked.items() if name != "self")


@pytest.mark.parametrize("folder", [3, None, ["runs"], b"runs"], ids=repr)
def test_a_run_is_opened_by_its_path(folder: Any) -> None:
    with pytest.raises(ArgumentError, match=r"folder is .*give a path"):
        trialigngr.load(folder)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"recipe": 3}, "recipe is 3"),
        ({"data": 3}, "data is 3"),
        ({"out": None}, "out is None"),
        ({"changes": "seed=1"}, r"changes is the text 'seed=1'; give a list of texts .*\['seed=1'\]"),
        ({"changes": {"seed": 1}}, "changes is {'seed': 1}"),
        ({"changes": [("seed", 1)]}, r"changes is \('seed', 1\) \(tuple\); give a text"),
        ({"seeds": True}, "seeds is True"),
        ({"seeds": 1.5}, "seeds is 1.5"),
        ({"until": 1}, "until is 1"),
        ({"recipe": read_recipe("trialigngr-demo"), "changes": ["seed=1"]}, "change the Recipe itself"),
    ],
)
def test_what_a_run_is_made_of_is_checked(tmp_path: Path, asked: dict[str, Any], sentence: str) -> None:
    usual = {"recipe": "trialigngr-demo", "data": None, "out": tmp_path / "run"}
    with pytest.raises(ArgumentError, match=sentence):
        trialigngr.run(**usual | asked)
    assert not (tmp_path / "run").exists()
