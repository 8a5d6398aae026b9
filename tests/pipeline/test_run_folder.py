"""A run folder from end to end on a tiny shop: what is in it, what is kept, what is made anew."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import trialigngr
from tests.support import sentences
from tests.support.commands import Done
from tests.support.long import mark_long
from tests.support.runs import tiny
from trialigngr.foundation.artifact import record_files
from trialigngr.foundation.errors import ArtifactError, CatalogError, RecipeError
from trialigngr.recipes.recipe import read_recipe
from trialigngr.report.from_run.page import build_page
from trialigngr.runs.run import Run, load
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.tasks.task import TASKS

BESIDE = ["counts", "popularity"]
"""Systems that depend on the catalogue alone."""
STAGES = ["shop", "catalog", "captions", "interests", "embeddings", "sids", "model", *BESIDE, "evaluation"]
METRICS = ["HR@5", "NDCG@5", "MRR@5", "HR@10", "NDCG@10", "MRR@10"]
Cli = Callable[..., Done]


def body(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text("utf-8")))


def kept(done: Done) -> list[str]:
    return [line.split(":")[0] for line in done.err.splitlines() if line.endswith(": unchanged, kept")]


def made(done: Done) -> list[str]:
    return [line.removesuffix(" …") for line in done.err.splitlines() if line.endswith(" …")]


def test_the_top_of_a_run_is_what_people_and_tools_want(tiny_run: Path) -> None:
    there = {path.name for path in tiny_run.iterdir()}
    files = {"recipe.toml", "sids.parquet", "recommendations.parquet", "report.html", "metrics.json", ".lock"}
    assert there == files | set(STAGES)
    assert all((tiny_run / stage / "manifest.json").is_file() for stage in STAGES)
    leftovers = [
        path for path in tiny_run.rglob("*") if path.name.endswith((".partial", ".replaced", ".jsonl.partial"))
    ]
    assert leftovers == []
    assert {path.name for path in (tiny_run / "model").iterdir()} & {"best.safetensors", ".wanted"} == set()


def test_the_page_draws_every_line_of_the_losses(copied_run: Path) -> None:
    path = copied_run / "model" / "metrics.jsonl"
    between = {"step": 2, "loss": {"sids_to_sid": 7.5}, "rate": 0.1, "tokens": 9, "seconds": 0.1}
    path.write_text(json.dumps(between) + "\n" + path.read_text("utf-8"), encoding="utf-8")
    record_files(copied_run / "model")
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    curves = build_page(load(copied_run), ()).curves
    assert curves.loss["sids_to_sid"][0] == (2, 7.5)
    assert list(curves.loss) == [task for task in TASKS if task in curves.loss], "in the paper's order"
    for task, points in curves.loss.items():
        assert points == tuple((line["step"], line["loss"][task]) for line in lines if task in line["loss"])
    assert [step for step, _ in curves.validation] == [line["step"] for line in lines[1:]]


def test_metrics_have_the_published_shape(tiny_run: Path) -> None:
    found = body(tiny_run)
    assert {"protocol", "test", "valid", "baselines", "sids"} <= set(found)
    tables = [
        found["test"],
        found["valid"],
        found["baselines"]["popularity"],
        found["test_seen_masked"],
        found["test_sid"],
    ]
    for figures in tables:
        assert list(figures) == METRICS
        for figure in figures.values():
            assert set(figure) == {"value", "low", "high"}
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    said = found["protocol"]
    assert (said["split"], said["k_core"], said["num_beams"], said["seeds"]) == ("leave-last-1", 5, 20, [0])
    assert (
        said["test_users"]
        == said["test_targets"]
        == load(tiny_run).read_stage_manifest("catalog").facts["split"]["test"]
    )
    assert said["valid_users"] == 20


def test_sids_are_judged_by_both_definitions_and_by_test_targets(tiny_run: Path) -> None:
    found = body(tiny_run)["sids"]
    assert set(found["collisions"]) == {"items", "sids", "test_targets"}
    assert found["collisions"]["items"] == 0  # the default policy parts them
    assert len(found["utilization"]) == len(found["codebook_sizes"]) == 3


def test_sharing_is_weighted_by_test_targets(copied_run: Path, cli: Cli) -> None:
    done = cli(
        "run", "trialigngr-demo", "--out", copied_run, *tiny(sids__collision_policy="keep", sids__codebook_sizes=[4, 2])
    )
    assert done.code == 0, done.err
    run = load(copied_run)
    bearers = pl.read_parquet(copied_run / "sids.parquet").select("item_id", n=pl.len().over("sid"))
    targets = pl.read_parquet(copied_run / "evaluation" / "test.parquet").select("item_id").join(bearers, "item_id")
    shared = (targets["n"] > 1).mean()
    assert isinstance(shared, float)
    assert shared > 0
    assert run.metrics["sids"]["collisions"]["test_targets"] == pytest.approx(shared)


def test_model_opens_with_transformers(tiny_run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_run / "model")
    tokenizer = AutoTokenizer.from_pretrained(tiny_run / "model")
    sid = pl.read_parquet(tiny_run / "sids.parquet")["sid"][0]
    assert len(tokenizer(sid, add_special_tokens=False)["input_ids"]) == 3
    assert model.get_input_embeddings().weight.shape[0] >= len(tokenizer)


def test_tables_open_and_fit(tiny_run: Path) -> None:
    sids, lists = (pl.read_parquet(tiny_run / f"{name}.parquet") for name in ("sids", "recommendations"))
    items = pl.read_parquet(tiny_run / "catalog" / "items.parquet")
    assert sids["item_id"].to_list() == items["item_id"].to_list()
    assert sids["sid"].n_unique() == sids.height
    assert set(lists["item_id"]) <= set(items["item_id"])
    assert lists.group_by("user_id", "position").agg(pl.col("item_id").n_unique())["item_id"].to_list().count(10) == 80
    assert sorted(lists["rank"].unique()) == list(range(1, 11))


def test_recommendations_are_what_the_ranks_say(tiny_run: Path) -> None:
    """Two ways to the same figure: HR@10 counted by hand from the lists, and HR@10 of metrics.json."""
    lists = pl.read_parquet(tiny_run / "recommendations.parquet")
    targets = pl.read_parquet(tiny_run / "evaluation" / "test.parquet").select("user_id", "item_id")
    hits = targets.join(lists, on=["user_id", "item_id"]).height / targets.height
    assert hits == pytest.approx(body(tiny_run)["test"]["HR@10"]["value"], abs=1e-6)


def test_the_page_is_one_file(tiny_run: Path) -> None:
    page = (tiny_run / "report.html").read_text("utf-8")
    assert page.rstrip().endswith("</html>")
    assert "<script src" not in page
    assert "popularity" in page


@pytest.mark.parametrize("computed_anew", [False, pytest.param(True, marks=pytest.mark.long)])
def test_recipe_toml_repeats_the_run(
    tiny_run: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, computed_anew: bool
) -> None:
    if computed_anew:
        monkeypatch.setattr(sentences, "folder", None)
    text = (tiny_run / "recipe.toml").read_text("utf-8")
    assert text.startswith("# Repeats this run: trialigngr run tiny/recipe.toml --out ANOTHER_FOLDER\n")
    done = cli("run", tiny_run / "recipe.toml", "--out", tmp_path / "again")
    assert done.code == 0, done.err
    assert body(tmp_path / "again") == body(tiny_run)
    for name in ("sids/sids.parquet", "embeddings/embeddings.safetensors", "model/model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tiny_run / name).read_bytes(), name
    assert (tmp_path / "again" / "recipe.toml").read_text("utf-8").split("\n", 1)[1] == text.split("\n", 1)[1]


def test_the_first_line_of_recipe_toml_holds_any_path(tmp_path: Path, cli: Cli, tiny_run: Path) -> None:
    data = tmp_path / "my\ndata 'x'"
    shutil.copytree(tiny_run / "shop", data)
    done = cli("run", "trialigngr-demo", "--data", data, "--out", tmp_path / "run", "--seeds", 2, "--until", "catalog")
    assert done.code == 0, done.err
    first = (tmp_path / "run" / "recipe.toml").read_text("utf-8").splitlines()[0]
    assert "--seeds 2" in first
    assert read_recipe(str(tmp_path / "run" / "recipe.toml")) == read_recipe("trialigngr-demo")


def test_nothing_is_made_twice(copied_run: Path, cli: Cli) -> None:
    files = [path for path in copied_run.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files if path.name not in ("report.html", "recipe.toml")}
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny())
    assert (kept(done), made(done)) == (STAGES, [])
    assert {path: path.read_bytes() for path in before} == before


DEPENDING = [
    ({"evaluate__num_recommendations": 5}, "evaluation"),
    ({"decode__num_beams": 12}, "model"),  # selection decodes
    ({"train__max_steps": 4}, "model"),
    ({"tasks__use": ["T3"]}, "model"),
    ({"sids__codebook_sizes": [4, 4, 8]}, "sids"),
]
"""Settings, and the first stage that depends on them."""


@pytest.mark.parametrize(("changes", "first"), DEPENDING)
def test_only_what_depends_on_a_setting_is_planned(
    tiny_run: Path, cli: Cli, changes: dict[str, Any], first: str
) -> None:
    told = cli("plan", "trialigngr-demo", "--out", tiny_run, *tiny(**changes)).out.splitlines()
    standing = {words[0]: words[1] for line in told if (words := line.split()) and words[0] in STAGES}
    place = STAGES.index(first)
    after = [stage for stage in STAGES[place + 1 :] if stage not in BESIDE]
    assert standing[first] == "changed"
    assert {standing[stage] for stage in after} <= {"changed", "depends"}
    assert {standing[stage] for stage in STAGES if stage not in (first, *after)} == {"done"}


@pytest.mark.parametrize(("changes", "first"), mark_long(DEPENDING, but=DEPENDING[-1:]))
def test_only_what_depends_on_a_setting_is_made_anew(
    copied_run: Path, cli: Cli, changes: dict[str, Any], first: str
) -> None:
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(**changes))
    assert done.code == 0, done.err
    place = STAGES.index(first)
    after = [stage for stage in STAGES[place:] if stage not in BESIDE]
    assert (kept(done), made(done)) == ([stage for stage in STAGES if stage not in after], after)
    assert not list(copied_run.glob("*.replaced"))


def test_other_codes_under_the_same_manifest_are_seen(copied_run: Path) -> None:
    load(copied_run).check_model()
    sids = SemanticIds.load(copied_run / "sids")
    SemanticIds(sids.item_ids, sids.codes_NL[::-1].copy(), sids.codebook_sizes).save(copied_run / "sids")
    record_files(copied_run / "sids")
    with pytest.raises(ArtifactError, match="trained on other SIDs"):
        load(copied_run).check_model()
    with pytest.raises(ArtifactError, match="trained on other SIDs"):
        load(copied_run).check_metrics()


def test_until(tiny_run: Path, copied_run: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.rmtree(copied_run / "sids")
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(), "--until", "sids")
    assert (done.code, kept(done), made(done)) == (0, STAGES[:5], ["sids"])
    assert (copied_run / "sids.parquet").read_bytes() == (tiny_run / "sids.parquet").read_bytes()
    wrong = cli("run", "trialigngr-demo", "--out", tmp_path / "new", *tiny(), "--until", "sid")
    assert wrong.code == 2
    assert "Did you mean 'sids'" in wrong.err
    assert not (tmp_path / "new").exists()


def test_what_no_longer_fits_is_taken_from_the_top(copied_run: Path, cli: Cli) -> None:
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(sids__codebook_sizes=[4, 4, 8]), "--until", "sids")
    assert done.code == 0
    assert not any((copied_run / name).exists() for name in ("metrics.json", "report.html", "recommendations.parquet"))
    assert (copied_run / "sids.parquet").read_bytes() == (copied_run / "sids" / "sids.parquet").read_bytes()
    with pytest.raises(ArtifactError, match="trained on other SIDs"):
        load(copied_run).recommend(["p0001"])


def test_a_model_of_other_settings_is_not_used(copied_run: Path, cli: Cli) -> None:
    cli("run", "trialigngr-demo", "--out", copied_run, *tiny(prompt__max_history=3), "--until", "sids")
    with pytest.raises(ArtifactError, match="other settings"):
        load(copied_run).recommend(["p0001"])


def test_two_seeds(copied_run: Path, cli: Cli) -> None:
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(), "--seeds", 2)
    assert done.code == 0, done.err
    assert (kept(done), made(done)) == (STAGES, ["model", "evaluation"])
    weights = [copied_run / folder / "model" / "model.safetensors" for folder in (".", "seeds/1")]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    found = body(copied_run)
    assert found["protocol"]["seeds"] == [0, 1]
    assert list(found["over_seeds"]) == METRICS
    for name, figure in found["over_seeds"].items():
        first, second = figure["values"]
        assert first == found["test_seen_masked"][name]["value"]  # which heads the demo's tables
        assert figure["mean"] == pytest.approx((first + second) / 2, abs=2e-6)
        assert figure["spread"] == pytest.approx(abs(first - second) / math.sqrt(2), abs=2e-6)


def test_from_python(copied_run: Path, tiny_run: Path) -> None:
    changes = tuple(word for word in tiny() if word != "--set")
    run = trialigngr.run("trialigngr-demo", None, copied_run, changes=changes)
    assert isinstance(run, Run)
    assert run.metrics == body(tiny_run)
    again = trialigngr.run(
        read_recipe("trialigngr-demo", changes), copied_run / "shop", str(copied_run) + "2", until="catalog"
    )
    assert again.read_stage_manifest("catalog").facts["kept"] == run.read_stage_manifest("catalog").facts["kept"]


def test_recommend(tiny_run: Path) -> None:
    run = trialigngr.load(tiny_run)
    history = ["p0003", "p0017", "p0003"]
    best = run.recommend(history, k=5)
    assert len(best) == 5
    assert not {item.item_id for item in best} & set(history)
    scores = [item.score for item in best if item.score is not None]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert all(item.title == run.artifacts.catalog[run.artifacts.catalog.find_row(item.item_id)].title for item in best)
    assert run.recommend(history, k=3) == best[:3]
    everything = run.recommend(history, k=100, unseen=False)
    assert {item.item_id for item in everything} == set(run.artifacts.catalog.item_ids)


def test_recommend_for_a_user_follows_all_they_took(tiny_run: Path) -> None:
    run = load(tiny_run)
    user = run.artifacts.histories.user_ids[3]
    taken = [run.artifacts.catalog.item_ids[row] for row in run.artifacts.histories.user_sequence(3)]
    assert run.recommend_user(user, k=4) == run.recommend(taken, k=4)


def test_without_a_history_what_is_popular(tiny_run: Path) -> None:
    run = load(tiny_run)
    counts = run.artifacts.histories.count_train_items(len(run.artifacts.catalog))
    best = run.recommend([], k=3)
    assert [item.score for item in best] == [None] * 3
    assert [counts[run.artifacts.catalog.find_row(item.item_id)] for item in best] == sorted(counts, reverse=True)[:3]


def test_wrong_questions(tiny_run: Path, tmp_path: Path) -> None:
    run = load(tiny_run)
    with pytest.raises(CatalogError, match=r"no item 'p00031' .*Did you mean 'p0031'"):
        run.recommend(["p00031"])
    with pytest.raises(CatalogError, match="no user 'nobody'"):
        run.recommend_user("nobody")
    with pytest.raises(CatalogError, match="at least one"):
        run.recommend(["p0003"], k=0)
    with pytest.raises(ArtifactError, match="is not a run"):
        load(tmp_path)
    with pytest.raises(RecipeError, match="at least one model"):
        trialigngr.run("trialigngr-demo", None, tmp_path / "run", seeds=0)


def test_a_moved_run_finds_its_pictures(copied_run: Path, cli: Cli) -> None:
    moved = copied_run.rename(copied_run.with_name("elsewhere"))
    picture = load(moved).artifacts.catalog.image_file(0)
    assert picture is not None
    assert picture.resolve().is_relative_to(moved)
    assert picture.is_file()
    done = cli("run", "trialigngr-demo", "--out", moved, *tiny())
    assert kept(done) == STAGES
