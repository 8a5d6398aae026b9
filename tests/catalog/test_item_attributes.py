"""Brand and categories as numbers: the vocabulary, what each item has, and the way to disk and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from trialigngr.catalog.item_attributes import ItemAttributes, build_item_attributes


def items(brands: list[str | None], categories: list[list[str] | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"brand": brands, "categories": categories}, schema={"brand": pl.String, "categories": pl.List(pl.String)}
    )


def test_by_hand_and_back_from_disk(tmp_path: Path) -> None:
    table = items(["B", None, "A", "B"], [["x", "y"], None, ["y", "y", None], []])
    built = build_item_attributes(table)
    built.save(tmp_path)
    for found in (built, ItemAttributes.load(tmp_path)):
        assert found.vocabulary.rows() == [
            ("brand", "A", 1),
            ("brand", "B", 2),
            ("category", "x", 1),
            ("category", "y", 2),
        ]
        assert [found.of_item(row).tolist() for row in range(4)] == [[1, 2, 3], [], [0, 3], [1]]
        assert found.to_multi_hot(np.array([2, 1])).tolist() == [[1, 0, 0, 1], [0, 0, 0, 0]]


def test_a_brand_is_no_category_of_the_same_name_and_nothing_is_nothing(tmp_path: Path) -> None:
    assert len(build_item_attributes(items(["x"], [["x"]]))) == 2
    none = build_item_attributes(items([None, None], [None, []]))
    none.save(tmp_path)
    assert len(ItemAttributes.load(tmp_path)) == 0
    assert ItemAttributes.load(tmp_path).offsets.tolist() == [0, 0, 0]
