"""Every method by name. A new one: a file here with its `fit`, its settings in `settings.py`, and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import did_you_mean
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.quantizer import Quantizer

METHODS = ("rqvae", "rqkmeans", "rqkmeans_balanced", "rqkmeans_plus", "opq", "fsq", "letter", "macrec")
"""Names of methods; each is a module here."""
AUXILIARY_INPUTS = {
    "letter": "collaborative item vectors (from a recommender trained on the training part)",
    "macrec": "the other modality's embeddings (pictures)",
}
"""Methods that look at a second table of vectors, and at which."""


class FitQuantizer(Protocol):
    """How a method fits: N ≥ max(sizes) vectors in, a quantizer with codebooks of (at most) ``sizes`` out."""

    def __call__(
        self,
        vectors_ND: Float32Array,
        sizes: tuple[int, ...],
        settings: Settings,
        seed: int,
        auxiliary_NC: Float32Array | None = None,
    ) -> Quantizer:
        """Return the fitted quantizer."""


def load_fit_function(name: str) -> FitQuantizer:
    """Return a method's `fit`; raise `SidError` with the nearest known name."""
    if name not in METHODS:
        raise SidError(f"There is no quantizer {name!r}; known are {', '.join(METHODS)}.{did_you_mean(name, METHODS)}")
    return cast(FitQuantizer, import_module(f"trialigngr.sids.quantizers.{name}").fit)
