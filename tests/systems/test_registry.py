"""The registry: what is listed, what a newcomer gets for one entry, and what is said of systems that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.support.commands import Done
from tests.support.runs import linked, tiny
from trialigngr.catalog.queries import Queries
from trialigngr.evaluate.system import FloatArray, ScorerSystem
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.recipes import recipe as recipes
from trialigngr.recipes.recipe import Recipe, read_recipe, register_system
from trialigngr.runs.run import load
from trialigngr.systems.registry import SYSTEMS, describe_network, find_system
from trialigngr.systems.spec import DataNeed, Facts, SystemInputs, SystemSpec

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
    assert opened.read_stage_manifest("even").settings == {"step": 3}
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


def test_a_network_is_one_line() -> None:
    from trialigngr.sequential.settings import SequentialSettings

    made = describe_network("gru", "GRU", SequentialSettings, "trialigngr.sequential.gru4rec:Gru4Rec")
    assert (made.name, made.settings, made.describe_cost(SequentialSettings())) == (
        "gru",
        SequentialSettings,
        "at most 200 epochs",
    )
