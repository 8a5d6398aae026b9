"""`ItemText`: what a generator may read of an item (Eq. 1, with its categories), in parts and as one text."""

from __future__ import annotations

from typing import NamedTuple

from trialigngr.catalog.items import Item


class ItemText(NamedTuple):
    """The parts of t~ (Eq. 1). Attributes of an item never come here."""

    title: str
    categories: str = ""
    description: str = ""
    caption: str = ""

    def __str__(self) -> str:
        return "\n".join(part for part in self if part)


def make_item_text(item: Item, caption: str | None) -> ItemText:
    """Return t~ of an item; one without a title goes by brand, last category and id."""
    return ItemText(item.display_name, ", ".join(item.categories), item.description or "", caption or "")
