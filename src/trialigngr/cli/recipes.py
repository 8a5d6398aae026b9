"""``show``: recipes."""

from __future__ import annotations

import click


@click.command()
@click.argument("recipe", required=False)
@click.option("--set", "changes", multiple=True, metavar="A.B=V", help="Change a setting; may be given often.")
def show(recipe: str | None, changes: tuple[str, ...]) -> None:
    """Print all settings of RECIPE as TOML; without a name, list the recipes."""
    from trialigngr.recipes.recipe import read_packaged_recipes, read_recipe

    if recipe is not None:
        click.echo(read_recipe(recipe, changes).to_toml(), nl=False)
        return
    for name in read_packaged_recipes():
        click.echo(f"{name:20s} {read_recipe(name).description}")
