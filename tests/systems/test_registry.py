"""The registry: what is listed, what a newcomer gets for one entry, and what is said of systems that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from tests.support.commands import Done
from tests.support.runs import linked, tiny
from trialigngr.catalog.queries import Queries
from trialigngr.evaluate.system import FloatArray, ScorerSystem
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import ArgumentError, ArtifactError, RecipeError, TriAlignError
from trialigngr.pipeline.stage_graph import StageContext, build_graph
from trialigngr.pipeline.stages import list_stage_specs
from trialigngr.recipes import recipe as recipes
from trialigngr.recipes.recipe import Recipe, read_recipe, register_system
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.run import load
from trialigngr.systems.registry import SYSTEMS, find_system
from trialigngr.systems.spec import DataNeed, Facts, SystemInputs, SystemSpec
from trialigngr.train.phases import PHASES, PhaseSpec

Cli = Callable[..., Done]


class EvenSettings(Settings):
    """Of a system that prefers even rows."""

    step: int = 2


class Even:
    name = "even"
    max_history: int | None = None

    def __init__(self, scores_N: FloatArray) -> None:
        self.scores_N = scores_N

    def score_items(self, queries: Queries) -> FloatArray:
        return np.tile(self.scores_N, (len(queries), 1))


def fit_even(inputs: SystemInputs, settings: EvenSettings, out: Path) -> Facts:
    rows = np.arange(len(inputs.catalog))
    pl.DataFrame({"score": (rows % settings.step == 0) - rows / 1e4}).write_parquet(out / "scores.parquet")
    return {"items": len(rows)}


def load_even(_inputs: SystemInputs, folder: Path) -> ScorerSystem:
    return ScorerSystem(Even(pl.read_parquet(folder / "scores.parquet")["score"].to_numpy()))


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Return `register_system`; what it registers is gone after the test."""
    names, sections = list(SYSTEMS), list(Recipe.model_fields)
    yield register_system
    for name in SYSTEMS.keys() - set(names):
        del SYSTEMS[name]
    for name in Recipe.model_fields.keys() - set(sections):
        del Recipe.__pydantic_fields__[name]
    Recipe.model_rebuild(force=True)


def spec(name: str = "even", *needs: DataNeed) -> SystemSpec:
    return SystemSpec(name, "Even rows", load_even, EvenSettings, fit_even, tuple(needs))


def test_one_entry_is_a_stage_a_row_and_an_answer(
    register: Callable[..., None], tiny_run: Path, tmp_path: Path, cli: Cli
) -> None:
    register(spec())
    run = linked(tiny_run, tmp_path / "run")
    words = ("trialigngr-demo", "--out", run, *tiny(evaluate__systems=["popularity", "even"], even__step=3))
    assert "even         to do" in cli("plan", *words).out
    done = cli("run", *words)
    assert (done.code, "even: done in" in done.err, "model: unchanged, kept" in done.err) == (0, True, True), done.err
    opened = load(run)
    assert opened.read_stage_manifest("even").settings["own"] == {"step": 3}
    assert 0 <= opened.read_stage_manifest("even").facts["valid_ndcg_10"] <= 1
    assert list(opened.metrics["baselines"]) == ["popularity", "even"]
    assert "Even rows" in (run / "report.html").read_text("utf-8")
    assert "\neven" in cli("evaluate", run).out
    ids = opened.artifacts.catalog.item_ids
    found = cli("recommend", run, "--history", ids[3], "--system", "even", "-k", 2)
    assert [line.split()[2] for line in found.out.splitlines()] == [ids[0], ids[6]]
    best = cli(
        "tune", *words[:1], *words[3:], "--data", tiny_run / "shop", "--out", tmp_path / "t", "--over", "even.step=[5]"
    )
    assert (best.code, "even.step=5" in best.out) == (0, True), best.err
    assert not (tmp_path / "t" / "run" / "model").exists()


