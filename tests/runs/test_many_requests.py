"""Requests asked together are answered as each alone; results say where they come from and what was dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.commands import Done
from tests.support.runs import HISTORY, ids
from trialigngr import RecommendRequest
from trialigngr.catalog.queries import Queries
from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.prior import Prior
from trialigngr.foundation.errors import ArtifactError, CatalogError, ErrorKind, RecipeError, TriAlignError
from trialigngr.runs.request import DroppedItem
from trialigngr.runs.run import Run
from trialigngr.sids.semantic_ids import parse_sid
from trialigngr.systems.generator import GeneratorSystem

Cli = Callable[..., Done]


def draw_requests(run: Run, count: int) -> list[dict[str, Any]]:
    """Return requests of every kind: short and long histories, none, filters, other systems, titles, many items."""
    random, catalog = np.random.default_rng(0), run.artifacts.catalog
    found = []
    for place in range(count):
        own: dict[str, Any] = {
            "history": [catalog.item_ids[row] for row in random.integers(0, len(catalog), random.integers(0, 30))],
            "k": int(random.choice([1, 3, 10, 40])),
            "unseen": bool(random.integers(2)),
            "deny": [catalog.item_ids[row] for row in random.integers(0, len(catalog), random.integers(0, 9))],
            "system": ["generator", "popularity", "counts"][place % 3],
        }
        if place % 5 == 0:
            own["category"] = catalog[int(random.integers(len(catalog)))].categories[0]
        if place % 7 == 0:
            own["only"] = catalog.item_ids[5:40]
        if place % 4 == 0 and own["system"] == "generator":
            own["by"] = "title"
        found.append(own)
    return found


def test_a_batch_is_every_request_alone(run: Run) -> None:
    asked = draw_requests(run, 60)
    together = run.recommend_many(RecommendRequest(**own) for own in asked)
    for own, found in zip(asked, together, strict=True):
        alone = run.recommend(**own)
        assert (found.history_used, found.dropped, found.num_beams) == (
            alone.history_used, alone.dropped, alone.num_beams
        )  # fmt: skip
        assert [item.score for item in found] == pytest.approx([item.score for item in alone], abs=1e-3)
        assert sorted(ids(found)) == sorted(ids(alone)) or len(set(ids(found)) ^ set(ids(alone))) <= 2, "near ties"
        assert not set(ids(found)) & {*own["deny"], *(own["history"] if own["unseen"] else ())}


def test_many_histories_are_decoded_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()
    search = BeamSearch.__call__

    def count(self: BeamSearch, prompts: Any, *rest: Any) -> Any:
        sizes.append(len(prompts))
        return search(self, prompts, *rest)

    monkeypatch.setattr(BeamSearch, "__call__", count)
    items = run.artifacts.catalog.item_ids
    run.recommend_many([RecommendRequest(items[place : place + 3], 5) for place in range(50)])
    assert sizes == [50]


def test_an_item_says_where_it_comes_from(run: Run) -> None:
    sids = run.artifacts.sids
    for system in ("generator", "popularity", "counts"):
        for item in run.recommend(HISTORY, 5, system=system):
            row = run.artifacts.catalog.find_row(item.item_id)
            assert (item.source, item.sid) == (system, sids.sid_text(row))
            assert parse_sid(item.sid) == tuple(code for code in sids.codes_NL[row].tolist() if code >= 0)
            assert item.score_parts == {system: item.score}
    popular = run.recommend([], 5)
    assert {(item.source, item.score, len(item.score_parts)) for item in popular} == {("popular", None, 0)}
    assert ids(popular) == ids(run.recommend(HISTORY, 5, system="popularity", unseen=False))


def test_what_of_a_history_was_dropped(run: Run) -> None:
    items = run.artifacts.catalog.item_ids
    long = [*items[:15], "nobody", *items[15:25]]
    found = run.recommend(long, 3, skip_unknown=True)
    most = run.recipe.prompt.max_history
    assert found.history_used == tuple(items[25 - most : 25])
    assert found.dropped == (
        DroppedItem("nobody", "unknown"), *(DroppedItem(item, "too old") for item in items[: 25 - most])
    )  # fmt: skip
    last = run.recommend(long, 3, skip_unknown=True, system="counts")
    assert last.history_used == tuple(items[25 - run.recipe.counts.max_history : 25])
    assert found.num_beams == run.recipe.decode.num_beams
    assert run.recommend(HISTORY, 50).num_beams == 50
    assert last.num_beams is None


def test_the_command_line_asks_any_system(cli: Cli, run: Run, tiny_run: Path, tmp_path: Path) -> None:
    done = cli("recommend", tiny_run, "--history", ",".join(HISTORY), "--system", "counts", "-k", 3)
    assert [line.split()[2] for line in done.out.splitlines()] == ids(run.recommend(HISTORY, 3, system="counts"))
    everybody = cli("recommend", tiny_run, "--all-users", "--out", tmp_path / "x.parquet", "--system", "popularity")
    assert everybody.code == 0, everybody.err


KINDS: list[tuple[dict[str, Any], type[TriAlignError], ErrorKind, str]] = [
    ({"history": ["nobody"]}, CatalogError, ErrorKind.UNKNOWN_ITEM, "There is no item 'nobody'"),
    ({"category": "Lamp"}, CatalogError, ErrorKind.UNKNOWN_CATEGORY, "There is no category 'Lamp'"),
    ({"k": 0}, CatalogError, ErrorKind.INVALID_ARGUMENT, "ask for at least one item"),
    ({"k": "3"}, TriAlignError, ErrorKind.INVALID_ARGUMENT, "k is '3'"),
    ({"system": "sasrec"}, ArtifactError, ErrorKind.UNKNOWN_SYSTEM, "has no system 'sasrec'; it has generator, pop"),
    ({"system": "popularty"}, RecipeError, ErrorKind.UNKNOWN_SYSTEM, "Did you mean 'popularity'"),
    ({"by": "title", "system": "popularity"}, TriAlignError, ErrorKind.INVALID_ARGUMENT, "popularity writes nothing"),
]


@pytest.mark.parametrize(("change", "error", "kind", "sentence"), KINDS, ids=repr)
def test_errors_have_a_kind(
    run: Run, change: dict[str, Any], error: type[TriAlignError], kind: ErrorKind, sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        run.recommend(**{"history": HISTORY} | change)
    assert raised.value.kind is kind


def test_the_sentence_names_the_request(run: Run) -> None:
    good, bad = RecommendRequest(HISTORY, 3), RecommendRequest(["nobody"], 3)
    with pytest.raises(CatalogError, match=r"requests\[1\]: There is no item 'nobody'"):
        run.recommend_many([good, bad])
    assert run.recommend_many([]) == []


def test_an_unknown_user_has_a_kind_and_times_fit_the_history(run: Run) -> None:
    with pytest.raises(CatalogError) as raised:
        run.recommend_user("nobody")
    assert raised.value.kind is ErrorKind.UNKNOWN_USER
    with pytest.raises(TriAlignError, match="times has 1 numbers for 2 items"):
        RecommendRequest(["a", "b"], times=[3])


def test_a_history_is_used_as_far_as_its_tokens_find_room(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    items, examples = run.artifacts.catalog.item_ids, run.current_recommender._sid_examples
    with monkeypatch.context() as small:
        small.setattr(examples, "item_budget", 3 * 4 + 1)
        found = run.recommend(items[:9], 3)
    assert found.history_used == tuple(items[5:9])
    assert [one.reason for one in found.dropped] == ["too old"] * 5


@pytest.mark.parametrize(
    ("requests", "sentence"),
    [
        ([["p0003"]], r"requests\[0\] is list; give a RecommendRequest"),
        ("abc", "requests is the text 'abc'"),
        (None, "requests is None"),
    ],
)
def test_what_is_no_list_of_requests(run: Run, requests: Any, sentence: str) -> None:
    with pytest.raises(TriAlignError, match=sentence):
        run.recommend_many(requests)


@pytest.mark.parametrize(("times", "sentence"), [(5, "times is 5"), ([1, 10**30], "times holds"), (["x"], "times")])
def test_times_that_are_none(times: Any, sentence: str) -> None:
    with pytest.raises(TriAlignError, match=sentence):
        RecommendRequest(["a", "b"], times=times)


def test_a_prior_is_a_part_of_the_score(run: Run) -> None:
    recommender = run.current_recommender
    usual = recommender.get_system("generator")
    counts_N = np.arange(len(run.catalog_snapshot.catalog), dtype=np.float64)
    mixed = GeneratorSystem(usual.recommender, usual.max_history, lambda queries: [Prior(counts_N, 0.4)] * len(queries))
    found = mixed.rank(Queries([np.array([3, 4]), np.array([7])]), 5)
    generator, prior = (found.parts[name] for name in ("generator", "prior"))
    np.testing.assert_allclose(found.scores_BK, np.log(0.6 * np.exp(generator) + 0.4 * prior), atol=1e-5)
    np.testing.assert_allclose(prior, counts_N[found.rows_BK] / counts_N.sum(), atol=1e-6)
    one = found.take_list(1, 2)
    assert one.rows_BK.tolist() == [found.rows_BK[1, :2].tolist()]
    assert one.parts["prior"].tolist() == [prior[1, :2].tolist()]
