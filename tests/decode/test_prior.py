"""Priors over the trie against brute force: a mixture of the generator's exact scores with shares that are summed by
hand, prefix by prefix."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.decoding import MODELS, catalogue, prompts, search
from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.decode.filters import Filter, as_filter
from trialigngr.decode.generative_recommender import GenerativeRecommender
from trialigngr.decode.prior import Prior
from trialigngr.decode.settings import DecodeSettings
from trialigngr.foundation.errors import ArgumentError, RecipeError

N = 40
ASKED = prompts((5, 3, 8))
Request = tuple[Prior | None, Filter | np.ndarray | None]


@lru_cache
def build_beam(name: str, seed: int) -> BeamSearch:
    """Return search over SIDs of which some are short and some shared."""
    codes_NL = catalogue(N, seed, unequal=True)
    codes_NL[20:26] = codes_NL[10]
    return search(MODELS[name](), codes_NL, "constrained")


@lru_cache
def score_exactly(beam: BeamSearch) -> np.ndarray:
    """Return the generator's score of each leaf after each prompt."""
    return compute_exact_scores(beam, ASKED).astype(np.float64)


@pytest.fixture
def beam() -> BeamSearch:
    return build_beam("qwen, trained", 8)


def shares_of_items(prior: Prior | None, given: Filter | np.ndarray | None) -> np.ndarray:
    """Return q of all items."""
    q_N = np.zeros(N)
    if prior is not None:
        rows = np.arange(N) if prior.rows is None else prior.rows
        np.add.at(q_N, rows, np.where(as_filter(given).is_allowed(rows), prior.weights, 0))
    return q_N / q_N.sum() if q_N.sum() else q_N


def mixed_scores(beam: BeamSearch, exact_M: np.ndarray, request: Request, depth: int) -> np.ndarray:
    """Return the mixed score of every prefix of a depth; −inf where a filter lets nothing."""
    prior, given = request
    of_item, of_leaf = beam.trie.node_of_item[depth], np.empty(len(exact_M), dtype=np.int64)
    of_leaf[beam.trie.node_of_item[-1]] = of_item
    size = len(beam.trie.levels[depth])
    p_M = np.bincount(of_leaf, np.exp(exact_M), minlength=size)
    q_N = shares_of_items(prior, given)
    q_M = np.bincount(of_item, q_N, minlength=size)
    allowed_M = np.bincount(of_item, as_filter(given).is_allowed(np.arange(N)), minlength=size) > 0
    if prior is None or not q_N.any():
        mixed_M = np.log(p_M)
    elif prior.form == "linear":
        mixed_M = np.log((1 - prior.mixing_weight) * p_M + prior.mixing_weight * q_M)
    else:
        floored_M = np.log(np.maximum(q_M, prior.floor / N))
        mixed_M = (1 - prior.mixing_weight) * np.log(p_M) + prior.mixing_weight * floored_M
    return np.where(allowed_M, mixed_M, -np.inf)


def brute_force(beam: BeamSearch, exact_M: np.ndarray, request: Request, width: int) -> tuple[list[int], np.ndarray]:
    """Return the leaves that a beam search over the mixture keeps, one prefix after the other, and their scores."""
    nodes = np.arange(len(beam.trie.levels[0]))
    for depth, level in enumerate(beam.trie.levels):
        scores_M = mixed_scores(beam, exact_M, request, depth)
        nodes = nodes[np.isfinite(scores_M[nodes])]
        nodes = nodes[np.argsort(-scores_M[nodes], kind="stable")][:width]
        if depth + 1 < len(beam.trie.levels):
            below = [np.arange(*level.child_starts[node : node + 2]) for node in nodes]
            nodes = np.concatenate([*below, np.empty(0, dtype=np.int64)])
    return nodes.tolist(), scores_M[nodes]


ROWS = st.lists(st.integers(0, N - 1), max_size=N, unique=True).map(lambda rows: np.array(sorted(rows), dtype=np.int64))
FILTERS = st.none() | ROWS | st.builds(Filter, ROWS, st.none() | ROWS)


@st.composite
def draw_prior(draw: st.DrawFn) -> Prior:
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    rows = draw(
        st.none() | st.lists(st.integers(0, N - 1), max_size=N).map(lambda rows: np.array(rows, dtype=np.int64))
    )
    weights = random.exponential(size=N if rows is None else len(rows)) ** 3
    weights[random.random(len(weights)) < draw(st.sampled_from([0, 0.5, 1]))] = 0
    mixing = draw(st.sampled_from([0.0, 0.1, 0.5, 0.97]))
    return Prior(
        weights, mixing, rows, draw(st.sampled_from(["linear", "geometric"])), draw(st.sampled_from([1e-3, 0.5]))
    )


REQUESTS = st.lists(st.tuples(st.none() | draw_prior(), FILTERS), min_size=len(ASKED), max_size=len(ASKED))


