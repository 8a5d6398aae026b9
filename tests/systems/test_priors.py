"""What a system says as a prior beside the generator, and a run that mixes counts in: tested, recommended, tuned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.support.circle import CircleInputs, N, fit_system, load_system
from tests.support.commands import Done
from tests.support.runs import HISTORY, ids, linked, new_items, tiny
from trialigngr.catalog.histories import Histories
from trialigngr.catalog.queries import Queries
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.evaluate.system import ScorerSystem
from trialigngr.foundation.artifact import read_manifest
from trialigngr.foundation.errors import ArtifactError, RecipeError
from trialigngr.pipeline.add_items import append_items
from trialigngr.recipes.recipe import Recipe, read_recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.batch_inference import recommend_all
from trialigngr.runs.run import Run, load
from trialigngr.runs.snapshot import write_withdrawals
from trialigngr.systems.item_to_item import ItemToItem
from trialigngr.systems.priors import SystemPrior, compute_softmax, make_prior

Cli = Callable[..., Done]
SMALL = {
    "sasrec.epochs": 2, "sasrec.hidden_size": 8, "sasrec.max_history": 8, "sasrec.validate_users": 30,
    "evaluate.systems": ["popularity", "generator_alone", "sasrec_counts"],
}  # fmt: skip
"""Beside the settings of a tiny run: the counts and SASRec stand in no table, and are made all the same."""


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> ItemToItem:
    folder = tmp_path_factory.mktemp("counts")
    fit_system("counts", folder, CircleInputs())
    found = load_system("counts", folder, CircleInputs())
    assert isinstance(found, ScorerSystem)
    assert isinstance(found.scorer, ItemToItem)
    return found.scorer


def ask(*rows: list[int]) -> Queries:
    return Queries([np.array(own, dtype=np.int64) for own in rows])


def test_counts_are_what_is_not_zero_and_weigh_by_their_sum(counts: ItemToItem) -> None:
    queries = ask([1, 2, 3], [7])
    found = SystemPrior(counts, N, 0.5, 8.0).build(queries, N)
    sums_BN = np.asarray(counts.score_items(queries) - counts.popularity_N, dtype=np.float64)
    for prior, sums_N in zip(found, sums_BN, strict=True):
        assert prior is not None
        assert prior.rows is not None
        np.testing.assert_array_equal(np.sort(prior.rows), np.flatnonzero(sums_N > 1e-5))
        np.testing.assert_allclose(prior.weights, sums_N[prior.rows], rtol=1e-5)
        assert prior.mixing_weight == pytest.approx(0.5 * sums_N.sum() / (sums_N.sum() + 8), rel=1e-5)


def test_what_a_system_does_not_know_says_nothing(counts: ItemToItem) -> None:
    prior = SystemPrior(counts, N, 0.5, 8.0)
    grown, usual, unknown = prior.build(ask([1, N + 2, 2], [1, 2], [N, N + 1]), N + 3)
    assert unknown is None
    assert grown is not None
    assert usual is not None
    assert grown.weights.tolist() == usual.weights.tolist()
    nothing = ItemToItem("counts", counts.weights_NN * 0, counts.popularity_N)
    nothing.weights_NN.eliminate_zeros()  # type: ignore[union-attr]
    assert SystemPrior(nothing, N, 0.5, 0.0).build(ask([1], [2]), N) == [None, None]


def test_any_other_system_is_a_softmax_of_all_items() -> None:
    scores_BN = np.random.default_rng(0).normal(size=(2, N)).astype(np.float32)

    class Even:
        name, max_history = "even", None

        def score_items(self, queries: Queries) -> Any:
            return scores_BN[: len(queries)]

    found = make_prior(ScorerSystem(Even()), N, 0.3, 8.0, "geometric").build(ask([1], [2]), N + 2)
    for prior, scores_N in zip(found, scores_BN, strict=True):
        assert prior is not None
        assert (prior.rows, prior.mixing_weight, prior.form) == (None, 0.3, "geometric")
        wanted = np.exp(scores_N.astype(np.float64))
        np.testing.assert_allclose(prior.weights, [*wanted / wanted.sum(), 0, 0])


def test_a_system_without_scores_is_no_prior() -> None:
    class Lists:
        name, max_history = "lists", None

    with pytest.raises(RecipeError, match="The system lists gives no score to every item"):
        make_prior(Lists(), N, 0.3, 8.0)  # type: ignore[arg-type]


def test_sasrec_and_counts_are_their_formula(counts: ItemToItem, tmp_path: Path) -> None:
    inputs, queries = CircleInputs(), ask([1, 2, 3], [9], [20, 21])
    fit_system("sasrec_counts", tmp_path, inputs, mixing_weight=0.4, confidence=2.0)
    mixed = load_system("sasrec_counts", tmp_path, inputs)
    assert isinstance(mixed, ScorerSystem)
    sasrec = inputs.load_system("sasrec")
    assert isinstance(sasrec, ScorerSystem)
    p_BN = compute_softmax(sasrec.scorer.score_items(queries))
    n_BN = counts.score_items(queries).astype(np.float64) - counts.popularity_N
    mass_B = n_BN.sum(1, keepdims=True)
    mixing_B = 0.4 * mass_B / (mass_B + 2)
    found = mixed.scorer.score_items(queries)
    np.testing.assert_allclose(found, (1 - mixing_B) * p_BN + mixing_B * n_BN / mass_B, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1)
    (tmp_path / "mixture.json").write_text('{"mixing_weight": 2}')
    with pytest.raises(ArtifactError, match=r"mixture\.json says nothing of a mixture"):
        load_system("sasrec_counts", tmp_path, inputs)


def test_a_log_without_pairs_has_no_counts_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ones = np.ones(3, dtype=np.int64)
    lonely = CircleInputs(Histories(["a", "b", "c"], np.arange(4), np.array([1, 2, 3]), ones, ones))
    assert fit_system("counts", tmp_path, lonely)["pairs"] == 0
    assert "nobody took two items in the training part" in capsys.readouterr().err
    empty = load_system("counts", tmp_path, lonely)
    assert make_prior(empty, N, 0.5, 8.0).build(ask([1], [2, 3]), N) == [None, None]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("prior.mixing_weight=1.0", "prior.mixing_weight = 1.0 does not fit"),
        ("prior.mixing_weight=-0.1", "prior.mixing_weight = -0.1 does not fit"),
        ("prior.confidence=-1", "prior.confidence = -1 does not fit"),
        ("prior.form=cubic", "prior.form = 'cubic' does not fit"),
        ("prior.system=count", "There is no system 'count'.*Did you mean 'counts'"),
        ("prior.system=generator_alone", "the generator cannot be its own prior"),
    ],
)
def test_settings_that_cannot_be(change: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        read_recipe("trialigngr-hour+counts", [change])


def test_a_prior_needs_a_softmax_over_the_catalogue(tmp_path: Path, cli: Cli) -> None:
    full = ("--set", "decode.score_softmax=full", "--set", "train.loss_softmax=full")
    done = cli("run", "trialigngr-demo+counts", "--out", tmp_path / "run", *full)
    assert (done.code, "prior.system needs decode.score_softmax = constrained" in done.err) == (2, True), done.err
    assert not (tmp_path / "run").exists()


def words(**changes: Any) -> list[str]:
    return tiny(**{name.replace(".", "__"): value for name, value in SMALL.items()} | changes)


@pytest.fixture(scope="module")
def mixed_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """Return the tiny run with counts mixed in; its model was trained before."""
    run = linked(tiny_run, tmp_path_factory.mktemp("mixed") / "run")
    plan = cli("plan", "trialigngr-demo+counts", "--out", run, *words()).out
    assert "model        done" in plan
    assert all(f"{name:12s} to do" in plan for name in ("sasrec", "sasrec_counts"))
    assert plan.index("\ncounts ") < plan.index("\nevaluation ")
    done = cli("run", "trialigngr-demo+counts", "--out", run, *words())
    assert done.code == 0, done.err
    assert "model: unchanged, kept" in done.err
    return run


@pytest.fixture
def copied(mixed_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mixed_run, tmp_path / "run"))


def mix_by_hand(run: Run, history: list[str], *, kept: bool = False) -> np.ndarray:
    """Return the probability of every item of the run under (1 − λ) P + λ q, 0 for what the history has."""
    artifacts, chosen = run.artifacts, run.recipe.prior
    rows = np.array([artifacts.catalog.row_by_id[item] for item in history])
    recommender = artifacts.sid_recommender
    leaf_N = artifacts.trie.node_of_item[-1]
    p_N = np.exp(compute_exact_scores(recommender.search, [recommender.build_prompt(rows)])[0].astype(np.float64))[
        leaf_N
    ]
    system = artifacts.load_system("counts")
    assert isinstance(system, ScorerSystem)
    counts = system.scorer
    assert isinstance(counts, ItemToItem)
    n_N = counts.score_items(Queries([rows]))[0].astype(np.float64) - counts.popularity_N
    n_N[n_N < 1e-6] = 0
    mixing = chosen.mixing_weight * n_N.sum() / (n_N.sum() + chosen.confidence)
    if not kept:
        n_N[rows] = 0
    q_N = np.bincount(leaf_N, n_N)[leaf_N] / n_N.sum()
    mixed_N = (1 - mixing) * p_N + mixing * q_N
    if not kept:
        mixed_N[rows] = 0
    return mixed_N


def test_what_is_recommended_is_the_mixture_over_all_items(mixed_run: Path) -> None:
    run = load(mixed_run)
    for history in (HISTORY, run.artifacts.catalog.item_ids[30:41]):
        wanted_N = mix_by_hand(run, history)
        found = run.recommend(history, len(wanted_N))
        assert set(ids(found)) == set(run.artifacts.catalog.item_ids) - set(history)
        rows = [run.artifacts.catalog.row_by_id[item.item_id] for item in found]
        assert [item.score for item in found] == pytest.approx(np.log(wanted_N[rows]), abs=1e-3)
        for item in found:
            parts = item.score_parts
            assert set(parts) == {"generator", "prior", "from_prior"}
            assert 0 <= parts["from_prior"] < 1
        counted = sorted((item.score_parts["prior"] for item in found), reverse=True)
        assert counted[0] > 0
        alone = run.recommend(history, len(wanted_N), system="generator_alone")
        assert {item.item_id: item.score for item in alone} == pytest.approx(
            {item.item_id: item.score_parts["generator"] for item in found}, abs=1e-3
        )
        assert all(set(item.score_parts) == {"generator_alone"} for item in alone)


def test_how_much_of_a_score_is_the_prior_s(mixed_run: Path, cli: Cli) -> None:
    run = load(mixed_run)
    rows = np.array([run.artifacts.catalog.row_by_id[item] for item in HISTORY])
    prior = run.artifacts.system_prior
    assert prior is not None
    (own,) = prior.build(Queries([rows]), len(run.artifacts.catalog))
    assert own is not None
    for item in run.recommend(HISTORY, 20):
        parts, score = item.score_parts, np.exp(item.score or 0)
        share = own.mixing_weight * parts["prior"] / score
        assert parts["from_prior"] == pytest.approx(share, abs=1e-5)
        assert score == pytest.approx((1 - own.mixing_weight) * np.exp(parts["generator"]) + share * score, rel=1e-4)
    lines = cli("recommend", mixed_run, "--history", ",".join(HISTORY), "-k", 3).out.splitlines()
    best = run.recommend(HISTORY, 3)
    for line, item in zip(lines, best, strict=True):
        assert f"{item.score_parts['from_prior']:4.0%} counts  " in line
    told = json.loads(cli("recommend", mixed_run, "--history", ",".join(HISTORY), "-k", 3, "--json").out)
    assert told == [asdict(item) for item in best]


def test_the_test_and_the_table_know_the_prior(mixed_run: Path, tiny_run: Path, cli: Cli) -> None:
    run = load(mixed_run)
    assert run.metrics["protocol"]["prior"] == "counts, linear, λ 0.5, confidence 8"
    assert list(run.metrics["baselines"]) == ["popularity", "generator_alone", "sasrec_counts"]
    assert run.metrics["baselines"]["generator_alone"] == load(tiny_run).metrics["test"], "the same search bit for bit"
    assert run.metrics["test"] != load(tiny_run).metrics["test"]
    assert "constrained softmax, prior counts, linear, λ 0.5, confidence 8, invalid" in cli("evaluate", mixed_run).out
    page = (mixed_run / "report.html").read_text("utf-8")
    assert all(label in page for label in ("TriAlignGR without prior", "SASRec + counts"))
    valid = read_manifest(mixed_run / "sasrec_counts").facts["valid_ndcg_10"]
    assert 0 < valid < 1
    found = run.recommend(HISTORY, 3, system="sasrec_counts")
    assert len(found) == 3
    assert found[0].source == "sasrec_counts"


@pytest.mark.parametrize("change", ["prior.mixing_weight=0", 'prior.system=""'])
def test_no_say_is_the_search_without_a_prior(tiny_run: Path, change: str) -> None:
    recipe = read_recipe(str(tiny_run / "recipe.toml"), ["prior.system=counts", change])
    artifacts = RunArtifacts(recipe, tiny_run)
    assert artifacts.build_priors is None, "nothing is looked for, though the run has no counts"
    assert recipe.list_system_stages("generator") == ("model",)
    queries = Queries([np.array([3, 17]), np.array([5])])
    found, usual = (
        RunArtifacts(one, tiny_run).load_system("generator").rank(queries, 9) for one in (recipe, read(tiny_run))
    )
    assert found.rows_BK.tolist() == usual.rows_BK.tolist()
    assert found.scores_BK.tolist() == usual.scores_BK.tolist()
    assert found.parts == {}


@pytest.mark.parametrize("form", ["linear", "geometric"])
def test_a_network_is_a_prior_over_all_items(mixed_run: Path, form: str) -> None:
    recipe = read_recipe(str(mixed_run / "recipe.toml"), ["prior.system=sasrec", f"prior.form={form}"])
    artifacts, queries = RunArtifacts(recipe, mixed_run), ask([3, 17], [5], [9, 8, 7, 6])
    assert recipe.list_system_stages("generator") == ("model", "sasrec")
    sasrec = artifacts.load_system("sasrec")
    assert isinstance(sasrec, ScorerSystem)
    leaf_N = artifacts.trie.node_of_item[-1]
    found = artifacts.load_system("generator").rank(queries, 9)
    for line, shares_N in enumerate(compute_softmax(sasrec.scorer.score_items(queries))):
        q_N = np.bincount(leaf_N, shares_N)[leaf_N]
        np.testing.assert_allclose(found.parts["prior"][line], q_N[found.rows_BK[line]], rtol=1e-4)
    assert ("from_prior" in found.parts) == (form == "linear"), "logarithms have no shares of a sum"


def read(run: Path) -> Recipe:
    return read_recipe(str(run / "recipe.toml"))


def test_all_users_get_what_each_gets(mixed_run: Path, tmp_path: Path) -> None:
    run, everything = load(mixed_run), len(load(mixed_run).artifacts.catalog)
    recommend_all(run, tmp_path / "all.parquet", everything)
    table = pl.read_parquet(tmp_path / "all.parquet")
    for user in run.artifacts.histories.user_ids[:3]:
        own = dict(table.filter(user_id=user).select("item_id", "score").iter_rows())
        assert own == pytest.approx(
            {item.item_id: item.score for item in run.recommend_user(user, everything)}, abs=1e-2
        )


def test_what_is_withdrawn_never_comes_back_by_its_counts(copied: Path) -> None:
    run = load(copied)
    best = max(run.recommend(HISTORY, 60), key=lambda item: item.score_parts["prior"])
    assert best.score_parts["prior"] > 0
    write_withdrawals(copied, {best.item_id: "reserved"})
    assert run.refresh_catalog()
    found = run.recommend(HISTORY, 60)
    assert best.item_id not in ids(found)
    assert sum(item.score_parts["prior"] for item in found) == pytest.approx(1, abs=1e-5), "the rest holds all counts"


def test_items_that_were_appended_keep_the_generator_s_share(copied: Path, tmp_path: Path) -> None:
    append_items(copied, new_items(copied, tmp_path / "new", 3))
    run = load(copied)
    added = run.catalog_snapshot.catalog.item_ids[-3:]
    found = {item.item_id: item for item in run.recommend(HISTORY, 99)}
    alone = {item.item_id: item for item in run.recommend(HISTORY, 99, system="generator_alone")}
    prior = run.artifacts.system_prior
    assert prior is not None
    rows = np.array([run.artifacts.catalog.row_by_id[item] for item in HISTORY])
    (own,) = prior.build(Queries([rows]), 63)
    assert own is not None
    for item_id in added:
        item = found[item_id]
        if item.score_parts["prior"] == 0:  # its SID is its own
            share = np.log(1 - own.mixing_weight) + (alone[item_id].score or 0)
            assert item.score == pytest.approx(share, abs=1e-3)
    assert any(found[item_id].score_parts["prior"] == 0 for item_id in added)
    after = run.recommend([*HISTORY, added[0]], 99)
    assert len(after) == len(found) - 1
    after_new_ones = run.recommend([added[0]], 99)
    assert {item.score_parts["from_prior"] for item in after_new_ones} == {0.0}


def test_a_run_without_the_counts(copied: Path, cli: Cli) -> None:
    shutil.rmtree(copied / "counts")
    done = cli("recommend", copied, "--history", HISTORY[0])
    said = f"{copied} has no system 'counts', which prior.system mixes in; run the recipe again."
    assert (done.code, said in done.err) == (2, True), done.err
    assert cli("recommend", copied, "--history", HISTORY[0], "--system", "generator_alone").code == 0


def test_a_prior_of_another_catalogue_is_refused(copied: Path, cli: Cli) -> None:
    changed = ("trialigngr-demo+counts", "--out", copied, *words(), "--set", "catalog.k_core=9", "--until", "catalog")
    assert cli("run", *changed).code == 0
    with pytest.raises(ArtifactError, match="counts was fitted on another catalog than stands beside it"):
        RunArtifacts(read(copied), copied).load_system("generator")
    with pytest.raises(ArtifactError, match="sasrec_counts was fitted on another catalog"):
        load(copied).recommend(HISTORY, system="sasrec_counts")


def test_figures_of_other_counts_are_refused(copied: Path, cli: Cli) -> None:
    changed = ("trialigngr-demo+counts", "--out", copied, *words(counts__decay=0.9), "--until", "counts")
    assert cli("run", *changed).code == 0
    with pytest.raises(ArtifactError, match="of another counts than stands beside them"):
        load(copied).check_metrics()


def test_tuning_a_prior_trains_the_model_once(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    over = ("--over", "prior.mixing_weight=[0.0, 0.8]", "--over", "prior.confidence=[1.0]")
    done = cli(
        "tune", "trialigngr-demo+counts", "--data", tiny_run / "shop", "--out", tmp_path / "s",
        *tiny(train__max_steps=4), *over, "--set", "prior.validate_users=30",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.err.count("model: done") == 1
    assert "at most 30 users, 20 beams" in done.out
    assert not (tmp_path / "s" / "run" / "evaluation").exists()
    trials = json.loads((tmp_path / "s" / "trials.json").read_text("utf-8"))
    scores = {
        tuple(trial["changes"]): trial["score"]
        for trial in trials.values()
        if isinstance(trial, dict) and "changes" in trial
    }
    assert len(scores) == 3
    best = read_recipe(str(tmp_path / "s" / "best.toml"))
    assert best.prior.mixing_weight in (0.0, 0.5, 0.8)
    artifacts = RunArtifacts(best, tmp_path / "s" / "run")
    targets = artifacts.sample_targets("valid", 30)
    queries, wanted = artifacts.histories.build_queries(targets), artifacts.histories.target_items(targets)
    ahead = artifacts.load_system("generator").rank_targets(queries, wanted, 0).ranks["item"].ahead_M
    assert max(scores.values()) == pytest.approx((1 / np.log2(ahead[ahead < 10] + 2)).sum() / len(targets), rel=0.1), (
        "ties"
    )
