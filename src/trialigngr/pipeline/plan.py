"""What a run will do: each stage's state, and what it costs as far as that is known before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trialigngr.foundation.artifact import Status, read_manifest
from trialigngr.pipeline.enrichment import cost_lines
from trialigngr.pipeline.stages import Stage, stages
from trialigngr.pipeline.training_plan import length_lines, memory_lines
from trialigngr.recipes.recipe import Recipe


def plan_lines(
    recipe: Recipe, data: Path | None, out: Path, seeds: int, rate: float | None = None, devices: int = 1
) -> Iterator[str]:
    """Yield a line a stage: done, begun, changed, to do or depends (on stages before it), and what it costs; then what
    training will take.

    ``rate`` is tokens/s, from a short run on the machine that is meant; ``devices`` are those that train together.
    """
    shown: set[Path] = set()
    states: dict[str, Status] = {}
    for seed in range(seeds):
        for stage in stages(recipe, data, out, seed):
            if stage.folder not in shown:
                shown.add(stage.folder)
                states.setdefault(stage.name, stage.status())
                yield f"{stage.name:12s} {stage.status():8s} {_cost(stage, recipe)}"
    yield from cost_lines(recipe, out)
    yield from memory_lines(recipe, devices)
    yield from length_lines(recipe, data, out / "catalog" if states["catalog"] == "done" else None, rate)


def _cost(stage: Stage, recipe: Recipe) -> str:
    if stage.status() == "done":
        return f"took {read_manifest(stage.folder).facts['seconds']:.0f} s"
    if stage.status() == "depends":
        return "stays if what it is made from comes out as it was"
    settings = recipe.train
    told = {
        "captions": f"by {recipe.captions.generator}, once a picture",
        "interests": f"by {recipe.interests.generator}, once an item",
        "embeddings": f"by {recipe.embeddings.encoder}",
        "sasrec": f"at most {recipe.sasrec.epochs} epochs",
        "sids": f"{recipe.sids.quantizer} {' × '.join(map(str, recipe.sids.sizes))}",
        "model": (
            f"{recipe.model.name}, up to {len(recipe.tasks.tasks())} tasks, "
            f"at most {settings.epochs:g} epochs of {settings.batch_size} a batch"
        ),
        "evaluation": f"{recipe.decode.beams} beams, twice over all test targets",
    }
    return told.get(stage.name, "")
