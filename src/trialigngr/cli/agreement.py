"""`agree`: the question that stands before language models are paid for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trialigngr.enrich.costs import Cost

yes_option = click.option("--yes", is_flag=True, help="Do not ask before language models are paid for.")


def agree(costs: Iterable[Cost]) -> None:
    """Tell what will cost money, or may, and ask whether to go on; where nobody can answer, raise `RecipeError`."""
    from trialigngr.foundation.errors import RecipeError

    due = [cost for cost in costs if cost.due]
    for cost in due:
        click.echo(f"{cost.stage}: {cost}", err=True)
    if due and not sys.stdin.isatty():
        raise RecipeError(f"This will {_told(due)}; say --yes to go on.")
    if due:
        click.confirm("Go on?", abort=True, err=True)


def _told(due: list[Cost]) -> str:
    money = sum(cost.money or 0 for cost in due)
    unpriced = sum(cost.to_do for cost in due if cost.money is None)
    said = [f"cost about {money:,.2f}"] if money else []
    said += [f"make about {unpriced:,} calls for which no price is known"] if unpriced else []
    return " and ".join(said)
