"""The stages of a run: a file declares its `StageSpec` as ``SPEC``, or several as ``list_specs``; nothing else lists
them."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from trialigngr.datasets.remote import DataSource
from trialigngr.pipeline.stage_graph import Stage, StageContext, StageSpec, build_graph
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import RunArtifacts

if TYPE_CHECKING:
    from trialigngr.train.process_group import ProcessGroup


def list_stage_specs() -> tuple[StageSpec, ...]:
    """Return the ``SPEC`` of every file in this package, by name, or what its ``list_specs`` gives."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(spec for one in found for spec in (one.list_specs() if hasattr(one, "list_specs") else (one.SPEC,)))


def build_stages(
    recipe: Recipe,
    data: DataSource | None,
    out: Path,
    seed: int,
    workers: ProcessGroup | None = None,
    *,
    shares_stages: bool = False,
) -> list[Stage]:
    """Return the stages of a run in order. Without a data folder the shop is drawn first. Nothing is built here."""
    context = StageContext(recipe, data, RunArtifacts(recipe, out, seed), workers, shares_stages)
    return build_graph(list_stage_specs(), context)
