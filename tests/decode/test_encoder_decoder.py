"""A T5 over a trie against Hugging Face's beam search, and against its plain forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from tests.support.decoding import END_TOKEN, TOKENS_LK, VOCABULARY, catalogue, prompts, sid_of_leaf, written
from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.encoder_decoder import EncoderDecoderModel
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.decode.filters import Filter
from trialigngr.foundation.errors import RecipeError
from trialigngr.sids.semantic_ids import END_CODE
from trialigngr.sids.trie import Trie

LENGTHS, START = (3, 9, 1, 6), 2
SHAPES: dict[str, dict[str, Any]] = {
    "t5": {},
    "t5, unscaled and gated": {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"},
    # So few buckets that tokens one and two before share one, and positions taken for slots would show.
    "t5, few buckets": {"relative_attention_num_buckets": 4, "relative_attention_max_distance": 5},
}


def tiny_t5(**shape: Any) -> Any:
    """Return a small random T5 whose attention leans on distances."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=START, pad_token_id=0, eos_token_id=END_TOKEN, **shape,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 if "relative" in name else 0.3)
    # Scores should be neither alike nor so far apart that rounding shows: the head is tied, and T5 may scale it down.
    torch.nn.init.normal_(model.shared.weight, std=1.0 if config.scale_decoder_outputs else 0.2)
    return model


@pytest.fixture(scope="module", params=SHAPES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_t5(**SHAPES[request.param])


def search(model: Any, codes_NL: Any, score_softmax: Any = "full", precision: Any = "fp32") -> BeamSearch:
    trie = Trie.from_codes(codes_NL)
    return BeamSearch(EncoderDecoderModel(model), trie, TOKENS_LK, END_TOKEN, score_softmax, precision)


def generated(model: Any, asked: list[list[int]], sids: list[tuple[int, ...]], beams: int) -> Any:
    """Return what Hugging Face's constrained beam search writes for a padded batch, with its scores."""

    def allowed(_batch: int, ids: torch.Tensor) -> list[int]:
        begun = tuple(ids[1:].tolist())
        return sorted({sid[len(begun)] for sid in sids if sid[: len(begun)] == begun and len(sid) > len(begun)})

    width = max(map(len, asked))
    return model.generate(
        torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in asked]),
        attention_mask=torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in asked]),
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=3,
        length_penalty=0.0,
        do_sample=False,
        prefix_allowed_tokens_fn=allowed,
        return_dict_in_generate=True,
        output_scores=True,
    )


@torch.no_grad()
def scored(model: Any, prompt: list[int], sid: tuple[int, ...], sids: list[tuple[int, ...]] | None) -> float:
    """Return the log-probability of one SID by a plain forward pass; over ``sids`` alone where they are given."""
    decoded = torch.tensor([[START, *sid[:-1]]])
    logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoded).logits[0].double()
    total = 0.0
    for place, token in enumerate(sid):
        follow = list(range(VOCABULARY))
        if sids is not None:
            follow = sorted({other[place] for other in sids if other[:place] == sid[:place]})
        total += float(logits[place, token] - logits[place, follow].logsumexp(0))
    return total


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("unequal", [False, True])
def test_equals_hugging_face(model: Any, unequal: bool, attention: str) -> None:
    codes_NL, asked = catalogue(40, seed=1, unequal=unequal), prompts(LENGTHS)
    model.set_attn_implementation(attention)
    beam = search(model, codes_NL)
    theirs, ours = generated(model, asked, written(codes_NL), 8), beam(asked, 8)
    texts = [row[1:].tolist() for row in theirs.sequences]
    ended = [tuple(text[: text.index(END_TOKEN) + 1] if END_TOKEN in text else text) for text in texts]
    assert [sid_of_leaf(beam.trie, leaf, codes_NL) for leaf in ours.leaves_BW.flatten()] == ended
    assert ours.scores_BW.flatten() == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-4)
    model.set_attn_implementation("sdpa")


