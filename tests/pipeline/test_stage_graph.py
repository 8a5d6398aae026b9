"""A stage is declared once: one more is one more file, and plan, run and page know it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Done
from tests.support.runs import linked, tiny
from trialigngr.pipeline import stages
from trialigngr.pipeline.stage_graph import Facts, StageContext, StageSpec, need, sort_wanted_specs
from trialigngr.recipes.recipe import read_recipe
from trialigngr.runs.artifacts import RunArtifacts

Cli = Callable[..., Done]
STAGE = """
from trialigngr.pipeline.stage_graph import StageSpec, need
from trialigngr.report.page import PipelineStep

def build_lengths(context, out):
    (out / "lengths.txt").write_text(str(sum(len(item.title) for item in context.artifacts.catalog)))
    return {"items": len(context.artifacts.catalog)}

SPEC = StageSpec(
    name="lengths",
    settings=lambda context: context.recipe.prompt,
    needs=need("catalog", "sids"),
    build=build_lengths,
    cost_line=lambda recipe: "counts letters",
    fact_lines=lambda recipe, facts: (PipelineStep("lengths", "Letters", f"{facts['items']} titles measured"),),
)
"""


@pytest.fixture
def one_more_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay one file beside those of the stages."""
    folder = tmp_path / "stages"
    folder.mkdir()
    (folder / "lengths.py").write_text(STAGE)
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(folder)])


@pytest.mark.usefixtures("one_more_stage")
def test_one_more_stage_is_one_more_file(tiny_run: Path, tmp_path: Path, cli: Cli) -> None:
    run = linked(tiny_run, tmp_path / "run")
    again = ("trialigngr-demo", "--out", run, *tiny())
    planned = cli("plan", *again).out
    assert "lengths      to do    counts letters" in planned
    assert "model        done" in planned
    done = cli("run", *again)
    assert (done.code, "lengths: done" in done.err, "model: unchanged, kept" in done.err) == (0, True, True), done.err
    assert int((run / "lengths" / "lengths.txt").read_text()) > 600
    assert " titles measured" in (run / "report.html").read_text("utf-8")
    assert "lengths: unchanged, kept" in cli("run", *again, "--until", "lengths").err
    assert "lengths" in cli("run", *again, "--until", "length").err


def context_of(*changes: str, data: Path | None = None) -> StageContext:
    recipe = read_recipe("trialigngr-demo", changes)
    return StageContext(recipe, data, RunArtifacts(recipe, Path("none")))


def test_stages_stand_after_those_they_need() -> None:
    def order(*changes: str, data: Path | None = None) -> list[str]:
        return [spec.name for spec in sort_wanted_specs(stages.list_stage_specs(), context_of(*changes, data=data))]

    usual = ["shop", "catalog", "captions", "interests", "embeddings", "sids", "model"]
    usual += ["counts", "popularity", "evaluation"]
    assert order() == usual
    assert order(data=Path("mine")) == usual[1:]
    letter = order("sids.quantizer=letter")
    assert letter == [*usual[:5], "sasrec", *usual[5:]]
    embedded = ("embeddings.collaborative_weight=0.7", "embeddings.collaborative_source=sasrec")
    assert order(*embedded) == [*usual[:4], "sasrec", *usual[4:]]
    assert order(embedded[1]) == usual


def test_stages_that_need_each_other_are_a_bug_that_is_told() -> None:
    def build(context: StageContext, out: Path) -> Facts:
        return {}

    ring = [
        StageSpec(name, settings=lambda context: context.recipe.prompt, needs=need(other), build=build)
        for name, other in (("one", "two"), ("two", "one"))
    ]
    with pytest.raises(ValueError, match="cycle"):
        sort_wanted_specs(ring, context_of())
