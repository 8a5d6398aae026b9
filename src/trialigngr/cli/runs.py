"""``run``, ``plan``, ``ls``: make runs and see how they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trialigngr.cli.cost_confirmation import confirm_costs, key_option, yes_option
from trialigngr.cli.data_option import data_option

if TYPE_CHECKING:
    from trialigngr.datasets.remote import DataSource

_recipe_argument = click.argument("recipe")
_set_option = click.option(
    "--set", "changes", multiple=True, metavar="A.B=V", help="Change a setting; may be given often."
)
_seeds_option = click.option(
    "--seeds", default=1, show_default=True, help="Train this many models and report their spread."
)


FREE_STAGES = ("data", "shop", "catalog")
"""Stages before the first that may cost money."""


@click.command()
@_recipe_argument
@data_option
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Run folder; a run that stands there goes on."
)
@_set_option
@_seeds_option
@click.option("--until", metavar="STAGE", help="Stop after this stage, for example sids.")
@click.option(
    "--shared-stages/--no-shared-stages",
    "shares_stages",
    default=True,
    show_default=True,
    help="Link a stage that a run beside OUT has finished with the same settings and inputs, instead of making it.",
)
@yes_option
@key_option
@click.option(
    "--ray", metavar="ADDRESS", help="Enrich, embed and assign SIDs on a Ray cluster: auto, local, HOST:PORT."
)
def run(
    recipe: str,
    data: DataSource | None,
    out: Path,
    changes: tuple[str, ...],
    seeds: int,
    until: str | None,
    shares_stages: bool,
    yes: bool,
    ray: str | None,
) -> None:
    """Run RECIPE (a name, a .toml file, or a+b) on a data folder, from catalogue to report."""
    from trialigngr.pipeline.execute import estimate_run_costs
    from trialigngr.pipeline.execute import run as run_recipe
    from trialigngr.recipes.recipe import read_recipe

    if ray is not None:
        changes = (*changes, f"ray.address={json.dumps(ray)}")
    if not yes and until not in FREE_STAGES:
        confirm_costs(estimate_run_costs(read_recipe(recipe, changes), data, out, until, shares_stages))
    run_recipe(recipe, data, out, changes=changes, seeds=seeds, until=until, shares_stages=shares_stages)


@click.command()
@_recipe_argument
@data_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/plan"), show_default=True, help="Run folder."
)
@_set_option
@_seeds_option
@click.option(
    "--tokens-per-second",
    type=click.FloatRange(min=0, min_open=True),
    help="Training tokens/s, for the hours it takes.",
)
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    envvar="WORLD_SIZE",
    help="Devices that train together.  [default: $WORLD_SIZE or 1]",
)
def plan(
    recipe: str,
    data: DataSource | None,
    out: Path,
    changes: tuple[str, ...],
    seeds: int,
    tokens_per_second: float | None,
    devices: int,
) -> None:
    """Print the stages of a run, what is done already, and what the rest will cost."""
    from trialigngr.pipeline.plan import describe_plan
    from trialigngr.recipes.recipe import read_recipe

    for line in describe_plan(read_recipe(recipe, changes), data, out, seeds, tokens_per_second, devices):
        click.echo(line)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
def ls(folder: Path) -> None:
    """List the runs in FOLDER with their test HR@10 and NDCG@10 (item level, seen items not masked)."""
    from trialigngr.foundation.errors import TriAlignError
    from trialigngr.foundation.sealed import read_json

    found = sorted(path.parent for path in folder.glob("*/recipe.toml"))
    if not found:
        click.echo(f"There are no runs in {folder}.")
    for run_folder in found:
        metrics = run_folder / "metrics.json"
        if not metrics.is_file():
            click.echo(f"{run_folder.name:30s} not finished")
            continue
        try:
            body = read_json(metrics, "run the recipe again, and it is written anew.")
        except TriAlignError as error:
            click.echo(f"{run_folder.name:30s} {error}")
            continue
        test, protocol = body["test"], body["protocol"]
        said = "  ".join(
            f"{m} {test[m]['value']:.4f} [{test[m]['low']:.4f}, {test[m]['high']:.4f}]" for m in ("HR@10", "NDCG@10")
        )
        how = f"{protocol['split']}, {protocol['test_targets']:,} targets of {protocol['data']['items']:,} items"
        beams = f"{protocol['num_beams']} beams, {protocol['score_softmax']} softmax"
        click.echo(f"{run_folder.name:30s} {said}  {how}, {beams}")
