"""``lists.parquet``: the first items of every system for every test target, as catalogue rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.metrics.lists import compute_list_metrics

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TargetLists:
    """``lists[system][way]`` [M, R]: rows, best first, −1 where a list has ended; targets as in ``test.parquet``."""

    lists: Mapping[str, Mapping[str, Rows]]

    def save(self, path: Path) -> None:
        """Write one row a target and a column ``system.way`` of lists."""
        columns = {f"{system}.{way}": rows_MR for system, ways in self.lists.items() for way, rows_MR in ways.items()}
        table = pl.DataFrame({name: pl.Series(rows_MR.astype(np.int32)) for name, rows_MR in columns.items()})
        write_table(table, path)

    @classmethod
    def load(cls, path: Path) -> TargetLists:
        """Read what `save` wrote."""
        table = read_table(check_file(path))
        lists: dict[str, dict[str, Rows]] = {}
        for column in table.columns:
            system, way = column.rsplit(".", 1)
            lists.setdefault(system, {})[way] = table[column].to_numpy().astype(np.int64)
        return cls(lists)

    def compute_list_metrics(
        self, way: str, ks: Sequence[int], counts_N: Rows, train_rows: Rows
    ) -> dict[str, dict[str, float]]:
        """Return what the lists of each system are like (`metrics.lists`), six digits."""
        return {
            system: {
                name: round(value, 6)
                for name, value in compute_list_metrics(ways[way], ks, counts_N, train_rows).items()
            }
            for system, ways in self.lists.items()
            if way in ways
        }


def pad_lists(lists: Sequence[Rows], length: int) -> Rows:
    """Return lists of rows as [M, length], cut, or filled with −1."""
    rows_MR = np.full((len(lists), length), -1, dtype=np.int64)
    for line, rows in enumerate(lists):
        rows_MR[line, : len(rows)] = rows[:length]
    return rows_MR
