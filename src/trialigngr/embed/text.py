"""The enriched item text of Eq. 2: title, interests, brand, categories, description, caption.

Interests stand before the description, so that a cut at the encoder's 512 tokens can never lose them.
"""

from __future__ import annotations

from collections.abc import Sequence

from trialigngr.catalog.items import Item

LONGEST = 20_000
"""Characters kept of any one part: far more than 512 tokens hold, and little enough that tokenizing stays quick."""
TITLE_LONGEST = 200
"""Characters kept of a title: even at two tokens a character, the tags behind it are among the first 512."""


def enriched_text(item: Item, tags: Sequence[str] = (), caption: str | None = None) -> str:
    """Return the text that is embedded, one part a line. Attributes never enter it: they carry other systems' work.

    An item without a title goes by brand, last category and id.
    """
    parts = (
        item.name[:TITLE_LONGEST],
        "; ".join(tags),
        (item.brand or "")[:LONGEST],
        ", ".join(item.categories)[:LONGEST],
        (item.description or "")[:LONGEST],
        (caption or "")[:LONGEST],
    )
    lines = [" ".join(part.split()) for part in parts]
    return "\n".join(line for line in lines if line) or item.item_id
