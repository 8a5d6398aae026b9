"""A generator against transformers' `generate` and loss, what it refuses, and what it knows of later items."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.circle import (
    CircleInputs,
    N,
    build_sids,
    choose_settings,
    fit_system,
    load_system,
    rank_last_training_items,
)
from tests.support.histories import histories
from trialigngr.catalog.queries import Queries
from trialigngr.decode.exact import compute_exact_scores
from trialigngr.decode.settings import DecodeSettings
from trialigngr.foundation.errors import ArtifactError, CatalogError
from trialigngr.metrics.ranks import hit_rate
from trialigngr.seq2seq.model import Seq2SeqGenerator
from trialigngr.seq2seq.settings import TigerSettings
from trialigngr.seq2seq.training import Seq2SeqObjective
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.train.checkpoint import trainable_parameters

FULL = DecodeSettings(score_softmax="full", precision="fp32", num_beams=8)


def build_generator(**changes: Any) -> Seq2SeqGenerator[TigerSettings]:
    torch.manual_seed(0)
    return Seq2SeqGenerator("tiger", choose_settings("tiger", **changes), build_sids().codebook_sizes, "cpu")


def test_beams_equal_generate_with_a_callback() -> None:
    own, sids = build_generator(num_user_buckets=3, max_history=6), build_sids()
    for name, weight in trainable_parameters(own.model).items():  # so that beams are not alike
        torch.nn.init.normal_(weight, std=1.5 if "relative" in name else 0.3)
    own.model.eval()
    queries = Queries([np.array([1, 2, 3]), np.array([7]), np.arange(9)], np.array([4, -1, 0]))
    asked = own.build_sequences(sids.codes_NL).encode_queries(queries)
    written = [tuple(tokens) for tokens in own.vocabulary.encode_codes(sids.codes_NL).tolist()]

    def allowed(_batch: int, ids: torch.Tensor) -> list[int]:
        begun = tuple(ids[1:].tolist())
        return sorted({sid[len(begun)] for sid in written if sid[: len(begun)] == begun})

    width = max(map(len, asked))
    padded = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in asked])
    theirs = own.model.generate(
        padded, attention_mask=padded != 0, num_beams=8, num_return_sequences=8, max_new_tokens=3, length_penalty=0.0,
        do_sample=False, prefix_allowed_tokens_fn=allowed, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    recommender = own.build_recommender(sids.codes_NL, FULL)
    found = recommender.decode_prompts(asked)
    rows = [ranking.rows.tolist() for ranking in recommender.rank_items(found, 8)]
    assert rows == [
        [written.index(tuple(row[1:].tolist())) for row in theirs.sequences[8 * n : 8 * n + 8]] for n in range(3)
    ]
    assert found.scores_BW.ravel() == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_loss_is_the_mean_over_the_tokens_of_all_parts(temperature: float) -> None:
    own, sids = build_generator(temperature=temperature), build_sids()
    log = histories([0, 1, 2, 5, 6], [3, 4, 5, 6, 7, 8])
    objective = Seq2SeqObjective(own, log, sids, 0)
    objective.examples.micro_tokens = 8
    objective.prepare_validation()
    batch = objective.draw_batch(0)
    assert len(batch.micro_batches) > 1
    loss = sum(objective.iter_micro_losses(batch))
    losses = []
    for user, place in [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]:
        asked = Queries([log.history_before(user, place, 20)], np.array([user]))
        (source,) = objective.examples.sequences.encode_queries(asked)
        target = own.vocabulary.encode_codes(sids.codes_NL)[log.user_sequence(user)[place]].tolist()
        logits = own.model(
            input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[0, *target[:-1]]])
        ).logits[0]
        log_probs = (logits / temperature).log_softmax(-1)
        losses += [-float(log_probs[place, token]) for place, token in enumerate(target)]
    assert float(loss) == pytest.approx(np.mean(losses), abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("num_user_buckets", [0, 3])
def test_one_pass_over_a_history_is_each_beginning_alone(num_user_buckets: int) -> None:
    own = build_generator(one_pass=True, max_history=3, num_user_buckets=num_user_buckets)
    sids = build_sids()
    for name, weight in trainable_parameters(own.model).items():  # so that it matters where a token stands
        torch.nn.init.normal_(weight, std=1.5 if "relative" in name else 0.3)
    log = histories([0, 1, 2, 5, 6], [3, 4, 5, 6, 7, 8, 9, 2], [9, 8, 7])
    objective = Seq2SeqObjective(own, log, sids, 0)
    objective.prepare_validation()
    # By beam search, which reads each beginning by itself, over transformers' own encoder.
    asked = objective.examples.sequences.encode_queries(log.build_queries(objective.examples.targets))
    search = own.build_recommender(sids.codes_NL, FULL).search
    scores = compute_exact_scores(search, asked)
    leaves = search.trie.node_of_item[-1][objective.examples.rows]
    wanted = -scores[np.arange(len(asked)), leaves]
    for history in range(len(objective.examples.bounds) - 1):
        batch = objective.examples.build_batch(np.array([history]), 0, "", own.device)
        mine = wanted[objective.examples.bounds[history] : objective.examples.bounds[history + 1]]
        assert float(sum(objective.iter_micro_losses(batch))) == pytest.approx(mine.sum() / batch.num_targets, abs=1e-5)
    everything = objective.examples.build_batch(np.arange(history + 1), 0, "", own.device)
    assert float(sum(objective.iter_micro_losses(everything))) == pytest.approx(wanted.mean() / 3, abs=1e-5)


def test_histories_that_are_read_once_teach_what_follows(tmp_path: Path) -> None:
    inputs = CircleInputs()
    fit_system("tiger", tmp_path, inputs, one_pass=True, max_history=6)
    ranks = rank_last_training_items(load_system("tiger", tmp_path, inputs), inputs.histories)
    assert hit_rate(ranks, 3).mean() > 0.9  # of 24 items


@torch.no_grad()
def test_one_example_by_hand() -> None:
    """Weights of 0 give all tokens the same probability."""
    own, sids = build_generator(), build_sids()
    for weight in trainable_parameters(own.model).values():
        torch.nn.init.zeros_(weight)
    objective = Seq2SeqObjective(own, histories([0, 1, 2, 3]), sids, 0)
    objective.prepare_validation()
    batch = objective.draw_batch(0)
    assert own.vocabulary.size == 2 + 4 + 3 + 2
    assert (batch.num_tokens, batch.num_targets) == (3 + 1 + 3, 3)
    assert float(sum(objective.iter_micro_losses(batch))) == pytest.approx(np.log(11))


def test_sids_of_another_depth_are_one_sentence(tmp_path: Path) -> None:
    inputs = CircleInputs()
    fit_system("tiger", tmp_path, inputs, epochs=1)
    other = SemanticIds(inputs.sids.item_ids, inputs.sids.codes_NL[:, :2], (4, 3))
    with pytest.raises(ArtifactError, match=r"holds no tiger for SIDs of 4 × 3 codes \(it writes SIDs of 4 × 3 × 2"):
        load_system("tiger", tmp_path, replace(inputs, sids=other))
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ArtifactError, match="holds no tiger"):
        load_system("tiger", tmp_path, inputs)


@pytest.mark.parametrize("name", ["tiger", "letter", "macrec", "etegrec"])
def test_every_generator_refuses_sids_of_another_depth(name: str, tmp_path: Path) -> None:
    settings = choose_settings(name)
    Seq2SeqGenerator(name, settings, (4, 3, 2), "cpu").save(tmp_path)
    for sizes in ((4, 3), (4, 3, 2, 5)):
        with pytest.raises(
            ArtifactError, match=rf"holds no {name} for SIDs of 4 × 3.*\(it writes SIDs of 4 × 3 × 2 codes\)"
        ):
            Seq2SeqGenerator.load(name, type(settings), tmp_path, sizes, "cpu")


def test_sizes_that_a_file_claims_take_no_memory(tmp_path: Path) -> None:
    inputs = CircleInputs()
    fit_system("tiger", tmp_path, inputs, epochs=1)
    shape = json.loads((tmp_path / "model.json").read_text())
    shape["settings"]["hidden_size"] = 10**8
    (tmp_path / "model.json").write_text(json.dumps(shape))
    with pytest.raises(ArtifactError, match="it has other weights than such a model"):
        load_system("tiger", tmp_path, inputs)


def test_nobody_has_two_items(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="tiger learns what follows what"):
        fit_system("tiger", tmp_path, replace(CircleInputs(), histories=histories([0, 1, 2])))


def test_items_that_came_later_are_found_and_shared_sids_share_places(tmp_path: Path) -> None:
    inputs = CircleInputs()
    fit_system("tiger", tmp_path, inputs, epochs=1)
    codes_NL = np.concatenate([inputs.sids.codes_NL, inputs.sids.codes_NL[5:6]])
    grown = replace(inputs, sids=SemanticIds([*inputs.sids.item_ids, "new"], codes_NL, inputs.sids.codebook_sizes))
    found = load_system("tiger", tmp_path, grown).rank(Queries([np.array([1, N])]), N + 1)
    row = found.rows_BK[0].tolist()
    assert sorted(row) == list(range(N + 1))
    assert row.index(N) == row.index(5) + 1
    assert found.scores_BK[0][row.index(N)] == found.scores_BK[0][row.index(5)]
