"""The settings of the baselines that only count."""

from __future__ import annotations

from pydantic import Field

from trialigngr.foundation.config import Settings


class CoOccurrenceSettings(Settings):
    """What counts as taken soon after an item."""

    window_size: int = Field(3, ge=1, le=100)
    """So many items after it do, the nearer the more."""
