"""``enrich``: how the calls of language models stand, and what they wrote."""

from __future__ import annotations

from pathlib import Path

import click

_run = click.argument("run", type=click.Path(path_type=Path))


@click.group()
def enrich() -> None:
    """See what language models (and the offline defaults) wrote about items."""


@enrich.command()
@_run
@click.option("--items", default=10, show_default=True, help="Name this many items of each problem.")
def status(run: Path, items: int) -> None:
    """Print what is done, failed and to do of the stages of RUN that ask language models."""
    from trialigngr.pipeline.enrichment import cost_lines, status_lines
    from trialigngr.recipes.recipe import read_recipe

    recipe = read_recipe(str(run / "recipe.toml"))
    for line in (*status_lines(recipe, run, items), *cost_lines(recipe, run)):
        click.echo(line)


@enrich.command()
@_run
@click.argument("items", nargs=-1, required=True, metavar="ITEM…")
def show(run: Path, items: tuple[str, ...]) -> None:
    """Print caption, interests and lifestyle of ITEM… in RUN, who wrote them, and what went wrong."""
    from trialigngr.pipeline.enrichment import shown

    for item_id in items:
        for name, value in shown(run, item_id).items():
            click.echo(f"{name:10s} {value}")
        click.echo()