@pytest.mark.parametrize("nodes_at_once", [1, 7, 1000])
@pytest.mark.parametrize("score_softmax", ["full", "constrained"])
def test_exact_scores_equal_scoring_one_by_one(model: Any, score_softmax: str, nodes_at_once: int) -> None:
    codes_NL = np.concatenate(
        [catalogue(30, seed=2, unequal=True), [[0, END_CODE, END_CODE], [3, END_CODE, END_CODE]]]
    ).astype(np.int32)
    sids, asked = written(codes_NL), prompts((7, 3))
    found = compute_exact_scores(search(model, codes_NL, score_softmax), asked, nodes_at_once)
    over = sids if score_softmax == "constrained" else None
    assert found == pytest.approx(
        np.array([[scored(model, one, sid, over) for sid in sids] for one in asked]), abs=1e-4
    )


@pytest.mark.parametrize("score_softmax", ["full", "constrained"])
def test_a_batch_under_filters_equals_single_calls(model: Any, score_softmax: str) -> None:
    codes_NL, asked = catalogue(60, seed=4, unequal=True), prompts((2, 11, 5, 1), seed=7)
    beam, allowed = search(model, codes_NL, score_softmax), [np.array(rows) for rows in ([3, 9], [0, 1, 2], [5], [])]
    given = [Filter(only_rows=allowed[0]), *allowed[1:3], None]
    together = beam(asked, 6, given)
    exact = compute_exact_scores(beam, asked)
    for place, prompt in enumerate(asked):
        alone = beam([prompt], 6, [given[place]])
        assert together.leaves_BW[place].tolist() == alone.leaves_BW[0].tolist()
        assert together.scores_BW[place] == pytest.approx(alone.scores_BW[0], abs=1e-4)
        leaves = alone.leaves_BW[0][alone.leaves_BW[0] >= 0]
        assert alone.scores_BW[0][: len(leaves)] == pytest.approx(exact[place, leaves], abs=1e-4)
    assert set(together.leaves_BW[0]) == {-1, *beam.trie.node_of_item[-1][allowed[0]]}
    for place in (1, 2):
        open_items = np.delete(np.arange(60), allowed[place])
        assert set(together.leaves_BW[place]) <= set(beam.trie.node_of_item[-1][open_items])


def test_as_many_beams_as_sids_rank_the_catalogue_exactly(model: Any) -> None:
    codes_NL, asked = catalogue(50, seed=5, unequal=True), prompts(LENGTHS)
    beam = search(model, codes_NL, "constrained")
    exact = compute_exact_scores(beam, asked)
    found = beam(asked, exact.shape[1])
    assert found.leaves_BW.tolist() == np.argsort(-exact, axis=1, kind="stable").tolist()
    assert np.exp(found.scores_BW).sum(1) == pytest.approx(np.ones(len(asked)), abs=1e-5)


def test_the_encoder_runs_once_and_its_keys_are_made_once(model: Any) -> None:
    calls = {"encoder": 0, "cross keys": 0}

    def count(name: str) -> Any:
        return lambda *_: calls.update({name: calls[name] + 1})

    cross = model.decoder.block[0].layer[1].EncDecAttention.k
    hooks = [model.encoder.register_forward_hook(count("encoder")), cross.register_forward_hook(count("cross keys"))]
    search(model, catalogue(40, seed=1))(prompts(LENGTHS), 8)
    for hook in hooks:
        hook.remove()
    assert calls == {"encoder": 1, "cross keys": 1}


def test_half_precision_keeps_the_scores_near(model: Any) -> None:
    codes_NL, asked = catalogue(40, seed=1), prompts(LENGTHS)
    exactly, nearly = (search(model, codes_NL, "constrained", precision) for precision in ("fp32", "bf16"))
    assert compute_exact_scores(nearly, asked) == pytest.approx(compute_exact_scores(exactly, asked), abs=0.3)


def test_only_a_t5_that_says_how_it_begins() -> None:
    bart = BartForConditionalGeneration(
        BartConfig(
            vocab_size=VOCABULARY, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        )
    )  # fmt: skip
    with pytest.raises(RecipeError, match="A model of type 'bart' cannot be decoded"):
        search(bart, catalogue(5, seed=0))(prompts((3,)), 2)
    model = tiny_t5()
    model.config.decoder_start_token_id = None
    with pytest.raises(RecipeError, match="names no decoder_start_token_id"):
        search(model, catalogue(5, seed=0))(prompts((3,)), 2)
