"""`ItemText`: what a generator may read of an item (Eq. 1, with its categories), in parts and as one text."""

from __future__ import annotations

from trialigngr.catalog.items import Item
from trialigngr.llm.generator import ItemText


def make_item_text(item: Item, caption: str | None) -> ItemText:
    """Return t~ of an item; one without a title goes by brand, last category and id."""
    return ItemText(item.display_name, ", ".join(item.categories), item.description or "", caption or "")
