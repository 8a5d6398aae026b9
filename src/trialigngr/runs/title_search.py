"""Titles as paths of a trie: the model can only write the title of an item that exists."""

from __future__ import annotations

from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.causal_model import CausalModel
from trialigngr.decode.settings import DecodeSettings
from trialigngr.models.backbone import Backbone
from trialigngr.sids.semantic_ids import END_CODE, Codes
from trialigngr.sids.trie import Trie
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.item_views import ItemViews
from trialigngr.tasks.task import View


def encode_title_paths(views: ItemViews) -> Codes:
    """Return the titles' token ids [N, longest title], with `END_CODE` behind; nothing but `END_CODE` where there is
    none."""
    return views.token_ids[View.TITLE].pad(END_CODE)


def build_title_search(
    backbone: Backbone, views: ItemViews, chat: ChatTemplate, settings: DecodeSettings
) -> BeamSearch:
    """Return beam search over all titles, normalised over the catalogue.

    So the probabilities of all titles sum to one, a long title is no worse than a short one, and the model is asked
    only until a title is told apart from all others.
    """
    codes_NL = encode_title_paths(views)
    every_token = [list(range(backbone.model.config.vocab_size))] * codes_NL.shape[1]
    trie = Trie.from_codes(codes_NL)
    model = CausalModel(backbone.model, backbone.items)
    return BeamSearch(model, trie, every_token, chat.assistant_suffix[0], "constrained", settings.precision)
