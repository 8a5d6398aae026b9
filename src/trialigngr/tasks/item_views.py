"""`ItemViews`: every item in every view, encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trialigngr.catalog.items import Catalog
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.task import View

TokenIds = list[int]
LETTERS = 256
"""More than any token has."""


@dataclass(frozen=True)
class ItemViews:
    """Token ids of N items by view; ``None`` where an item does not have the view.

    ``separator_ids`` stands after each item of a history.
    """

    token_ids: dict[View, list[TokenIds | None]]
    separator_ids: dict[View, TokenIds]

    def has_view(self, view: View, row: int) -> bool:
        """Return whether an item has a view."""
        return self.token_ids[view][row] is not None

    def count_distinct_lengths(self, view: View) -> int:
        """Return how many different lengths the items have in a view."""
        return len({len(ids) for ids in self.token_ids[view] if ids is not None})

    def count_missing(self, view: View) -> int:
        """Return how many items lack a view."""
        return sum(ids is None for ids in self.token_ids[view])


def collapse_whitespace(text: str) -> str:
    """Return the text with every run of white space made one blank."""
    return " ".join(text.split())


def encode_views(
    catalog: Catalog,
    sids: SemanticIds,
    captions: Sequence[str | None],
    chat_template: ChatTemplate,
    max_tokens: dict[View, int],
) -> ItemViews:
    """Encode titles and captions (cut at ``max_tokens`` tokens) and SIDs (one token a code)."""
    vocabulary = chat_template.tokenizer.get_vocab()
    texts = {
        View.TITLE: [item.title for item in catalog],
        View.VISUAL: list(captions),
    }
    ids: dict[View, list[TokenIds | None]] = {
        View.SID: [[vocabulary[token] for token in sids.item_tokens(row)] for row in range(len(sids))],
    }
    for view, column in texts.items():
        # No token is as long as this: what lies behind as many of them would be encoded only to be cut off.
        encoded = chat_template.encode(
            [collapse_whitespace(text or "")[: max_tokens[view] * LETTERS] for text in column]
        )
        ids[view] = [tokens[: max_tokens[view]] or None for tokens in encoded]
    newline = chat_template.encode(["\n"])[0]
    return ItemViews(ids, {View.SID: [], View.TITLE: newline, View.VISUAL: newline})
