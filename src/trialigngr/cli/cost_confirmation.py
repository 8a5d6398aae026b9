"""`agree`: the question that stands before language models are paid for, or sent anything."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trialigngr.llm.costs import CostEstimate

yes_option = click.option(
    "--yes", is_flag=True, help="Do not ask before language models are paid for, or another machine's are asked."
)


def _check_key_variables(_context: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> None:
    if names:
        from trialigngr.llm.api_keys import allow_key_variables

        allow_key_variables(*names)


key_option = click.option(
    "--allow-key-variable",
    metavar="NAME",
    multiple=True,
    expose_value=False,
    callback=_check_key_variables,
    help="Let a recipe's api_key_env be NAME, which does not end in _API_KEY; its value is sent to the recipe's url.",
)


def confirm_costs(costs: Iterable[CostEstimate]) -> None:
    """Tell what will cost money, or may, or is sent to another machine, and ask whether to go on.

    Raises `RecipeError` where nobody can answer.
    """
    from trialigngr.foundation.errors import RecipeError
    from trialigngr.foundation.visible import escape_controls

    due = [cost for cost in costs if cost.may_cost_money]
    for cost in due:
        click.echo(escape_controls(f"{cost.stage}: {cost}"), err=True)
    if due and not sys.stdin.isatty():
        raise RecipeError(f"This will {_describe_due_costs(due)}; say --yes to go on.")
    if due:
        click.confirm("Go on?", abort=True, err=True)


def _describe_due_costs(due: list[CostEstimate]) -> str:
    money = sum(cost.total_price or 0 for cost in due)
    unpriced = sum(cost.num_remaining for cost in due if cost.total_price is None)
    said = [f"cost about {money:,.2f}"] if money else []
    said += [f"make about {unpriced:,} calls for which no price is known"] if unpriced else []
    servers = dict.fromkeys(cost.server for cost in due if cost.server)
    said += [f"ask {' and '.join(servers)}"] if servers else []
    return " and ".join(said)
