"""`ShuffledEpochs`: which examples a step learns from, in passes over all of them."""

from __future__ import annotations

import math

import numpy as np

from trialigngr.catalog.queries import Rows
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.seeds import derive_seed


class ShuffledEpochs:
    """Passes over ``num_examples``, each in an order of its own that follows from ``seed``, ``name`` and its number.

    Raises `CatalogError` where there are no examples; ``name`` is that of a system, which the message says.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int, name: str) -> None:
        if not num_examples:
            raise CatalogError(
                f"{name} learns what follows what, and no user has two items in the training part; leave it out "
                "of evaluate.systems, or give longer histories."
            )
        self.num_examples, self.batch_size, self.seed, self.name = num_examples, batch_size, seed, name
        self.steps_per_epoch = math.ceil(num_examples / batch_size)
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def choose_examples(self, step: int) -> Rows:
        """Return the numbers of a step's examples."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = np.random.default_rng(derive_seed(self.seed, self.name, epoch)).permutation(self.num_examples)
            self._epoch = epoch
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]
