"""`ItemViews`: every item in every view, encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trialigngr.catalog.items import Catalog
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.tasks.chat import Chat
from trialigngr.tasks.task import View

Ids = list[int]
LETTERS = 256
"""More than any token has."""


@dataclass(frozen=True)
class ItemViews:
    """Token ids of N items by view; ``None`` where an item does not have the view.

    ``separator`` stands after each item of a history.
    """

    ids: dict[View, list[Ids | None]]
    separator: dict[View, Ids]

    def has(self, view: View, row: int) -> bool:
        """Say whether an item has a view."""
        return self.ids[view][row] is not None

    def lengths(self, view: View) -> int:
        """Return how many different lengths the items have in a view."""
        return len({len(ids) for ids in self.ids[view] if ids is not None})

    def missing(self, view: View) -> int:
        """Return how many items lack a view."""
        return sum(ids is None for ids in self.ids[view])


def one_line(text: str) -> str:
    """Return the text with every run of white space made one blank."""
    return " ".join(text.split())


def encode_views(
    catalog: Catalog, sids: SemanticIds, captions: Sequence[str | None], chat: Chat, limits: dict[View, int]
) -> ItemViews:
    """Encode titles and captions (cut at ``limits`` tokens) and SIDs (one token a code)."""
    vocabulary = chat.tokenizer.get_vocab()
    texts = {
        View.TITLE: [item.title for item in catalog],
        View.VISUAL: list(captions),
    }
    ids: dict[View, list[Ids | None]] = {
        View.SID: [[vocabulary[token] for token in sids.tokens(row)] for row in range(len(sids))],
    }
    for view, column in texts.items():
        # No token is as long as this: what lies behind as many of them would be encoded only to be cut off.
        encoded = chat.encode([one_line(text or "")[: limits[view] * LETTERS] for text in column])
        ids[view] = [tokens[: limits[view]] or None for tokens in encoded]
    newline = chat.encode(["\n"])[0]
    return ItemViews(ids, {View.SID: [], View.TITLE: newline, View.VISUAL: newline})
