"""The stages of a run, one a file: each declares its `StageSpec` as ``SPEC``, and nothing else lists them."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from trialigngr.pipeline.stage_graph import Stage, StageContext, StageSpec, build_graph
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import RunArtifacts

if TYPE_CHECKING:
    from trialigngr.train.process_group import ProcessGroup


@cache
def list_stage_specs() -> tuple[StageSpec, ...]:
    """Return the ``SPEC`` of every file in this package, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").SPEC for name in names)


def build_stages(
    recipe: Recipe,
    data: Path | None,
    out: Path,
    seed: int,
    workers: ProcessGroup | None = None,
    *,
    shares_stages: bool = False,
) -> list[Stage]:
    """Return the stages of a run in order. Without a data folder the shop is drawn first. Nothing is built here."""
    context = StageContext(recipe, data, RunArtifacts(recipe, out, seed), workers, shares_stages)
    return build_graph(list_stage_specs(), context)
