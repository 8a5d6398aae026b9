"""The enriched item text of Eq. 2: title, interests, brand, categories, description, caption.

Interests stand before the description, so that a cut at the encoder's 512 tokens can never lose them.
"""

from __future__ import annotations

from collections.abc import Sequence

from trialigngr.catalog.items import Item

LONGEST = 20_000
"""Characters kept of any one part: far more than 512 tokens hold, and little enough that tokenizing stays quick."""
TITLE_LONGEST = 600
"""Characters kept of a title, brand or category list, which stand before or beside the tags."""


def enriched_text(item: Item, tags: Sequence[str] = (), caption: str | None = None) -> str:
    """Return the text that is embedded, one part a line. Attributes never enter it (paper.md §9.15 of the design).

    An item without a title goes by brand, last category and id.
    """
    parts = (
        item.name[:TITLE_LONGEST],
        "; ".join(tags),
        (item.brand or "")[:TITLE_LONGEST],
        ", ".join(item.categories)[:TITLE_LONGEST],
        (item.description or "")[:LONGEST],
        (caption or "")[:LONGEST],
    )
    return "\n".join(" ".join(part.split()) for part in parts if part and not part.isspace())
