"""Bring a column of any reasonable type to ours: ids, text, categories, numbers, order. Each gives an expression."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from trialigngr.catalog.items import ITEM_COLUMNS
from trialigngr.catalog.listed import OPENS, read_list
from trialigngr.catalog.scanning import place_of
from trialigngr.foundation.errors import CatalogError

NO_NAMES = r"^\s*\[\s*(?:\[|-?[\d.][-\d.,\s]*\]\s*$)"
"""How a list of lists, or a list of numbers, looks that was written as text."""
ISO_FORMAT = "%Y-%m-%d %H:%M:%S%.f%:z"


def _column_type_error(name: str, dtype: pl.DataType, path: Path, wanted: str) -> CatalogError:
    return CatalogError(f"{path}: column {name!r} is of type {dtype}; {wanted} is needed.")


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or dtype == pl.Categorical or dtype == pl.Enum


def strip_to_null(text: pl.Expr) -> pl.Expr:
    """Return stripped text; what is empty then is null."""
    stripped = text.str.strip_chars()
    return pl.when(stripped != "").then(stripped)


def cast_identifiers(name: str, dtype: pl.DataType, path: Path) -> pl.Expr:
    """Return ids as text, empty ones as null. A whole float (an integer that met a null elsewhere) loses its .0."""
    ids = pl.col(name)
    if dtype == pl.Null or dtype.is_integer() or _is_text(dtype):
        text = ids.cast(pl.String)
    elif dtype.is_float():
        whole = pl.when(ids == ids.floor()).then(ids.cast(pl.Int64, strict=False)).cast(pl.String)
        text = pl.when(ids.is_finite()).then(pl.coalesce(whole, ids.cast(pl.String)))
    else:
        raise _column_type_error(name, dtype, path, "text or a number")
    return pl.when(text != "").then(text).alias(name)


def _clean_text(text: pl.Expr) -> pl.Expr:
    """Return stripped text for people and tokenizers, which take no NUL: it becomes U+FFFD."""
    return strip_to_null(text.str.replace_all("\0", "\ufffd", literal=True))


def _parse_text_lists(text: pl.Expr) -> pl.Expr:
    """Return the lists that were written as text; null where text is no list."""
    may_be = pl.when(text.str.contains(OPENS)).then(text)
    return may_be.map_elements(read_list, return_dtype=pl.List(pl.String))


def cast_text(name: str, dtype: pl.DataType, path: Path) -> pl.Expr:
    """Return stripped text, empty and NaN as null; the parts of a list, also one written as text, joined by a space."""
    values = pl.col(name)
    if dtype == pl.List(pl.String):
        return _clean_text(values.list.join(" ", ignore_nulls=True)).alias(name)
    if dtype.is_float():
        values = values.fill_nan(None)
    elif not (dtype == pl.Null or dtype == pl.List(pl.Null) or dtype.is_integer() or _is_text(dtype)):
        raise _column_type_error(name, dtype, path, "text")
    if dtype == pl.List(pl.Null):
        return pl.lit(None, pl.String).alias(name)
    whole = values.cast(pl.String)
    if name.startswith("image_"):
        return strip_to_null(whole).alias(name)
    if _is_text(dtype):
        whole = pl.coalesce(_parse_text_lists(whole).list.join(" ", ignore_nulls=True), whole)
    return _clean_text(whole).alias(name)


def cast_categories(name: str, dtype: pl.DataType, path: Path, table: pl.LazyFrame | None = None) -> pl.Expr:
    """Return lists of stripped, non-empty names, or null. Text that is a list is read as one; other text is cut at
    ``|``, or at ``>`` where it has no ``|``.

    Raises `CatalogError` for numbers, and, with the ``table``, for text that is a list of anything but names.
    """
    values = pl.col(name)
    if table is not None:
        _refuse_nameless(name, dtype, table, path)
    if isinstance(dtype, pl.List) and dtype.inner == pl.String:
        parts = values
    elif dtype.is_float() or dtype == pl.Null or dtype == pl.List(pl.Null):
        return pl.lit(None, pl.List(pl.String)).alias(name)
    elif _is_text(dtype):
        whole = values.cast(pl.String)
        cut = pl.when(whole.str.contains("|", literal=True)).then(whole.str.split("|")).otherwise(whole.str.split(">"))
        parts = pl.coalesce(_parse_text_lists(whole), cut)
    else:
        raise _column_type_error(name, dtype, path, "a list of names, or text separated by | or >,")
    kept = parts.list.eval(_clean_text(pl.element()).drop_nulls())
    return pl.when(kept.list.len() > 0).then(kept).alias(name)


def _refuse_nameless(name: str, dtype: pl.DataType, table: pl.LazyFrame, path: Path) -> None:
    given, fits = pl.col(name).cast(pl.String), pl.col("given").str.contains(NO_NAMES).not_()
    if dtype.is_float():  # a column that is NaN throughout tells nothing
        given, fits = pl.col(name).fill_nan(None), pl.lit(False)
    elif not _is_text(dtype):
        return
    if (misfit := _find_first_misfit(table, given, fits)) is not None:
        row, value = misfit
        raise CatalogError(
            f"{path}, {place_of(path, row)}: {name} {value[:80]!r} is no list of names; give each item one list of "
            "names."
        )


def cast_item_column(name: str, dtype: pl.DataType | None, table: pl.LazyFrame, path: Path) -> pl.Expr:
    """Return the expression for one of the item columns `ITEM_COLUMNS`; a column that is not there is all null."""
    if dtype is None:
        return pl.lit(None, ITEM_COLUMNS[name]).alias(name)
    if name == "item_id":
        return cast_identifiers(name, dtype, path)
    if name == "categories":
        return cast_categories(name, dtype, path, table)
    return cast_text(name, dtype, path)


def _find_first_misfit(table: pl.LazyFrame, given: pl.Expr, fits: pl.Expr) -> tuple[int, str] | None:
    """Return row and value of the first that does not fit; None where all do."""
    values = table.select(given=given).with_row_index("row")
    misfits = values.filter(fits.not_() & pl.col("given").is_not_null()).head(1).collect()
    return None if misfits.is_empty() else (misfits["row"][0], str(misfits["given"][0]))


def cast_numbers(name: str, dtype: pl.DataType, table: pl.LazyFrame, path: Path) -> pl.Expr:
    """Return floats, NaN as null; raise `CatalogError` with the first text that is no number."""
    values = pl.col(name)
    if _is_text(dtype):
        given = strip_to_null(values.cast(pl.String))
        misfit = _find_first_misfit(table, given, pl.col("given").cast(pl.Float64, strict=False).is_not_null())
        if misfit is not None:
            row, value = misfit
            raise CatalogError(f"{path}, {place_of(path, row)}: {name} {value!r} is not a number.")
        values = given
    elif not (dtype == pl.Null or dtype.is_numeric()):
        raise _column_type_error(name, dtype, path, "a number")
    return values.cast(pl.Float64).fill_nan(None).alias(name)


def cast_order(name: str, dtype: pl.DataType, table: pl.LazyFrame, path: Path) -> pl.Expr:
    """Return what orders interactions: integers (of dates: microseconds since 1970), or floats; NaN is null.

    Text may hold whole numbers, numbers, or ISO dates (without an offset: UTC), one kind in the whole column.
    """
    values = pl.col(name)
    if dtype.is_integer() or dtype == pl.Null:
        return values.cast(pl.Int64).alias(name)
    if dtype.is_float():
        return pl.when(values.is_finite()).then(values.cast(pl.Float64)).alias(name)
    if dtype == pl.Date or dtype == pl.Datetime:
        return values.cast(pl.Datetime("us")).to_physical().alias(name)
    if _is_text(dtype):
        return _cast_text_order(name, table, path).alias(name)
    raise _column_type_error(name, dtype, path, "a number, a date, or text that holds one")


def _cast_text_order(name: str, table: pl.LazyFrame, path: Path) -> pl.Expr:
    given = strip_to_null(pl.col(name).cast(pl.String))
    for kind in (_cast_integers, _cast_floats, _cast_iso_dates):
        if _find_first_misfit(table, given, kind(pl.col("given")).is_not_null()) is None:
            return kind(given)
    either = _cast_floats(pl.col("given")).is_not_null() | _cast_iso_dates(pl.col("given")).is_not_null()
    misfit = _find_first_misfit(table, given, either)
    if misfit is None:
        raise CatalogError(f"{path}: {name} mixes numbers and dates; write all of them the same way.")
    row, value = misfit
    raise CatalogError(
        f"{path}, {place_of(path, row)}: {name} {value!r} is neither a number nor an ISO date such as 2014-07-23 or "
        "2014-07-23T12:30:00Z."
    )


def _cast_integers(texts: pl.Expr) -> pl.Expr:
    return texts.cast(pl.Int64, strict=False)


def _cast_floats(texts: pl.Expr) -> pl.Expr:
    number = texts.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _cast_iso_dates(texts: pl.Expr) -> pl.Expr:
    plain = texts.str.replace(r"^(.{10})[Tt]", "$1 ").str.replace(r"[Zz]$", "+00:00")
    timed = plain.str.replace(r"^(.{10})$", "$1 00:00:00").str.replace(r"^(.{10} \d\d:\d\d)($|[+-])", "$1:00$2")
    zoned = timed.str.replace(r"^(.{10} \d\d:\d\d:\d\d(?:\.\d+)?)$", "$1+00:00")
    return zoned.str.to_datetime(ISO_FORMAT, strict=False, time_unit="us").to_physical()
