"""Splits, each as two cuts of every user's sequence: where validation begins, and where test begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.queries import Rows
from trialigngr.foundation.errors import CatalogError

SplitPoints = tuple[Rows, Rows]
"""``valid_from`` and ``test_from`` [U], positions within each user's sequence."""


def split_leave_last(lengths: Rows, leave_last_n: int) -> SplitPoints:
    """Cut off the last n for test and the n before for validation, n = ``min(last, (length - 1) // 2)``.

    So at least one interaction is left to train on, and a user with fewer than three is in training only.
    """
    n = np.minimum(leave_last_n, (lengths - 1) // 2)
    return lengths - 2 * n, lengths - n


def split_global_temporal(
    users: npt.NDArray[Any], times: npt.NDArray[Any], n_users: int, valid_share: float, test_share: float
) -> SplitPoints:
    """Cut everybody at the same two moments: those at which shares ``valid_share`` + ``test_share`` and ``test_share``
    of all n are left.

    What happens at the very moment of a cut is after it: nothing that is trained on happened later than, or at the same
    time as, what is tested.
    """
    in_time = np.sort(times)
    places = [int(len(times) * (1 - valid_share - test_share) + 1e-9), int(len(times) * (1 - test_share) + 1e-9)]
    moments = in_time[np.minimum(places, len(times) - 1)]
    valid_from, test_from = (np.bincount(users[times < moment], minlength=n_users) for moment in moments)
    return valid_from.astype(np.int64), test_from.astype(np.int64)


def check_testable(split: str, users: int, facts: dict[str, int]) -> None:
    """Raise `CatalogError` that says why no model could be chosen or tested; ``facts`` are the counts of a split."""
    lacking = [
        part
        for part, without in (("valid", facts["users_not_validated"]), ("test", facts["users_not_tested"]))
        if without == users
    ]
    if not lacking:
        return
    part = {"valid": "validation", "test": "test"}[lacking[0]]
    if split == "leave-last":
        why = "leave-last takes three interactions of a user, and nobody has as many; give longer histories"
    elif facts[lacking[0]]:
        why = (
            f"all {facts[lacking[0]]:,} interactions of that time are the first of their user, so there is no history "
            "to predict them from; take larger catalog.valid_ratio and catalog.test_ratio, or catalog.split=leave-last"
        )
    else:
        why = (
            "so many interactions share one time that the cuts of global-temporal fall on the same moment; give finer "
            "timestamps, other catalog.valid_ratio and catalog.test_ratio, or catalog.split=leave-last"
        )
    raise CatalogError(f"No user has an item for {part}, so no model can be chosen and tested: {why}.")
