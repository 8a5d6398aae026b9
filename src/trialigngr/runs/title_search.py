"""Titles as paths of a trie: the model can only write the title of an item that exists."""

from __future__ import annotations

from typing import Any

import numpy as np

from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.recommend import DecodeSettings
from trialigngr.sids.semantic_ids import END, Codes
from trialigngr.sids.trie import Trie
from trialigngr.tasks.chat import Chat
from trialigngr.tasks.task import View
from trialigngr.tasks.views import ItemViews


def title_codes(views: ItemViews) -> Codes:
    """Return the titles' token ids [N, longest title], with `END` behind; nothing but `END` where there is none."""
    titles = views.ids[View.TITLE]
    codes_NL = np.full((len(titles), max([1, *map(len, filter(None, titles))])), END, dtype=np.int32)
    for row, title in enumerate(titles):
        codes_NL[row, : len(title or ())] = title or ()
    return codes_NL


def title_search(model: Any, views: ItemViews, chat: Chat, settings: DecodeSettings) -> BeamSearch:
    """Return beam search over all titles, normalised over the catalogue.

    So the probabilities of all titles sum to one, a long title is no worse than a short one, and the model is asked
    only until a title is told apart from all others.
    """
    codes_NL = title_codes(views)
    every_token = [list(range(model.config.vocab_size))] * codes_NL.shape[1]
    trie = Trie.from_codes(codes_NL)
    return BeamSearch(model, trie, every_token, chat.close[0], "catalogue", settings.precision)