@settings(max_examples=120)
@given(
    name=st.sampled_from(["qwen, trained", "llama", "gpt2"]),
    seed=st.integers(0, 4),
    requests=REQUESTS,
    width=st.sampled_from([1, 3, 6, N]),
)
def test_equals_brute_force(name: str, seed: int, requests: list[Request], width: int) -> None:
    """Narrow beams too, so that every prefix is ranked by the mixture; and each request of a batch stands alone."""
    beam = build_beam(name, seed)
    exact = score_exactly(beam)
    found = beam(ASKED, width, [given for _, given in requests], [prior for prior, _ in requests])
    for b, request in enumerate(requests):
        leaves, scores = brute_force(beam, exact[b], request, width)
        assert found.leaves_BW[b].tolist() == leaves + [-1] * (width - len(leaves))
        assert found.scores_BW[b][: len(leaves)] == pytest.approx(scores, abs=1e-5)
        q_M = np.bincount(beam.trie.node_of_item[-1], shares_of_items(*request), minlength=exact.shape[1])
        shares = q_M[leaves] if request[0] is not None and request[0].mixing_weight else np.zeros(len(leaves))
        assert found.generator_scores_BW[b][: len(leaves)] == pytest.approx(exact[b, leaves], abs=1e-5)
        assert found.prior_shares_BW[b][: len(leaves)] == pytest.approx(shares, abs=1e-6)
        assert (found.prior_shares_BW[b][len(leaves) :] == 0).all()
        assert np.isneginf(found.generator_scores_BW[b][len(leaves) :]).all()


@settings(max_examples=40)
@given(requests=REQUESTS)
def test_a_batch_equals_single_calls(requests: list[Request]) -> None:
    beam = build_beam("qwen, trained", 8)
    together = beam(ASKED, 6, [given for _, given in requests], [prior for prior, _ in requests])
    for b, (prior, own) in enumerate(requests):
        alone = beam([ASKED[b]], 6, [own], [prior])
        assert together.leaves_BW[b].tolist() == alone.leaves_BW[0].tolist()
        assert together.scores_BW[b] == pytest.approx(alone.scores_BW[0], abs=1e-5)
        assert together.prior_shares_BW[b].tolist() == alone.prior_shares_BW[0].tolist()


def test_without_a_say_the_search_is_what_it_was_bit_for_bit(beam: BeamSearch) -> None:
    counts = np.random.default_rng(0).poisson(3.0, N)
    denied = np.flatnonzero(counts)[:30]
    usual = beam(ASKED, 6, [None, denied, None])
    assert usual.generator_scores_BW is None
    assert usual.prior_shares_BW is None
    idle = [Prior(counts, 0), Prior(counts[denied], 0.9, denied), None]  # of the second, the filter lets nothing
    for priors in (
        [None] * 3,
        idle,
        [*idle[:2], Prior(counts, 0.5)],
        [*idle[:2], Prior(counts, 0.5, form="geometric")],
    ):
        found = beam(ASKED, 6, [None, denied, None], priors)
        same = 2 if priors[2] else 3
        assert found.leaves_BW[:same].tolist() == usual.leaves_BW[:same].tolist()
        for scores_BW in (found.scores_BW, found.generator_scores_BW):
            assert scores_BW[:same].tolist() == usual.scores_BW[:same].tolist()
        assert not found.prior_shares_BW[:same].any()


@pytest.mark.parametrize("form", ["linear", "geometric"])
def test_sparse_is_dense(beam: BeamSearch, form: Any) -> None:
    rows = np.array([31, 4, 22, 10])
    dense_N = np.zeros(N, dtype=np.float32)
    dense_N[rows] = [4, 1, 2.5, 0.5]
    given = [None, np.array([22]), Filter(only_rows=np.repeat(np.arange(0, N, 2), 2))]
    dense = beam(ASKED, 8, given, [Prior(dense_N, 0.4, form=form)] * 3)
    sparse = beam(ASKED, 8, given, [Prior(dense_N[rows], 0.4, rows, form)] * 3)
    parts = [rows.repeat(2), np.tile(dense_N[rows] / 2, (2, 1)).T.ravel()]  # each row twice, with half the weight
    for other in (sparse, beam(ASKED, 8, given, [Prior(parts[1], 0.4, parts[0], form)] * 3)):
        for name, values in vars(dense).items():
            assert np.array_equal(getattr(other, name), values), name


def test_what_is_denied_neither_comes_back_nor_counts(beam: BeamSearch) -> None:
    weights = np.ones(N)
    weights[7] = 1e9
    found = beam(ASKED, N, [np.array([7])] * 3, [Prior(weights, 0.9)] * 3)
    without = beam(ASKED, N, [np.array([7])] * 3, [Prior(np.where(np.arange(N) == 7, 0, 1), 0.9)] * 3)
    leaf = beam.trie.node_of_item[-1][7]
    assert (beam.trie.node_of_item[-1] == leaf).sum() == 1
    assert leaf not in found.leaves_BW
    assert found.scores_BW.tolist() == without.scores_BW.tolist()
    assert found.prior_shares_BW.sum(1) == pytest.approx(np.ones(3), abs=1e-5)


