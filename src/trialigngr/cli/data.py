"""``import``, ``draw-shop``: make data folders."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="import")
@click.argument("data_format", metavar="FORMAT")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def import_(data_format: str, source: Path, out: Path) -> None:
    """Turn SOURCE into the data folder OUT.

    FORMAT is amazon2014, amazon2018, amazon2023, movielens, recbole or lcrec (also LETTER's and MiniOneRec's).
    """
    from trialigngr.datasets.readers.registry import import_data

    import_data(data_format, source, out)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Another seed draws another shop.")
@click.option("--items", default=384, show_default=True, help="Products.")
@click.option("--shoppers", default=1500, show_default=True, help="People who shop.")
def draw_shop(out: Path, seed: int, items: int, shoppers: int) -> None:
    """Draw a small shop whose truth is known into the data folder OUT."""
    from trialigngr.datasets.synthetic.draw import draw_shop as draw
    from trialigngr.datasets.synthetic.settings import ShopSettings
    from trialigngr.foundation.config import parse_settings

    draw(out, parse_settings(ShopSettings, {"seed": seed, "num_items": items, "num_shoppers": shoppers}, "draw-shop"))
    click.echo(f"{out}: {items} products, {shoppers} shoppers")
