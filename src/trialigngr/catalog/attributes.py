"""Items of several tables in one: attributes, whose types are anybody's, never keep tables apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from trialigngr.catalog.items import ITEM_COLUMNS

_SIGNED = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
"""Integers that all fit in 64 bits with a sign."""


def stack_items(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the items of all tables, in order. An attribute of several types is text: what is none becomes JSON."""
    kinds: dict[str, list[pl.DataType]] = {}
    for table in tables:
        for name, kind in table.schema.items():
            if name not in ITEM_COLUMNS and kind != pl.Null:
                kinds.setdefault(name, []).append(kind)
    common = {name: wanted for name, own in kinds.items() if (wanted := _find_common_type(own)) is not None}
    return pl.concat([_brought_to(table, common) for table in tables], how="diagonal_relaxed")


def _find_common_type(kinds: Sequence[pl.DataType]) -> type[pl.DataType] | None:
    """Return the type that values of these types are brought to; None where they are of one."""
    if all(kind == kinds[0] for kind in kinds):
        return None
    if all(kind in _SIGNED for kind in kinds):
        return pl.Int64
    return pl.Float64 if all(kind.is_float() for kind in kinds) else pl.String


def _brought_to(table: pl.DataFrame, common: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    own = {name: kind for name, kind in common.items() if name in table.columns and table.schema[name] != kind}
    return table.with_columns(
        _as_text(table[name]) if kind == pl.String else table[name].cast(kind) for name, kind in own.items()
    )


def _as_text(values: pl.Series) -> pl.Series:
    return pl.Series(values.name, [_cast_to_text(value) for value in values.to_list()], pl.String)


def _cast_to_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
