"""What the Amazon Reviews dumps of 2014, 2018 and 2023 share: a file of reviews and, beside it, ``meta_*`` of items.

Sources: He & McAuley 2016 (2014), Ni et al. 2019 (2018), Hou et al. 2024 (2023). How a record of a dump is read stands
in the dump's own module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trialigngr.datasets.readers.fields import MissingIdError, join_texts, read_names, read_record_id
from trialigngr.datasets.readers.lines import malformed_line_error, read_numbered_lines
from trialigngr.datasets.readers.markup import plain_text
from trialigngr.datasets.readers.tables import DataTables, spill_to_parquet
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.strict_json import mend_text, parse_json

Record = dict[str, Any]
REVIEW_SCHEMA: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "timestamp": pl.Int64(),
    "rating": pl.Float64(),
}
ITEM_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "description": pl.String(),
    "brand": pl.String(),
    "categories": pl.List(pl.String()),
    "image_url": pl.String(),
    "price": pl.Float64(),
}


@dataclass(frozen=True)
class DumpFormat:
    """What tells one dump from another: file endings, how a line becomes a record, and a record a row."""

    suffixes: tuple[str, ...]
    parse_line: Callable[[str], Any]
    make_review_row: Callable[[Record], tuple[Any, ...]]
    make_item_row: Callable[[Record], tuple[Any, ...]]
    repeats_items: bool = False
    """Whether the published files are known to name items twice: then the first counts, and the log says how many."""


def parse_record(line: str) -> Any:
    """Return what a line of JSON holds, NaN as null; raise `ValueError` for a key that stands twice."""
    return parse_json(line, constant=lambda _: None)


def read_dump(source: Path, scratch: Path, dump: DumpFormat) -> DataTables:
    """Return a dump's tables."""
    reviews, meta = find_dump_files(source, dump.suffixes)
    interactions = spill_to_parquet(
        _read_rows(reviews, dump.parse_line, dump.make_review_row), REVIEW_SCHEMA, scratch / "reviews"
    )
    items = spill_to_parquet(_read_rows(meta, dump.parse_line, dump.make_item_row), ITEM_SCHEMA, scratch / "items")
    return DataTables(_first_of_each(items, meta) if dump.repeats_items else items, interactions, meta)


def _first_of_each(items: pl.LazyFrame, meta: Path) -> pl.LazyFrame:
    once = items.unique("item_id", keep="first", maintain_order=True)
    n = items.select(pl.len() - pl.col("item_id").n_unique()).collect().item()
    if n:
        log(f"{meta.name}: {n:,} lines name an item once more; the first line of each item counts")
    return once


def find_dump_files(source: Path, suffixes: tuple[str, ...]) -> tuple[Path, Path]:
    """Return the reviews file and its meta file, from a reviews file or from a folder with one of each."""
    folder = source if source.is_dir() else source.parent
    files = [path for path in folder.glob("*") if path.is_file() and path.name.endswith(suffixes)]
    reviews = [source] if source.is_file() else sorted(path for path in files if not path.name.startswith("meta_"))
    named = f"{source} (file names end in {' or '.join(suffixes)})"
    if not reviews:
        raise CatalogError(f"There is no reviews file in {named}.")
    if len(reviews) > 1:
        listed = ", ".join(path.name for path in reviews[:3])
        raise CatalogError(f"{source} holds {len(reviews)} reviews files ({listed}); name one of them instead.")
    metas = [path for path in files if path.name.startswith("meta_")]
    fitting = [path for path in metas if _read_subject(path, suffixes) == _read_subject(reviews[0], suffixes)]
    if len(fitting) != 1:
        wanted = f"meta_{_read_subject(reviews[0], suffixes)}{suffixes[0]}"
        raise CatalogError(f"{reviews[0]} needs {wanted} beside it; {folder} holds {len(fitting)} of that name.")
    return reviews[0], fitting[0]


def _read_subject(path: Path, suffixes: tuple[str, ...]) -> str:
    """Return what a file is about: Beauty of ``reviews_Beauty_5.json.gz``, ``Beauty_5.json``, ``meta_Beauty.json``."""
    stem = next((path.name.removesuffix(ending) for ending in suffixes if path.name.endswith(ending)), path.stem)
    return re.sub(r"^(reviews|meta)_|_\d+$", "", stem)


def _read_rows(
    path: Path, parse: Callable[[str], Any], to_row: Callable[[Record], tuple[Any, ...]]
) -> Iterator[tuple[Any, ...]]:
    for number, line in read_numbered_lines(path):
        try:
            row = to_row(parse(line))
        except KeyError as error:
            raise malformed_line_error(path, number, f"no {error.args[0]!r} in the record") from None
        except MissingIdError as error:
            raise malformed_line_error(path, number, str(error)) from None
        except (
            ValueError,
            TypeError,
            AttributeError,
            SyntaxError,
            OverflowError,
            RecursionError,
            MemoryError,
        ) as error:
            why = f" ({error})" if isinstance(error, ValueError) else ""
            raise malformed_line_error(path, number, f"not a record of this format{why}: {line[:80]!r}") from None
        yield row


def clean_text(value: object) -> str | None:
    """Return text (a list joined) without HTML and with single spaces; None when nothing is left."""
    text = join_texts(value)
    return None if text is None else " ".join(plain_text(text).split()) or None


def clean_names(value: object) -> list[str]:
    """Return the cleaned texts of a list, empty ones left out."""
    return [name for part in read_names(value) if (name := clean_text(part))]


def parse_price(value: object) -> float | None:
    """Return a price: a number, or the one in text such as ``$1,299.00``; None for a range or anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"\$?\s*(\d[\d,]*(?:\.\d+)?)", value.strip()) if isinstance(value, str) else None
    return float(match[1].replace(",", "")) if match else None


def find_first_text(*values: object) -> str | None:
    """Return the first text there is, of texts and lists of texts."""
    for value in values:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text.strip():
                return mend_text(text.strip())
    return None


def parse_timestamp(value: Any) -> int:
    """Return a time as an integer; raise `ValueError` for one that no clock shows."""
    at = int(value)
    if abs(at) > 2**53:
        raise ValueError(at)
    return at


def make_review_row(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the row of a review of 2014 or 2018, which name the same fields."""
    rating = record.get("overall")
    at = parse_timestamp(record["unixReviewTime"])
    user_id, item_id = (read_record_id(record, name) for name in ("reviewerID", "asin"))
    return user_id, item_id, at, None if rating is None else float(rating)
