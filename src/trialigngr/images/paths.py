"""Where pictures may lie: inside the data folder, after every symbolic link is followed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import polars as pl

from trialigngr.foundation.errors import CatalogError

HTTP_PATTERN, DATA_URL_PATTERN, URL_PATTERN = r"(?i)^https?://", r"(?i)^data:", r"(?i)^(https?://|data:)"
"""Patterns of what is no path: an address, a picture that stands in the table itself, either."""


def drop_missing_images(items: pl.DataFrame, root: Path) -> tuple[pl.DataFrame, int]:
    """Return the items with ``image_path`` null where no such file is, and how many lost it so.

    What is no path but an address or a data URL stays. Raises `CatalogError` for a path that is absolute or that leaves
    ``root``: a catalogue must not choose which files of this machine are read.
    """
    places = _PathResolver(root)
    kept: list[str | None] = []
    for item_id, relative in items.select("item_id", "image_path").iter_rows():
        if relative and is_url(relative):
            kept.append(relative)
            continue
        if relative and not places.is_inside(relative):
            raise CatalogError(
                f"The image_path {relative!r} of item {item_id!r} leads out of {root}; "
                "it must be relative and stay inside the data folder, links followed."
            )
        kept.append(relative if relative and (places.root / relative).is_file() else None)
    missing = items.height - items["image_path"].null_count() - sum(path is not None for path in kept)
    return items.with_columns(pl.Series("image_path", kept, pl.String)), missing


def is_url(source: str) -> bool:
    """Return whether a picture is named by an address or holds itself (``data:``), and is no path."""
    return re.match(URL_PATTERN, source) is not None


class _PathResolver:
    """Resolves each folder once: a million pictures usually lie in a few folders."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.real_folders: dict[str, Path] = {}

    def is_inside(self, relative: str) -> bool:
        if "\0" in relative or Path(relative).is_absolute():
            return False
        folder, name = os.path.split(relative)
        if folder not in self.real_folders:
            self.real_folders[folder] = Path(os.path.realpath(self.root / folder))
        real = self.real_folders[folder] / name
        if name in ("", ".", "..") or real.is_symlink():
            real = Path(os.path.realpath(real))
        return real != self.root and real.is_relative_to(self.root)
