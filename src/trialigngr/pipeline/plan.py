"""What a run will do: each stage's state, and what it costs as far as that is known before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trialigngr.datasets.remote import DataSource
from trialigngr.foundation.artifact import StageStatus, read_manifest
from trialigngr.pipeline.llm_costs import describe_costs
from trialigngr.pipeline.stage_graph import Stage
from trialigngr.pipeline.stages import build_stages
from trialigngr.pipeline.training_plan import describe_memory, describe_training_length
from trialigngr.recipes.recipe import Recipe


def describe_plan(
    recipe: Recipe,
    data: DataSource | None,
    out: Path,
    num_seeds: int,
    tokens_per_second: float | None = None,
    num_devices: int = 1,
) -> Iterator[str]:
    """Yield a line a stage: done, begun, changed, to do or depends (on stages before it), and what it costs; then what
    training will take.

    ``tokens_per_second`` is tokens/s, from a short run on the machine that is meant; ``num_devices`` are those that
    train together.
    """
    shown: set[Path] = set()
    states: dict[str, StageStatus] = {}
    for seed in range(num_seeds):
        for stage in build_stages(recipe, data, out, seed, shares_stages=True):
            if stage.folder not in shown:
                shown.add(stage.folder)
                states.setdefault(stage.name, stage.read_status())
                yield f"{stage.name:12s} {stage.read_status():8s} {_describe_cost(stage)}"
    yield from describe_costs(recipe, out)
    if not recipe.has_generator:
        return
    yield from describe_memory(recipe, num_devices)
    yield from describe_training_length(
        recipe,
        data if isinstance(data, Path) else None,
        out / "catalog" if states["catalog"] == "done" else None,
        tokens_per_second,
    )


def _describe_cost(stage: Stage) -> str:
    status = stage.read_status()
    if status == "done":
        return f"took {read_manifest(stage.folder).facts['seconds']:.0f} s"
    if status == "depends":
        return "stays if what it is made from comes out as it was"
    if shared := stage.find_shared():
        return f"is shared with {shared.parent}, which has the same"
    return stage.spec.cost_line(stage.context.recipe)