def test_with_all_leaves_a_linear_mixture_sums_to_one(beam: BeamSearch) -> None:
    found = beam(ASKED, N, None, [Prior(np.arange(N), mixing) for mixing in (0.2, 0.5, 0.999)])
    assert np.exp(found.scores_BW).sum(1) == pytest.approx(np.ones(3), abs=1e-5)


def test_a_strong_prior_leads_a_narrow_beam_to_its_item(beam: BeamSearch) -> None:
    """The mixture ranks prefixes from the first level on: what comes too late could save nothing."""
    exact = score_exactly(beam)
    worst = int(exact[0].argmin())
    row = beam.trie.items_at(worst)[:1]
    assert beam(ASKED[:1], 1).leaves_BW[0, 0] != worst
    found = beam(ASKED[:1], 1, None, [Prior(np.ones(1), 0.99, row)])
    assert found.leaves_BW.tolist() == [[worst]]
    assert found.generator_scores_BW[0] == pytest.approx([exact[0, worst]], abs=1e-5)


def test_a_model_is_not_asked_more_often(beam: BeamSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    hook = beam.model.model.base_model.register_forward_hook(lambda _module, args, _out: rows.append(1))
    beam(ASKED, 6)
    usual = len(rows)
    beam(ASKED, 6, None, [Prior(np.ones(N), 0.5)] * 3)
    hook.remove()
    assert len(rows) == 2 * usual


def test_only_where_probabilities_sum_to_one(beam: BeamSearch) -> None:
    with pytest.raises(RecipeError, match=r"A prior needs decode\.score_softmax = constrained, and it is full"):
        beam.with_score_softmax("full")(ASKED[:1], 3, None, [Prior(np.ones(N), 0.5)])
    assert beam.with_score_softmax("full")(ASKED[:1], 3, None, [None]).prior_shares_BW.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mixing_weight": 1.0}, "mixing_weight = 1.0: it must be at least 0 and below 1"),
        ({"mixing_weight": -0.1}, "mixing_weight = -0.1"),
        ({"mixing_weight": float("nan")}, "mixing_weight = nan"),
        ({"form": "cubic"}, "form = 'cubic': a prior is linear or geometric"),
        ({"floor": 0.0}, "floor = 0.0"),
        ({"weights": np.full(N, -1.0)}, "finite numbers, none of them negative"),
        ({"weights": np.full(N, np.nan)}, "finite numbers"),
        ({"rows": np.arange(3)}, "40 weights for 3 rows"),
    ],
)
def test_numbers_that_cannot_be(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        replace(Prior(np.ones(N), 0.5), **values)


def test_priors_of_another_catalogue(beam: BeamSearch) -> None:
    for prior, says in (
        (Prior(np.ones(N + 1), 0.5), "41 weights for the 40 items"),
        (Prior(np.ones(1), 0.5, np.array([N])), "rows outside of the 40 items"),
        (Prior(np.ones(1), 0.5, np.array([-1])), "rows outside of the 40 items"),
    ):
        with pytest.raises(ArgumentError, match=says):
            beam(ASKED[:1], 3, None, [prior])


def test_recommendations_carry_the_parts(beam: BeamSearch) -> None:
    settings = DecodeSettings(num_beams=6, batch_size=2, precision="fp32")
    own = GenerativeRecommender(beam, lambda rows: [2, *(rows % 8 + 2).tolist()], settings)
    random = np.random.default_rng(3)
    histories = [random.integers(0, N, length) for length in (2, 7, 4, 5, 1)]
    priors = [None, *(Prior(random.random(N), mixing) for mixing in (0.3, 0.0, 0.8, 0.5))]
    denied = [rows[:2] for rows in histories]
    beams = own.decode_beams(histories, denied, priors)
    for place, ranking in enumerate(own.rank_items(beams, 5, denied)):
        alone = own.recommend(histories[place], 5, denied[place], priors[place] or Prior(np.ones(N), 0))
        assert not set(ranking.rows) & set(denied[place])
        for name, values in vars(alone).items():
            assert getattr(ranking, name) == pytest.approx(values, abs=1e-5)
        mixing = priors[place].mixing_weight if priors[place] else 0.0
        mixed = (1 - mixing) * np.exp(ranking.generator_scores) + mixing * ranking.prior_shares
        assert ranking.scores == pytest.approx(np.log(mixed), abs=1e-5)
    plain = own.recommend(histories[0], 5)
    assert (plain.generator_scores, plain.prior_shares) == (None, None)
    assert own.decode_beams(histories).prior_shares_BW is None
    assert own.decode_beams([], None, []).leaves_BW.shape == (0, 6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weights": [1.0, 2.0]}, "A prior's weights are list"),
        ({"weights": np.ones((2, 2))}, "A prior's weights are ndarray"),
        ({"weights": np.array(["a"])}, "A prior's weights"),
        ({"rows": np.array([0.0, 1.0])}, "A prior's rows are ndarray"),
        ({"mixing_weight": "x"}, "mixing_weight = x"),
    ],
)
def test_what_makes_no_prior(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        Prior(**{"weights": np.ones(2), "mixing_weight": 0.3} | change)
