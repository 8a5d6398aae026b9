"""Tables at an address: what polars reads from object stores and the Hugging Face Hub becomes a data folder here.

Credentials are those that the environment holds in the names of the store's own tools (``AWS_ACCESS_KEY_ID``,
``GOOGLE_SERVICE_ACCOUNT``, ``HF_TOKEN``).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trialigngr.foundation.arguments import read_path
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.files import whole_file
from trialigngr.foundation.tables import count_rows

SCHEMES = ("s3://", "gs://", "hf://")
TABLES = ("items", "interactions")
MAX_REASON = 300
"""Most letters of what a store answered that are passed on."""


@dataclass(frozen=True)
class DataAddress:
    """A data folder that is not on this machine: ``s3://bucket/shop``."""

    url: str

    def __str__(self) -> str:
        return self.url


DataSource = Path | DataAddress


def read_data_source(given: str | os.PathLike[str] | DataSource) -> DataSource:
    """Return a folder, or an address; raise `CatalogError` for an address of a kind that is not read."""
    if isinstance(given, DataAddress):
        return given
    if not isinstance(given, str) or not re.match(r"[A-Za-z][\w+.-]*://", given):
        return read_path(given, "data")
    if not given.startswith(SCHEMES):
        raise CatalogError(f"{given} is an address of a kind that is not read; those are {', '.join(SCHEMES)}.")
    return DataAddress(given.rstrip("/"))


def download_tables(address: DataAddress, out: Path) -> dict[str, int]:
    """Write ``items.parquet`` and ``interactions.parquet`` of an address into ``out``; return their numbers of rows.

    Each is a Parquet file at the address, or a folder of parts. Raises `CatalogError` that says which cannot be read,
    and why.
    """
    rows = {}
    for name in TABLES:
        url, path = f"{address}/{name}.parquet", out / f"{name}.parquet"
        table = scan_remote_table(url)
        try:
            with whole_file(path) as half:
                table.sink_parquet(half)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable_error(url, error) from None
        rows[name] = count_rows(path)
    log(f"data: {rows['items']:,} items and {rows['interactions']:,} interactions from {address}")
    return rows


def scan_remote_table(url: str) -> pl.LazyFrame:
    """Return the table at an address lazily: a file, or the parts in a folder of that name, in the order of theirs."""
    try:
        return _scan_existing(url)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = error
    try:
        return _scan_existing(f"{url}/*.parquet")
    except (pl.exceptions.PolarsError, OSError):
        raise _unreadable_error(url, reason) from None


def _scan_existing(url: str) -> pl.LazyFrame:
    """Return a table lazily whose first bytes have been seen."""
    table = pl.scan_parquet(url, hive_partitioning=False)
    table.collect_schema()
    return table


def _unreadable_error(url: str, error: Exception) -> CatalogError:
    if isinstance(error, FileNotFoundError):
        return CatalogError(f"{url} cannot be read: there is neither such a file nor a folder of parts.")
    reason = " ".join(str(error).split())[:MAX_REASON].rstrip(".")
    return CatalogError(f"{url} cannot be read: {reason or type(error).__name__}.")
