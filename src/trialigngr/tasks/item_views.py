"""`ItemViews`: every item in every view, encoded once, and only when a view is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trialigngr.catalog.items import Catalog
from trialigngr.sids.semantic_ids import END_CODE, SemanticIds, list_sid_tokens
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.task import View
from trialigngr.tasks.token_lists import TokenLists

if TYPE_CHECKING:
    import polars as pl

LETTERS = 256
"""More than any token has."""
TEXTS_AT_ONCE = 1024
"""Texts that are encoded together: what a tokenizer returns of a text takes some twenty times the memory of its ids."""


class _EncodedViews(dict[View, TokenLists]):
    """Token ids by view. A view that is not there yet is encoded; two threads that ask at once encode it twice."""

    def __init__(self, encoders: Mapping[View, Callable[[], TokenLists]]) -> None:
        super().__init__()
        self._encoders = encoders

    def __missing__(self, view: View) -> TokenLists:
        return self.setdefault(view, self._encoders[view]())


@dataclass(frozen=True)
class ItemViews:
    """Token ids of N items by view; none where an item does not have the view.

    ``separator_ids`` stands after each item of a history.
    """

    token_ids: Mapping[View, TokenLists]
    separator_ids: dict[View, list[int]]

    def count_distinct_lengths(self, view: View) -> int:
        """Return how many different lengths the items have in a view."""
        return int(np.count_nonzero(np.bincount(self.token_ids[view].lengths)[1:]))

    def count_missing(self, view: View) -> int:
        """Return how many items lack a view."""
        return int(np.count_nonzero(self.token_ids[view].lengths == 0))


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
    """Return titles and captions (cut at ``max_tokens`` tokens) and SIDs (one token a code), each encoded when it is
    first asked for."""
    encoders = {
        View.SID: lambda: _encode_sids(sids, chat_template),
        View.TITLE: lambda: _encode_texts(catalog.table["title"], chat_template, max_tokens[View.TITLE]),
        View.VISUAL: lambda: _encode_texts(captions, chat_template, max_tokens[View.VISUAL]),
    }
    newline = chat_template.encode(["\n"])[0]
    return ItemViews(_EncodedViews(encoders), {View.SID: [], View.TITLE: newline, View.VISUAL: newline})


def _encode_sids(sids: SemanticIds, chat_template: ChatTemplate) -> TokenLists:
    vocabulary = chat_template.tokenizer.get_vocab()
    token_by_code = np.array([vocabulary[token] for token in list_sid_tokens(sids.codebook_sizes)])
    first_L = np.cumsum([0, *sids.codebook_sizes[:-1]])
    written_NL = sids.codes_NL != END_CODE
    return TokenLists.from_lengths(token_by_code[(sids.codes_NL + first_L)[written_NL]], written_NL.sum(1))


def _encode_texts(texts: Sequence[str | None] | pl.Series, chat_template: ChatTemplate, max_tokens: int) -> TokenLists:
    def encode_chunks() -> Iterator[list[list[int]]]:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            # No token is as long as this: what lies behind as many of them would be encoded only to be cut off.
            chunk = (collapse_whitespace(text or "") for text in texts[start : start + TEXTS_AT_ONCE])
            encoded = chat_template.encode([text[: max_tokens * LETTERS] for text in chunk])
            yield [ids if len(ids) <= max_tokens else ids[:max_tokens] for ids in encoded]

    return TokenLists.from_chunks(encode_chunks())
