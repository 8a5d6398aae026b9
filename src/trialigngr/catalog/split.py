"""Splits, each as two cuts of every user's sequence: where validation begins, and where test begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Rows

Cuts = tuple[Rows, Rows]
"""``valid_from`` and ``test_from`` [U], positions within each user's sequence."""


def leave_last(lengths: Rows, last: int) -> Cuts:
    """Cut off the last n for test and the n before for validation, n = ``min(last, (length - 1) // 2)``.

    So at least one interaction is left to train on, and a user with fewer than three is in training only.
    """
    n = np.minimum(last, (lengths - 1) // 2)
    return lengths - 2 * n, lengths - n


def global_temporal(users: npt.NDArray[Any], times: npt.NDArray[Any], n_users: int, valid: float, test: float) -> Cuts:
    """Cut everybody at the same two moments: those at which shares ``valid`` + ``test`` and ``test`` of all n are left.

    What happens at the very moment of a cut is after it: nothing that is trained on happened later than, or at the same
    time as, what is tested.
    """
    in_time = np.sort(times)
    places = [int(len(times) * (1 - valid - test) + 1e-9), int(len(times) * (1 - test) + 1e-9)]
    moments = in_time[np.minimum(places, len(times) - 1)]
    valid_from, test_from = (np.bincount(users[times < moment], minlength=n_users) for moment in moments)
    return valid_from.astype(np.int64), test_from.astype(np.int64)