def test_its_settings_are_a_section_that_is_checked(register: Callable[..., None]) -> None:
    register(spec())
    assert read_recipe("trialigngr-demo", ["even.step=7"]).even.step == 7  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match="Did you mean 'step'"):
        read_recipe("trialigngr-demo", ["even.stap=7"])
    assert "[even]" in read_recipe("trialigngr-demo").to_toml()


@pytest.mark.parametrize(
    ("need", "columns"), [(DataNeed.ATTRIBUTES, ["brand", "categories"]), (DataNeed.TIMESTAMPS, [])]
)
def test_what_the_data_lacks_is_said_before_anything_is_trained(
    register: Callable[..., None], tiny_run: Path, tmp_path: Path, cli: Cli, need: DataNeed, columns: list[str]
) -> None:
    register(spec("needy", need))
    data = tmp_path / "data"
    data.mkdir()
    pl.read_parquet(tiny_run / "shop" / "items.parquet").drop(columns).drop("image_path").write_parquet(
        data / "items.parquet"
    )
    log = pl.read_parquet(tiny_run / "shop" / "interactions.parquet")
    if need is DataNeed.TIMESTAMPS:
        log = log.rename({"timestamp": "position"})
    log.write_parquet(data / "interactions.parquet")
    words = tiny(evaluate__systems=["needy"])
    done = cli("run", "trialigngr-demo", "--data", data, "--out", tmp_path / "run", *words)
    assert (done.code, f"Even rows needs {need}, and this data has none; leave needy out" in done.err) == (2, True), (
        done.err
    )
    made = {path.name for path in (tmp_path / "run").iterdir() if (path / "manifest.json").is_file()}
    assert made == {"catalog"}


def test_names_that_no_system_has() -> None:
    with pytest.raises(RecipeError, match=r"There is no system 'sasrek'.*Did you mean 'sasrec'"):
        read_recipe("trialigngr-demo", ['evaluate.systems=["sasrek"]'])
    with pytest.raises(RecipeError, match="There is no system 'SASRec'"):
        find_system("SASRec")


@pytest.mark.parametrize("name", ["model", "catalog", "seeds", "train", "generator2/x", ""])
def test_names_that_a_system_cannot_have(register: Callable[..., None], name: str) -> None:
    with pytest.raises(RecipeError, match="name"):
        register(spec(name))


def test_a_broken_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        name, value, dist = "broken", "nowhere:SPEC", None

        def load(self) -> Any:
            raise ImportError("no module named nowhere")

    monkeypatch.setattr(recipes, "entry_points", lambda group: [Broken()])
    with pytest.raises(RecipeError, match="The system 'broken' of the installed package nowhere:SPEC cannot be loaded"):
        recipes._register_installed_systems()


@pytest.mark.parametrize("name", ["to_toml", "model_stage", "model_fields", "copy", "popular", "Sasrec"])
def test_names_that_a_recipe_has_already(register: Callable[..., None], name: str) -> None:
    with pytest.raises(RecipeError, match="cannot be the name of a system or a phase"):
        register(spec(name))


def test_what_cannot_be_registered(register: Callable[..., None]) -> None:
    with pytest.raises(ArgumentError, match="A str is no system"):
        register("even")
    with pytest.raises(RecipeError, match="'generator' cannot be registered"):
        register(replace(SYSTEMS["generator"], fit=fit_even))
    with pytest.raises(RecipeError, match="'even' cannot be registered"):
        register(replace(spec(), fit=None))


