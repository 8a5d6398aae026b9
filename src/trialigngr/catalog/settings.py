"""The settings of the catalogue."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.images.settings import ImageSettings


class CatalogSettings(Settings):
    """What of a data folder is used, and how it is split."""

    column_map: dict[str, str] = Field(default_factory=dict)
    """Their column names → ours, for both files: ``{asin = "item_id", reviewerID = "user_id"}``."""
    incomplete_rows: Literal["error", "drop"] = "error"
    """Rows without an id, and interactions without an order (null, NaN, empty): an error, or dropped and counted."""
    unknown_items: Literal["error", "drop"] = "error"
    """Interactions that name an item the items file does not have: an error, or dropped and counted."""
    min_rating: float | None = None
    """Keep interactions with at least this rating; the rest, and those without a rating, are dropped and counted."""
    duplicates: Literal["keep", "keep_first"] = "keep"
    """Of a user's interactions with the same item keep all, or the first in time."""
    k_core: int = Field(default=5, ge=0)
    """Every user and item that stays has at least this many interactions; 0 and 1 keep everybody."""
    item_scope: Literal["interacted", "pictured", "all"] = "interacted"
    """Which items the catalogue holds: those that the log still names after the k-core; of these only items with a
    picture that opens, so that interactions with others leave before the k-core; or all of the items file."""
    split: Literal["leave-last", "global-temporal"] = "leave-last"
    """Test on each user's last interactions, or on everything after one moment (needs timestamps)."""
    leave_last_n: int = Field(default=1, ge=1)
    """leave-last: this many for test and as many before them for validation (fewer for short histories)."""
    valid_ratio: float = Field(default=0.1, gt=0, lt=0.5)
    """global-temporal: share of all interactions for validation."""
    test_ratio: float = Field(default=0.1, gt=0, lt=0.5)
    """global-temporal: share of all interactions for test, the latest ones."""
    images: ImageSettings = Field(default_factory=ImageSettings)
    """Which pictures are used, and how large."""
