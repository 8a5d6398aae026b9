"""What can be wrong with what a user hands to this room."""

from __future__ import annotations

from trialigngr.foundation.errors import TriAlignError


class SidError(TriAlignError):
    """Embeddings, codes or a quantizer that cannot be used as they are."""