def test_a_phase_is_registered_as_a_section_and_a_stage(register: Callable[..., None]) -> None:
    phase = PhaseSpec("polish", "polish", "trialigngr.train.sft:build_sft_objective", EvenSettings)
    recipes.register_phase(phase)
    try:
        recipe = read_recipe("trialigngr-demo", ['phases=["sft", "polish"]', "polish.step=3"])
        assert (recipe.model_stage, recipe.polish.step) == ("polish", 3)  # type: ignore[attr-defined]
        context = StageContext(recipe, None, RunArtifacts(recipe, Path("none")))
        stages = {stage.name: stage for stage in build_graph(list_stage_specs(), context)}
        assert "model" in [parent.name for parent in stages["polish"].parents]
        assert "polish" in [parent.name for parent in stages["evaluation"].parents]
        with pytest.raises(RecipeError, match="'catalog' cannot be the name"):
            recipes.register_phase(replace(phase, name="grpo", stage="catalog"))
    finally:
        del PHASES["polish"]


def test_systems_of_another_catalogue_are_refused(copied_run: Path, cli: Cli) -> None:
    words = ("trialigngr-demo", "--out", copied_run, *tiny(), "--set", "catalog.k_core=9", "--until", "catalog")
    assert cli("run", *words).code == 0
    for system in ("popularity", "counts"):
        done = cli("recommend", copied_run, "--history", "p0003", "--system", system)
        assert (done.code, "was fitted on another catalog than stands beside it" in done.err) == (2, True), done.err
        everybody = ("--all-users", "--out", copied_run / "x.parquet")
        assert "was fitted on another catalog" in cli("recommend", copied_run, *everybody, "--system", system).err


def test_another_seed_is_another_system(tiny_run: Path) -> None:
    def fingerprint(*changes: str) -> str:
        recipe = read_recipe("trialigngr-demo", ['evaluate.systems=["gru4rec"]', *changes])
        context = StageContext(recipe, None, RunArtifacts(recipe, tiny_run))
        return {stage.name: stage.fingerprint for stage in build_graph(list_stage_specs(), context)}["gru4rec"]

    assert len({fingerprint(), fingerprint("seed=7"), fingerprint("gru4rec.dropout=0.1"), fingerprint()}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"indices": lambda values: values + 2**30},
        {"indptr": lambda values: values[::-1].copy()},
        {"popularity": lambda values: values[:-1]},
        {"data": lambda values: values[:-1]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_stranger_s_counts_are_refused(tiny_run: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    artifacts = load(tiny_run).artifacts
    arrays = load_file(tiny_run / "counts" / "weights.safetensors")
    save_file(arrays | {name: edit(arrays[name]) for name, edit in change.items()}, tmp_path / "weights.safetensors")
    with pytest.raises(ArtifactError, match=r"weights\.safetensors holds no weights of \d+ items"):
        SYSTEMS["counts"].load(artifacts, tmp_path)
    pl.DataFrame({"count": [1, 2]}).write_parquet(tmp_path / "counts.parquet")
    with pytest.raises(ArtifactError, match=r"counts\.parquet holds no counts"):
        SYSTEMS["popularity"].load(artifacts, tmp_path)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.full((1, 4), np.nan), "gave a score that is not a number"),
        (np.zeros((3, 4)), "gave no list of numbers for each of 1 histories"),
        (np.zeros(4), "gave no list of numbers for each of 1 histories"),
    ],
    ids=["not a number", "too many", "flat"],
)
def test_scores_that_are_none_are_a_sentence(scores: FloatArray, said: str) -> None:
    class Wrong(Even):
        def score_items(self, queries: Queries) -> FloatArray:
            return scores

    with pytest.raises(TriAlignError, match=f"The system even {said}"):
        ScorerSystem(Wrong(scores)).rank(Queries([np.array([0]), np.array([1])]), 2)


def test_whole_numbers_are_scores_and_no_query_is_no_list() -> None:
    class Counts(Even):
        def score_items(self, queries: Queries) -> FloatArray:
            return np.tile(np.array([0, 9, 8], dtype=np.uint8), (len(queries), 1))

    system = ScorerSystem(Counts(np.zeros(3)))
    assert system.rank(Queries([np.array([0])]), 3, [np.array([1])]).rows_BK.tolist() == [[2, 0, -1]]
    assert system.rank(Queries([]), 3).rows_BK.shape == (0, 0)
