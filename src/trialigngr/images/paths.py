"""Where pictures may lie: inside the data folder, after every symbolic link is followed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import polars as pl

from trialigngr.foundation.errors import CatalogError

ADDRESS, DATA, URL = r"(?i)^https?://", r"(?i)^data:", r"(?i)^(https?://|data:)"
"""Patterns of what is no path: an address, a picture that stands in the table itself, either."""


def drop_missing_pictures(items: pl.DataFrame, root: Path) -> tuple[pl.DataFrame, int]:
    """Return the items with ``image_path`` null where no such file is, and how many lost it so.

    What is no path but an address or a data URL stays. Raises `CatalogError` for a path that is absolute or that leaves
    ``root``: a catalogue must not choose which files of this machine are read.
    """
    places = _Places(root)
    kept: list[str | None] = []
    for item_id, relative in items.select("item_id", "image_path").iter_rows():
        if relative and is_url(relative):
            kept.append(relative)
            continue
        if relative and not places.inside(relative):
            raise CatalogError(
                f"The image_path {relative!r} of item {item_id!r} leads out of {root}; "
                "it must be relative and stay inside the data folder, links followed."
            )
        kept.append(relative if relative and (places.home / relative).is_file() else None)
    missing = items.height - items["image_path"].null_count() - sum(path is not None for path in kept)
    return items.with_columns(pl.Series("image_path", kept, pl.String)), missing


def is_url(source: str) -> bool:
    """Say whether a picture is named by an address or holds itself (``data:``), and is no path."""
    return re.match(URL, source) is not None


class _Places:
    """Resolves each folder once: a million pictures usually lie in a few folders."""

    def __init__(self, root: Path) -> None:
        self.home = Path(os.path.realpath(root))
        self.folders: dict[str, Path] = {}

    def inside(self, relative: str) -> bool:
        if "\0" in relative or Path(relative).is_absolute():
            return False
        folder, name = os.path.split(relative)
        if folder not in self.folders:
            self.folders[folder] = Path(os.path.realpath(self.home / folder))
        real = self.folders[folder] / name
        if name in ("", ".", "..") or real.is_symlink():
            real = Path(os.path.realpath(real))
        return real != self.home and real.is_relative_to(self.home)
