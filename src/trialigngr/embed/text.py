"""The enriched item text of Eq. 2: title, interests, brand, categories, description, caption.

Interests stand before the description, so that a cut at the encoder's 512 tokens does not lose them, unless they are
asked for at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trialigngr.catalog.items import Item
from trialigngr.embed.settings import TextOrder

MAX_PART_CHARACTERS = 20_000
"""Characters kept of any one part: far more than 512 tokens hold, and little enough that tokenizing stays quick."""
MAX_TITLE_CHARACTERS = 200
"""Characters kept of a title: at two tokens a character, the tags behind it are among the first 512. Where a script
takes more, gme and sentence-transformers make room for them (`fitting`)."""


def make_enriched_text(
    item: Item, tags: Sequence[str] = (), caption: str | None = None, text_order: TextOrder = "interests_first"
) -> str:
    """Return the text that is embedded, one part a line. Attributes never enter it: they carry other systems' work.

    An item without a title goes by brand, last category and id.
    """
    interests = "; ".join(tags)
    parts = (
        item.display_name[:MAX_TITLE_CHARACTERS],
        interests if text_order == "interests_first" else "",
        (item.brand or "")[:MAX_PART_CHARACTERS],
        ", ".join(item.categories)[:MAX_PART_CHARACTERS],
        (item.description or "")[:MAX_PART_CHARACTERS],
        (caption or "")[:MAX_PART_CHARACTERS],
        interests if text_order == "interests_last" else "",
    )
    lines = [" ".join(part.split()) for part in parts]
    return "\n".join(line for line in lines if line) or item.item_id


def trim_title(text: str, max_tokens: int, find_token_ends: Callable[[str], Sequence[int]]) -> str:
    """Return the text with its first line, the title, cut so far that the second, the tags, is read too.

    Of an encoder's tokens there is ``max_tokens`` for both; ``find_token_ends`` tells where in a text each of its
    tokens ends. The second line has what it takes of them, up to half; what comes behind is cut by the encoder.
    """
    title, newline, rest = text.partition("\n")
    places = find_token_ends(title) if rest else ()
    if len(places) <= max_tokens // 2:
        return text
    most = max(max_tokens // 2, max_tokens - len(find_token_ends(rest.partition("\n")[0])))
    if most >= len(places):
        return text
    kept = places[most - 1]
    # A letter may be several tokens, and the end of what is left may be read in more of them.
    while len(find_token_ends(title[:kept])) > most:
        kept -= 1
    return title[:kept] + newline + rest
