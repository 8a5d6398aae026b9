"""Every target with its ranks: the table (``test.parquet``, ``valid.parquet``) that all figures are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.tables import read_table, write_table
from trialigngr.metrics.intervals import Estimate, bootstrap_differences, bootstrap_intervals
from trialigngr.metrics.ranks import Float64Array, Ranks, compute_target_metrics

ITEM, SEEN_MASKED, SID = "item", "seen_masked", "sid"
"""Item level, nothing masked (the headline); the same with items taken before masked; SID level (one place a SID)."""


@dataclass(frozen=True)
class TargetRanks:
    """Ranks of M targets by system and way of counting: ``ranks["generator"]["item"]``. The first system heads
    tables; ``users_M`` says whose the targets are."""

    user_ids: list[str]
    users_M: npt.NDArray[np.int64]
    positions_M: npt.NDArray[np.int64]
    item_ids: list[str]
    ranks: dict[str, dict[str, Ranks]]

    @property
    def head(self) -> str:
        """The system that heads tables."""
        return next(iter(self.ranks))

    @classmethod
    def from_ranks(
        cls, histories: Histories, targets: Targets, catalog_ids: Sequence[str], ranks: Mapping[str, dict[str, Ranks]]
    ) -> TargetRanks:
        """Put ranks beside who and what they are of."""
        items = [catalog_ids[row] for row in histories.target_items(targets)]
        users = [histories.user_ids[user] for user in targets.users]
        return cls(users, targets.users, targets.positions, items, dict(ranks))

    def save(self, path: Path) -> None:
        """Write one row a target: user_id, position, item_id, and for each system and way ``…_ahead``, ``…_tied``."""
        columns: dict[str, object] = {"user_id": self.user_ids, "position": self.positions_M, "item_id": self.item_ids}
        for system, ways in self.ranks.items():
            for way, ranks in ways.items():
                columns[f"{system}.{way}_ahead"], columns[f"{system}.{way}_tied"] = ranks.ahead_M, ranks.tied_M
        write_table(pl.DataFrame(columns), path)

    @classmethod
    def load(cls, path: Path) -> TargetRanks:
        """Read what `save` wrote."""
        table = read_table(check_file(path))
        ranks: dict[str, dict[str, Ranks]] = {}
        for column in table.columns:
            if column.endswith("_ahead"):
                name = column.removesuffix("_ahead")
                system, way = name.rsplit(".", 1)
                ahead, tied = (
                    table[column].to_numpy().astype(np.int64),
                    table[f"{name}_tied"].to_numpy().astype(np.int64),
                )
                ranks.setdefault(system, {})[way] = Ranks(ahead, tied)
        user_ids = table["user_id"].to_list()
        # Numbered in the order of the rows, as they were before saving, so that the bootstrap draws the same users.
        numbers = {user: number for number, user in enumerate(dict.fromkeys(user_ids))}
        users_M = np.array([numbers[user] for user in user_ids], dtype=np.int64)
        positions_M = table["position"].to_numpy().astype(np.int64)
        return cls(user_ids, users_M, positions_M, table["item_id"].to_list(), ranks)

    def compute_figures(self, system: str, counting: str, ks: Sequence[int]) -> dict[str, Estimate]:
        """Return each metric of a system with its 95 % interval over users."""
        return bootstrap_intervals(compute_target_metrics(self.ranks[system][counting], ks), self.users_M)

    def compute_difference(self, system: str, other: str, counting: str, ks: Sequence[int]) -> dict[str, Estimate]:
        """Return system − other on these targets, with its paired 95 % interval over users."""
        return bootstrap_differences(
            self.compute_values(system, counting, ks), self.compute_values(other, counting, ks), self.users_M
        )

    def compute_values(self, system: str, counting: str, ks: Sequence[int]) -> dict[str, Float64Array]:
        """Return each metric of a system, a value a target [M]."""
        return compute_target_metrics(self.ranks[system][counting], ks)

    def check_same_targets(self, other: TargetRanks) -> None:
        """Raise `ArtifactError` when another run was not tested on the same targets."""
        mine, theirs = (
            list(zip(run.user_ids, run.positions_M.tolist(), run.item_ids, strict=True)) for run in (self, other)
        )
        if mine != theirs:
            raise ArtifactError(
                "The runs were tested on different targets (data, k-core or split differ), so they cannot be compared."
            )
