"""Beam search against Hugging Face's, against scoring every SID one by one, and its laws."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.decoding import (
    END_TOKEN,
    MODELS,
    TOKENS_LK,
    catalogue,
    prompts,
    scored,
    search,
    sid_of_leaf,
    tiny,
    trained,
    written,
)
from trialigngr.decode import prompt_cache as context
from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.causal_model import CausalModel
from trialigngr.decode.preallocated_cache import PreallocatedLayer
from trialigngr.sids.semantic_ids import END_CODE
from trialigngr.sids.trie import Trie

LENGTHS = (3, 9, 1, 6)


def generated(model: Any, prompt: list[int], sids: list[tuple[int, ...]], beams: int) -> tuple[list[Any], list[float]]:
    """Return what Hugging Face's constrained beam search writes, and its scores."""

    found = _generate(model, torch.tensor([prompt]), torch.ones(1, len(prompt), dtype=torch.long), sids, beams)
    return [_ended(row[len(prompt) :].tolist()) for row in found.sequences], found.sequences_scores.tolist()


def _ended(text: list[int]) -> tuple[int, ...]:
    return tuple(text[: text.index(END_TOKEN) + 1] if END_TOKEN in text else text)


def _generate(
    model: Any, tokens_BT: torch.Tensor, mask_BT: torch.Tensor, sids: list[tuple[int, ...]], beams: int
) -> Any:
    width = tokens_BT.shape[1]

    def allowed(_batch: int, ids: torch.Tensor) -> list[int]:
        begun = tuple(ids[width:].tolist())
        return sorted({sid[len(begun)] for sid in sids if sid[: len(begun)] == begun and len(sid) > len(begun)})

    return model.generate(
        tokens_BT,
        attention_mask=mask_BT,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=3,
        length_penalty=0.0,
        do_sample=False,
        prefix_allowed_tokens_fn=allowed,
        eos_token_id=END_TOKEN,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_equals_hugging_face(models: dict[str, Any], name: str, unequal: bool):
    model, codes_NL = models[name], catalogue(40, seed=1, unequal=unequal)
    sids = written(codes_NL)
    beam = search(model, codes_NL)
    for prompt in prompts(LENGTHS):
        ours = beam([prompt], 8)
        texts, scores = generated(model, prompt, sids, 8)
        assert [sid_of_leaf(beam.trie, leaf, codes_NL) for leaf in ours.leaves_BW[0]] == texts
        assert ours.scores_BW[0] == pytest.approx(scores, abs=1e-4)


def test_of_five_levels_nothing_in_the_cache_is_copied(models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_: Any) -> None:
        raise AssertionError("a layer was copied")

    monkeypatch.setattr(PreallocatedLayer, "_enlarge_buffer", moved)
    codes_NL = np.random.default_rng(0).integers(0, 2, (24, 5)).astype(np.int32)
    tokens_LK = [[10 + 2 * level, 11 + 2 * level] for level in range(5)]
    model, trie = models["qwen"], Trie.from_codes(codes_NL)
    beam = BeamSearch(CausalModel(model), trie, tokens_LK, END_TOKEN, "full", "fp32")
    for prompt in prompts(LENGTHS):
        found = beam([prompt], len(trie.levels[-1]))
        for leaf, score in zip(found.leaves_BW[0], found.scores_BW[0], strict=True):
            codes = codes_NL[trie.items_at(leaf)[0]]
            sid = [tokens[code] for tokens, code in zip(tokens_LK, codes, strict=True)]
            assert score == pytest.approx(scored(model, prompt, sid, None), abs=1e-4)


@pytest.mark.parametrize("name", ["qwen, trained", "qwen3", "llama", "smollm2, trained"])
def test_prompts_of_any_length_equal_a_padded_batch_of_hugging_face(models: dict[str, Any], name: str) -> None:
    model, codes_NL, asked = models[name], catalogue(40, seed=1, unequal=True), prompts(LENGTHS)
    width = max(LENGTHS)
    tokens_BT = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in asked])
    mask_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in asked])
    beam = search(model, codes_NL)
    theirs = _generate(model, tokens_BT, mask_BT, written(codes_NL), 8)
    ours = beam(asked, 8)
    sids = [sid_of_leaf(beam.trie, leaf, codes_NL) for leaf in ours.leaves_BW.flatten()]
    assert sids == [_ended(row[width:].tolist()) for row in theirs.sequences]
    assert ours.scores_BW.flatten() == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-4)


@pytest.mark.parametrize("score_softmax", ["full", "constrained"])
@pytest.mark.parametrize("name", MODELS)
def test_as_many_beams_as_sids_rank_the_catalogue_exactly(models: dict[str, Any], name: str, score_softmax: str):
    model, codes_NL = models[name], catalogue(30, seed=2, unequal=True)
    sids = written(codes_NL)
    beam = search(model, codes_NL, score_softmax)
    (prompt,) = prompts((7,))
    found = beam([prompt], len(sids))
    one_by_one = [scored(model, prompt, sid, sids if score_softmax == "constrained" else None) for sid in sids]
    assert found.leaves_BW[0].tolist() == np.argsort(one_by_one)[::-1].tolist()
    assert found.scores_BW[0] == pytest.approx(sorted(one_by_one, reverse=True), abs=1e-4)
    if score_softmax == "constrained":
        assert np.exp(found.scores_BW[0]).sum() == pytest.approx(1, abs=1e-5)
    else:
        assert np.exp(found.scores_BW[0]).sum() < 1


