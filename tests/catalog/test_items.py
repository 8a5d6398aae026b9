"""`Catalog`: items one by one, many at a time, all."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from trialigngr.catalog import items
from trialigngr.catalog.items import ITEM_COLUMNS, Catalog


def test_items_are_the_same_however_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "ROWS_PER_READ", 2)
    rows = [{"item_id": str(n), "title": f"tent {n}", "categories": ["a", str(n)] if n % 2 else None} for n in range(5)]
    table = pl.DataFrame(rows, schema=ITEM_COLUMNS).with_columns(colour=pl.Series(["red", None, "tan", "red", "blue"]))
    catalog = Catalog(table, Path())
    one_by_one = [catalog[row] for row in range(5)]
    assert list(catalog) == one_by_one
    assert list(catalog.iter_items([4, 0, 0, 3, 1])) == [one_by_one[row] for row in (4, 0, 0, 3, 1)]
    assert list(catalog.iter_items(range(0))) == []
    assert (one_by_one[1].categories, one_by_one[2].categories) == (("a", "1"), ())
    assert (one_by_one[4].display_name, one_by_one[4].attributes) == ("tent 4", {"colour": "blue"})
