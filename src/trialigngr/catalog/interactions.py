"""`InteractionLog`: the interactions as arrays of codes, and the filters before the k-core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.catalog.data_folder import ORDER_COLUMNS, DataFolder, scan_interactions
from trialigngr.catalog.scanning import translate_read_errors
from trialigngr.foundation.errors import CatalogError

Uint32Array = npt.NDArray[np.uint32]
TIME_UNITS = ((1e17, 10**9), (1e14, 10**6), (1e11, 10**3))
"""From which size on timestamps are nano-, micro- and milliseconds: as seconds they would be of the year 5138."""


@dataclass(frozen=True)
class InteractionLog:
    """n interactions. ``sort_keys`` order those of a user, most significant first; the last key is the place in the
    file.

    ``users`` are numbers in order of first appearance in the file (``user_ids`` names them), ``items`` are item rows.
    ``order_columns`` names the columns behind the keys before the last.
    """

    user_ids: pl.Series
    users: Uint32Array
    items: Uint32Array
    sort_keys: tuple[npt.NDArray[Any], ...]
    order_columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.users)

    def take_rows(self, which: npt.NDArray[Any]) -> InteractionLog:
        """Return the interactions of a mask or of an array of places, in that order."""
        keys = tuple(key[which] for key in self.sort_keys)
        return InteractionLog(self.user_ids, self.users[which], self.items[which], keys, self.order_columns)

    def to_seconds(self) -> npt.NDArray[np.int64] | None:
        """Return when each interaction was, in seconds since 1970; None in a log without timestamps.

        Where most numbers are too large to be seconds of this age they are milli-, micro- (as dates come) or
        nanoseconds.
        """
        if "timestamp" not in self.order_columns:
            return None
        times = self.sort_keys[self.order_columns.index("timestamp")]
        middle = float(np.median(np.abs(times.astype(np.float64)))) if len(times) else 0.0
        unit = next((unit for least, unit in TIME_UNITS if middle >= least), 1)
        return (times // unit).astype(np.int64)


@dataclass(frozen=True)
class LoadedInteractions:
    """A `InteractionLog` of usable interactions, and the counts: as they stood in the file, and dropped by reason."""

    log: InteractionLog
    num_users: int
    num_interactions: int
    dropped: dict[str, int]
    first_incomplete: int = 0
    """Row of the first interaction without an id or an order, where there is one."""


def load_interactions(folder: DataFolder, item_ids: pl.Series, min_rating: float | None) -> LoadedInteractions:
    """Return the interactions with an id, an order and a known item; the rest is counted under ``dropped``."""
    table = _read_with_flags(folder, item_ids, min_rating)
    if table.is_empty():
        raise CatalogError(f"{folder.interactions_path} is empty: there is nothing to learn from.")
    users, interactions = table["user_id"].drop_nulls().n_unique(), table.height
    first = int(table["row"][table["incomplete"].arg_max() or 0])
    dropped: dict[str, int] = {}
    for reason in ("incomplete", "unknown_item", "rated_low"):
        if reason in table.columns:
            dropped[reason] = int(table[reason].sum())
            if dropped[reason]:
                table = table.filter(pl.col(reason).not_())
    return LoadedInteractions(_encode_ids(table), users, interactions, dropped, first)


def _read_with_flags(folder: DataFolder, item_ids: pl.Series, min_rating: float | None) -> pl.DataFrame:
    rows = pl.LazyFrame({"item_id": item_ids}).with_row_index("item")
    log = scan_interactions(folder, with_rating=min_rating is not None)
    orders = [name for name in ORDER_COLUMNS if name in log.collect_schema()]
    log = log.join(rows, on="item_id", how="left", maintain_order="left")
    flags = {
        "incomplete": pl.any_horizontal(pl.col("user_id", "item_id", *orders).is_null()),
        "unknown_item": pl.col("item").is_null() & pl.col("item_id").is_not_null(),
    }
    if min_rating is not None:
        flags["rated_low"] = (pl.col("rating") >= min_rating).fill_null(False).not_()
    with translate_read_errors(folder.interactions_path):
        return log.select("row", "user_id", "item", *orders, **flags).collect(engine="streaming")


def _encode_ids(table: pl.DataFrame) -> InteractionLog:
    user_ids = table["user_id"].unique(maintain_order=True)
    numbers = pl.LazyFrame({"user_id": user_ids}).with_row_index("user")
    users = table.lazy().select("user_id").join(numbers, on="user_id", how="left", maintain_order="left").select("user")
    order = tuple(name for name in ORDER_COLUMNS if name in table.columns)
    keys = tuple(table[name].to_numpy() for name in (*order, "row"))
    return InteractionLog(user_ids, users.collect()["user"].to_numpy(), table["item"].to_numpy(), keys, order)


def find_unknown_items(folder: DataFolder, item_ids: pl.Series, count: int = 3) -> list[str]:
    """Return the first ids in the log that no item has."""
    known = pl.LazyFrame({"item_id": item_ids})
    log = scan_interactions(folder, with_rating=False).select("item_id").drop_nulls()
    unknown = log.join(known, on="item_id", how="anti", maintain_order="left").unique(maintain_order=True)
    return [str(item_id) for item_id in unknown.head(count).collect()["item_id"]]


def sort_log(log: InteractionLog) -> InteractionLog:
    """Return the log sorted by user and, within a user, by the keys: `InteractionLog.sort_keys` states the rule for
    ties.

    The place in the file is the last key, so the order depends on the file alone, never on how it was read in parallel.
    """
    return log.take_rows(np.lexsort((*reversed(log.sort_keys), log.users)))


def drop_repeats(log: InteractionLog) -> InteractionLog:
    """Return a sorted log with the first of each (user, item) only."""
    pairs = log.users.astype(np.int64) * (int(log.items.max(initial=0)) + 1) + log.items
    return log.take_rows(np.sort(np.unique(pairs, return_index=True)[1]))


def count_ties(log: InteractionLog) -> dict[str, int]:
    """Return how many users of a sorted log have two interactions that only the place in the file tells apart."""
    same = log.users[1:] == log.users[:-1]
    ends = np.append(~same, True)[1:]
    for key in log.sort_keys[:-1]:
        same &= key[1:] == key[:-1]
    return {"users_with_a_tie": len(np.unique(log.users[1:][same])), "users_ending_on_a_tie": int((same & ends).sum())}
