"""Whether what a user already took may stand in lists: by a rule, or by how often the log repeats."""

from __future__ import annotations

from dataclasses import dataclass

from trialigngr.catalog.histories import Histories
from trialigngr.evaluate.settings import SeenItems
from trialigngr.evaluate.target_ranks import ITEM, SEEN_MASKED

MAX_REPEAT_SHARE = 0.01
"""A log in which a smaller share of the training targets repeats is one where nobody takes a thing twice."""
_MASKED = "masked"


@dataclass(frozen=True)
class SeenItemsRule:
    """What a setting says of a log: whether seen items are left out of the figures that head tables, and of what is
    recommended; and the choice in words, as the protocol has it."""

    masks_tables: bool
    masks_recommendations: bool
    description: str

    @classmethod
    def from_log(cls, chosen: SeenItems | None, histories: Histories) -> SeenItemsRule:
        """Return what a setting means for a log, by its training part."""
        if chosen is None:
            return cls(False, True, "not masked (masked beside)")
        masks, why = chosen == "mask", ""
        if chosen == "as the log":
            targets, repeated = histories.count_train_repeats()
            masks = repeated < MAX_REPEAT_SHARE * targets or not targets
            why = f" as the log: {repeated:,} of {targets:,} training targets repeat"
        says = f"{_MASKED}{why} (not masked beside)" if masks else f"not masked{why} (masked beside)"
        return cls(masks, masks, says)


def find_head_counting(seen_items: str) -> str:
    """Return the way of counting that heads a table, from what its protocol says of seen items."""
    return SEEN_MASKED if seen_items.startswith(_MASKED) else ITEM
