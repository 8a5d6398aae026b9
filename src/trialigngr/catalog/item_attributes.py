"""`ItemAttributes`: brand and categories of every item as numbers of one vocabulary, an artifact of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.tables import read_table, write_table

Rows = npt.NDArray[np.int64]
ATTRIBUTES_FILE, VOCABULARY_FILE = "item_attributes.parquet", "attribute_vocabulary.parquet"


@dataclass(frozen=True)
class ItemAttributes:
    """Item n has the attributes ``numbers[offsets[n]:offsets[n + 1]]`` (ascending) of the A in ``vocabulary``.

    ``vocabulary`` has a row an attribute: ``kind`` (brand or category), ``value``, and ``items``, how many bear it.
    """

    offsets: Rows
    numbers: Rows
    vocabulary: pl.DataFrame

    def __len__(self) -> int:
        return self.vocabulary.height

    def of_item(self, row: int) -> Rows:
        """Return the attributes of an item."""
        return self.numbers[self.offsets[row] : self.offsets[row + 1]]

    def to_multi_hot(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return a row of A zeros and ones for each of some items."""
        found = np.zeros((len(rows), len(self)), dtype=np.float32)
        for line, row in enumerate(rows):
            found[line, self.of_item(int(row))] = 1
        return found

    def save(self, folder: Path) -> None:
        """Write the two tables."""
        items = np.arange(len(self.offsets) - 1, dtype=np.uint32)
        pairs = {"item": np.repeat(items, np.diff(self.offsets)), "attributes": self.numbers.astype(np.int32)}
        lists = pl.DataFrame(pairs).group_by("item", maintain_order=True).agg("attributes")
        table = pl.DataFrame({"item": items}).join(lists, on="item", how="left", maintain_order="left")
        write_table(table.select("attributes"), folder / ATTRIBUTES_FILE)
        write_table(self.vocabulary, folder / VOCABULARY_FILE)

    @classmethod
    def load(cls, folder: Path) -> ItemAttributes:
        """Read what `save` wrote."""
        lists = read_table(check_file(folder / ATTRIBUTES_FILE))["attributes"]
        offsets = np.concatenate([[0], np.cumsum(lists.list.len().fill_null(0).to_numpy(), dtype=np.int64)])
        numbers = lists.explode().drop_nulls().to_numpy().astype(np.int64)
        return cls(offsets, numbers, read_table(check_file(folder / VOCABULARY_FILE)))


def build_item_attributes(items: pl.DataFrame) -> ItemAttributes:
    """Return brand and categories of a table of items. The vocabulary is in order of kind and value."""
    rows = items.select("brand", "categories").with_row_index("item")
    named = pl.concat(
        [
            rows.select("item", pl.lit("brand").alias("kind"), pl.col("brand").alias("value")),
            rows.select("item", pl.lit("category").alias("kind"), pl.col("categories").alias("value")).explode("value"),
        ]
    )
    pairs = named.drop_nulls().unique()
    vocabulary = pairs.group_by("kind", "value").agg(pl.len().alias("items")).sort("kind", "value")
    numbered = vocabulary.with_row_index("number").select("kind", "value", "number")
    found = pairs.join(numbered, on=["kind", "value"]).sort("item", "number")
    counts = np.bincount(found["item"].to_numpy(), minlength=items.height)
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return ItemAttributes(offsets, found["number"].to_numpy().astype(np.int64), vocabulary)
