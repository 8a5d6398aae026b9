"""The k-core: every user and every item that stays has at least k interactions with those that stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def find_k_core(users: npt.NDArray[Any], items: npt.NDArray[Any], k: int) -> npt.NDArray[np.int64]:
    """Return the places of the interactions that the k-core keeps, ascending. Each interaction counts, repeats too.

    Dropping a user can leave an item with too few and the other way round, so it goes on until nothing more falls.
    """
    kept = np.arange(len(users))
    while True:
        users_kept, items_kept = users[kept], items[kept]
        enough = (np.bincount(users_kept) >= k)[users_kept] & (np.bincount(items_kept) >= k)[items_kept]
        if enough.all():
            return kept
        kept = kept[enough]
