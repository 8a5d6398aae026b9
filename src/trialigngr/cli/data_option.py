"""`data_option`: where a run's data lies, a folder or an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trialigngr.datasets.remote import DataSource


def _read_data(_context: click.Context, _option: click.Parameter, given: str | None) -> DataSource | None:
    if given is None:
        return None
    from trialigngr.datasets.remote import read_data_source

    return read_data_source(given)


data_option = click.option(
    "--data",
    metavar="FOLDER",
    callback=_read_data,
    help="Data folder, or its address (s3://, gs://, hf://). Without it the shop is drawn.",
)
