"""Items of tables whose attributes are of any types stand together, and no value is lost."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import product
from typing import Any

import polars as pl
import pytest

from trialigngr.catalog.attributes import stack_items
from trialigngr.catalog.items import ITEM_COLUMNS

VALUES: dict[str, pl.Series] = {
    "text": pl.Series(["a,b", None]),
    "lists of text": pl.Series([["x", "y"], None]),
    "lists of numbers": pl.Series([[1, 2], []]),
    "empty lists": pl.Series([[], []]),
    "whole": pl.Series([2**62, None]),
    "short": pl.Series([7, 8], dtype=pl.Int8),
    "unsigned": pl.Series([2**64 - 1, 0], dtype=pl.UInt64),
    "broken": pl.Series([0.5, float("nan")]),
    "short broken": pl.Series([0.5, None], dtype=pl.Float32),
    "yes or no": pl.Series([True, None]),
    "days": pl.Series([date(2020, 1, 2), None]),
    "moments": pl.Series([datetime(2020, 1, 2, 3), None]),
    "spans": pl.Series([timedelta(1), None]),
    "records": pl.Series([{"a": 1}, {"a": None}]),
    "other records": pl.Series([{"b": "x"}, None]),
    "bytes": pl.Series([b"\xff", None]),
    "kinds": pl.Series(["a", None], dtype=pl.Categorical),
    "nothing": pl.Series([None, None]),
    "fixed": pl.Series([[1.0, 2.0], None], dtype=pl.Array(pl.Float32, 2)),
    "decimal": pl.Series(["1.10", None]).str.to_decimal(scale=2),
}


def items(start: int, **attributes: Any) -> pl.DataFrame:
    own = {name: pl.Series([None, None], dtype=kind) for name, kind in ITEM_COLUMNS.items()}
    ids = pl.Series([f"i{start}", f"i{start + 1}"])
    return pl.DataFrame(own | {"item_id": ids} | attributes)


@pytest.mark.parametrize(("first", "second"), [*product(VALUES, VALUES)])
def test_every_pair_of_types(first: str, second: str):
    tables = [items(0, tag=VALUES[first]), items(2, tag=VALUES[second]), items(4)]
    whole = stack_items(tables)
    assert whole["item_id"].to_list() == [f"i{number}" for number in range(6)]
    absent = [*VALUES[first].is_null(), *VALUES[second].is_null(), True, True]
    assert whole["tag"].is_null().to_list() == absent, "what is there stays there"
    if first == second:
        assert repr(whole["tag"][2:4].to_list()) == repr(VALUES[first].to_list()), "as repr, as NaN is not NaN"
    assert {name: whole.schema[name] for name in ITEM_COLUMNS} == ITEM_COLUMNS


def test_what_differs_is_text_and_numbers_stay_numbers():
    def together(first: str, second: str) -> list[Any]:
        return stack_items([items(0, tag=VALUES[first]), items(2, tag=VALUES[second])])["tag"].to_list()

    assert together("text", "lists of text") == ["a,b", None, '["x", "y"]', None]
    assert together("whole", "short") == [2**62, None, 7, 8]
    assert together("whole", "unsigned") == [str(2**62), None, str(2**64 - 1), "0"]
    assert together("records", "other records") == ['{"a": 1}', '{"a": null}', '{"b": "x"}', None]
