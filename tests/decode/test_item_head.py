"""The item head mixed into beam search, and counts over both, against brute force; and tokens that name items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.decoding import TOKENS_LK, catalogue, prompts, search, tiny
from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.causal_model import CausalModel
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.decode.filters import Filter, as_filter
from trialigngr.decode.generative_recommender import GenerativeRecommender
from trialigngr.decode.prior import Prior
from trialigngr.decode.settings import DecodeSettings
from trialigngr.foundation.errors import RecipeError
from trialigngr.models.item_layer import ItemLayer
from trialigngr.models.settings import ItemSettings
from trialigngr.sids.semantic_ids import END_CODE

N, ITEMS_WEIGHT = 40, 0.4
ASKED = prompts((5, 3, 8))
COUNTS = Prior(np.array([3.0, 1.0, 2.0, 5.0]), 0.3, np.array([4, 30, 7, 22]))
PRIORS = [COUNTS, None, Prior(np.linspace(0, 2, N), 0.5)]
FILTERS = [Filter(np.arange(4, 12)), Filter(np.arange(3), np.arange(0, N, 2)), None]
HEAD_DN = torch.from_numpy(np.random.default_rng(5).standard_normal((32, N)).astype(np.float32))


def head(last_BD: Tensor) -> Tensor:
    return (last_BD @ HEAD_DN).softmax(-1)


@pytest.fixture(scope="module")
def beam() -> BeamSearch:
    codes_NL = catalogue(N, 8, unequal=True)
    codes_NL[20:26] = codes_NL[10]
    return search(tiny("qwen"), codes_NL, "constrained")


def share(weights_N: np.ndarray, given: Filter | None) -> np.ndarray:
    kept_N = weights_N * as_filter(given).is_allowed(np.arange(N))
    return kept_N / kept_N.sum() if kept_N.sum() else kept_N


def mix_by_hand(beam: BeamSearch, place: int, prior: Prior | None, given: Filter | None) -> list[np.ndarray]:
    """Return (1 − λ) ((1 − λ_h) P + λ_h P_head) + λ q of every node, depth by depth; 0 for what a filter lets not."""
    leaf_N = beam.trie.node_of_item[-1]
    p_M = np.exp(compute_exact_scores(beam, [ASKED[place]])[0].astype(np.float64))
    with torch.inference_mode():
        h_N = head(beam.model.start([ASKED[place]], 1).last_BD)[0].double().numpy()
    found = []
    for depth, level in enumerate(beam.trie.levels):
        of_item, size = beam.trie.node_of_item[depth], len(level)
        node_of_leaf = np.empty(len(p_M), dtype=np.int64)
        node_of_leaf[leaf_N] = of_item
        mixed_M = (1 - ITEMS_WEIGHT) * np.bincount(node_of_leaf, p_M, size)
        mixed_M += ITEMS_WEIGHT * np.bincount(of_item, share(h_N, given), size)
        if prior is not None:
            weights_N = np.zeros(N)
            weights_N[slice(None) if prior.rows is None else prior.rows] = prior.weights
            q_N = share(weights_N, given)
            mixing = prior.mixing_weight if q_N.any() else 0.0
            mixed_M = (1 - mixing) * mixed_M + mixing * np.bincount(of_item, q_N, size)
        found.append(mixed_M * (np.bincount(of_item, as_filter(given).is_allowed(np.arange(N)), size) > 0))
    return found


def search_by_hand(beam: BeamSearch, mixed: list[np.ndarray], width: int) -> list[int]:
    nodes = np.arange(len(beam.trie.levels[0]))
    for depth, mixed_M in enumerate(mixed):
        if depth:
            starts = beam.trie.levels[depth - 1].child_starts
            nodes = np.concatenate([np.arange(starts[node], starts[node + 1]) for node in nodes])
        nodes = nodes[mixed_M[nodes] > 0]
        nodes = nodes[np.argsort(-mixed_M[nodes], kind="stable")][:width]
    return nodes.tolist()


@pytest.mark.parametrize("width", [3, 8, N])
@pytest.mark.parametrize("filters", [None, FILTERS])
@pytest.mark.parametrize("priors", [None, PRIORS])
def test_the_search_is_over_the_mixture(
    beam: BeamSearch, width: int, filters: list[Filter | None] | None, priors: list[Prior | None] | None
) -> None:
    found = beam.with_item_head(head, ITEMS_WEIGHT)(ASKED, width, filters, priors)
    assert (found.prior_shares_BW is None) == (priors is None)
    for b in range(len(ASKED)):
        prior, given = None if priors is None else priors[b], None if filters is None else filters[b]
        mixed = mix_by_hand(beam, b, prior, given)
        leaves = search_by_hand(beam, mixed, width)
        assert found.leaves_BW[b].tolist() == leaves + [-1] * (width - len(leaves))
        assert np.abs(np.exp(found.scores_BW[b, : len(leaves)]) - mixed[-1][leaves]).max() < 1e-5


def test_without_weight_it_is_the_search_without(beam: BeamSearch) -> None:
    usual, mixed = beam(ASKED, 8, None, PRIORS), beam.with_item_head(head, 0.0)(ASKED, 8, None, PRIORS)
    for name, values in vars(usual).items():
        assert np.array_equal(getattr(mixed, name), values), name


def test_the_parts_of_a_list(beam: BeamSearch) -> None:
    settings = DecodeSettings(num_beams=8)
    plain = GenerativeRecommender(beam, lambda rows: ASKED[int(rows[0])], settings)
    histories = [np.array([place]) for place in range(len(ASKED))]
    found = plain.with_item_head(head, ITEMS_WEIGHT).decode_beams(histories, None, PRIORS)
    for ranking, prior in zip(plain.rank_items(found, 5), PRIORS, strict=True):
        assert ranking.generator_scores is not None
        assert ranking.item_shares is not None
        assert ranking.prior_shares is not None
        parts = (1 - ITEMS_WEIGHT) * np.exp(ranking.generator_scores) + ITEMS_WEIGHT * ranking.item_shares
        mixing = prior.mixing_weight if prior else 0
        assert np.exp(ranking.scores) == pytest.approx((1 - mixing) * parts + mixing * ranking.prior_shares, rel=1e-4)
    assert plain.decode_beams(histories).item_shares_BW is None
    with pytest.raises(RecipeError, match=r"An item head needs decode.score_softmax = constrained"):
        beam.with_score_softmax("full").with_item_head(head, 0.5)(ASKED, 8)


def test_a_prompt_that_names_items_is_read_as_their_tokens_with_their_vectors() -> None:
    model, codes_NL = tiny("qwen"), catalogue(N, 8)
    codes_NL[3, 2] = END_CODE
    last_N = torch.tensor([TOKENS_LK[2][code] if code >= 0 else 1 for code in codes_NL[:, 2].tolist()])
    items = ItemLayer(ItemSettings(hidden_size=4), 32, N, torch.randn(N, 6), last_N).eval()
    named, usual = [2, 3, ~7, 4, ~9], [2, 3, int(last_N[7]), 4, int(last_N[9])]
    with torch.inference_mode():
        plain = CausalModel(model).start([usual, usual[:3]], 1).last_BD
        assert torch.equal(CausalModel(model, items).start([named, named[:3]], 1).last_BD, plain)
        torch.nn.init.normal_(items.shown.weight)
        embedded = model.get_input_embeddings()(torch.tensor([usual]))
        embedded[0, [2, 4]] += items.shown(items.find_vectors(torch.tensor([7, 9])))
        wanted = model.base_model(inputs_embeds=embedded).last_hidden_state[:, -1]
        found = CausalModel(model, items).start([named], 1).last_BD
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, plain[:1], atol=1e-3)