def test_sids_that_end_at_any_level(models: dict[str, Any]):
    codes_NL = np.array(
        [[0, END_CODE, END_CODE], [0, 1, END_CODE], [0, 1, 2], [1, END_CODE, END_CODE], [2, 3, 3]], dtype=np.int32
    )
    model, sids = models["qwen"], written(codes_NL)
    assert sorted(map(len, sids)) == [2, 2, 3, 3, 3]
    (prompt,) = prompts((4,))
    for score_softmax in ("full", "constrained"):
        found = search(model, codes_NL, score_softmax)([prompt], 5)
        one_by_one = [scored(model, prompt, sid, sids if score_softmax == "constrained" else None) for sid in sids]
        assert found.leaves_BW[0].tolist() == np.argsort(one_by_one)[::-1].tolist()
        assert found.scores_BW[0] == pytest.approx(sorted(one_by_one, reverse=True), abs=1e-4)


@pytest.mark.parametrize("name", ["qwen", "llama", "gpt2", "qwen, trained"])
def test_a_batch_of_unequal_prompts_equals_one_by_one(models: dict[str, Any], name: str):
    beam, asked = search(models[name], catalogue(60, seed=4)), prompts((2, 11, 5, 5, 1), seed=7)
    banned = [np.array(rows, dtype=np.int64) for rows in ([], [0, 1, 2], [5], list(range(30)), [59])]
    together = beam(asked, 6, banned)
    for place, prompt in enumerate(asked):
        alone = beam([prompt], 6, [banned[place]])
        assert together.leaves_BW[place].tolist() == alone.leaves_BW[0].tolist()
        assert together.scores_BW[place] == pytest.approx(alone.scores_BW[0], abs=1e-4)


