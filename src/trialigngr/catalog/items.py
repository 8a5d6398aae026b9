"""`Item` and `Catalog`: what is on offer, in a fixed row order that every later stage shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from trialigngr.foundation.artifact import hash_file
from trialigngr.foundation.errors import CatalogError, ErrorKind, did_you_mean
from trialigngr.images.settings import LONGEST_EDGE

if TYPE_CHECKING:
    from PIL import Image

ITEM_COLUMNS: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "description": pl.String(),
    "brand": pl.String(),
    "categories": pl.List(pl.String()),
    "image_path": pl.String(),
    "image_url": pl.String(),
}
"""The columns that mean something. Any other column is an attribute: kept, and never part of an item's text."""
ROWS_PER_READ = 512
"""Rows that are read from the table together."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item. Missing text is ``None``, never an empty string.

    ``image_path`` is relative to the data folder, or absolute where the picture is kept elsewhere (`ImageRecords`).
    """

    item_id: str
    title: str | None = None
    description: str | None = None
    brand: str | None = None
    categories: tuple[str, ...] = ()
    image_path: str | None = None
    image_url: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def display_name(self) -> str:
        """The title, or what an item without one is known by: brand, last category, id."""
        return self.title or " ".join(part for part in (self.brand, *self.categories[-1:], self.item_id) if part)


@dataclass(frozen=True)
class ImageRecords:
    """Pictures that were fetched, unpacked or reduced: they lie in ``folder``, their names stand for their content.

    ``problems``: item id → why its picture could not be had. ``longest_edge``: no opened picture is longer.
    """

    folder: Path | None = None
    longest_edge: int = LONGEST_EDGE
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalog:
    """N items as a table in row order; ``root`` is the data folder that ``image_path`` is relative to."""

    table: pl.DataFrame
    root: Path
    image_records: ImageRecords = field(default_factory=ImageRecords)

    def __len__(self) -> int:
        return self.table.height

    def __getitem__(self, row: int) -> Item:
        return self._make_item(self._ordered_table.row(row))

    def __iter__(self) -> Iterator[Item]:
        return map(self._make_item, self._ordered_table.iter_rows())

    def iter_items(self, rows: Iterable[int]) -> Iterator[Item]:
        """Yield the items of rows, much faster than one by one."""
        rest = iter(rows)
        while block := list(islice(rest, ROWS_PER_READ)):
            yield from map(self._make_item, self._ordered_table[block].iter_rows())

    @cached_property
    def _ordered_table(self) -> pl.DataFrame:
        """The table with its attributes last."""
        return self.table.select(*ITEM_COLUMNS, pl.exclude(*ITEM_COLUMNS))

    @cached_property
    def _attribute_names(self) -> list[str]:
        return self._ordered_table.columns[len(ITEM_COLUMNS) :]

    def _make_item(self, row: tuple[Any, ...]) -> Item:
        item_id, title, description, brand, categories, path, url, *values = row
        own = dict(zip(self._attribute_names, values, strict=True)) if values else {}
        return Item(item_id, title, description, brand, tuple(categories or ()), path, url, own)

    @cached_property
    def item_ids(self) -> list[str]:
        """The item ids in row order."""
        return self.table["item_id"].to_list()

    @cached_property
    def row_by_id(self) -> dict[str, int]:
        """Item id → row."""
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    def find_row(self, item_id: str) -> int:
        """Return the row of an item; raise `CatalogError` with the nearest known id."""
        try:
            return self.row_by_id[item_id]
        except KeyError:
            raise CatalogError(
                f"There is no item {item_id!r} in this catalogue.{did_you_mean(item_id, self.item_ids)}",
                ErrorKind.UNKNOWN_ITEM,
            ) from None

    def image_file(self, row: int) -> Path | None:
        """Return the path of the item's picture file, or None when it has none. `open_image` opens it safely."""
        relative = self.table["image_path"][row]
        return self.root / relative if relative else None

    def open_image(self, row: int) -> Image.Image | None:
        """Return the item's picture as `catalog.images` opens it, or None when it has none; raise `ImageError`."""
        from trialigngr.images.image_open import open_image

        path = self.image_file(row)
        return None if path is None else open_image(path, self.image_records.longest_edge)

    def hash_image(self, row: int) -> str | None:
        """Return hex digits that stand for the bytes of the item's picture; ``missing`` when its file is not there."""
        from trialigngr.images.image_open import is_file

        path = self.image_file(row)
        if path is None or not is_file(path):
            return None if path is None else "missing"
        folder = self.image_records.folder
        return path.stem if folder is not None and path.is_relative_to(folder) else hash_file(path)
