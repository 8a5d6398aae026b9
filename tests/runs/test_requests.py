"""What a request may ask for: items out of stock, one category, unknown items skipped, everybody at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.commands import Done
from tests.support.runs import HISTORY, ids
from trialigngr.foundation.errors import CatalogError
from trialigngr.runs import batch_inference as everyone
from trialigngr.runs.run import Run

Cli = Callable[..., Done]


def test_denied_items_do_not_come_back_and_the_rest_keeps_its_order(run: Run) -> None:
    everything = ids(run.recommend(HISTORY, 100))
    denied = everything[:7:2]
    assert ids(run.recommend(HISTORY, 100, deny=denied)) == [item for item in everything if item not in denied]
    assert denied[0] not in ids(run.recommend([], 100, deny=denied))


def test_all_of_a_category_and_nothing_else_comes_back(run: Run) -> None:
    for category in {name for item in run.artifacts.catalog for name in item.categories}:
        members = {item.item_id for item in run.artifacts.catalog if category in item.categories}
        found = ids(run.recommend(HISTORY, 100, category=category))
        assert set(found) == members - set(HISTORY)
        assert len(run.recommend(HISTORY, 2, category=category)) == min(2, len(members - set(HISTORY)))


def test_only_what_is_named_comes_back(run: Run) -> None:
    everything = ids(run.recommend(HISTORY, 100))
    named = [*everything[3:30:4], HISTORY[0]]
    assert ids(run.recommend(HISTORY, 100, only=named)) == [item for item in everything if item in named]
    assert ids(run.recommend(HISTORY, 1, only=everything[-1:])) == everything[-1:]
    assert ids(run.recommend(HISTORY, 100, only=named, deny=named[:2])) == [i for i in everything if i in named[2:]]
    category = run.artifacts.catalog[run.artifacts.catalog.find_row(everything[3])].categories[0]
    both = ids(run.recommend(HISTORY, 100, only=named, category=category))
    assert both == [item for item in ids(run.recommend(HISTORY, 100, category=category)) if item in named]
    assert set(ids(run.recommend([], 100, only=named))) == set(named)
    assert run.recommend(HISTORY, 5, only=[]) == []
    with pytest.raises(CatalogError, match="There is no item 'nobody'"):
        run.recommend(HISTORY, 5, only=["nobody"])


def test_more_than_there_are_is_all_there_are(run: Run) -> None:
    everything = ids(run.recommend(HISTORY, 10**9, unseen=False))
    assert sorted(everything) == sorted(run.artifacts.catalog.item_ids)


def test_a_category_that_is_not_there(run: Run) -> None:
    with pytest.raises(CatalogError, match="There is no category 'Lamp'"):
        run.recommend(HISTORY, category="Lamp")


def test_unknown_items_are_skipped_when_asked_to(run: Run) -> None:
    assert run.recommend(["nobody", *HISTORY], 5, skip_unknown=True) == run.recommend(HISTORY, 5)
    assert run.recommend(["nobody"], 5, skip_unknown=True) == run.recommend([], 5)
    with pytest.raises(CatalogError, match="There is no item 'nobody'"):
        run.recommend(["nobody", *HISTORY], 5)


def test_everybody_at_once_is_each_alone(
    cli: Cli, run: Run, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everyone, "CHUNK_USERS", 16)
    k = run.recipe.evaluate.num_recommendations + 3
    done = cli("recommend", tiny_run, "--all-users", "--out", tmp_path / "recs.parquet", "-k", k)
    assert done.code == 0, done.err
    table = pl.read_parquet(tmp_path / "recs.parquet")
    told = pl.read_parquet_metadata(tmp_path / "recs.parquet")
    assert (told["num_beams"], told["score_softmax"]) == (str(run.current_recommender.num_beams_for(k)), "constrained")
    assert table["user_id"].unique(maintain_order=True).to_list() == run.artifacts.histories.user_ids
    ranks = table.group_by("user_id").agg(pl.col("rank"))["rank"].to_list()
    assert ranks == [list(range(1, k + 1))] * len(run.artifacts.histories)
    alone = {user: ids(run.recommend_user(user, k)) for user in run.artifacts.histories.user_ids[:12]}
    same = [table.filter(user_id=user)["item_id"].to_list() == found for user, found in alone.items()]
    assert sum(same) >= 10, "padding may turn near ties, no more"
    assert [path.name for path in tmp_path.iterdir()] == ["recs.parquet"]


def test_everybody_at_once_may_ask_what_one_may(cli: Cli, run: Run, tiny_run: Path, tmp_path: Path) -> None:
    """k is more than is allowed, so that no near tie can turn what comes back."""
    catalog, users = run.artifacts.catalog, run.artifacts.histories.user_ids
    category = max({name for item in catalog for name in item.categories}, key=lambda name: len(members(run, name)))
    denied = members(run, category)[:3]
    requests: list[dict[str, Any]] = [
        {"deny": denied, "category": category},
        {"only": catalog.item_ids[5:20], "deny": catalog.item_ids[7:9]},
        {"only": catalog.item_ids[:4], "unseen": False},
    ]
    for request in requests:
        everyone.recommend_all(run, tmp_path / "recs.parquet", 30, **request)
        table = pl.read_parquet(tmp_path / "recs.parquet")
        for user in users[::4]:
            alone = run.recommend(run.user_history(user), 30, **request)
            own = table.filter(user_id=user)
            assert sorted(own["item_id"]) == sorted(ids(alone))
            scores = {item.item_id: item.score for item in alone}
            assert own["score"].to_list() == pytest.approx([scores[item] for item in own["item_id"]], abs=0.05), "bf16"
    words = ["--deny", ",".join(denied), "--category", category, "--only", ",".join(members(run, category)[:8])]
    done = cli("recommend", tiny_run, "--all-users", "--out", tmp_path / "cli.parquet", "-k", 3, "--seen", *words)
    assert done.code == 0, done.err
    table = pl.read_parquet(tmp_path / "cli.parquet")
    assert set(table["item_id"]) <= set(members(run, category)[3:8])
    assert table["user_id"].value_counts()["count"].to_list() == [3] * len(users), "as many as are allowed come back"


def members(run: Run, category: str) -> list[str]:
    return [item.item_id for item in run.artifacts.catalog if category in item.categories]


def test_nothing_for_anybody_is_an_empty_table(run: Run, tmp_path: Path) -> None:
    everyone.recommend_all(run, tmp_path / "none.parquet", 2, only=[])
    everyone.recommend_all(run, tmp_path / "some.parquet", 2)
    nothing, something = pl.read_parquet(tmp_path / "none.parquet"), pl.read_parquet(tmp_path / "some.parquet")
    assert (len(nothing), nothing.schema) == (0, something.schema)


def test_unknown_names_for_everybody_leave_nothing_behind(run: Run, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="There is no item 'nobody'"):
        everyone.recommend_all(run, tmp_path / "recs.parquet", 2, deny=["nobody"])
    with pytest.raises(CatalogError, match="There is no category 'Lamp'"):
        everyone.recommend_all(run, tmp_path / "recs.parquet", 2, category="Lamp")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_batch_goes_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everyone, "CHUNK_USERS", 16)
    first, second = run.artifacts.catalog.item_ids[:2]
    category = run.artifacts.catalog[0].categories[0]
    everyone.recommend_all(run, tmp_path / "whole.parquet", 2, deny=[first, second])
    own, made, chunks = everyone._recommend_chunk, [], -(-len(run.artifacts.histories) // 16)

    def breaks(*words: Any) -> pl.DataFrame:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(words[1])
        return own(*words)

    with monkeypatch.context() as broken:
        broken.setattr(everyone, "_recommend_chunk", breaks)
        with pytest.raises(KeyboardInterrupt):
            everyone.recommend_all(run, tmp_path / "broken.parquet", 2, deny=[first, second])
        broken.setattr(everyone, "_recommend_chunk", lambda *words: made.append(words[1]) or own(*words))
        for other in (
            {},
            {"deny": [first]},
            {"deny": [first, second], "category": category},
            {"only": [first, second]},
        ):
            made.clear()
            everyone.recommend_all(run, tmp_path / "broken.parquet", 2, **other)
            assert len(made) == chunks, "another request takes up nothing"
        made.clear()
        everyone.recommend_all(run, tmp_path / "broken.parquet", 2, deny=(second, first))
    assert len(made) == chunks - 2, "the two finished chunks were not made again"
    assert pl.read_parquet(tmp_path / "broken.parquet").equals(pl.read_parquet(tmp_path / "whole.parquet"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--all-users"], "belong together"),
        (["--user", "u00005", "--out", "x.parquet"], "belong together"),
        (["--all-users", "--out", "x.csv"], "ends in .parquet"),
        (["--all-users", "--out", "x.parquet", "-k", "0"], "at least one"),
        (["--all-users", "--out", "x.parquet", "--category", "Lamp"], "There is no category 'Lamp'"),
        (["--all-users", "--out", "x.parquet", "--skip-unknown"], "--skip-unknown and --by title are for one user or"),
        (["--user", "u00005", "--deny", "p9999"], "There is no item 'p9999'"),
    ],
)
def test_requests_that_make_no_sense(cli: Cli, tiny_run: Path, words: list[str], sentence: str) -> None:
    done = cli("recommend", tiny_run, *words)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_what_happens_otherwise_than_asked_is_said(cli: Cli, run: Run, tiny_run: Path) -> None:
    nobody = cli("recommend", tiny_run, "--history", "nobody", "--skip-unknown", "-k", 2)
    assert nobody.err == (
        "The history is empty: these are the most popular items.\n"
        "1 items of the history are unknown and were left out: nobody\n"
    )
    assert [line.split()[1] for line in nobody.out.splitlines()] == ["popular"] * 2
    many = cli("recommend", tiny_run, "--history", ",".join(HISTORY), "-k", 90)
    assert f"k = 90 is more than decode.num_beams = 20: {len(run.artifacts.catalog)} beams are kept.\n" in many.err
    assert f"Only {len(run.artifacts.catalog) - 2} items are allowed and reachable; 90 were asked for." in many.err
    assert len(many.out.splitlines()) == len(run.artifacts.catalog) - 2
    assert cli("recommend", tiny_run, "--history", ",".join(HISTORY), "-k", 3).err == ""
