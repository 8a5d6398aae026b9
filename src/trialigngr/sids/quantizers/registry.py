"""Every quantizer by name. A new one: its file in this folder, and a line here."""

from __future__ import annotations

from importlib import import_module

from trialigngr.foundation.errors import did_you_mean
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.protocol import Quantizer

QUANTIZERS = {
    "rqvae": "RqVae",
    "rqkmeans": "RqKMeans",
}
"""Name (also the module's) → class."""


def quantizer_class(name: str) -> type[Quantizer]:
    """Return the class of a quantizer; raise `SidError` with the nearest known name."""
    if name not in QUANTIZERS:
        raise SidError(f"There is no quantizer {name!r}; known are {', '.join(QUANTIZERS)}.{did_you_mean(name, QUANTIZERS)}")
    found: type[Quantizer] = getattr(import_module(f"trialigngr.sids.quantizers.{name}"), QUANTIZERS[name])
    return found
