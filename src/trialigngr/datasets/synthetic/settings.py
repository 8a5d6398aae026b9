"""The settings of the drawn shop."""

from __future__ import annotations

from pydantic import Field

from trialigngr.foundation.config import Settings


class ShopSettings(Settings):
    """What the shop is drawn from. The same settings give the same bytes."""

    seed: int = 0
    """Everything random in the shop follows from it."""
    num_items: int = Field(default=384, ge=16)
    """How many products there are."""
    num_shoppers: int = Field(default=1500, ge=1)
    """How many people shop; each takes 8 to 14 items."""
    shuffle_visuals: bool = False
    """Paint the pictures in looks that were shuffled among the items after the log was made: a control."""
    shuffle_interests: bool = False
    """Write the descriptions for interests that were shuffled among the items after the log was made: a control."""
