"""`Prior`: what is known of the items beside the generator, such as counts or another system's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trialigngr.decode.filters import Rows
from trialigngr.foundation.errors import ArgumentError

PriorForm = Literal["linear", "geometric"]


@dataclass(frozen=True, eq=False)
class Prior:
    """Item weights, mixed with the generator's probabilities by ``mixing_weight`` λ in [0, 1).

    ``weights`` are nonnegative numbers: of the items ``rows``, all others having none, or of all items of the catalogue
    where ``rows`` is None. q is their share in the weights of all items that the request's filter lets, Q(prefix) the
    sum of q over the items below a prefix of SIDs. A prefix scores
    - ``linear``: log((1 − λ) P(prefix) + λ Q(prefix)), the log-probability under a mixture of both;
    - ``geometric``: (1 − λ) log P(prefix) + λ log max(Q(prefix), floor / N) for N items in the catalogue, which is not
      normalised again. The floor keeps items without weight possible: they count as ``floor`` of an even share.

    Where the filter lets no item that has weight, λ is 0. Raises `ArgumentError` for numbers that cannot be.
    """

    weights: npt.NDArray[Any]
    mixing_weight: float
    rows: Rows | None = None
    form: PriorForm = "linear"
    floor: float = 1e-3

    def __post_init__(self) -> None:
        for name, given, kinds in (("weights", self.weights, "biuf"), ("rows", self.rows, "iu")):
            flat = isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind in kinds
            if not (flat or (name == "rows" and given is None)):
                raise ArgumentError(f"A prior's {name} are {type(given).__name__}; give a flat array of numbers.")
        if not (isinstance(self.mixing_weight, Real) and 0 <= self.mixing_weight < 1):
            raise ArgumentError(
                f"mixing_weight = {self.mixing_weight}: it must be at least 0 and below 1, so that every item stays "
                "possible."
            )
        if self.form not in ("linear", "geometric"):
            raise ArgumentError(f"form = {self.form!r}: a prior is linear or geometric.")
        if not 0 < self.floor <= 1:
            raise ArgumentError(f"floor = {self.floor}: it must be above 0, and at most 1.")
        if self.rows is not None and self.rows.shape != self.weights.shape:
            raise ArgumentError(f"A prior has {len(self.weights)} weights for {len(self.rows)} rows.")
        if not (np.isfinite(self.weights.sum(dtype=np.float64)) and (self.weights >= 0).all()):
            raise ArgumentError("A prior's weights must be finite numbers, none of them negative.")


Priors: TypeAlias = Sequence[Prior | None] | None
"""One prior a request; None leaves the generator alone."""