@pytest.mark.parametrize("name", ["qwen", "qwen3", "smollm2", "gpt2"])
def test_a_beginning_that_all_share_is_read_once(
    models: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (beginning,) = models[name], prompts((20,))
    asked = [beginning + rest for rest in prompts((3, 1, 5, 4), seed=3)]
    beam = search(model, catalogue(60, seed=4))
    apart = beam(asked, 6)
    monkeypatch.setattr(context, "MIN_SHARED_TOKENS", 60)
    read: list[tuple[int, ...]] = []
    hook = model.base_model.register_forward_pre_hook(
        lambda _module, _args, given: read.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    together = beam(asked, 6)
    hook.remove()
    assert read[:2] == [(1, 20), (4, 5)]
    assert together.leaves_BW.tolist() == apart.leaves_BW.tolist()
    assert together.scores_BW == pytest.approx(apart.scores_BW, abs=1e-4)
    assert beam([asked[0], beginning], 6).leaves_BW[0].tolist() == apart.leaves_BW[0].tolist(), "one ends with it"


def test_a_copy_of_a_model_that_decoded_decodes_alike_and_plain_passes_are_untouched(models: dict[str, Any]) -> None:
    model, codes_NL, asked = models["llama"], catalogue(60, seed=4), prompts(LENGTHS)
    tokens_BT = torch.tensor([asked[1]])
    fresh = tiny("llama")(tokens_BT).logits
    usual = search(model, codes_NL)(asked, 6)
    again = search(deepcopy(model), codes_NL)(asked, 6)
    assert (again.scores_BW == usual.scores_BW).all()
    assert torch.equal(model(tokens_BT).logits, fresh)


def test_what_is_certain_is_not_asked(models: dict[str, Any]) -> None:
    """Under ``catalogue`` only nodes with several SIDs below them are fed; the rest of the others is certain."""
    codes_NL = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 2, 3], [2, 2, 2], [2, 3, 0]], dtype=np.int32)
    model, fed = models["qwen, trained"], []
    beam = search(model, codes_NL, "constrained")
    beam(prompts((4,)), 1)  # the first search tries the model
    hook = model.base_model.register_forward_pre_hook(
        lambda _module, _args, given: fed.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    found = beam(prompts((4,)), 6)
    hook.remove()
    assert fed == [(1, 4), (1, 2), (1, 1)], "the prompt; 0 and 2, for 1 has one SID; then 0 0 alone"
    assert np.exp(found.scores_BW[0]).sum() == pytest.approx(1, abs=1e-5)


def test_eager_attention_is_the_same(models: dict[str, Any]):
    model = models["llama"]
    beam, asked = search(model, catalogue(60, seed=4)), prompts(LENGTHS)
    usual = beam(asked, 10)
    model.set_attn_implementation("eager")
    try:
        eager = beam(asked, 10)
    finally:
        model.set_attn_implementation("sdpa")
    assert eager.leaves_BW.tolist() == usual.leaves_BW.tolist()
    assert eager.scores_BW == pytest.approx(usual.scores_BW, abs=1e-4)


def test_the_models_own_generation_defaults_are_not_read(models: dict[str, Any]):
    model = models["qwen"]
    beam, asked = search(model, catalogue(60, seed=5)), prompts(LENGTHS)
    usual, kept = beam(asked, 10), model.generation_config.to_dict()
    model.generation_config.update(top_k=2, top_p=0.1, repetition_penalty=3.0, temperature=0.1, num_beams=3)
    try:
        changed = beam(asked, 10)
    finally:
        model.generation_config.update(**kept)
    assert changed.leaves_BW.tolist() == usual.leaves_BW.tolist()
    assert (changed.scores_BW == usual.scores_BW).all()


@settings(max_examples=60)
@given(data=st.data())
def test_only_what_exists_and_is_allowed_and_as_much_as_there_is(models: dict[str, Any], data: st.DataObject):
    codes = st.tuples(*[st.integers(0, 3)] * 3, st.integers(1, 3))
    rows = [[*row[: row[3]], *[END_CODE] * (3 - row[3])] for row in data.draw(st.lists(codes, min_size=1, max_size=25))]
    codes_NL = np.array(rows, dtype=np.int32)
    banned = np.array(sorted(data.draw(st.sets(st.integers(0, len(rows) - 1)))), dtype=np.int64)
    beams = data.draw(st.integers(1, 12))
    beam = search(models["qwen"], codes_NL, data.draw(st.sampled_from(["full", "constrained"])))
    found = beam(prompts((3, 5)), beams, [banned, banned[:0]])
    for refused, leaves, scores in zip(
        (set(banned.tolist()), set[int]()), found.leaves_BW, found.scores_BW, strict=True
    ):
        open_leaves = {int(beam.trie.node_of_item[-1][row]) for row in range(len(rows)) if row not in refused}
        real = [int(leaf) for leaf in leaves if leaf >= 0]
        assert len(real) == len(set(real)) == min(beams, len(open_leaves))
        assert set(real) <= open_leaves
        assert (leaves[len(real) :] == -1).all()
        assert np.isneginf(scores[len(real) :]).all()
        assert (np.diff(scores[: len(real)]) <= 0).all()
        assert np.isfinite(scores[: len(real)]).all()


@pytest.mark.parametrize("score_softmax", ["full", "constrained"])
def test_a_ban_takes_nothing_from_the_others(models: dict[str, Any], score_softmax: str):
    """Scores do not depend on what is banned, so what is left keeps its order."""
    codes_NL, (prompt,) = catalogue(30, seed=6), prompts((5,))
    banned = np.arange(10)
    free = search(models["llama"], codes_NL, score_softmax)([prompt], 40)
    held = search(models["llama"], codes_NL, score_softmax)([prompt], 40, [banned])
    score_of = dict(zip(free.leaves_BW[0].tolist(), free.scores_BW[0], strict=True))
    kept = [leaf for leaf in held.leaves_BW[0].tolist() if leaf >= 0]
    assert len(kept) < sum(free.leaves_BW[0] >= 0)
    assert held.scores_BW[0][: len(kept)] == pytest.approx([score_of[leaf] for leaf in kept], abs=1e-5)
    total = np.exp(free.scores_BW[0]).sum()
    assert total == pytest.approx(1, abs=1e-5) if score_softmax == "constrained" else total < 1


def test_a_few_allowed_among_many_are_found_by_a_narrow_beam(models: dict[str, Any]):
    codes_NL = np.array([[a, b, c] for a in range(4) for b in range(4) for c in range(4)], dtype=np.int32)
    banned = np.setdiff1d(np.arange(64), [0, 21, 42, 63])
    found = search(models["qwen, trained"], codes_NL)(prompts((6,)), 4, [banned])
    assert sorted(found.leaves_BW[0].tolist()) == [0, 21, 42, 63]


def test_tokens_of_a_level_are_told_apart_from_the_end():
    class Never:
        device = torch.device("cpu")

    codes_NL = np.array([[3, 1, END_CODE]], dtype=np.int32)
    levels = BeamSearch(Never(), Trie.from_codes(codes_NL), TOKENS_LK, END_TOKEN)._device_levels
    assert [level.tokens_K[level.token_of_M.long()].tolist() for level in levels] == [[13], [21], [END_TOKEN]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("score_softmax", ["full", "constrained"])
def test_a_gpu_finds_what_a_cpu_finds(score_softmax: str) -> None:
    codes_NL, asked = catalogue(60, seed=4), prompts((5, 3, 6))
    model = trained(tiny("qwen"))
    mine = search(model, codes_NL, score_softmax)(asked, 6)
    theirs = search(model.cuda(), codes_NL, score_softmax)(asked, 6)
    np.testing.assert_array_equal(theirs.leaves_BW, mine.leaves_BW)
    np.testing.assert_allclose(theirs.scores_BW, mine.scores_BW, atol=1e-4)
